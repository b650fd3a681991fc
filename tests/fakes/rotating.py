"""A CA amid a rotation, step by step."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from meshca.pki import certificates, issuance
from meshca.planning.authority import Authority
from tests.fakes import pki
from tests.fakes.caworld import World, bootstrapped

if TYPE_CHECKING:
    from meshca.planning.ca import CAPlan

HOUR = timedelta(hours=1)
ROTATION = [
    "AcceptSpec",
    "RecordPhase",
    "MakeRoot",
    "RecordRoot",
    "RaiseLeafTTL",
    "RecordPhase",
    "WriteRootStatus",
    "CrossSign",
    "MakeSigner",
    "WriteRootStatus",
    "MarkPublished",
    "RecordPhase",
    "WriteRootStatus",
    "ReadBack",
    "RecordPhase",
    "MarkActive",
    "WriteRootStatus",
    "MarkRotatedOut",
    "CommitActive",
    "RecordPhase",
    "WriteRootStatus",
    "WriteRootStatus",
]
"""The steps of a rotation in their order."""


def authority_of(plan: CAPlan) -> Authority:
    """Return what a plan lets leaves be issued by, which there has to be."""
    assert isinstance(plan.authority, Authority)
    return plan.authority


def live(world: World) -> list[str]:
    """Return the names of the roots that are not pruned."""
    return [root.meta.name for root in world.roots if not root.pruned]


def rotated(world: World | None = None, trigger: str = "one") -> World:
    """Return a world after a rotation that was asked for by this trigger."""
    world = world or bootstrapped()
    world.ask(trigger)
    world.settle()
    return world


def leaf_under(world: World) -> list[Any]:
    """Return a leaf and all that is served after it, as of now."""
    authority = authority_of(world.plan())
    served = certificates.load_all(authority.chain)
    key = next(
        pki.key("ECDSA 256", f"world signer {n}")
        for n in range(100)
        if pki.key("ECDSA 256", f"world signer {n}").public_key() == served[0].public_key()
    )
    made = issuance.leaf_certificate(
        pki.key("ECDSA 256", "leaf").public_key(),
        issuer_cert=served[0],
        issuer_key=key,
        spiffe_id=pki.SPIFFE_ID,
        ttl=HOUR,
        now=world.now,
    )
    return [made, *served]
