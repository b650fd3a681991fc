"""Secrets tampered with, of CAs and of requests: it is said, healed or survived, and nobody ends over it."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from e2e import roots, scenario, workload
from tests.fakes.pki import rfc8410_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
STRANGER = roots.root()


def encode(text: bytes) -> str:
    return base64.b64encode(text).decode()


TAMPERED: dict[str, JSON] = {
    "a key that does not match": {"tls.key": encode(STRANGER[1])},
    "garbage for a key": {"tls.key": encode(b"\x00\xff no key")},
    "an empty key": {"tls.key": ""},
    "another's pair": {"tls.crt": encode(STRANGER[0]), "tls.key": encode(STRANGER[1])},
    "garbage for a certificate": {"tls.crt": encode(b"-----BEGIN CERTIFICATE-----\nAA\n")},
    "an empty certificate": {"tls.crt": ""},
    "the key where the certificate belongs": {"tls.crt": encode(STRANGER[1])},
    "a megabyte": {"tls.crt": encode(b"x" * 700_000)},
}


@pytest.fixture(autouse=True)
def unharmed(installed: Installation) -> Iterator[None]:
    """See that no replica ended over it."""
    operator = installed.operator
    if installed.cluster.has_nodes:
        pytest.skip("the operator runs in Pods here")
    exits = {name: operator.exits(name) for name in operator.replicas}  # type: ignore[attr-defined]
    yield
    assert {name: operator.exits(name) for name in operator.replicas} == exits  # type: ignore[attr-defined]


def put(cluster: Cluster, where: str, data: JSON) -> None:
    cluster.request("PATCH", where, {"data": data}, identity=scenario.medic(cluster))


def test_a_root_secret_tampered_with_stops_no_leaf_and_is_never_replaced(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    """Each time it is said which Secret it is; signing goes on; put back, all is as before."""
    cluster = installed.cluster
    made = make_ca()
    name = made["metadata"]["name"]
    before = scenario.authority(cluster, name)
    root = scenario.key_secret(cluster, name, "root")
    where = scenario.secret_path(root["metadata"]["name"])
    for number, (what, data) in enumerate(TAMPERED.items()):
        put(cluster, where, data)
        said = scenario.wait_ca(cluster, name, "RootKeyMissing", says=root["metadata"]["name"])
        assert said["status"]["activeRoot"] == made["status"]["activeRoot"], what
        assert said["status"]["bundle"]["digest"] == made["status"]["bundle"]["digest"], what
        scenario.issue(cluster, namespace, f"leaf-{number}", name)
        put(cluster, where, root["data"])
        scenario.wait_ca(cluster, name, "Initialised")
    assert scenario.authority(cluster, name) == before


@pytest.mark.parametrize("half", [0, 1])
def test_a_signer_secret_tampered_with_is_made_anew_under_the_same_root(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON], half: int
) -> None:
    """In halves, because what is undone more often than four times a minute is left alone for a while."""
    cluster = installed.cluster
    made = make_ca()
    name, active = made["metadata"]["name"], made["status"]["activeRoot"]
    first = scenario.issue(cluster, namespace, "first", name, renewal="Automatic")
    for number, (what, data) in enumerate(list(TAMPERED.items())[half::2]):
        secret = scenario.key_secret(cluster, name, "signer")
        put(cluster, scenario.secret_path(secret["metadata"]["name"]), data)
        old = secret["metadata"]["name"]
        scenario.wait_gone(cluster, scenario.secret_path(old))
        signer = scenario.key_secret(cluster, name, "signer")
        key = load_pem_private_key(workload.secret_entry(signer, "tls.key"), None)
        (certificate,) = workload.certificates(workload.secret_entry(signer, "tls.crt").decode())
        assert certificate.public_key() == key.public_key(), what
        scenario.issue(cluster, namespace, f"leaf-{number}", name)
    assert list(scenario.authority(cluster, name).roots) == [active]
    assert cluster.request("GET", scenario.path(name))["status"]["activeRoot"] == active
    after = cluster.request("GET", workload.path(namespace, "first"))
    assert after["status"]["certificateChain"] == first["status"]["certificateChain"], "it is good still"
    roots_now = scenario.bundle(cluster, namespace, made["spec"]["trustBundle"]["configMapName"])
    assert workload.openssl_verify(after["status"]["certificateChain"], roots_now) == ""


def test_a_managed_secret_tampered_with_is_made_anew_or_left_to_who_took_it(
    installed: Installation, namespace: str
) -> None:
    """All at once, for the operator repairs each one by itself."""
    cluster = installed.cluster
    tampered = TAMPERED | {
        "a key of a wrong length": {"tls.key": encode(rfc8410_key(112, b"x" * 31))},
        "no roots": {"ca.crt": ""},
        "another's roots": {"ca.crt": encode(STRANGER[0])},
    }
    places = {f"web-{number}": what for number, what in enumerate(tampered)}
    for name in places:
        workload.create(cluster, workload.leaf(namespace, name, secretName=f"{name}-tls"))
    for name in places:
        workload.wait_reason(cluster, namespace, name, "Issued")
    put(cluster, scenario.secret_path("web-0-tls", namespace), {"of-the-user": encode(b"kept")})
    for name, what in places.items():
        put(cluster, scenario.secret_path(f"{name}-tls", namespace), tampered[what])
    trusted = scenario.bundle(cluster, namespace)

    def sound(secret: JSON) -> bool:
        data = {entry: base64.b64decode(text) for entry, text in secret["data"].items()}
        try:
            key = load_pem_private_key(data["tls.key"], None)
            leaf = workload.certificates(data["tls.crt"].decode())[0]
        except (KeyError, ValueError):
            return False
        return leaf.public_key() == key.public_key() and data["ca.crt"].decode() == trusted

    for name, what in places.items():
        where = scenario.secret_path(f"{name}-tls", namespace)
        secret = scenario.wait_other(cluster, where, sound)
        chain = workload.secret_entry(secret, "tls.crt").decode()
        assert workload.openssl_verify(chain, trusted) == "", what
        scenario.wait_other(
            cluster,
            workload.path(namespace, name),
            lambda item, chain=chain: item["status"]["certificateChain"] == chain,  # type: ignore[misc]
        )
    kept = cluster.request("GET", scenario.secret_path("web-0-tls", namespace))
    assert workload.secret_entry(kept, "of-the-user") == b"kept"

    where = scenario.secret_path("web-1-tls", namespace)
    cluster.request("PATCH", where, {"metadata": {"ownerReferences": None}, "data": TAMPERED["an empty key"]})
    refused = workload.wait_reason(cluster, namespace, "web-1", "SecretConflict")
    assert "choose another spec.secretName" in workload.ready_message(refused)
    assert cluster.request("GET", where)["data"]["tls.key"] == ""
