"""What a CA says of itself, and what it refuses to do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.planning.authority import Admission, Authority, Unavailable
from meshca.planning.ca import Publication
from tests.fakes import pki
from tests.fakes.caworld import World, bootstrapped, key_secret
from tests.fakes.pki import NOW
from tests.fakes.planning import OUT_OF_FORCE

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
INVALID = {"trustDomain": "example.org", "leaf": {"ttl": "5m"}}


def test_spec_that_is_invalid_leaves_the_last_good_one_in_force() -> None:
    world = bootstrapped()
    world.spec, world.generation = INVALID, 2
    plan = world.settle()
    assert world.done == []
    assert isinstance(plan.authority, Authority)
    assert plan.authority.leaf_ttl == 72 * HOUR
    status, reason, message = world.condition("Ready")
    assert (status, reason) == ("False", "InvalidConfiguration")
    assert "spec.leaf.ttl 5m is below the minimum 1h" in message
    assert plan.status["observedGeneration"] == 2
    world.spec, world.generation = {"trustDomain": "example.org", "leaf": {"ttl": "2h"}}, 3
    plan = world.settle()
    assert isinstance(plan.authority, Authority)
    assert plan.authority.leaf_ttl == 2 * HOUR
    assert world.condition("Ready")[0] == "True"


def test_011_first_spec_that_is_invalid_makes_nothing() -> None:
    world = World(spec=INVALID)
    plan = world.settle()
    assert world.done == []
    assert isinstance(plan.authority, Unavailable)
    assert "below the minimum 1h" in plan.authority.message
    assert "trustDomain" not in plan.status


def test_a_secondary_makes_nothing_before_it_has_met_its_primary() -> None:
    primary = {"kubeconfigSecretName": "join", "bundleDigest": "a" * 64}
    world = World(spec={"federation": {"primary": primary}})
    world.settle()
    assert world.done == []
    assert world.condition("Ready") == ("False", "Pending", "waits for the primary")


def test_trust_domain_never_changes() -> None:
    world = bootstrapped()
    world.spec = {"trustDomain": "other.org"}
    plan = world.settle()
    assert plan.status["trustDomain"] == "example.org"
    assert isinstance(plan.authority, Authority)
    assert world.condition("Ready")[1:] == (
        "InvalidConfiguration",
        (
            "spec.trustDomain is 'other.org', but this CA was made for 'example.org':"
            " a trust domain never changes"
        ),
    )


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        pytest.param({}, "given.org", id="the spec's"),
        pytest.param({"roots": True}, "example.org", id="a CARoot's"),
        pytest.param({"root_secrets": True}, "example.org", id="a root Secret's"),
        pytest.param({"signer_secrets": True}, "example.org", id="a signer Secret's"),
    ],
)
def test_trust_domain_is_that_of_what_exists_before_that_of_the_spec(
    found: dict[str, bool], wanted: str
) -> None:
    before = bootstrapped()
    world = World(spec={"trustDomain": "given.org"}, uid="99999999-2222-4333-8444-555555555555")
    for name in found:
        setattr(world, name, getattr(before, name))
    assert world.plan().trust_domain.name == wanted


def test_certificates_whose_uri_is_no_trust_domain_say_nothing_about_it() -> None:
    odd = pki.imported_root(pki.key("ECDSA 256", "odd"), uris=("https://NOT A NAME/",))
    plain = pki.imported_root(pki.key("ECDSA 256", "plain"), uris=())
    world = World(root_secrets=[key_secret(odd, "a"), key_secret(plain, "b")])
    assert world.plan().trust_domain.name == "example.org"


@pytest.mark.parametrize(
    ("rival", "reason", "words"),
    [
        ({"trust_domain_owner": "blue"}, "TrustDomainConflict", "choose another spec.trustDomain"),
        ({"bundle_owner": "blue"}, "BundleConflict", "choose another spec.trustBundle.configMapName"),
    ],
)
def test_second_owner_writes_nothing(rival: dict[str, str], reason: str, words: str) -> None:
    world = World(**rival)  # type: ignore[arg-type]
    world.settle()
    assert world.done == []
    status = world.condition("Ready")
    assert status[:2] == ("False", reason)
    assert "'blue'" in status[2]
    assert words in status[2]
    assert "trustDomain" not in world.status


def test_configuration_being_deleted_issues_nothing_and_keeps_everything() -> None:
    world = bootstrapped()
    world.deleting = True
    world.now += 8000 * HOUR
    plan = world.settle()
    assert world.done == []
    assert isinstance(plan.authority, Unavailable)
    assert "being deleted" in plan.authority.message
    assert world.condition("Ready")[:2] == ("False", "Pending")
    assert plan.status["activeRoot"] == world.roots[0].meta.name


@pytest.mark.parametrize(
    ("admission", "ready", "degraded"),
    [
        pytest.param(OUT_OF_FORCE, "Pending", "AdmissionPolicyMissing", id="missing"),
        pytest.param(Admission(in_force=True, since=NOW), "Pending", "AsExpected", id="settling"),
        pytest.param(Admission(in_force=True, since=NOW - HOUR), "Initialised", "AsExpected", id="in force"),
    ],
)
def test_ready_waits_for_the_admission_policy(admission: Admission, ready: str, degraded: str) -> None:
    world = bootstrapped(admission=admission)
    assert world.condition("Ready")[1] == ready
    assert world.condition("Degraded")[1] == degraded
    assert isinstance(world.plan().authority, Authority)


def test_policy_that_settles_is_looked_at_again_when_it_has() -> None:
    world = bootstrapped(admission=Admission(in_force=True, since=NOW))
    assert world.plan().due == NOW + 32 * SECOND
    world.now = NOW + 32 * SECOND
    assert world.condition("Ready")[0] == "True"


def test_end_of_the_root_is_told_in_time() -> None:
    world = bootstrapped(
        spec={"root": {"ttl": "1000h", "renewBefore": "100h"}, "intermediate": {"ttl": "216h"}}
    )
    end = world.roots[0].facts.not_after
    world.now = end - 100 * HOUR - SECOND
    world.settle()
    assert world.condition("RootExpiringSoon")[:2] == ("False", "AsExpected")
    world.now = end - 100 * HOUR
    assert world.condition("RootExpiringSoon")[:2] == ("True", "RootExpiringSoon")
    world.settle()
    assert world.plan().due is not None


def test_places_that_cannot_be_written_are_named_at_most_ten() -> None:
    refused = tuple((f"ns-{n:02}", "forbidden") for n in range(12))
    world = bootstrapped(publication=Publication(20, 8, tuple(n for n, _ in refused), refused, complete=True))
    status, reason, message = world.condition("Degraded")
    assert (status, reason) == ("True", "NamespacesNotWritable")
    assert "ns-00: forbidden" in message
    assert message.endswith("ns-09: forbidden and 2 more")
    assert world.status["bundle"]["targets"] == {
        "total": 20,
        "current": 8,
        "behind": [f"ns-{n:02}" for n in range(10)],
    }
    few = bootstrapped(publication=Publication(2, 1, ("a",), (("a", "forbidden"),), complete=True))
    assert few.condition("Degraded")[2].endswith("to a: forbidden")


def test_i6_a_start_says_nothing_new_of_places_not_looked_at_yet() -> None:
    refused = (("a", "forbidden"),)
    world = bootstrapped(publication=Publication(3, 2, ("a",), refused, complete=True))
    world.publication = Publication()
    assert world.plan().status == world.status
    world.publication = Publication(3, 3, complete=True)
    assert world.condition("Degraded")[1] == "AsExpected"
    assert world.plan().status["bundle"]["targets"] == {"total": 3, "current": 3}


def test_sequence_of_the_bundle_rises_with_its_digest_and_over_a_restore() -> None:
    world = bootstrapped()
    first = world.status["bundle"]["sequence"]
    assert first == int(NOW.timestamp())
    world.now += HOUR
    assert world.plan().status["bundle"]["sequence"] == first
    world.status = world.status | {"bundle": {"digest": "other", "sequence": first + 10**9}}
    assert world.plan().status["bundle"]["sequence"] == first + 10**9 + 1
    world.status = {key: value for key, value in world.status.items() if key != "bundle"}
    assert world.plan().status["bundle"]["sequence"] == int(world.now.timestamp())


def test_stopped_configuration_keeps_what_its_status_says_of_the_bundle() -> None:
    world = bootstrapped()
    bundle = world.status["bundle"]
    world.trust_domain_owner = "blue"
    assert world.plan().status["bundle"] == bundle
    assert world.plan().status["trustDomain"] == "example.org"


def test_216_longest_leaf_life_is_recorded_before_use_and_never_lowered() -> None:
    world = bootstrapped()
    assert world.roots[0].largest_leaf_ttl == 72 * HOUR
    world.spec = {"trustDomain": "example.org", "leaf": {"ttl": "1h"}}
    world.settle()
    assert world.roots[0].largest_leaf_ttl == 72 * HOUR
    world.spec = {"trustDomain": "example.org", "leaf": {"ttl": "100h"}}
    world.settle()
    assert world.roots[0].largest_leaf_ttl == 100 * HOUR


def test_foreign_conditions_stay_and_nameless_ones_go() -> None:
    world = bootstrapped()
    theirs = {
        "type": "Theirs",
        "status": "True",
        "reason": "R",
        "message": "m",
        "lastTransitionTime": "2030-01-01T00:00:00Z",
        "observedGeneration": 1,
    }
    world.status = world.status | {"conditions": [*world.status["conditions"], theirs, {"status": "True"}, 7]}
    types = [entry["type"] for entry in world.plan().status["conditions"]]
    assert types == ["Ready", "RotationInProgress", "RootExpiringSoon", "Degraded", "Theirs"]


def test_transition_time_moves_only_with_the_status() -> None:
    world = bootstrapped()
    world.now += HOUR
    world.admission = OUT_OF_FORCE
    world.settle()
    changed = {entry["type"]: entry["lastTransitionTime"] for entry in world.status["conditions"]}
    assert changed["Ready"] == changed["Degraded"] == "2030-01-01T13:00:00Z"
    assert changed["RotationInProgress"] == "2030-01-01T12:00:00Z"
