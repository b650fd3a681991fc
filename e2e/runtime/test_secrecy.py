"""226: no private key anywhere but in Secrets, whatever went wrong on the way."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from e2e import roots, scenario, workload
from e2e.client import path_of
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
KINDS = (
    *names.OWN_RESOURCES,
    names.CONFIG_MAP,
    names.EVENT,
    names.CLUSTER_TRUST_BUNDLE,
    names.LEASE,
)


def private_bytes(pem: bytes) -> bytes:
    """Return what only the holder of a key knows, as it stands in its DER."""
    key = load_pem_private_key(pem, None)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8, "big")
    if isinstance(key, rsa.RSAPrivateKey):
        return key.private_numbers().q.to_bytes(key.key_size // 16, "big")
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return key.private_bytes_raw()


def in_base64(secret: bytes) -> list[str]:
    """Return how a part of some bytes reads in base64, wherever in a text it begins."""
    return [base64.b64encode(secret[shift : shift + 18]).decode() for shift in range(3)]


def needles(pem: bytes) -> set[str]:
    """Return what would give a key away: its number in decimal, hex and base64, and that base64 again."""
    secret = private_bytes(pem)
    once = in_base64(secret)
    assert any(needle in flat(pem.decode()) for needle in once), "or nothing would ever be found"
    twice = [again for needle in once for again in in_base64(needle.encode())]
    return {secret.hex(), str(int.from_bytes(secret, "big")), *once, *twice}


def flat(text: str) -> str:
    """Return a text without line breaks, as they are or escaped."""
    return re.sub(r"\\n|\s", "", text)


def said(made: Installation) -> dict[str, str]:
    """Return everything that anybody can read who cannot read Secrets."""
    cluster, operator = made.cluster, made.operator
    texts = {}
    for replica in operator.replicas:
        texts[f"log of {replica}"] = json.dumps(operator.logs(replica), ensure_ascii=False)
        texts[f"metrics of {replica}"] = operator.get(replica, "/metrics")[1]
    for kind in filter(lambda kind: scenario.serves(cluster, kind), KINDS):
        items = cluster.request("GET", path_of(kind))["items"]
        texts[kind.plural] = json.dumps(items, ensure_ascii=False)
    return texts


def keys(cluster: Cluster) -> list[bytes]:
    secrets = cluster.request("GET", path_of(names.SECRET))["items"]
    return [
        workload.secret_entry(secret, "tls.key")
        for secret in secrets
        if secret["type"] == "kubernetes.io/tls" and "tls.key" in secret.get("data", {})
    ]


def search(made: Installation, known: list[bytes]) -> None:
    wanted = {needle for pem in known for needle in needles(pem)}
    for where, text in said(made).items():
        assert "PRIVATE KEY-----" not in text, where
        assert not [needle for needle in wanted if needle in flat(text)], f"{where} holds a part of a key"


def test_keys_are_in_secrets_and_nowhere_else(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
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
        tampered = {"data": {"tls.key": base64.b64encode(inner).decode()}}
        cluster.request("PATCH", scenario.secret_path("kept-2", namespace), tampered)
        answer = cluster.exchange(
            "POST", workload.path(namespace), workload.leaf(namespace, "leaked", request=key.decode())
        )
        assert answer.status == 422
        assert inner.decode()[:30] not in answer.text
        scenario.issue(cluster, namespace, "last", made)
        known = keys(cluster)
        assert len(known) >= 7, "three leaves, two CAs"
        search(installed, [*known, key])
    finally:
        cluster.request("DELETE", scenario.path(body["metadata"]["name"]))


def test_not_even_the_most_talkative_log_holds_a_key(disturbed: Installation, room: str) -> None:
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
    search(disturbed, keys(cluster))
