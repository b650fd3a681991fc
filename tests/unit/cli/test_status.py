"""``meshca status`` and ``meshca roots``: what they say, how they weigh it, and the exit code."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from meshca.api import names
from meshca.api.v1alpha1.conditions import REASONS
from meshca.api.v1alpha1.scalars import format_time
from meshca.cli.advice import ADVICE, Weight, leaf_advice, weigh
from meshca.cli.screen import clean, moment
from meshca.pki.certificates import to_pem
from tests.fakes.apiserver.faults import Fault
from tests.fakes.apiserver.status import expired
from tests.fakes.cli import FINE, Mesh, condition, cross
from tests.fakes.pki import NOW

JSON = dict[str, Any]


def test_a_healthy_ca_is_fine() -> None:
    code, out, errors = Mesh().healthy().run("status")
    assert (code, errors) == (0, "")
    assert out.splitlines()[0] == "default: fine"
    assert "active root   default-a, Active, expires 2039-12-30T12:00:00Z (in 3650 d)" in out
    assert "bundle        1 roots, in 2 of 2 places" in out
    assert "leaves        1: 1 Issued" in out
    assert "\x1b" not in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_status_is_json_for_programs() -> None:
    code, found = Mesh().healthy().json("status", "default")
    assert code == 0
    assert found["fine"] is True
    (one,) = found["configurations"]
    assert (one["name"], one["activeRoot"], one["leaves"]["states"]) == (
        "default",
        "default-a",
        {"Issued": 1},
    )


def test_a_terminal_gets_colours() -> None:
    assert "\x1b[" in Mesh().healthy().run("status", terminal=True)[1]


@pytest.mark.parametrize(
    ("conditions", "code", "says"),
    [
        ((condition("Ready", "False", "RootKeyMissing"),), 1, "put the Secret back"),
        ((*FINE, condition("Degraded", "True", "ClockSkew")), 1, "set the clocks"),
        ((*FINE, condition("RootExpiringSoon", "True", "RootExpiringSoon")), 1, "rotated by itself"),
        ((FINE[0], condition("RotationInProgress", "False", "RotationBlocked")), 1, "to do: see the message"),
        ((FINE[0], condition("RotationInProgress", "False", "RotationQueued")), 0, "older root is pruned"),
        ((FINE[0], condition("RotationInProgress", "False", "Aborted")), 0, "ask again"),
        ((FINE[0], condition("RotationInProgress", "True", "Publish")), 0, "Publish"),
        ((condition("Ready", "False", "FromTheFuture"),), 1, "see docs/concepts.md"),
    ],
)
def test_each_condition_is_weighed_and_says_what_to_do(
    conditions: tuple[JSON, ...], code: int, says: str
) -> None:
    mesh = Mesh()
    mesh.configure(*conditions, rotation={"phase": "Publish", "from": "default-a"})
    mesh.root("default-a", mesh.a)
    found, out, _ = mesh.run("status")
    assert (found, says in out) == (code, True), out


def test_a_rotation_is_shown_with_all_there_is_to_know() -> None:
    mesh = Mesh()
    rotation = {
        "phase": "Reissue",
        "from": "default-a",
        "to": "default-b",
        "leaves": 10,
        "reissued": 4,
        "percent": 40,
        "estimatedEnd": format_time(NOW + timedelta(hours=5)),
        "deadline": format_time(NOW + timedelta(days=3)),
        "stragglers": ["shop/slow: its holder has to ask"],
    }
    mesh.configure(FINE[0], condition("RotationInProgress", "True", "Reissue"), rotation=rotation)
    mesh.root("default-a", mesh.a)
    _, out, _ = mesh.run("status")
    assert "Reissue, from default-a to default-b, 40 % (4 of 10 leaves), ends about" in out
    assert "(in 5 h), deadline 2030-01-04T12:00:00Z (in 3 d)" in out
    assert "left: shop/slow: its holder has to ask" in out


LEAVES: list[tuple[str, JSON, JSON, str, bool]] = [
    ("Failed", condition("Ready", "False", "Denied", "no"), {}, "Denied: no (ask for what", True),
    ("Pending", condition("Ready", "False", "Pending", "no account"), {}, "create the ServiceAccount", True),
    (
        "Renew",
        condition("Ready", "False", "SignerNotReady", "x"),
        {},
        "renewal is late; SignerNotReady",
        True,
    ),
    ("Rotate", condition("Ready", "True", "Issued"), {}, "1 leaves wait for their holders", False),
]


@pytest.mark.parametrize(("state", "ready", "spec", "says", "wrong"), LEAVES, ids=[row[0] for row in LEAVES])
def test_leaves_that_fail_are_named_with_the_reason(
    state: str, ready: JSON, spec: JSON, says: str, wrong: bool
) -> None:
    mesh = Mesh().healthy()
    mesh.leaf("other", state=state, ready=ready, **spec)
    code, out, _ = mesh.run("status", "default")
    assert (code == 1, says in out) == (wrong, True), out


@pytest.mark.parametrize("automatic", [False, True])
def test_an_expired_leaf_matters_only_when_nobody_else_would_renew_it(automatic: bool) -> None:
    mesh = Mesh().healthy()
    spec: JSON = {"renewal": "Automatic"} if automatic else {}
    mesh.leaf("old", **spec)
    status = {"notAfter": "2029-12-31T00:00:00Z", "conditions": None}
    mesh.server.merge(names.LEAF, "old", "shop", {"status": status}, subresource="status")
    code, out, _ = mesh.run("status")
    assert code == (1 if automatic else 0)
    assert ("expired and not renewed; no reason given" in out) is automatic
    assert "1 Expired" in out


def test_only_ten_failing_leaves_are_listed() -> None:
    mesh = Mesh().healthy()
    for number in range(12):
        mesh.leaf(f"bad-{number}", state="Failed", ready=condition("Ready", "False", "Denied"))
    _, out, _ = mesh.run("status")
    assert out.count("Denied:") == 10
    assert "and 2 more" in out


def test_what_time_and_places_say_is_told() -> None:
    mesh = Mesh()
    gone = format_time(NOW - timedelta(hours=5))
    mesh.configure(
        observedGeneration=0,
        signer={"notAfter": gone},
        bundle={"targets": {"total": 3, "current": 1, "behind": ["bad-ns"]}},
    )
    mesh.root("default-a", mesh.a)
    mesh.server.merge(names.CA_ROOT, "default-a", "", {"status": {"notAfter": gone}}, subresource="status")
    code, out, _ = mesh.run("status")
    assert code == 1
    for says in (
        "the active root has expired",
        "the signer has expired",
        "(5 h ago)",
        "behind in 2 places: bad-ns",
        "has not yet looked at the last change",
    ):
        assert says in out


def test_a_configuration_that_nobody_looked_at_and_none_at_all() -> None:
    mesh = Mesh()
    code, out, _ = mesh.run("status")
    assert (code, out) == (0, "there is no CAConfiguration\n")
    assert mesh.run("roots")[1] == "there is no CARoot\n"
    assert mesh.run("verify")[1] == "there is no CAConfiguration\n"
    mesh.server.create(names.CA_CONFIGURATION, {"metadata": {"name": "default"}, "spec": {}})
    code, out, _ = mesh.run("status")
    assert (code, "the operator has not looked at it" in out) == (1, True)


def test_nobody_steers_a_terminal_by_a_status() -> None:
    mesh = Mesh().healthy()
    mesh.leaf("bad", state="Failed", ready=condition("Ready", "False", "Denied", "a\x1b[2Jb\nc"))
    assert "a\ufffd[2Jb c" in mesh.run("status")[1]
    assert clean("ok") == "ok"


def test_an_unknown_name_and_a_dead_api_server_are_exit_code_2() -> None:
    mesh = Mesh().healthy()
    code, _, errors = mesh.run("status", "nobody", "--context", "there", "--kubeconfig", "here")
    assert (code, "nobody" in errors) == (2, True)
    assert (mesh.targets[-1].context, mesh.targets[-1].kubeconfig) == ("there", "here")
    mesh.server.down = True
    assert mesh.run("status")[0] == 2


def test_a_list_that_outlives_history_begins_again_and_in_the_end_gives_up() -> None:
    mesh = Mesh().healthy()
    fault = Fault(resource=names.LEAF, verb="list", error=expired("too old"), times=2)
    mesh.server.faults.append(fault)
    code, out, _ = mesh.run("status")
    assert (code, fault.hits, "1: 1 Issued" in out) == (0, 2, True)
    mesh.server.fault(resource=names.LEAF, verb="list", error=expired("too old"), times=3)
    assert mesh.run("status")[0] == 2


def test_roots_are_a_table() -> None:
    mesh = Mesh().healthy()
    mesh.root("default-b", mesh.b, "Published", cross(mesh.b, mesh.a))
    code, out, _ = mesh.run("roots", "default")
    heading, first, second = out.splitlines()
    assert code == 0
    assert heading.split()[:3] == ["NAME", "CONFIGURATION", "STATE"]
    assert first.split()[:6] == ["default-a", "default", "Active", "Generated", "ECDSA", "256"]
    assert second.split()[2] == "Published"
    assert second.split()[-1] == "1"


def test_a_root_that_cannot_be_read_is_named() -> None:
    mesh = Mesh().healthy()
    spec = {"caConfigurationName": "default", "certificate": "rubbish", "source": "Imported"}
    mesh.server.create(names.CA_ROOT, {"metadata": {"name": "default-x"}, "spec": spec})
    code, found = mesh.json("roots")
    assert (code, found["roots"][1]["problem"]) == (0, "PEM: no CERTIFICATE block found")
    assert "default-x: PEM" in mesh.run("roots")[1]


def test_every_reason_that_is_wrong_has_advice() -> None:
    for title, reasons in REASONS.items():
        if title == "Ready, on a leaf":
            assert all(leaf_advice(reason) != "see its conditions" for reason in reasons[1:])
            continue
        if title.endswith(("FederatedCluster", "IntermediateCertificateRequest")):
            # The message says what to do; `meshca status` is about this cluster's own CAs.
            continue
        kind = title.partition(",")[0]
        status = "False" if kind in {"Ready", "Reachable", "RotationInProgress"} else "True"
        for reason in reasons:
            if (
                reason not in {"Initialised", "AsExpected", "Connected"}
                and weigh(kind, status, reason) > Weight.FINE
            ):
                assert reason in ADVICE, reason


def test_a_moment_says_how_far_away_it_is() -> None:
    assert moment(None, NOW) == "-"
    assert moment(NOW - timedelta(seconds=5), NOW).endswith("(5 s ago)")
    assert moment(NOW + timedelta(minutes=5), NOW).endswith("(in 5 min)")


def test_the_chain_of_a_leaf_never_reaches_the_screen() -> None:
    mesh = Mesh().healthy()
    assert to_pem(mesh.a.root)[:40] not in mesh.run("status")[1]
