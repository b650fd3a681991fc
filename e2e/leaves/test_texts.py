"""What a person sees of a request that is not issued: a reason in the table, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from e2e import scenario, workload

if TYPE_CHECKING:
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
NAMES = " as alternative names"
AGAIN = "; delete this request and make one that can be granted"


def requests(namespace: str, unready: str) -> list[tuple[JSON, str, str]]:
    """Return requests, each with the reason it gets and the words that say what to do."""
    csr, denied = workload.csr().pem, workload.csr(dns_names=["not.allowed"]).pem
    mail = workload.csr(emails=["a@b.example"]).pem

    def ask(name: str, **spec: Any) -> JSON:
        return workload.leaf(namespace, name, **spec)

    return [
        (ask("a-fine", request=csr), "Issued", "the certificate is issued"),
        (ask("b-account", request=csr, account="later"), "Pending", "create it and the certificate follows"),
        (ask("c-name", request=denied), "Denied", f"identity.dnsNames of CAConfiguration 'default'{AGAIN}"),
        (ask("d-mail", request=mail), "InvalidRequest", f"e-mail addresses are not allowed{NAMES}{AGAIN}"),
        (ask("e-ttl", request=csr, ttl="73h"), "InvalidRequest", f"spec.leaf.maxTTL of 72h{AGAIN}"),
        (
            ask("f-ca", request=csr, caConfigurationName="nowhere"),
            "ConfigurationNotFound",
            "create it or name",
        ),
        (ask("g-ca", request=csr, caConfigurationName=unready), "SignerNotReady", "create it"),
        (ask("h-keys", secretName="h-tls"), "ManagedKeysNotAllowed", "managedKeys.namespaces, or send a CSR"),
    ]


def test_each_reason_is_in_the_table_and_the_message_says_what_to_do(
    disturbed: Installation, room: str
) -> None:
    cluster = disturbed.cluster
    unready = scenario.configuration(room, provider={"builtin": {"rootSecretName": "forgotten"}})
    name = unready["metadata"]["name"]
    cluster.apply(unready)
    scenario.wait_ca(cluster, name, "InvalidConfiguration", says="'forgotten'")
    rows = requests(room, name)
    theirs = {"metadata": {"name": f"{room}-theirs"}, "stringData": {"password": "x"}}
    cluster.request("POST", "/api/v1/namespaces/keys/secrets", theirs)
    workload.create(cluster, workload.leaf("keys", room, secretName=f"{room}-theirs"))
    for body, *_ in rows:
        workload.create(cluster, body)
    for body, reason, _ in rows:
        workload.wait_reason(cluster, room, body["metadata"]["name"], reason)
    workload.wait_reason(cluster, "keys", room, "SecretConflict")

    table = cluster.kubectl("get", "lcr", "--namespace", room, "--no-headers").stdout.splitlines()
    shown = [line.split()[:3] for line in table]
    wanted = [[body["metadata"]["name"], str(reason == "Issued"), reason] for body, reason, _ in rows]
    assert shown == wanted
    described = cluster.kubectl("describe", "lcr", "--namespace", room).stdout
    for _, _, words in rows:
        assert words in described
    conflict = cluster.kubectl("describe", "lcr", room, "--namespace", "keys").stdout
    assert "left untouched: delete it or choose another spec.secretName" in conflict
    cluster.request("DELETE", scenario.path(name))
    cluster.request("DELETE", workload.path("keys", room))
