"""Which request of a secondary is granted, refused, waits, is kept or goes: one row for each check."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from meshca.api.v1alpha1.scalars import format_time
from meshca.planning.authority import Admission
from meshca.planning.intermediate import CHECKS, Issue, Keep, Refuse, Remove, Wait, plan_request
from tests.fakes import pki
from tests.fakes.pki import NOW
from tests.fakes.planning import IN_FORCE, OUT_OF_FORCE
from tests.fakes.registered import request, request_snapshot, root_view, secondary, signing_root

JSON = dict[str, Any]
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
YOUNG = Admission(in_force=True, since=NOW - 29 * SECOND)
URI = pki.uri("spiffe://example.org")


def csr(*names: x509.GeneralName, key: str = "ECDSA 256") -> str:
    return pki.request(pki.key(key, "west"), *names)


def test_125_request_as_registered_is_granted_for_the_longest_life_that_may_be() -> None:
    found = plan_request(request_snapshot())
    assert isinstance(found, Issue)
    assert found.public_key == pki.key("ECDSA 256", "west").public_key()
    assert found.until == NOW + 720 * HOUR
    assert found.root == root_view()


@pytest.mark.parametrize(
    ("wanted", "root_left", "until"),
    [
        ("100h", 8760 * HOUR, 100 * HOUR),
        (None, 500 * HOUR, 500 * HOUR),
        ("720h", 72 * HOUR, 72 * HOUR),
        ("2000h", 8760 * HOUR, 2000 * HOUR),
    ],
)
def test_125_life_is_the_registered_one_or_what_the_root_has_left(
    wanted: str | None, root_left: timedelta, until: timedelta
) -> None:
    registration = secondary(maxIntermediateTTL=wanted) if wanted else secondary()
    found = plan_request(
        request_snapshot(registration=registration, authority=signing_root(not_after=NOW + root_left))
    )
    assert isinstance(found, Issue)
    assert found.until == NOW + until


@pytest.mark.parametrize("key", pki.CA_SPECS[:5])
def test_125_every_key_that_a_ca_may_have_is_granted(key: str) -> None:
    found = plan_request(request_snapshot(request=request(request=csr(URI, key=key))))
    assert isinstance(found, Issue)


REFUSED: list[tuple[str, JSON, str, str]] = [
    ("deleting", {"request": request(deleting=True)}, "Denied", "being deleted"),
    ("unreadable", {"request": request(clusterName="West")}, "InvalidRequest", "spec.clusterName"),
    ("no-spec", {"request": request(request="rubbish")}, "InvalidRequest", "BEGIN CERTIFICATE REQUEST"),
    ("too-early", {"admission": YOUNG}, "PolicyGap", "make another, under a new key"),
    ("never-in-force", {"admission": Admission(in_force=True, since=None)}, "PolicyGap", "older than"),
    ("a-secondary", {"is_secondary": True}, "Denied", "not the primary"),
    ("unregistered", {"registration": None}, "Denied", "meshca federation invite west"),
    ("un-registering", {"registration": secondary(deleting=True)}, "Denied", "no FederatedCluster 'west'"),
    ("namespace", {"request": request(namespace="shop")}, "Denied", "namespace 'meshca-fed-west'"),
    (
        "configuration",
        {"request": request(caConfigurationName="other")},
        "Denied",
        "CAConfiguration 'default'; this request has 'other'",
    ),
    ("requester", {"request": request(requester="eve")}, "Denied", "this request has 'eve'"),
    ("no-requester", {"request": request(requester=None)}, "Denied", "this request has ''"),
    ("namespace-taken", {"rival": "east"}, "Denied", "belongs to FederatedCluster 'east'"),
    (
        "no-csr",
        {"request": request(request="-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n")},
        "InvalidRequest",
        "certificate request",
    ),
    (
        "another-trust-domain",
        {"request": request(request=csr(pki.uri("spiffe://other.org")))},
        "InvalidRequest",
        "has to be spiffe://example.org",
    ),
    ("no-uri", {"request": request(request=csr())}, "InvalidRequest", "it has none"),
    ("two-uris", {"request": request(request=csr(URI, URI))}, "InvalidRequest", "its one URI"),
    (
        "dns",
        {"request": request(request=csr(URI, x509.DNSName("a.b")))},
        "InvalidRequest",
        "leave out DNS names",
    ),
]


@pytest.mark.parametrize(
    ("changes", "reason", "said"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_125_one_thing_that_is_not_right_is_enough_to_refuse(changes: JSON, reason: str, said: str) -> None:
    found = plan_request(request_snapshot(**changes))
    assert isinstance(found, Refuse)
    assert found.reason == reason
    assert said in found.message
    assert found.due is None


WAITS: list[tuple[str, JSON, str, str]] = [
    ("no-policy", {"admission": OUT_OF_FORCE}, "SignerNotReady", "apply the chart's"),
    ("cannot-sign", {"authority": None}, "SignerNotReady", "cannot sign"),
    ("clocks", {"clocks_differ": True}, "Pending", "set the clocks"),
    ("turning", {"active_root": "default-new"}, "Pending", "another root"),
    ("root-gone", {"root": None}, "Pending", "another root"),
    ("root-pruned", {"root": root_view(status={"state": "Pruned"})}, "Pending", "another root"),
    ("root-differs", {"authority": signing_root(fingerprint="f" * 64)}, "Pending", "another root"),
    ("record-damaged", {"root": root_view(intermediates=None)}, "SignerNotReady", "cannot be read"),
    (
        "root-ends",
        {"authority": signing_root(not_after=NOW + 71 * HOUR)},
        "SignerNotReady",
        "before a tenth of 720h",
    ),
]


@pytest.mark.parametrize(
    ("changes", "reason", "said"), [row[1:] for row in WAITS], ids=[row[0] for row in WAITS]
)
def test_what_passes_by_itself_is_waited_for(changes: JSON, reason: str, said: str) -> None:
    found = plan_request(request_snapshot(**changes))
    assert isinstance(found, Wait)
    assert found.reason == reason
    assert said in found.message


def test_the_tables_have_a_row_for_each_check() -> None:
    assert len(CHECKS) == 14
    assert plan_request(request_snapshot(admission=IN_FORCE)) == plan_request(request_snapshot())


def ready(since: timedelta, reason: str, status: str) -> JSON:
    return {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "lastTransitionTime": format_time(NOW - since),
    }


def granted(**more: Any) -> JSON:
    status: JSON = {
        "certificateChain": "PEM",
        "root": "default-root",
        "notAfter": format_time(NOW + 100 * HOUR),
        "conditions": [ready(HOUR, "Issued", "True")],
    }
    return status | more


@pytest.mark.parametrize(
    "changes",
    [{}, {"authority": None}, {"active_root": "default-new"}, {"admission": YOUNG}, {"clocks_differ": True}],
)
def test_request_with_a_certificate_is_never_signed_again_whatever_happens(changes: JSON) -> None:
    found = plan_request(request_snapshot(request=request(granted()), **changes))
    assert found == Keep("the signer was granted", NOW + 124 * HOUR)


@pytest.mark.parametrize("registration", [None, secondary(deleting=True)])
def test_granted_request_of_a_cluster_that_is_not_registered_any_more_says_so(registration: Any) -> None:
    found = plan_request(request_snapshot(request=request(granted()), registration=registration))
    assert isinstance(found, Keep)
    assert "not registered any more" in found.message


LATER = 24 * HOUR
GOES: list[tuple[str, JSON, timedelta | None, Any]] = [
    ("stays", granted(), None, NOW + 124 * HOUR),
    ("expired", granted(notAfter=format_time(NOW - LATER)), None, "its certificate has expired"),
    ("expired-lately", granted(notAfter=format_time(NOW - LATER + SECOND)), None, NOW + SECOND),
    ("superseded", granted(), LATER, "a later request took its place"),
    ("superseded-lately", granted(), LATER - SECOND, NOW + SECOND),
    ("no-end", granted(notAfter=None), None, None),
]


@pytest.mark.parametrize(
    ("status", "superseded", "wanted"), [row[1:] for row in GOES], ids=[row[0] for row in GOES]
)
def test_request_goes_a_day_after_it_is_of_no_use(
    status: JSON, superseded: timedelta | None, wanted: Any
) -> None:
    since = NOW - superseded if superseded is not None else None
    found = plan_request(request_snapshot(request=request(status), successor_since=since))
    assert found == (Remove(wanted) if isinstance(wanted, str) else Keep("the signer was granted", wanted))


def test_no_request_goes_while_the_clocks_differ() -> None:
    over = request(granted(notAfter=format_time(NOW - LATER)))
    found = plan_request(request_snapshot(request=over, clocks_differ=True))
    assert found == Keep("the signer was granted", NOW + timedelta(minutes=1))
    refused = request({"conditions": [ready(LATER, "Denied", "False")]})
    found = plan_request(request_snapshot(request=refused, registration=None, clocks_differ=True))
    assert isinstance(found, Refuse)
    assert found.due == NOW + timedelta(minutes=1)


@pytest.mark.parametrize("after", [LATER - SECOND, LATER])
def test_refused_request_goes_a_day_after_the_refusal(after: timedelta) -> None:
    asked = request({"conditions": [ready(after, "Denied", "False")]})
    found = plan_request(request_snapshot(request=asked, registration=None))
    if after >= LATER:
        assert found == Remove("it was refused a day ago")
    else:
        assert isinstance(found, Refuse)
        assert found.due == NOW + SECOND
