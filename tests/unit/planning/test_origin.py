"""The key of an imported root that was lost is copied once more, and from nothing but the same root."""

from __future__ import annotations

from dataclasses import replace

import pytest

from meshca.pki import certificates
from meshca.planning.authority import Authority
from meshca.planning.ca import ImportedPair
from meshca.planning.steps import MakeRoot
from tests.fakes import pki
from tests.fakes.caworld import World, bootstrapped, broken

IMPORTED = pki.imported_root(pki.key("ECDSA 256", "imported"))
FACTS = certificates.facts(IMPORTED)
PAIR = ImportedPair(FACTS.fingerprint, FACTS.uris[0], "", FACTS.public_key_sha256)
WITH_IMPORT = {
    "trustDomain": "example.org",
    "provider": {"type": "Builtin", "builtin": {"rootSecretName": "mine"}},
}


def imported() -> World:
    return bootstrapped(spec=WITH_IMPORT, imported=PAIR, imported_root=IMPORTED)


def rotated_to_import() -> World:
    """Return a CA whose generated root was replaced by an imported one, which it cross-signed."""
    world = bootstrapped()
    world.spec, world.imported, world.imported_root = WITH_IMPORT, PAIR, IMPORTED
    world.settle()
    assert world.active.certificate == IMPORTED
    world.done.clear()
    return world


def test_lost_key_of_an_imported_root_is_copied_again_with_its_cross_certificates() -> None:
    world = rotated_to_import()
    (lost,) = (item for item in world.root_secrets if item.certificate == IMPORTED)
    chain = world.plan().authority
    world.root_secrets.remove(lost)
    after = world.settle().authority
    assert [name for name in world.done if name != "WriteRootStatus"] == ["MakeRoot"]
    (copied,) = (item for item in world.root_secrets if item.certificate == IMPORTED)
    assert copied.meta.name == lost.meta.name
    assert copied.cross == lost.cross
    assert len(copied.cross) == 1
    assert isinstance(chain, Authority)
    assert isinstance(after, Authority)
    assert after.chain == chain.chain
    assert world.condition("Ready")[:2] == ("True", "Initialised")


def test_lost_key_without_a_signer_is_copied_again_all_the_same() -> None:
    world = imported()
    world.root_secrets, world.signer_secrets = [], []
    world.settle()
    assert [item.certificate for item in world.root_secrets] == [IMPORTED]
    assert world.condition("Ready")[:2] == ("True", "Initialised")


@pytest.mark.parametrize("kind", ["another", "none", "unreadable", "damaged", "pruned", "generated"])
def test_lost_key_is_not_copied_from_anything_else(kind: str) -> None:
    world = imported()
    (held,) = world.root_secrets
    world.root_secrets = [broken(held)] if kind == "damaged" else []
    if kind == "another":
        # The same name and key, but not the same certificate.
        world.imported = replace(PAIR, fingerprint="0" * 64)
    elif kind == "none":
        world.imported = None
    elif kind == "unreadable":
        world.imported = ImportedPair("", "", "Secret 'mine' is not in the operator's namespace; create it")
    elif kind == "pruned":
        world.change_root(world.roots[0], status={"state": "Pruned"})
    elif kind == "generated":
        world.spec = {"trustDomain": "example.org"}
    assert not isinstance(world.plan().step, MakeRoot)


def test_the_key_of_another_root_is_never_put_in_the_place_of_the_lost_one() -> None:
    world = imported()
    (lost,) = world.root_secrets
    other = pki.imported_root(pki.key("ECDSA 256", "imported 2"))
    facts = certificates.facts(other)
    world.root_secrets = []
    world.imported, world.imported_root = ImportedPair(facts.fingerprint, facts.uris[0], ""), other
    world.settle()
    assert lost.meta.name not in {item.meta.name for item in world.root_secrets}
    assert world.condition("Ready")[1] == "RootKeyMissing"


def test_key_of_a_spec_that_is_not_in_force_is_not_copied() -> None:
    world = imported()
    world.root_secrets = []
    world.spec = WITH_IMPORT | {"trustDomain": "example.com"}
    world.settle()
    assert world.root_secrets == []
