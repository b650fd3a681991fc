"""meshca federation status, on either side of a mesh."""

from __future__ import annotations

from typing import Any

from meshca.api import names
from meshca.pki.bundle import Bundle
from tests.fakes.cli import FINE, Mesh, condition
from tests.fakes.meshcli import primary, report

JSON = dict[str, Any]
CA = "-----BEGIN CERTIFICATE-----\nof the API server\n-----END CERTIFICATE-----\n"


def joined(*conditions: JSON, **more: Any) -> Mesh:
    mesh = primary()
    mesh.run("federation", "invite", "west")
    fingerprint = Bundle.of([mesh.a.root]).fingerprints[0]
    good = [condition(kind, "True", "AsExpected") for kind in ("Ready", "Reachable", "Converged")]
    report(
        mesh,
        **{
            "activeRoot": fingerprint,
            "roots": [fingerprint],
            "signerNotAfter": "2030-06-01T00:00:00Z",
            "lastSeen": "2030-01-01T11:58:00Z",
            "leaves": [{"root": fingerprint, "leaves": 7}, {"root": "ff" * 32, "leaves": 0}],
            "conditions": [*(conditions or good)],
        }
        | more,
    )
    return mesh


def test_status_shows_who_follows() -> None:
    code, out, _ = joined().run("federation", "status")
    heading, row = out.splitlines()
    assert (code, heading.split()[0]) == (0, "SECONDARY")
    for part in ("west", "default", "yes", "(2 min ago)", "2030-06-01T00:00:00Z", "default-a: 7"):
        assert part in row, (part, row)


def test_status_names_who_holds_a_rotation_up() -> None:
    mesh = joined(condition("Ready", "True", "AsExpected"), condition("Converged", "False", "Behind", "old"))
    mesh.status({"conditions": [*FINE, condition("Degraded", "True", "SecondaryBehind", "west holds it up")]})
    code, out, _ = mesh.run("federation", "status")
    assert (code, "WRONG  default: Degraded, SecondaryBehind: west holds it up" in out) == (1, True)
    assert "note  west: not Converged, Behind: old" in out
    assert "un-register it" in out


def test_status_of_who_is_silent_or_was_never_seen() -> None:
    code, out, _ = joined(condition("Reachable", "False", "Silent", "for 2 d")).run("federation", "status")
    assert (code, "WRONG  west: not Reachable, Silent: for 2 d" in out) == (1, True)
    mesh = primary()
    mesh.run("federation", "invite", "west")
    code, out, _ = mesh.run("federation", "status")
    assert (code, "has its join manifest been applied?" in out, "has not looked" in out) == (0, True, True)


def follower(*conditions: JSON, **federation: Any) -> Mesh:
    mesh = Mesh()
    mesh.configure(*conditions)
    mesh.root("default-a", mesh.a)
    primary_ = {"kubeconfigSecretName": "meshca-primary-default", "bundleDigest": "0" * 64}
    mesh.server.merge(names.CA_CONFIGURATION, "default", "", {"spec": {"federation": {"primary": primary_}}})
    if federation:
        mesh.status({"federation": federation})
    return mesh


def test_status_of_a_secondary_shows_whom_it_follows() -> None:
    mesh = follower(*FINE, condition("Reachable", "True", "Connected"))
    code, found = mesh.json("federation", "status")
    (one,) = found["primaries"]
    assert (code, one["reachable"], one["activeRoot"]) == (0, "yes", "default-a")
    code, out, _ = mesh.run("federation", "status")
    assert (code, "default, by Secret meshca-primary-default" in out) == (0, True)


def test_status_of_a_secondary_says_what_is_wrong() -> None:
    mesh = follower(
        *FINE,
        condition("Reachable", "False", "PrimaryUnreachable", "for 3 min"),
        condition("Degraded", "True", "ClockSkew", "5 min"),
    )
    code, out, _ = mesh.run("federation", "status")
    assert code == 1
    assert "WRONG  default: not Reachable, PrimaryUnreachable: for 3 min" in out
    assert "WRONG  default: Degraded, ClockSkew" in out
    code, out, _ = follower(FINE[0]).run("federation", "status")
    assert (code, "has not said yet whether it is Reachable" in out) == (0, True)


def test_a_primary_that_is_degraded_otherwise_is_for_the_other_status() -> None:
    mesh = primary(*FINE, condition("Degraded", "True", "ClockSkew"))
    code, out, _ = mesh.run("federation", "status")
    assert (code, out.strip()) == (
        0,
        "this cluster shares no roots: nobody is registered, and it follows nobody",
    )


def test_status_is_json_for_programs() -> None:
    code, found = joined().json("federation", "status")
    (one,) = found["secondaries"]
    assert (code, found["fine"], one["name"], one["leaves"]) == (0, True, "west", {"default-a": 7})
