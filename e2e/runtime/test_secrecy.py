"""226: no private key anywhere but in Secrets, whatever went wrong on the way."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from e2e import roots, scenario, secrecy, workload
from e2e.client import path_of
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from e2e.cluster import Cluster
    from e2e.installation import Installation
    from e2e.witness import Witness

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]


def in_secrets(cluster: Cluster, namespace: str, *authorities: str) -> list[bytes]:
    """Return the keys of what is in Secrets now, of the requests in a namespace and of CAs.

    Others' Secrets are left out: scenarios tamper with theirs, and leave them so for a while.
    """
    secrets = cluster.request("GET", path_of(names.SECRET, namespace))["items"]
    theirs = {"labelSelector": f"{names.LABEL_CONFIGURATION} in ({','.join(authorities)})"}
    secrets += cluster.request("GET", path_of(names.SECRET, scenario.SYSTEM), query=theirs)["items"]
    return [
        workload.secret_entry(secret, "tls.key")
        for secret in secrets
        if secret["type"] == "kubernetes.io/tls" and "tls.key" in secret.get("data", {})
    ]


def test_keys_are_in_secrets_and_nowhere_else(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON], witnesses: Mapping[str, Witness]
) -> None:
    """CA keys and managed keys of three kinds; and the user's own, given in every wrong way."""
    cluster = installed.cluster
    for number, key in enumerate(({"algorithm": "Ed25519"}, {"algorithm": "RSA", "size": 2048}, {})):
        spec: JSON = {"secretName": f"kept-{number}"} | ({"privateKey": key} if key else {})
        workload.create(cluster, workload.leaf(namespace, f"kept-{number}", **spec))
        workload.wait_reason(cluster, namespace, f"kept-{number}", "Issued")
    made = make_ca()["metadata"]["name"]
    certificate, key = roots.root()
    inner = b"\n".join(key.splitlines()[1:-1])
    body = scenario.configuration(namespace, provider={"builtin": {"rootSecretName": f"{namespace}-mine"}})
    certificates_only, no_key = "a private key where only CERTIFICATE", "root key: the private key is not one"
    # In an order in which each text differs from the one before.
    mistakes = [
        ((key, key), certificates_only),
        ((certificate, inner), no_key),
        ((certificate + key, key), certificates_only),
        ((certificate, key.replace(b"PRIVATE", b"SECRET")), no_key),
        ((roots.root()[0], key), "it does not belong"),
    ]
    cluster.request(
        "POST", path_of(names.SECRET, scenario.SYSTEM), {"metadata": {"name": f"{namespace}-mine"}}
    )
    cluster.apply(body)
    try:
        for pair, says in mistakes:
            where = scenario.secret_path(f"{namespace}-mine")
            cluster.request("PATCH", where, {"data": roots.data(*pair)})
            scenario.wait_ca(cluster, body["metadata"]["name"], "InvalidConfiguration", says=says)
        tampered = {"tls.key": base64.b64encode(inner).decode()}
        kept = scenario.secret_path("kept-2", namespace)
        cluster.request("PATCH", kept, {"data": tampered})
        answer = cluster.exchange(
            "POST", workload.path(namespace), workload.leaf(namespace, "leaked", request=key.decode())
        )
        assert answer.status == 422
        assert inner.decode()[:30] not in answer.text
        scenario.issue(cluster, namespace, "last", made)
        scenario.wait_other(cluster, kept, lambda item: item["data"]["tls.key"] != tampered["tls.key"])
        heard = witnesses["e2e"]
        heard.hear_out(installed.operator)
        known = in_secrets(cluster, namespace, "default", made)
        assert len(known) >= 7, "three leaves, two CAs"
        assert heard.keys() >= {*known, key}
        assert heard.leaks() == []
    finally:
        cluster.request("DELETE", scenario.path(body["metadata"]["name"]))


def test_not_even_the_most_talkative_log_holds_a_key(
    disturbed: Installation, room: str, witnesses: Mapping[str, Witness]
) -> None:
    """This installation logs at debug, libraries included."""
    cluster = disturbed.cluster
    workload.create(cluster, workload.leaf("keys", room, secretName=f"{room}-tls"))
    workload.wait_reason(cluster, "keys", room, "Issued")
    operator = disturbed.operator
    assert any(line["level"] == "debug" for name in operator.replicas for line in operator.logs(name))
    tokens = [
        json.dumps(line) for name in operator.replicas for line in operator.logs(name) if "eyJ" in str(line)
    ]
    assert tokens == []
    witnesses["disturbed"].hear_out(operator)
    assert witnesses["disturbed"].leaks() == []


def test_226_what_is_searched_after_the_whole_run_would_tell_a_key_from_wherever_it_was_said(
    disturbed: Installation, room: str, witnesses: Mapping[str, Witness]
) -> None:
    """A key that nobody else knows is said on purpose: in names, and in objects that are gone by then."""
    cluster, heard = disturbed.cluster, witnesses["disturbed"]
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    said = secrecy.private_bytes(pem).hex()
    for _ in range(2):
        # The second time it is refused, in words that hold the name.
        body = workload.leaf(room, said, request=workload.csr().pem)
        assert cluster.exchange("POST", workload.path(room), body).status in {201, 409}
    workload.wait_reason(cluster, room, said, "Issued")
    cluster.request("DELETE", workload.path(room, said))
    config_map = {"metadata": {"name": "brief"}, "data": {"a": base64.b64encode(pem).decode()}}
    where = path_of(names.CONFIG_MAP, room)
    cluster.request("POST", where, config_map)
    cluster.request("DELETE", f"{where}/brief")
    event = {
        "metadata": {"name": "told", "namespace": room},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "somebody",
        "reportingInstance": "somewhere",
        "action": "Telling",
        "reason": "Told",
        "type": "Normal",
        "regarding": {"kind": "ConfigMap", "name": "brief", "namespace": room},
        # Without its first and last line, which alone would be enough.
        "note": "\n".join(pem.decode().splitlines()[1:-1]),
    }
    cluster.request("POST", path_of(names.EVENT, room), event)

    assert heard.leaks() == [], "it is nobody's key as far as anybody else knows"
    places = heard.leaks(pem)
    for part in ("leafcertificaterequests", "configmaps", f"events: {room}/told", "operator", "an answer"):
        assert any(part in place for place in places), (part, places)
    assert said not in str(places), "the report is no leak of its own"
