"""What the primary's objects say, taken together, and what they do not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from meshca.api.v1alpha1.scalars import CHAIN_MAX_LENGTH, format_time
from meshca.pki import certificates
from meshca.pki.bundle import Bundle
from meshca.planning.primary import Answer, Need, PrimaryFacts, Report
from meshca.planning.primaryfacts import (
    read_answer,
    read_crosses,
    read_facts,
    read_report,
    read_ttl,
    report_body,
    rival,
)
from tests.fakes import pki
from tests.fakes.pki import NOW

JSON = dict[str, Any]
ONE = pki.make_root(pki.key(name="one"), now=NOW)
TWO = pki.make_root(pki.key(name="two"), now=NOW)
FIRST, SECOND = certificates.fingerprint(ONE), certificates.fingerprint(TWO)


def root(certificate: Any = ONE, state: str = "Active", name: str = "one", **status: Any) -> JSON:
    spec = {"caConfigurationName": "default", "certificate": certificates.to_pem(certificate)}
    return {"metadata": {"name": name}, "spec": spec, "status": {"state": state} | status}


ROOTS = [root(), root(TWO, "Retiring", "two")]


def configuration(**status: Any) -> JSON:
    bundle = Bundle((ONE, TWO))
    told = {"roots": list(bundle.fingerprints), "digest": bundle.digest, "sequence": 7}
    known = {"trustDomain": "example.org", "activeRoot": "one", "bundle": told | status.pop("bundle", {})}
    return {"metadata": {"name": "default", "uid": "u"}, "status": known | status}


def test_the_facts() -> None:
    found = read_facts(configuration(), ROOTS)
    assert isinstance(found, PrimaryFacts)
    assert (found.uid, found.trust_domain, found.active_root) == ("u", "example.org", FIRST)
    assert (found.sequence, {item.fingerprint for item in found.roots}) == (7, {FIRST, SECOND})
    second = found.root(SECOND)
    assert second is not None
    assert (second.certificate, second.state, second.cross) == (TWO, "Retiring", ())
    assert found.root("0" * 64) is None


@pytest.mark.parametrize(
    ("changed", "roots"),
    [
        pytest.param({"activeRoot": "three"}, ROOTS, id="names another"),
        pytest.param({}, [root(state="Published"), ROOTS[1]], id="is not said to be active"),
        pytest.param({"activeRoot": 3}, ROOTS, id="nonsense"),
    ],
)
def test_a_root_is_active_only_when_both_say_so(changed: JSON, roots: list[JSON]) -> None:
    found = read_facts(configuration(**changed), roots)
    assert isinstance(found, PrimaryFacts)
    assert found.active_root == ""


@pytest.mark.parametrize(
    ("body", "roots", "said"),
    [
        pytest.param(None, ROOTS, "has no such CAConfiguration", id="no configuration"),
        pytest.param({"metadata": {"name": "default"}}, ROOTS, "is not ready yet", id="no status"),
        pytest.param(configuration(trustDomain=""), ROOTS, "is not ready yet", id="no trust domain"),
        pytest.param(configuration(trustDomain="A B"), ROOTS, "is not ready yet", id="no domain at all"),
        pytest.param(configuration(bundle={"roots": []}), ROOTS, "is not ready yet", id="empty bundle"),
        pytest.param(configuration(bundle={"sequence": "7"}), ROOTS, "is not ready yet", id="sequence"),
        pytest.param(configuration(bundle={"sequence": True}), ROOTS, "is not ready yet", id="boolean"),
        pytest.param(configuration(bundle={"sequence": 0}), ROOTS, "is not ready yet", id="nought"),
        pytest.param(configuration(bundle={"sequence": 2**53}), ROOTS, "is not ready yet", id="huge"),
        pytest.param(configuration(), ROOTS[:1], "do not agree (yet)", id="a root is missing"),
        pytest.param(
            configuration(),
            [ROOTS[0], root(TWO, "Pruned", "two")],
            "do not agree (yet)",
            id="a root is pruned",
        ),
        pytest.param(
            configuration(),
            [ROOTS[0], {**ROOTS[1], "spec": {"caConfigurationName": "default", "certificate": "x"}}],
            "do not agree (yet)",
            id="a root cannot be read",
        ),
        pytest.param(
            configuration(),
            [ROOTS[0], {**ROOTS[1], "spec": ROOTS[1]["spec"] | {"caConfigurationName": "other"}}],
            "do not agree (yet)",
            id="a root of another configuration",
        ),
        pytest.param(
            configuration(bundle={"roots": [FIRST] * 17}), ROOTS, "do not agree (yet)", id="too many roots"
        ),
        pytest.param(configuration(bundle={"digest": "d"}), ROOTS, "its digest do not agree", id="digest"),
    ],
)
def test_what_is_missing_is_said(body: JSON | None, roots: list[JSON], said: str) -> None:
    found = read_facts(body, roots)
    assert isinstance(found, str)
    assert said in found


def test_cross_certificates_that_cannot_be_read_are_left_out() -> None:
    text = certificates.to_pem(TWO)
    assert read_crosses([text, "x", 3]) == (TWO,)
    assert read_crosses("x") == ()
    found = read_facts(configuration(), [root(crossCertificates=[text]), ROOTS[1]])
    assert isinstance(found, PrimaryFacts)
    first = found.root(FIRST)
    assert first is not None
    assert first.cross == (TWO,)


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ({}, Answer("west-1")),
        ({"certificateChain": "c"}, Answer("west-1", chain="c")),
        ({"certificateChain": "c" * (CHAIN_MAX_LENGTH + 1)}, Answer("west-1")),
        (
            {"conditions": [{"type": "Ready", "reason": "Denied", "message": "no"}]},
            Answer("west-1", "Denied", "no"),
        ),
        ({"conditions": [{"type": "Ready", "reason": 3, "message": "m" * 1025}]}, Answer("west-1")),
    ],
)
def test_an_answer(status: JSON, wanted: Answer) -> None:
    assert read_answer({"metadata": {"name": "west-1"}, "status": status}) == wanted


REPORT = Report("d", (FIRST,), FIRST, NOW, (Need(SECOND, 2, NOW + timedelta(hours=1)),))


def test_a_report_is_read_back_as_it_was_written() -> None:
    body = report_body(REPORT, "me", format_time(NOW))
    assert (body["reporter"], body["lastSeen"]) == ("me", format_time(NOW))
    assert read_report({"status": body}) == REPORT
    assert report_body(Report("d", (), "", None), "me", "")["signerNotAfter"] is None


@pytest.mark.parametrize("status", [{}, {"lastSeen": format_time(NOW)}, {"leaves": 3}])
def test_who_has_not_reported(status: JSON) -> None:
    assert read_report({"status": status}) is None


def test_needs_that_make_no_sense_are_left_out() -> None:
    leaves = [3, {"root": SECOND}, {"root": SECOND, "leaves": "x", "lastNotAfter": format_time(NOW)}]
    found = read_report({"status": {"bundleDigest": "d", "leaves": leaves}})
    assert found is not None
    assert found.needs == (Need(SECOND, 0, NOW),)


@pytest.mark.parametrize(
    ("text", "wanted"), [("30h", timedelta(hours=30)), ("0s", None), ("x", None), (3, None), (None, None)]
)
def test_the_life_of_a_signer(text: Any, wanted: timedelta | None) -> None:
    assert read_ttl({"status": {"intermediateTTL": text}}) == wanted


@pytest.mark.parametrize(
    ("reporter", "seen", "wanted"),
    [
        ("other", NOW, True),
        ("other", NOW - timedelta(minutes=15), False),
        ("other", None, False),
        ("me", NOW, False),
        ("", NOW, False),
    ],
)
def test_another_cluster_under_this_name(reporter: str, seen: Any, wanted: bool) -> None:
    status = {"reporter": reporter, "lastSeen": format_time(seen) if seen else None}
    assert rival({"status": status}, "me", NOW) is wanted


@pytest.mark.parametrize(
    ("rotation", "wanted"),
    [
        ({}, False),
        ({"trigger": "a"}, False),
        ({"trigger": "a", "forceWithoutCrossSigning": "b"}, False),
        ({"trigger": "", "forceWithoutCrossSigning": ""}, False),
        ({"trigger": "a", "forceWithoutCrossSigning": "a"}, True),
        (3, False),
    ],
)
def test_a_rotation_that_is_permitted_without_cross_certificates(rotation: Any, wanted: bool) -> None:
    found = read_facts(configuration() | {"spec": {"rotation": rotation}}, ROOTS)
    assert isinstance(found, PrimaryFacts)
    assert found.uncrossed is wanted
