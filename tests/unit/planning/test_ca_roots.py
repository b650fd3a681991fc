"""Roots and their keys: missing, put back, retired, never active; what is trusted meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from meshca.pki import certificates
from meshca.planning import steps
from meshca.planning.assess import assess
from meshca.planning.authority import Authority, Unavailable
from meshca.planning.rootstatus import root_status
from tests.fakes import pki
from tests.fakes.caworld import World, bootstrapped, broken, key_secret
from tests.fakes.pki import NOW

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
RETIRED = {
    "activated_at": NOW - 9000 * HOUR,
    "rotated_out_at": NOW - HOUR,
    "prunable_after": NOW + 72 * HOUR,
}
INVALID = {"trustDomain": "example.org", "leaf": {"ttl": "5m"}}


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


def test_root_that_was_never_used_and_is_not_asked_for_is_never_trusted_and_discarded() -> None:
    world = bootstrapped()
    other = pki.make_root(pki.key("ECDSA 256", "prepared"), now=NOW + SECOND)
    world.root_secrets.append(key_secret(other, "meshca-root-default-0123456789"))
    while world.step() is not None:
        plan = world.plan()
        assert isinstance(plan.authority, Authority)
        assert other not in plan.authority.trusted
    assert world.done == [
        "RecordRoot",
        "WriteRootStatus",
        "GatherEvidence",
        "MarkPruned",
        "RemoveRootSecret",
        "DeleteRoot",
        "ReleaseRoot",
    ]
    assert (len(world.roots), len(world.root_secrets)) == (1, 1)


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
    world.step()
    recorded = next(root for root in world.roots if root.certificate == old)
    world.change_root(recorded, **RETIRED)
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
    world.change_root(world.roots[0], rotated_out_at=NOW, prunable_after=NOW + HOUR)
    world.status = world.status | {"activeRoot": "default-gone"}
    plan = world.plan()
    assert isinstance(plan.authority, Unavailable)
    assert world.condition("Ready")[1] == "RootKeyMissing"
    assert world.condition("RootExpiringSoon")[1] == "AsExpected"


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
    assert isinstance(world.plan().step, steps.Step | None)


def test_status_root_key_and_signer_all_lost_leave_a_forced_rotation_as_the_way_out() -> None:
    world = bootstrapped()
    lost = world.active_name
    world.status, world.root_secrets, world.signer_secrets = {}, [], []
    world.settle()
    assert world.active_name == lost
    assert world.condition("Ready")[1] == "RootKeyMissing"
    world.ask("out", forceWithoutCrossSigning="out", minimumPublishTime="0s")
    plan = world.settle()
    assert world.active_name != lost
    assert isinstance(plan.authority, Authority)


def test_root_that_was_never_active_is_not_put_into_use_without_a_signer() -> None:
    world = World()
    while not world.roots:
        world.step()
    world.root_secrets = []
    world.settle()
    assert "CommitActive" not in world.done
