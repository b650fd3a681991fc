"""Corners of a rotation: records that lack something, roots that are half gone, Secrets half readable."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from meshca.api.v1alpha1.caroot import RootState
from meshca.api.v1alpha1.castatus import RotationPhase
from meshca.pki import keys
from meshca.pki.certificates import to_pem
from meshca.planning import rotation
from meshca.planning.assess import assess
from meshca.planning.ca import Census
from meshca.planning.rootstatus import root_status, state_of
from meshca.planning.secrets import CERTIFICATE, CROSS, KEY, encode, load_ca_secret
from tests.fakes import pki
from tests.fakes.caworld import World, bootstrapped
from tests.fakes.pki import NOW

HOUR = timedelta(hours=1)


def moving() -> World:
    world = bootstrapped()
    world.ask("one")
    while "CommitActive" not in world.done:
        world.step()
    world.census = Census(by_root={world.roots[0].facts.fingerprint: 2}, automatic=2)
    world.settle()
    assert world.status["rotation"]["phase"] == "Reissue"
    return world


def test_rotation_whose_old_root_was_pruned_by_force_has_no_deadline_and_ends_with_its_leaves() -> None:
    world = moving()
    old = world.roots[0]
    world.change_root(old, prune_now=old.facts.fingerprint)
    world.settle()
    assert [root.meta.name for root in world.roots] == [world.active_name]
    assert world.status["rotation"]["phase"] == "Reissue"
    assert world.status["rotation"]["from"] == old.meta.name
    assert "deadline" not in world.status["rotation"]
    world.now += 1000 * HOUR
    assert rotation.phase(assess(world.snapshot())) is RotationPhase.REISSUE
    world.census = Census()
    world.settle()
    assert world.condition("RotationInProgress")[:2] == ("False", "Completed")


def test_record_without_a_phase_is_no_rotation() -> None:
    world = moving()
    world.census = Census()
    world.settle()
    world.status = world.status | {"rotation": {"to": world.active_name}}
    assert rotation.phase(assess(world.snapshot())) is None
    assert world.condition("RotationInProgress")[:2] == ("False", "None")


def test_state_of_a_root_that_is_being_removed_or_whose_times_are_unknown() -> None:
    world = moving()
    old = world.roots[0]
    found = assess(world.snapshot())
    assert state_of(found, replace(old, status={"state": "Pruned"})) is RootState.PRUNED
    status = root_status(found, replace(old, rotated_out_at=None, prunable_after=None))
    assert status["state"] == "Retiring"
    assert not {"rotatedOutAt", "prunableAfter"} & set(status)


def test_cross_certificates_that_cannot_be_read_are_none() -> None:
    key = pki.key("ECDSA 256", "imported")
    body = {
        "metadata": {"name": "meshca-root-default-0123456789"},
        "data": {
            CERTIFICATE: encode(to_pem(pki.imported_root(key))),
            KEY: encode(keys.to_pem(key)),
            CROSS: encode("-----BEGIN CERTIFICATE-----\ngarbage\n"),
        },
    }
    loaded = load_ca_secret(body).view
    assert (loaded.problem, loaded.cross) == ("", ())


def test_cross_certificate_that_was_lost_from_its_secret_is_made_again_before_the_activation() -> None:
    world = bootstrapped()
    world.ask("one")
    while "MarkPublished" not in world.done:
        world.step()
    secret = next(item for item in world.root_secrets if item.cross)
    world.change_secret(secret, cross=())
    world.settle()
    assert world.done.count("CrossSign") == 2
    assert world.status["activeRoot"] == world.roots[1].meta.name
    assert world.roots[1].status["crossCertificates"]
    assert world.now == NOW
