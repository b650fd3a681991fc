"""From nothing to a CA that issues, from any point on the way, and never a second root."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshca.api import names
from meshca.pki import certificates
from meshca.planning.authority import Authority, Unavailable
from meshca.planning.ca import ImportedPair, Publication
from tests.fakes import pki
from tests.fakes.apiserver import kinds
from tests.fakes.apiserver.schema import complaints
from tests.fakes.caworld import World, bootstrapped, broken, key_secret
from tests.fakes.pki import NOW

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.planning.ca import KeySecret

HOUR = timedelta(hours=1)
STEPS = [
    "SettleTrustDomain",
    "AcceptSpec",
    "MakeRoot",
    "RecordRoot",
    "RaiseLeafTTL",
    "MakeSigner",
    "MarkActive",
    "CommitActive",
    "WriteRootStatus",
]
CRDS = Path(__file__).parents[3] / "crds"


@cache
def crd_of(kind: str) -> kinds.Kind:
    return kinds.from_crd(yaml.safe_load((CRDS / f"{kind}.yaml").read_text()))


def stored(kind: str, status: dict[str, Any]) -> dict[str, Any]:
    """Return a status as the API server would keep it, or fail when it would refuse it."""
    crd = crd_of(kind)
    body = {"metadata": {"name": "x"}, "status": status}
    inner = {"properties": {"status": crd.schema["properties"]["status"]}, "type": "object"}
    assert list(complaints({"status": status}, inner)) == []
    found: dict[str, Any] = crd.shaped(body)["status"]
    return found


def test_030_first_pass_makes_one_root_and_one_signer() -> None:
    world = World()
    plan = world.settle()
    assert world.done == STEPS
    assert (len(world.root_secrets), len(world.roots), len(world.signer_secrets)) == (1, 1, 1)
    assert isinstance(plan.authority, Authority)
    assert plan.authority.root == world.roots[0].facts.fingerprint
    assert plan.authority.trusted == (world.roots[0].certificate,)
    assert world.condition("Ready")[:2] == ("True", "Initialised")


def test_030_trust_domain_not_given_is_the_uid() -> None:
    world = bootstrapped(spec={})
    assert world.status["trustDomain"] == f"{world.uid}.meshca.local"
    assert world.roots[0].facts.uris == (f"spiffe://{world.uid}.meshca.local",)


def test_032_214_later_passes_do_nothing_and_want_the_same_status() -> None:
    world = bootstrapped()
    for hours in range(20):
        world.now = NOW + hours * HOUR
        plan = world.plan()
        assert plan.step is None
        assert plan.status == world.status
    assert isinstance(plan.authority, Authority)


@pytest.mark.parametrize("kind", ["caconfigurations", "caroots"])
def test_status_is_kept_by_the_api_server_as_it_was_written(kind: str) -> None:
    refused = tuple((f"ns-{n}", "x" * 900) for n in range(12))
    behind = tuple(name for name, _ in refused)
    world = bootstrapped(publication=Publication(20, 8, behind, refused, complete=True))
    status = world.status if kind == "caconfigurations" else world.roots[0].status
    assert stored(kind, status) == status


@pytest.mark.parametrize("count", range(len(STEPS)))
@pytest.mark.parametrize("hours", [0, 500], ids=["at once", "weeks later"])
def test_interrupted_bootstrap_is_resumed_with_what_was_made(count: int, hours: int) -> None:
    world = World()
    for _ in range(count):
        world.step()
    made = [secret.meta.name for secret in (*world.root_secrets, *world.signer_secrets)]
    world.now += hours * HOUR
    world.settle()
    assert world.done == STEPS
    assert [s.meta.name for s in (*world.root_secrets, *world.signer_secrets)][: len(made)] == made
    assert (len(world.root_secrets), len(world.roots), len(world.signer_secrets)) == (1, 1, 1)


def test_036_key_of_the_root_is_part_of_its_name() -> None:
    first = bootstrapped().root_secrets[0].meta.name
    other = bootstrapped(spec={"privateKey": {"algorithm": "RSA", "size": 2048}}).root_secrets[0].meta.name
    same = bootstrapped(spec={"leaf": {"ttl": "1h"}, "limits": {"csrMaxPerSecond": 5}})
    assert first != other
    assert first == same.root_secrets[0].meta.name


IMPORTED_KEY = pki.key("ECDSA 256", "imported")
IMPORTED = pki.imported_root(IMPORTED_KEY)
WITH_IMPORT = {"provider": {"type": "Builtin", "builtin": {"rootSecretName": "mine"}}}


def imported(**changes: Any) -> World:
    facts = key_secret(IMPORTED, "x").facts
    assert facts is not None
    pair = ImportedPair(facts.fingerprint, facts.uris[0] if facts.uris else "", "")
    fields: dict[str, Any] = {"spec": WITH_IMPORT, "imported": pair, "imported_root": IMPORTED} | changes
    return World(**fields)


def test_033_imported_root_is_used_as_it_is() -> None:
    world = imported()
    world.settle()
    assert world.done == STEPS
    assert world.roots[0].certificate == IMPORTED
    assert world.roots[0].source == "Imported"
    assert world.root_secrets[0].meta.name == names.root_secret(
        "default", world.roots[0].facts.fingerprint[:10]
    )
    assert world.status["trustDomain"] == "example.org"


def test_027_imported_root_that_is_refused_makes_nothing() -> None:
    world = imported(imported=ImportedPair("", "", "Secret 'mine': root certificate: it has expired at X"))
    plan = world.settle()
    assert world.done == []
    assert world.condition("Ready") == (
        "False",
        "InvalidConfiguration",
        "Secret 'mine': root certificate: it has expired at X",
    )
    assert isinstance(plan.authority, Unavailable)
    assert "it has expired" in plan.authority.message
    assert plan.due is None


def test_imported_secret_that_breaks_later_is_told_and_breaks_nothing() -> None:
    world = imported()
    world.settle()
    world.imported = ImportedPair("", "", "Secret 'mine' is not in the operator's namespace; create it")
    plan = world.settle()
    assert isinstance(plan.authority, Authority)
    assert world.condition("Ready")[1:] == ("InvalidConfiguration", world.imported.problem)


def test_imported_secret_that_was_replaced_is_a_rotation_like_any_other() -> None:
    world = imported()
    world.settle()
    first = world.roots[0]
    second = pki.imported_root(pki.key("ECDSA 256", "imported 2"))
    facts = certificates.facts(second)
    world.imported, world.imported_root = ImportedPair(facts.fingerprint, facts.uris[0], ""), second
    plan = world.settle()
    assert isinstance(plan.authority, Authority)
    assert plan.authority.root == facts.fingerprint
    assert set(plan.authority.trusted) == {first.certificate, second}
    assert world.roots[1].source == "Imported"
    assert world.roots[1].status["crossCertificates"]


@pytest.mark.parametrize(
    ("lost", "redone"),
    [
        pytest.param({"status"}, ["SettleTrustDomain", "CommitActive"], id="status"),
        pytest.param({"roots"}, ["RecordRoot", "RaiseLeafTTL", "MarkActive", "WriteRootStatus"], id="CARoot"),
        pytest.param({"signer"}, ["MakeSigner", "WriteRootStatus"], id="signer"),
        pytest.param({"root status"}, ["WriteRootStatus"], id="CARoot's status"),
        pytest.param({"accepted"}, ["AcceptSpec"], id="accepted spec"),
        pytest.param(
            {"status", "roots"},
            [
                "SettleTrustDomain",
                "RecordRoot",
                "RaiseLeafTTL",
                "MarkActive",
                "CommitActive",
                "WriteRootStatus",
            ],
            id="all but Secrets",
        ),
        pytest.param(
            {"status", "notes"},
            ["SettleTrustDomain", "RaiseLeafTTL", "MarkActive", "CommitActive", "WriteRootStatus"],
            id="status and annotations",
        ),
    ],
)
@pytest.mark.parametrize("given_domain", [True, False], ids=["named", "generated"])
def test_what_is_lost_comes_back_and_the_root_stays(
    lost: set[str], redone: list[str], given_domain: bool
) -> None:
    world = bootstrapped(spec={"trustDomain": "example.org"} if given_domain else {})
    before = (world.status["trustDomain"], world.roots[0].facts.fingerprint)
    damage(world, lost)
    world.uid = "99999999-2222-4333-8444-555555555555"
    world.now += 24 * HOUR
    plan = world.settle()
    assert world.done == redone
    assert (world.status["trustDomain"], world.roots[0].facts.fingerprint) == before
    assert len(world.root_secrets) == len(world.signer_secrets) == 1
    assert isinstance(plan.authority, Authority)


def unreadable(secret: KeySecret) -> KeySecret:
    return replace(broken(secret), certificate=None, facts=None)


DAMAGE: dict[str, Callable[[World], dict[str, Any]]] = {
    "status": lambda _: {"status": {}},
    "roots": lambda _: {"roots": []},
    "root status": lambda world: {"roots": [replace(root, status={}) for root in world.roots]},
    "notes": lambda world: {
        "roots": [replace(root, activated_at=None, largest_leaf_ttl=None) for root in world.roots]
    },
    "signer": lambda _: {"signer_secrets": []},
    "signer key": lambda world: {"signer_secrets": [broken(item) for item in world.signer_secrets]},
    "signer garbage": lambda world: {"signer_secrets": [unreadable(item) for item in world.signer_secrets]},
    "root secret": lambda _: {"root_secrets": []},
    "root key": lambda world: {"root_secrets": [broken(item) for item in world.root_secrets]},
    "accepted": lambda _: {"accepted": None},
}


def damage(world: World, lost: set[str]) -> None:
    for kind in sorted(lost):
        for name, value in DAMAGE[kind](world).items():
            setattr(world, name, value)


@given(
    st.sets(st.sampled_from(sorted(DAMAGE))),
    st.integers(0, len(STEPS)),
    st.integers(0, 24 * 2900),  # short of the time when a root is renewed
)
def test_any_damage_at_any_moment_converges_and_never_makes_another_root(
    lost: set[str], count: int, hours: int
) -> None:
    world = World()
    for _ in range(count):
        world.step()
    before = [root.facts.fingerprint for root in world.roots] or [
        secret.facts.fingerprint for secret in world.root_secrets if secret.facts
    ]
    damage(world, lost)
    kept = bool(world.roots or world.root_secrets or world.signer_secrets or world.status.get("activeRoot"))
    world.now += hours * HOUR
    plan = world.settle()
    assert world.plan().step is None
    assert world.plan().status == world.status
    if kept and before:
        assert {root.facts.fingerprint for root in world.roots} <= set(before)
    if not lost & {"root secret", "root key", "status"}:
        assert isinstance(plan.authority, Authority) or "expired" in plan.authority.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["trustDomain", "activeRoot", "bundle", "signer", "conditions", "odd"]), JSON
    ),
    st.sampled_from([World, bootstrapped]),
)
def test_no_status_that_anybody_writes_makes_the_planner_raise(status: dict[str, Any], make: Any) -> None:
    world = make()
    world.status = status
    world.settle()
    assert world.plan().step is None
    assert world.plan().status == world.status
    stored("caconfigurations", world.status)
