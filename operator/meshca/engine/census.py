"""How many leaves a rotation still has to reach, counted from the watch store.

Decides nothing. Costs what there is left to do, not what there is: leaves are indexed by the root they
need, and Secrets are looked at only while they have to hold a bundle.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from meshca.planning.ca import Census, Straggler
from meshca.planning.leaf import RENEW
from meshca.planning.moves import ROTATE, bundle_digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from meshca.planning.ca import Misnamed
    from meshca.planning.leaf import SecretView
    from meshca.planning.views import LeafView

MOST_STRAGGLERS: Final = 10
REASON_LENGTH: Final = 120
WAITS_FOR_HOLDER: Final = "waits for its holder"


def take_census(
    left: Iterable[LeafView],
    now: datetime,
    *,
    unread: int,
    behind: int,
    misnamed: Misnamed | None = None,
) -> Census:
    """Count those that live among the leaves that need another root than the active one."""
    by_root: dict[str, int] = {}
    ends: dict[str, datetime] = {}
    found: list[tuple[datetime, LeafView]] = []
    for view in left:
        if view.issued is not None and now < view.issued.not_after:
            root, end = view.issued.root, view.issued.not_after
            by_root[root] = by_root.get(root, 0) + 1
            ends[root] = max(ends.get(root, end), end)
            found.append((view.issued.not_after, view))
    first = heapq.nsmallest(MOST_STRAGGLERS, found, key=lambda entry: (entry[0], entry[1].key))
    return Census(
        by_root=by_root,
        unread=unread,
        stragglers=tuple(_straggler(view, end) for end, view in first),
        automatic=sum(view.spec.automatic for _, view in found),
        manual_end=max((end for end, view in found if not view.spec.automatic), default=None),
        bundles_behind=behind,
        misnamed=misnamed,
        ends=ends,
    )


def _straggler(view: LeafView, end: datetime) -> Straggler:
    reason = ""
    if view.state == RENEW:
        reason = f"{view.reason}: {view.message}"
    elif view.state == ROTATE:
        reason = WAITS_FOR_HOLDER
    if len(reason) > REASON_LENGTH:
        reason = reason[: REASON_LENGTH - 1] + "…"
    return Straggler("/".join(view.key), end, view.spec.automatic, reason)


def bundles_behind(
    leaves: Iterable[LeafView], secrets: Mapping[tuple[str, str], SecretView], bundle: str, now: datetime
) -> int:
    """Count the Secrets of live leaves that do not hold a bundle (PEM text; "": they need not).

    Only what is there and the operator's to write: a missing Secret is made with the present bundle.
    """
    if not bundle:
        return 0
    wanted, count = bundle_digest(bundle), 0
    for view in leaves:
        if not view.spec.managed or view.meta.deleting or view.issued is None or view.issued.not_after <= now:
            continue
        secret = secrets.get((view.meta.namespace, view.spec.secret_name))
        if secret is not None and secret.owner_uid == view.meta.uid and secret.bundle != wanted:
            count += 1
    return count
