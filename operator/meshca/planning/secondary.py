"""The checks of a secondary: what it mirrors, asks for, adopts and puts into use.

Each looks at one thing and says which step is missing, or None. A root is put into use only when it is the
primary's active one, its signer here verifies, and every place was read back (I10). What a primary that is
away, in doubt or refusing does not say changes nothing. Never removes trust: that is ``planning.pruning``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from meshca.api import names
from meshca.pki.certificates import to_pem
from meshca.planning import crosses, following, requested, rotation, signers
from meshca.planning.primary import Need, PrimaryWish, Report, SignerWish
from meshca.planning.steps import (
    AdoptSigner,
    CommitActive,
    DropRequest,
    MarkActive,
    ReadBack,
    RecordMirror,
    RenewJoin,
    RequestSigner,
)

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.planning.ca import Root
    from meshca.planning.requested import RequestedKey, Verdict
    from meshca.planning.situation import Situation
    from meshca.planning.steps import Step


def renew_join(found: Situation) -> Step | None:
    """Keep the token that the link has got, if the Secret still holds the one it replaces."""
    join, view = found.snapshot.join, found.snapshot.view
    if join is None or view is None or view.token is None or view.token.replaces != join.token_digest:
        return None
    if found.snapshot.unkept_token is not None:
        return None
    return RenewJoin(join, view.token)


def mirror_roots(found: Situation) -> Step | None:
    """Mirror each root of the primary that is not here yet; one that is leaving is waited for."""
    primary = found.primary
    if primary is None or primary.facts is None or not primary.answering:
        return None
    here = {root.facts.fingerprint for root in found.snapshot.roots}
    for root in primary.facts.roots:
        if root.fingerprint not in here:
            return RecordMirror(root.certificate, root.fingerprint)
    return None


def drop_request(found: Situation) -> Step | None:
    """Remove the key of a request that is broken, superfluous, or refused for long enough."""
    for asked in found.snapshot.requested:
        why = _useless(found, asked)
        if why:
            return DropRequest(asked, why, refused=verdict_of(found) is not None)
    return None


def adopt_signer(found: Situation) -> Step | None:
    """Take over the certificate that the primary made, if it is the one that was asked for."""
    verdict, root = verdict_of(found), following.wants_signer(found)
    if verdict is None or verdict.certificate is None or root is None:
        return None
    chain = to_pem(verdict.certificate, *crosses.useful(found, root, root))
    return AdoptSigner(found.snapshot.requested[0], root, verdict.certificate, chain)


def request_signer(found: Situation) -> Step | None:
    """Make a key and a request for a signer when one is due; the signer in use signs on meanwhile."""
    root, primary = following.wants_signer(found), found.primary
    if root is None or primary is None or primary.facts is None or not primary.answering or _rival(found):
        return None
    return RequestSigner() if _is_due(found, root) and not found.snapshot.requested else None


def find_active_again(found: Situation) -> Step | None:
    """Restore a lost status: the root that was in use by its record, whoever's it is.

    Without a signer, too, where the primary has another root active: nothing is moved to, and no signer
    asked for, until it is known what from.
    """
    root, signer, primary = found.root, found.signer, found.primary
    if root is None or primary is None or found.active_name:
        return None
    if root.activated_at is None or root.rotated_out_at is not None:
        return None
    if signer is not None:
        return CommitActive(root, signer, crosses.chain_of(found, root, signer))
    there = following.active_there(found.snapshot, primary)
    return CommitActive(root) if there is not None and there is not root else None


def activate_first(found: Situation) -> Step | None:
    """Put the first root into use, once everybody here trusts it."""
    root, signer, primary = found.root, found.signer, found.primary
    if root is None or signer is None or found.active_name or primary is None or not root.mirrored:
        return None
    fresh = primary.answering and primary.facts is not None
    if not fresh or signer.chain != crosses.chain_of(found, root, signer):
        return None
    gate = first_gate(found)
    if gate.read_back:
        return ReadBack()
    return MarkActive(root) if gate.is_open else None


def first_gate(found: Situation) -> rotation.Gate:
    """Decide whether every place here trusts the root that is to become the first in use."""
    return rotation.gate(replace(found, target=found.root))


def may_activate(found: Situation) -> bool:
    """Tell whether the primary says, at this moment, that the root to move to is its active one."""
    primary, target = found.primary, found.target
    if primary is None or target is None or not primary.answering or primary.facts is None:
        return False
    return primary.facts.active_root == target.facts.fingerprint


def next_change(found: Situation) -> tuple[datetime, ...]:
    """Return when time alone lets a secondary do something (UTC)."""
    verdict = verdict_of(found)
    moments = [verdict.again] if verdict is not None and verdict.again is not None else []
    if found.primary is not None and not found.active_name and found.root is not None and found.signer:
        until = first_gate(found).until if found.root.published_at is not None else None
        moments += [until] if until is not None else []
    if found.primary is not None:
        moments += [need.last_not_after for need in _needs(found)]
        moments += [moment + rotation.ACKNOWLEDGED_WITHIN for moment in _published(found)]
    return tuple(moments)


def verdict_of(found: Situation) -> Verdict | None:
    """Decide about the primary's answer to the request in flight; None while there is nothing to decide."""
    root, view, primary = following.wants_signer(found), found.snapshot.view, found.primary
    if not found.snapshot.requested or root is None or view is None:
        return None
    if primary is None or primary.facts is None:
        return None
    asked = found.snapshot.requested[0]
    return requested.judge(
        asked,
        view.answer(request_name(found, asked)),
        root,
        signers.best(found.snapshot, root),
        trust_domain=found.trust_domain,
        now=found.snapshot.now,
    )


