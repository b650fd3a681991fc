"""Why a request is refused or waits: each reason, its text, and which reason comes first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from meshca.api.v1alpha1.conditions import Reason
from meshca.planning.authority import POLICY_SETTLES, Admission, Unavailable
from meshca.planning.leaf import TERMINAL, plan_leaf
from tests.fakes import pki
from tests.fakes.pki import NOW
from tests.fakes.planning import (
    HOUR,
    MINUTE,
    OUT_OF_FORCE,
    UNAVAILABLE,
    authority,
    fresh,
    secret,
    snapshot,
)

if TYPE_CHECKING:
    from meshca.planning.leaf import Report
    from meshca.planning.views import LeafView

SELECTIVE: dict[str, Any] = {"identity": {"namespaceSelector": {"matchLabels": {"mesh": "yes"}}}}
NAMED: dict[str, Any] = {
    "identity": {"dnsNames": ["{serviceAccount}.{namespace}.svc"], "ipAddresses": ["10.0.0.0/8"]}
}
GONE = Unavailable(Reason.CONFIGURATION_NOT_FOUND, "CAConfiguration 'default' does not exist; create it")
ACCOUNT = pki.SPIFFE_ID.uri


def report(view: LeafView, **around: Any) -> Report:
    plan = plan_leaf(snapshot(view, **around))
    assert plan.issue is None
    assert plan.report is not None
    assert (plan.report.state == "Failed") == (plan.report.reason in TERMINAL)
    assert plan.retry == (plan.report.reason not in TERMINAL)
    assert not plan.report.ready
    return plan.report


def csr(*names: x509.GeneralName) -> LeafView:
    return fresh(request=pki.request(None, *names))


MANAGED = fresh(secret_name="web-tls")
ROWS: list[Any] = [
    pytest.param(
        fresh(), {"authority": UNAVAILABLE}, Reason.SIGNER_NOT_READY, "is not ready", id="no signer"
    ),
    pytest.param(fresh(), {"authority": GONE}, Reason.CONFIGURATION_NOT_FOUND, "create it", id="no CA"),
    pytest.param(
        fresh(),
        {"admission": OUT_OF_FORCE},
        Reason.SIGNER_NOT_READY,
        "apply the chart's",
        id="policy missing",
    ),
    pytest.param(
        fresh(),
        {"admission": Admission(in_force=True, since=NOW - POLICY_SETTLES + MINUTE / 60)},
        Reason.POLICY_GAP,
        "delete it and create it again",
        id="policy too young",
    ),
    pytest.param(fresh(created=None), {}, Reason.POLICY_GAP, "nobody checked", id="no creation time"),
    pytest.param(
        fresh(), {"operator_namespace": "shop"}, Reason.DENIED, "operator's own namespace", id="own namespace"
    ),
    pytest.param(
        fresh(), {"authority": authority(**SELECTIVE)}, Reason.DENIED, "not selected by", id="not selected"
    ),
    pytest.param(
        fresh(service_account=""), {}, Reason.INVALID_REQUEST, "serviceAccountName is empty", id="no account"
    ),
    pytest.param(
        fresh(),
        {"account_exists": False},
        Reason.PENDING,
        "create it and the certificate follows",
        id="account",
    ),
    pytest.param(
        fresh(service_account="a/b"), {}, Reason.INVALID_REQUEST, "", id="account name that is no name"
    ),
    pytest.param(
        fresh(),
        {"now": NOW + 72 * HOUR},
        Reason.INVALID_REQUEST,
        "the next one needs a new key",
        id="too old",
    ),
    pytest.param(fresh(ttl="73h"), {}, Reason.INVALID_REQUEST, "spec.leaf.maxTTL of 72h", id="ttl too long"),
    pytest.param(fresh(ttl="59m"), {}, Reason.INVALID_REQUEST, "below the minimum 1h", id="ttl too short"),
    pytest.param(fresh(ttl="soon"), {}, Reason.INVALID_REQUEST, "is no duration", id="ttl is nothing"),
    pytest.param(
        fresh(ttl="soon", automatic=True), {}, Reason.INVALID_REQUEST, "is no duration", id="same, Automatic"
    ),
    pytest.param(
        MANAGED,
        {"managed_allowed": False},
        Reason.MANAGED_KEYS_NOT_ALLOWED,
        "managedKeys.namespaces",
        id="managed keys not allowed",
    ),
    pytest.param(
        fresh(secret_name="meshca-x"), {}, Reason.INVALID_REQUEST, "are reserved", id="reserved Secret name"
    ),
    pytest.param(
        MANAGED,
        {"secret": secret(MANAGED, owner_uid="somebody")},
        Reason.SECRET_CONFLICT,
        "left untouched",
        id="foreign Secret",
    ),
    pytest.param(
        MANAGED,
        {"older_claim": "first"},
        Reason.SECRET_CONFLICT,
        "claimed by the request 'first'",
        id="older",
    ),
    pytest.param(
        fresh(secret_name="s", key_algorithm="ECDSA", key_size=224),
        {},
        Reason.INVALID_REQUEST,
        "ECDSA 224",
        id="weak managed key",
    ),
    pytest.param(
        fresh(secret_name="s", key_algorithm="DSA"), {}, Reason.INVALID_REQUEST, "DSA", id="unknown algorithm"
    ),
    pytest.param(fresh(request="-----"), {}, Reason.INVALID_REQUEST, "certificate request", id="no CSR"),
    pytest.param(
        csr(pki.uri(ACCOUNT), pki.uri(ACCOUNT)), {}, Reason.INVALID_REQUEST, "2 URI names", id="142 two URIs"
    ),
    pytest.param(
        csr(x509.RFC822Name("a@example.org")), {}, Reason.INVALID_REQUEST, "e-mail", id="142 e-mail"
    ),
    pytest.param(
        csr(pki.uri("https://example.org/ns/shop/sa/web")),
        {},
        Reason.DENIED,
        "this ServiceAccount's identity is",
        id="142 no SPIFFE ID",
    ),
    pytest.param(
        csr(pki.uri("spiffe://example.org/agent/web")), {}, Reason.DENIED, ACCOUNT, id="142 other path"
    ),
    pytest.param(
        csr(pki.uri("spiffe://other.org/ns/shop/sa/web")),
        {},
        Reason.DENIED,
        "spiffe://other.org/ns/shop/sa/web",
        id="144 other trust domain",
    ),
    pytest.param(
        csr(pki.uri("spiffe://example.org/ns/shop/sa/root")), {}, Reason.DENIED, "'spiffe", id="other account"
    ),
    pytest.param(csr(x509.DNSName("web.shop.svc")), {}, Reason.DENIED, "DNS name", id="DNS name"),
    pytest.param(
        fresh(dns_names=("bad name",)), {}, Reason.INVALID_REQUEST, "bad name", id="no DNS name at all"
    ),
    pytest.param(
        fresh(ip_addresses=("10.0.0.1",)), {}, Reason.DENIED, "IP address 10.0.0.1", id="IP address"
    ),
    pytest.param(fresh(ip_addresses=("ten",)), {}, Reason.INVALID_REQUEST, "ten", id="no IP address at all"),
    pytest.param(
        fresh(),
        {"authority": authority(signer_not_after=NOW + 7 * HOUR)},
        Reason.SIGNER_NOT_READY,
        "too soon for a certificate of 72h",
        id="219 signer too short",
    ),
    pytest.param(
        fresh(),
        {"authority": authority(signer_not_after=NOW - HOUR)},
        Reason.SIGNER_NOT_READY,
        "too soon",
        id="145 signer expired",
    ),
]


@pytest.mark.parametrize(("view", "around", "reason", "words"), ROWS)
def test_refusal_has_a_reason_and_says_what_to_do(
    view: LeafView, around: dict[str, Any], reason: str, words: str
) -> None:
    said = report(view, **around)
    assert said.reason == reason
    assert words in said.message


@pytest.mark.parametrize(("view", "around", "reason", "words"), ROWS)
def test_refusal_says_the_same_later_so_that_nothing_is_written_twice(
    view: LeafView, around: dict[str, Any], reason: str, words: str
) -> None:
    del reason, words
    first = report(view, **around)
    later = {"now": around.get("now", NOW) + 61 * MINUTE}
    if first.reason not in TERMINAL:
        assert report(view, **(around | later)).message == first.message


ORDER: list[tuple[dict[str, Any], str]] = [
    ({"operator_namespace": "shop"}, Reason.DENIED),
    ({"admission": OUT_OF_FORCE}, Reason.SIGNER_NOT_READY),
    ({"admission": Admission(in_force=True, since=NOW)}, Reason.POLICY_GAP),
    ({"authority": authority(**SELECTIVE)}, Reason.DENIED),
    ({"managed_allowed": False}, Reason.MANAGED_KEYS_NOT_ALLOWED),
    ({"older_claim": "first"}, Reason.SECRET_CONFLICT),
    ({"account_exists": False}, Reason.PENDING),
]


@pytest.mark.parametrize("first", range(len(ORDER)))
def test_of_several_reasons_the_first_in_order_is_told(first: int) -> None:
    around: dict[str, Any] = {}
    for changes, _ in reversed(ORDER[first:]):
        around |= changes
    assert report(MANAGED, **around).reason == ORDER[first][1]


@pytest.mark.parametrize(
    ("created", "since", "granted"),
    [
        pytest.param(NOW, NOW - POLICY_SETTLES, True, id="exactly 30 s"),
        pytest.param(NOW, NOW - POLICY_SETTLES + MINUTE / 60, False, id="29 s"),
        pytest.param(NOW - HOUR, NOW - MINUTE, False, id="older than the policy"),
    ],
)
def test_request_must_be_younger_than_the_policy(created: Any, since: Any, granted: bool) -> None:
    admission = Admission(in_force=True, since=since)
    plan = plan_leaf(snapshot(fresh(created=created), admission=admission))
    assert (plan.issue is not None) == granted


def test_219_leaf_is_granted_while_a_tenth_of_its_life_fits_the_signer() -> None:
    short = authority(signer_not_after=NOW + 7.2 * HOUR)
    assert plan_leaf(snapshot(fresh(), authority=short)).issue is not None


def test_automatic_request_is_never_too_old() -> None:
    old = fresh(automatic=True)
    assert plan_leaf(snapshot(old, now=NOW + 900 * HOUR)).issue is not None


def test_own_secret_wins_over_a_claim_made_in_the_same_second() -> None:
    found = snapshot(MANAGED, older_claim="first", secret=secret(MANAGED))
    assert plan_leaf(found).issue is not None


def test_names_that_policy_gives_are_granted_once_each() -> None:
    asked = replace(
        csr(x509.DNSName("web.shop.svc"), pki.uri(ACCOUNT)),
        spec=replace(
            fresh().spec,
            request=pki.request(None, x509.DNSName("WEB.shop.svc"), pki.uri(ACCOUNT)),
            dns_names=("web.shop.svc",),
            ip_addresses=("10.1.2.3", "10.1.2.3"),
        ),
    )
    plan = plan_leaf(snapshot(asked, authority=authority(**NAMED)))
    assert plan.issue is not None
    assert plan.issue.names.dns_names == ("web.shop.svc",)
    assert [str(ip) for ip in plan.issue.names.ip_addresses] == ["10.1.2.3"]


def test_other_cluster_is_another_identity_when_the_template_says_so() -> None:
    template: dict[str, Any] = {
        "identity": {"pathTemplate": "/ns/{namespace}/dc/{clusterName}/svc/{serviceAccount}"}
    }
    east = authority(clusterName="east", **template)
    asked = csr(pki.uri("spiffe://example.org/ns/shop/dc/west/svc/web"))
    assert report(asked, authority=east).reason == Reason.DENIED
    right = csr(pki.uri("spiffe://example.org/ns/shop/dc/east/svc/web"))
    assert plan_leaf(snapshot(right, authority=east)).issue is not None
