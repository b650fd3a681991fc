"""What a CA says of itself, and what it refuses to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from meshca.pki import certificates
from meshca.planning import ca
from meshca.planning.authority import Admission, Authority, Unavailable
from meshca.planning.ca import Publication
from meshca.planning.castatus import root_status
from meshca.planning.situation import assess
from tests.fakes import pki
from tests.fakes.caworld import World, bootstrapped, broken, key_secret
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


def test_secondary_is_refused_as_not_served_yet() -> None:
    primary = {"kubeconfigSecretName": "join", "bundleDigest": "a" * 64}
    world = World(spec={"federation": {"primary": primary}})
    world.settle()
    assert world.done == []
    assert "spec.federation.primary" in world.condition("Ready")[2]


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
    ("damage", "words"),
    [
        pytest.param(
            {"root_secrets": []}, "is missing; signing goes on with the present signer", id="deleted"
        ),
        pytest.param(
            {"root_secrets": "broken"}, "its key does not belong to its certificate; put it back", id="broken"
        ),
        pytest.param({"root_secrets": "other"}, "holds another root; put it back", id="another root"),
        pytest.param(
            {"root_secrets": [], "signer_secrets": []}, "nothing can be signed; put it back", id="signer, too"
        ),
        pytest.param(
            {"root_secrets": [], "roots": []}, "and its Secret are missing; put them back", id="CARoot, too"
        ),
        pytest.param(
            {"root_secrets": "broken", "roots": []},
            "does not belong to its certificate; put",
            id="unreadable",
        ),
        pytest.param(
            {"root_secrets": [], "roots": [], "status": {}}, "neither CARoot nor Secret", id="signer alone"
        ),
    ],
)
def test_missing_root_key_is_told_and_never_made_anew(damage: dict[str, Any], words: str) -> None:
    world = bootstrapped()
    name = world.root_secrets[0].meta.name
    other = key_secret(pki.make_root(pki.key("ECDSA 256", "other")), name)
    replaced = {
        "broken": [broken(world.root_secrets[0], "its key does not belong to its certificate")],
        "other": [other],
    }
    for field, value in damage.items():
        setattr(world, field, replaced[value] if isinstance(value, str) else value)
    plan = world.settle()
    assert "MakeRoot" not in world.done
    assert "RecordRoot" not in world.done
    signing = bool(world.roots and world.signer_secrets)
    assert isinstance(plan.authority, Authority if signing else Unavailable)
    status, reason, message = world.condition("Ready")
    assert (status, reason) == ("False", "RootKeyMissing")
    assert words in message


def test_root_key_that_is_put_back_heals() -> None:
    world = bootstrapped()
    kept, world.root_secrets = world.root_secrets, []
    world.settle()
    world.root_secrets = kept
    world.settle()
    assert world.condition("Ready")[:2] == ("True", "Initialised")


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
    assert world.plan().due == NOW + 30 * SECOND
    world.now = NOW + 30 * SECOND
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


def test_root_that_was_never_active_is_not_trusted_beside_one_that_is() -> None:
    world = bootstrapped()
    other = pki.make_root(pki.key("ECDSA 256", "prepared"), now=NOW + SECOND)
    world.root_secrets.append(key_secret(other, "meshca-root-default-0123456789"))
    plan = world.settle()
    assert world.done == ["RecordRoot"]
    assert isinstance(plan.authority, Authority)
    assert other not in plan.authority.trusted
    assert plan.status["activeRoot"] != world.roots[1].meta.name


def test_copy_of_a_root_secret_is_no_root_of_its_own() -> None:
    world = bootstrapped()
    certificate = world.root_secrets[0].certificate
    assert certificate is not None
    world.root_secrets.insert(0, key_secret(certificate, "meshca-root-default-aaaaaaaaaa"))
    world.settle()
    assert world.done == []
    world.root_secrets = [broken(secret) for secret in world.root_secrets]
    assert f"Secret {world.roots[0].key_secret!r}" in world.condition("Ready")[2]


def test_131_root_that_was_rotated_out_stays_trusted_and_is_never_chosen() -> None:
    world = bootstrapped()
    old = pki.make_root(pki.key("ECDSA 256", "old"), now=NOW - 9000 * HOUR)
    world.root_secrets.insert(0, key_secret(old, "meshca-root-default-0123456789"))
    world.settle()
    recorded = next(root for root in world.roots if root.certificate == old)
    world.change_root(recorded, activated_at=NOW - 9000 * HOUR, rotated_out_at=NOW - HOUR)
    plan = world.settle()
    assert isinstance(plan.authority, Authority)
    assert old in plan.authority.trusted
    assert plan.authority.root != recorded.facts.fingerprint
    world.status = {}
    plan = world.settle()
    assert isinstance(plan.authority, Authority)
    assert plan.authority.root != recorded.facts.fingerprint


def test_only_retired_roots_left_is_told_as_missing() -> None:
    world = bootstrapped()
    world.change_root(world.roots[0], rotated_out_at=NOW)
    world.status = world.status | {"activeRoot": "default-gone"}
    plan = world.plan()
    assert isinstance(plan.authority, Unavailable)
    assert world.condition("Ready")[1] == "RootKeyMissing"
    assert world.condition("RootExpiringSoon")[1] == "AsExpected"


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


def test_status_of_a_root_before_its_signer_and_activation() -> None:
    world = World()
    while not world.roots:
        world.step()
    status = root_status(assess(world.snapshot()), world.roots[0])
    assert "signer" not in status
    assert "activatedAt" not in status
    assert status["fingerprint"] == certificates.fingerprint(world.roots[0].certificate)


def test_bundle_is_published_with_the_first_root_before_it_is_active() -> None:
    world = World()
    while not world.signer_secrets:
        world.step()
    assert world.plan().status["bundle"]["roots"] == [world.roots[0].facts.fingerprint]
    world.root_secrets = [broken(world.root_secrets[0])]
    assert "bundle" not in world.plan().status


def test_settled_wish_without_a_root_to_make_waits() -> None:
    """The accepted spec imports a root whose Secret is gone, before anything was made."""
    spec = {"provider": {"type": "Builtin", "builtin": {"rootSecretName": "mine"}}}
    world = World(spec=INVALID, accepted=spec)
    plan = world.settle()
    assert world.done == []
    assert isinstance(plan.authority, Unavailable)


def test_unreadable_root_is_not_adopted() -> None:
    made = bootstrapped()
    unreadable = replace(broken(made.root_secrets[0]), certificate=None, facts=None)
    world = World(root_secrets=[unreadable])
    world.settle()
    assert world.roots == []
    assert world.condition("Ready")[1] == "RootKeyMissing"
    assert isinstance(world.plan().step, ca.Step | None)