def request_name(found: Situation, asked: RequestedKey) -> str:
    """Return the name of a request in the primary."""
    return names.intermediate(found.desired.cluster_name, asked.subject_key_id)


def wish_of(found: Situation) -> PrimaryWish | None:
    """Return what the link to the primary is to do; None when there is to be no link."""
    desired, join = found.settled, found.snapshot.join
    if desired is None or desired.primary is None or join is None or found.snapshot.meta.deleting:
        return None
    followed = found.primary is not None and found.primary.facts is not None
    return PrimaryWish(
        join=join,
        configuration=desired.primary.configuration,
        cluster=desired.cluster_name,
        reporter=found.snapshot.meta.uid,
        signer=_signer_wish(found) if followed else None,
        report=report_of(found) if followed else None,
    )


def report_of(found: Situation) -> Report | None:
    """Return what the primary is to know of this cluster; None before the first activation."""
    root, view = found.root, found.snapshot.view
    if root is None or found.active_name != root.meta.name:
        return None
    before = view.reported if view is not None else None
    digest, held = found.bundle.digest, found.bundle.fingerprints
    if not _holds_bundle(found):
        if before is None:
            return None
        # Places that are being written hold what they held before, less what has left the bundle.
        digest, held = before.digest, tuple(item for item in before.roots if item in held)
    signer = found.signer
    return Report(
        digest=digest,
        roots=held,
        active_root=root.facts.fingerprint,
        signer_not_after=signer.facts.not_after if signer is not None and signer.facts is not None else None,
        needs=_needs(found),
    )


def _signer_wish(found: Situation) -> SignerWish | None:
    if not found.snapshot.requested or following.wants_signer(found) is None or _rival(found):
        return None
    asked = found.snapshot.requested[0]
    return SignerWish(request_name(found, asked), asked.request) if not asked.problem else None


def _useless(found: Situation, asked: RequestedKey) -> str:
    if found.primary is None:
        return "this cluster is no secondary any more"
    if asked.problem:
        return f"its Secret cannot be used: {asked.problem}"
    if asked is not found.snapshot.requested[0]:
        return "there is another request"
    root, verdict = following.wants_signer(found), verdict_of(found)
    if root is not None and not _is_due(found, root):
        return "no signer is due"
    over = verdict is not None and verdict.again is not None and verdict.again <= found.snapshot.now
    return verdict.message if verdict is not None and over else ""


def _rival(found: Situation) -> bool:
    """Tell whether another cluster has this one's name: then nothing is asked for under it."""
    return found.snapshot.view is not None and found.snapshot.view.rival


def _is_due(found: Situation, root: Root) -> bool:
    signer = signers.best(found.snapshot, root)
    other_key = signer is not None and signer.facts is not None and signer.facts.key_spec != found.desired.key
    return other_key or signers.is_due(signer, root, found.desired, found.snapshot.now)


def _holds_bundle(found: Situation) -> bool:
    publication, now = found.snapshot.publication, found.snapshot.now
    if publication.digest != found.bundle.digest or not publication.complete:
        return False
    newest = max(_published(found), default=now)
    secrets_behind = rotation.bundle_in_secrets(found) and found.snapshot.census.bundles_behind
    return not (publication.behind or secrets_behind) or now >= newest + rotation.ACKNOWLEDGED_WITHIN


def _published(found: Situation) -> tuple[datetime, ...]:
    return tuple(root.published_at for root in found.trusted if root.published_at is not None)


def _needs(found: Situation) -> tuple[Need, ...]:
    """Return the roots that are needed although they are not active, and until when.

    A leaf that was replaced is still held by its Pod until it expires, so a root is needed for as long as
    the longest leaf under it may live, whatever the requests show.
    """
    census, now, view = found.snapshot.census, found.snapshot.now, found.snapshot.view
    before = {need.root: need for need in view.reported.needs} if view is not None and view.reported else {}
    needs = []
    for root in found.trusted:
        name = root.facts.fingerprint
        if root is found.root or root.activated_at is None:
            continue
        leaves = census.by_root.get(name, 0)
        end = max(filter(None, (root.prunable_after, census.ends.get(name))), default=None)
        if end is not None and (leaves or now < end):
            needs.append(Need(name, leaves, end))
        elif census.unread and name in before:
            needs.append(before[name])
    return tuple(needs)
