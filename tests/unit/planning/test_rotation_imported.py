"""Roots that end by themselves, and imported ones: which wish is for which root."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from meshca.pki import certificates
from meshca.planning.ca import ImportedPair
from tests.fakes import pki
from tests.fakes.caworld import bootstrapped

if TYPE_CHECKING:
    from cryptography import x509
from tests.fakes.rotating import authority_of, leaf_under, rotated

HOUR = timedelta(hours=1)
AGEING = {"trustDomain": "example.org", "root": {"ttl": "20000h", "renewBefore": "4000h"}}


def test_218_generated_root_near_its_end_is_rotated_by_itself_and_counted() -> None:
    world = bootstrapped(spec=AGEING)
    first = world.active
    world.now += 10000 * HOUR
    world.settle()
    assert world.active_name == first.meta.name
    due = world.plan().due
    while due is not None and due < first.facts.not_after - 4000 * HOUR:
        world.now = due
        due = world.settle().due
    assert due == first.facts.not_after - 4000 * HOUR
    world.now = due
    world.settle()
    assert world.active_name != first.meta.name
    assert (world.active.base, world.active.renewal) == (first.base, 1)
    assert len(leaf_under(world)) == 3
    assert world.active.facts.not_after > first.facts.not_after


def test_218_imported_root_near_its_end_is_only_told() -> None:
    certificate = pki.imported_root(pki.key("ECDSA 256", "imported"), not_after=pki.NOW + 3000 * HOUR)
    facts = certificates.facts(certificate)
    world = bootstrapped(
        spec={
            "provider": {"type": "Builtin", "builtin": {"rootSecretName": "mine"}},
            "intermediate": {"ttl": "1000h"},
            "root": {"renewBefore": "3001h"},
        },
        imported=ImportedPair(facts.fingerprint, facts.uris[0], ""),
        imported_root=certificate,
    )
    world.settle()
    assert "MakeRoot" not in world.done
    assert world.condition("RootExpiringSoon")[:2] == ("True", "RootExpiringSoon")
    assert world.condition("RotationInProgress")[:2] == ("False", "None")


def test_renewed_root_is_found_again_when_its_wish_comes_back() -> None:
    world = bootstrapped(spec=AGEING)
    world.now = world.active.facts.not_after - 4000 * HOUR
    world.settle()
    renewed = world.active_name
    rotated(world)
    world.now += HOUR
    world.ask("")
    world.settle()
    assert world.active_name == renewed
    assert len(world.roots) == 3


def test_imported_root_with_the_key_of_another_is_refused() -> None:
    world = bootstrapped()
    key = world.active.facts.public_key_sha256
    world.spec = world.spec | {"provider": {"type": "Builtin", "builtin": {"rootSecretName": "mine"}}}
    world.imported = ImportedPair("f" * 64, "spiffe://example.org", "", key)
    plan = world.settle()
    assert world.condition("Ready")[1] == "InvalidConfiguration"
    assert "same key" in world.condition("Ready")[2]
    assert authority_of(plan).root == world.active.facts.fingerprint
    world.imported = replace(world.imported, public_key="0" * 64)
    assert world.condition("Ready")[1] != "InvalidConfiguration"
    world.imported = replace(world.imported, key_id=world.active.facts.subject_key_id)
    assert world.condition("Ready")[1] == "InvalidConfiguration"
    assert "subjectKeyIdentifier" in world.condition("Ready")[2]


def test_071_longer_life_for_new_roots_does_not_make_the_present_one_old() -> None:
    world = bootstrapped(spec={"trustDomain": "example.org", "root": {"ttl": "10000h"}})
    world.spec = world.spec | {"root": {"ttl": "87600h"}}
    plan = world.settle()
    assert len(world.roots) == 1
    assert "rotation" not in plan.status
    assert world.condition("RootExpiringSoon")[0] == "False"


def imports(name: str, key: str, **more: Any) -> tuple[dict[str, Any], ImportedPair, x509.Certificate]:
    """Return a spec that imports a root, what is found of it, and the root."""
    certificate = pki.imported_root(pki.key("ECDSA 256", key), **more)
    facts = certificates.facts(certificate)
    provider = {"type": "Builtin", "builtin": {"rootSecretName": name}}
    pair = ImportedPair(facts.fingerprint, "".join(facts.uris), "", facts.public_key_sha256)
    return {"trustDomain": "example.org", "provider": provider}, pair, certificate


def test_imported_root_made_anew_under_the_same_key_in_the_same_secret_changes_nothing() -> None:
    spec, pair, certificate = imports("mine", "imported")
    world = bootstrapped(spec=spec, imported=pair, imported_root=certificate)
    _, world.imported, world.imported_root = imports("mine", "imported", not_after=pki.NOW + 90000 * HOUR)
    world.settle()
    assert world.done == []
    assert "same key" in world.condition("Ready")[2]


def test_wish_of_a_refused_spec_is_not_taken_for_that_of_the_accepted_one() -> None:
    spec, pair, certificate = imports("mine", "imported")
    world = bootstrapped(spec=spec, imported=pair, imported_root=certificate)
    other, world.imported, world.imported_root = imports("other", "imported 2", uris=())
    world.spec = other | {"trustDomain": "example.com"}
    world.settle()
    assert world.condition("Ready")[1] == "InvalidConfiguration"
    assert world.done == []


def test_accepted_root_with_the_key_of_another_is_not_made_while_the_spec_cannot_be_read() -> None:
    spec, pair, certificate = imports("mine", "imported")
    world = bootstrapped(spec=spec, imported=pair, imported_root=certificate)
    world.spec = spec | {"leaf": {"ttl": "1s"}}
    world.imported = replace(pair, fingerprint="f" * 64)
    world.settle()
    assert world.done == []
