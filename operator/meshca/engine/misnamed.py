"""Which live leaves carry another SPIFFE ID than their configuration gives now.

Decides nothing. Every leaf is compared once when its certificate becomes known, and all leaves of a
configuration once when its naming changes; a look at the result costs what there is to tell, which normally
is nothing.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from meshca.planning.ca import Misnamed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from meshca.planning.naming import NameRule
    from meshca.planning.views import LeafView

Name = tuple[str, str]
MOST_LISTED: Final = 10


class MisnamedLeaves:
    """The misnamed leaves of every configuration whose naming is known."""

    def __init__(self) -> None:
        self._rules: dict[str, NameRule] = {}
        self._found: dict[str, set[Name]] = {}

    def expect(self, configuration: str, rule: NameRule, views: Iterable[LeafView]) -> bool:
        """Compare all leaves of a configuration if its naming is new, and return whether it is."""
        if self._rules.get(configuration) == rule:
            return False
        self._rules[configuration] = rule
        self._found[configuration] = {view.key for view in views if _differs(view, rule)}
        return True

    def look(self, view: LeafView) -> bool:
        """Compare one leaf; returns whether it has joined or left the misnamed ones."""
        rule = self._rules.get(view.spec.configuration)
        if rule is None:
            return False
        found = self._found[view.spec.configuration]
        if (view.key in found) == _differs(view, rule):
            return False
        found.symmetric_difference_update((view.key,))
        return True

    def forget(self, view: LeafView) -> bool:
        """Drop a leaf; returns whether it was a misnamed one."""
        found = self._found.get(view.spec.configuration, set())
        was = view.key in found
        found.discard(view.key)
        return was

    def count(self, configuration: str, views: Mapping[Name, LeafView], now: datetime) -> Misnamed | None:
        """Return what there is to tell; None while the configuration's naming is not known."""
        if configuration not in self._rules:
            return None
        live = [
            (view.issued.not_after, view.key)
            for view in (views[key] for key in self._found[configuration])
            if view.issued is not None and now < view.issued.not_after
        ]
        # The last ones to expire: their names change seldom, and with them the text that lists them.
        listed = sorted(key for _, key in heapq.nlargest(MOST_LISTED, live))
        return Misnamed(
            count=len(live),
            names=tuple("/".join(key) for key in listed),
            first_end=min((end for end, _ in live), default=None),
        )


def _differs(view: LeafView, rule: NameRule) -> bool:
    if view.issued is None or view.meta.deleting:
        return False
    return view.issued.spiffe_id != rule.gives(view.meta.namespace, view.spec.service_account)
