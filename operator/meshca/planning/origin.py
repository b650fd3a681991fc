"""Where the roots of a CA come from: the first is made, what is found without a record is recorded.

Decides whether a first root is made, which Secret gets the CARoot that it lacks, and whether the key of an
imported root is copied once more. Never makes a root where there is one, nor a second key for one: whether
another root takes its place is decided in ``planning.rotation``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshca.api import names
from meshca.pki.certificates import to_pem
from meshca.planning import crosses, signers
from meshca.planning.steps import MakeRoot, RecordRoot

if TYPE_CHECKING:
    from meshca.planning.situation import Situation
    from meshca.planning.steps import Step


def make_first_root(situation: Situation) -> Step | None:
    """Make the root that is asked for where nothing was ever made."""
    snapshot = situation.snapshot
    there = snapshot.roots or snapshot.root_secrets or snapshot.signer_secrets or snapshot.unreadable_roots
    if there or situation.active_name:
        return None
    wish = situation.wish
    return MakeRoot(
        secret=names.root_secret(snapshot.meta.name, wish.identity),
        identity=wish.identity,
        base=wish.base,
        renewal=0,
        imported=wish.imported,
    )


def record_root(situation: Situation) -> Step | None:
    """Adopt root Secrets without a CARoot: what an interrupted pass, or a restore, left behind."""
    snapshot = situation.snapshot
    recorded = {root.facts.fingerprint for root in snapshot.roots}
    taken = {root.key_secret for root in snapshot.roots}
    for secret in snapshot.root_secrets:
        # A Secret that held the key of another root was tampered with: its root is told as missing.
        if secret.meta.name in taken or not secret.usable or secret.facts is None:
            continue
        if secret.facts.fingerprint not in recorded:
            return RecordRoot(secret, imported=secret.base == secret.facts.fingerprint[:10])
    return None


def copy_imported_key_again(situation: Situation) -> Step | None:
    """Put a lost key back from the Secret that its owner named, when that still holds the very same root."""
    snapshot, wish = situation.snapshot, situation.maybe_wish
    if snapshot.imported is None or wish is None or not wish.imported:
        return None
    there = {secret.meta.name for secret in snapshot.root_secrets}
    for root in snapshot.roots:
        if root.facts.fingerprint != snapshot.imported.fingerprint or root.pruned:
            continue
        # One that is damaged is somebody's to look at, and stays.
        if root.key_secret and root.key_secret not in there:
            signer = signers.best(snapshot, root)
            return MakeRoot(
                secret=root.key_secret,
                identity=wish.identity,
                base=wish.base,
                renewal=root.renewal,
                imported=True,
                cross=to_pem(*crosses.given(root, signer)) if signer is not None else "",
            )
    return None
