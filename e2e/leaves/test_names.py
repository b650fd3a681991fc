"""Which names a leaf gets: what the account has and the configuration allows, never what a CSR wishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from e2e import scenario, workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
IDENTITY: JSON = {
    "dnsNames": ["{serviceAccount}.{namespace}.svc", "*.{namespace}.example"],
    "ipAddresses": ["10.0.0.0/8", "fd00::/8"],
}
OWN = "spiffe://e2e.example/ns/{namespace}/sa/default"


def names_of(body: JSON) -> tuple[list[str], list[str]]:
    """Return DNS names and addresses of an issued leaf."""
    leaf = workload.certificates(body["status"]["certificateChain"])[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return names.get_values_for_type(x509.DNSName), addresses


@pytest.mark.parametrize(
    ("names", "reason", "says"),
    [
        pytest.param(
            ({"uris": ["spiffe://e2e.example/ns/{namespace}/sa/payment"]}, {}),
            "Denied",
            ["e2e.example/ns/{namespace}/sa/payment", "identity is '" + OWN],
            id="142-another-account",
        ),
        pytest.param(
            ({"uris": ["spiffe://e2e.example/ns/kube-system/sa/default"]}, {}),
            "Denied",
            ["/ns/kube-system/sa/default", OWN],
            id="142-another-namespace",
        ),
        pytest.param(
            ({"uris": ["spiffe://other.example/ns/{namespace}/sa/default"]}, {}),
            "Denied",
            ["spiffe://other.example/", OWN],
            id="144-other-trust-domain",
        ),
        pytest.param(
            ({"uris": [OWN, "spiffe://e2e.example/ns/{namespace}/sa/payment"]}, {}),
            "InvalidRequest",
            ["2 URI names", "exactly one"],
            id="142-two-uris",
        ),
        pytest.param(({"emails": ["a@b.example"]}, {}), "InvalidRequest", ["mail"], id="142-e-mail"),
        pytest.param(
            ({"dns_names": ["default.{namespace}.svc"]}, {}),
            "Denied",
            ["'default.{namespace}.svc' is not allowed by spec.identity.dnsNames"],
            id="220-dns-in-csr",
        ),
        pytest.param(
            ({}, {"dnsNames": ["default.{namespace}.svc"]}),
            "Denied",
            ["'default.{namespace}.svc' is not allowed by spec.identity.dnsNames"],
            id="220-dns-in-spec",
        ),
        pytest.param(
            ({"addresses": ["10.1.2.3"]}, {}),
            "Denied",
            ["IP address 10.1.2.3 is not allowed by spec.identity.ipAddresses"],
            id="220-ip-in-csr",
        ),
        pytest.param(
            ({}, {"ttl": "100h"}),
            "InvalidRequest",
            ["spec.ttl is 100h", "above", "spec.leaf.maxTTL of 72h"],
            id="ttl-above-the-bound",
        ),
    ],
)
def test_what_is_not_the_accounts_is_refused_and_the_text_says_what_and_why(
    installed: Installation, namespace: str, names: tuple[JSON, JSON], reason: str, says: list[str]
) -> None:
    """``names`` are those asked for in the CSR and those asked for in the spec."""
    cluster = installed.cluster

    def placed(values: JSON) -> JSON:
        return {
            key: [v.format(namespace=namespace) for v in value] if isinstance(value, list) else value
            for key, value in values.items()
        }

    in_csr, in_spec = map(placed, names)
    request = workload.csr(**in_csr).pem
    workload.create(cluster, workload.leaf(namespace, "web", request=request, **in_spec))
    refused = workload.wait_reason(cluster, namespace, "web", reason)
    for text in says:
        assert text.format(namespace=namespace) in workload.ready_message(refused)
    assert refused["status"]["state"] == "Failed"
    assert "certificateChain" not in refused["status"]


def test_names_that_the_configuration_allows_are_in_the_leaf(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    made = make_ca(identity=IDENTITY)
    name, domain = made["metadata"]["name"], made["spec"]["trustDomain"]
    request = workload.csr(
        uris=[f"spiffe://{domain}/ns/{namespace}/sa/default"],
        dns_names=[f"default.{namespace}.svc", f"any.{namespace}.example"],
        addresses=["10.1.2.3", "fd00::1"],
    )
    asked = {"caConfigurationName": name, "request": request.pem}
    allowed = scenario.issue(cluster, namespace, "csr", name, **asked)
    assert names_of(allowed) == (
        [f"default.{namespace}.svc", f"any.{namespace}.example"],
        ["10.1.2.3", "fd00::1"],
    )
    kept = scenario.issue(
        cluster,
        namespace,
        "kept",
        name,
        secretName="kept-tls",
        dnsNames=[f"any.{namespace}.example"],
        ipAddresses=["10.9.9.9"],
    )
    assert names_of(kept) == ([f"any.{namespace}.example"], ["10.9.9.9"])
    for number, outside in enumerate((f"payment.{namespace}.svc", f"a.b.{namespace}.example", "any.example")):
        asked["request"] = workload.csr(dns_names=[outside]).pem
        workload.create(cluster, workload.leaf(namespace, f"out-{number}", **asked))
        refused = workload.wait_reason(cluster, namespace, f"out-{number}", "Denied")
        assert f"'{outside}' is not allowed" in workload.ready_message(refused)


def test_only_selected_namespaces_are_served(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    made = make_ca(identity={"namespaceSelector": {"matchLabels": {"mesh": "yes"}}})
    name = made["metadata"]["name"]
    asked = {"caConfigurationName": name, "request": workload.csr().pem}
    workload.create(cluster, workload.leaf(namespace, "outside", **asked))
    refused = workload.wait_reason(cluster, namespace, "outside", "Denied")
    assert f"namespace '{namespace}' is not selected" in workload.ready_message(refused)
    assert f"namespaceSelector of CAConfiguration '{name}'" in workload.ready_message(refused)

    cluster.request("PATCH", f"/api/v1/namespaces/{namespace}", {"metadata": {"labels": {"mesh": "yes"}}})
    scenario.issue(cluster, namespace, "inside", name)


def test_the_path_template_decides_the_identity(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    template = "/ns/{namespace}/dc/{clusterName}/svc/{serviceAccount}"
    made = make_ca(identity={"pathTemplate": template}, clusterName="dc-1")
    issued = scenario.issue(installed.cluster, namespace, "web", made["metadata"]["name"])
    domain = made["spec"]["trustDomain"]
    assert issued["status"]["spiffeID"] == f"spiffe://{domain}/ns/{namespace}/dc/dc-1/svc/default"


def test_a_holder_cannot_widen_what_was_granted(installed: Installation, namespace: str) -> None:
    """What a request names is settled when it is created: nobody edits it or writes its status."""
    cluster = installed.cluster
    workload.create(cluster, workload.leaf(namespace, "web", request=workload.csr().pem))
    issued = workload.wait_reason(cluster, namespace, "web", "Issued")
    where = workload.path(namespace, "web")
    edited = cluster.client().exchange("PATCH", where, {"spec": {"serviceAccountName": "payment"}})
    assert (edited.status, "immutable" in edited.body["message"]) == (422, True)
    forged = cluster.client().exchange("PATCH", f"{where}/status", {"status": {"spiffeID": "spiffe://x/y"}})
    assert (forged.status, "written by the meshca operator only" in forged.body["message"]) == (403, True)
    assert cluster.request("GET", where)["status"] == issued["status"]
