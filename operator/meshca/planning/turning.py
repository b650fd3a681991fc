"""The checks of a rotation, in the order in which a new root is made, shown, and put into use.

Each looks at one thing and says which step is missing, or None. Decides nothing about who may rotate or
whether (``planning.rotation``), nor what leaves the bundle (``planning.pruning``).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from meshca.api import names
from meshca.api.v1alpha1.castatus import RotationPhase
from meshca.pki.certificates import to_pem
from meshca.planning import crosses, pruning, rotation, rotationstatus, secondary, signers
from meshca.planning.situation import secret_of
from meshca.planning.steps import (
    CommitActive,
    CrossSign,
    MakeRoot,
    MakeSigner,
    MarkActive,
    MarkInForce,
    MarkPublished,
    MarkRotatedOut,
    ReadBack,
    RecordPhase,
    TouchSecret,
    WriteChain,
)

if TYPE_CHECKING:
    from meshca.planning.ca import Root
    from meshca.planning.situation import Situation
    from meshca.planning.steps import Step

LATE: Final = timedelta(seconds=60)
"""How old the record of an activation may be when it happens."""


def take_back(situation: Situation) -> Step | None:
    """Undo what an activation that did not happen has recorded."""
    root = situation.root
    committed = root is not None and situation.active_name == root.meta.name
    if root is not None and committed and root.rotated_out_at and not is_activating(situation):
        return MarkInForce(root)
    step = pruning.retired_again(situation) if committed else None
    if isinstance(step, MarkRotatedOut) and step.root.published_at is not None:
        # Whole seconds are kept: in the same one it would not show which record is the newer.
        return step if step.root.published_at <= situation.snapshot.now else None
    return step


def record_phase(situation: Situation) -> Step | None:
    """Write the status when a rotation enters another phase, or turns to another root."""
    phase = rotation.phase(situation)
    told = rotation.recorded(situation)
    wanted = rotationstatus.rotation_status(situation, phase)
    if phase is None or situation.hold is not None:
        return None
    changed = (told.get("phase"), told.get("to")) != (wanted.get("phase"), wanted.get("to"))
    return RecordPhase(phase.value) if changed else None


def make_next_root(situation: Situation) -> Step | None:
    """Make the root that is asked for and does not exist."""
    wish = situation.make
    if wish is None or situation.hold is not None:
        return None
    return MakeRoot(
        secret=names.root_secret(situation.snapshot.meta.name, wish.identity),
        identity=wish.identity,
        base=wish.base,
        renewal=wish.renewal,
        imported=wish.imported,
    )


def reclaim(situation: Situation) -> Step | None:
    """Take a retired root back before anything is built on it, so that a prune decided before fails."""
    target = situation.target
    if target is None or situation.hold is not None or target.rotated_out_at is None:
        return None
    if not target.reclaimed:
        return MarkPublished(target)
    if target.mirrored:
        return None
    secret = secret_of(situation.snapshot, target)
    assert secret is not None
    mark = str(target.published_at)
    return TouchSecret(secret, mark) if secret.touched != mark else None


def prepare(situation: Situation) -> Step | None:
    """Have the new root signed by the older ones, and give it a signer."""
    target = situation.target
    secret = secret_of(situation.snapshot, target)
    if target is None or secret is None or situation.hold is not None:
        return None
    for issuer in crosses.missing(situation, target, secret):
        issuer_secret = secret_of(situation.snapshot, issuer)
        if issuer_secret is not None and not crosses.cannot_cross(situation.snapshot, issuer, target):
            return CrossSign(target, secret, issuer, issuer_secret)
    signer = signers.best(situation.snapshot, target)
    if signers.is_due(signer, target, situation.desired, situation.snapshot.now):
        return MakeSigner(target, secret, to_pem(*crosses.useful(situation, target, secret)))
    assert signer is not None
    wanted = crosses.chain_of(situation, target, signer)
    return WriteChain(signer, wanted) if signer.chain != wanted else None


def publish(situation: Situation) -> Step | None:
    """Put the new root into the bundle once everything under it is there."""
    target = situation.target
    if target is None or situation.hold is not None or rotation.is_published(target):
        return None
    return MarkPublished(target) if rotation.is_prepared(situation) else None


def read_back(situation: Situation) -> Step | None:
    """Look at every place consistently, when that is all that the gate waits for."""
    if rotation.phase(situation) is not RotationPhase.PUBLISH:
        return None
    return ReadBack() if rotation.gate(situation).read_back else None


def activate(situation: Situation) -> Step | None:
    """Record the activation on both roots, then commit it."""
    target, root = situation.target, situation.root
    if not is_activating(situation) or target is None or root is None:
        return None
    if target.mirrored and not secondary.may_activate(situation):
        return None
    if target.activated_at is None or target.rotated_out_at is not None:
        return MarkActive(target)
    if _is_late(situation, root):
        return MarkRotatedOut(root, pruning.prunable_after(situation, root))
    signer, secret = signers.best(situation.snapshot, target), crosses.holder(situation.snapshot, target)
    assert signer is not None
    assert secret is not None
    older = tuple(item for item in crosses.signers_of(situation, target) if crosses.is_crossed(secret, item))
    return CommitActive(target, signer, crosses.chain_of(situation, target, signer), older)


def _is_late(situation: Situation, root: Root) -> bool:
    """Tell whether the record of a root that goes is missing, old, or too short for its leaves."""
    since, kept = root.rotated_out_at, root.prunable_after
    if since is None or kept is None or situation.snapshot.now - since > LATE:
        return True
    return kept + LATE < since + rotation.keep_for(root, situation.desired)


def is_activating(situation: Situation) -> bool:
    """Tell whether the new root may be used, and is not used yet."""
    return rotation.phase(situation) is RotationPhase.ACTIVATE
