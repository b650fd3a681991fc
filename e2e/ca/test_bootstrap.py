"""A first CA: what is made, under which names, for every kind of key; and nothing made twice."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from e2e import scenario, workload
from e2e.client import path_of
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]


def fingerprint(pem: str) -> str:
    (certificate,) = workload.certificates(pem)
    return certificate.fingerprint(hashes.SHA256()).hex()


def test_030_a_first_root_and_its_signer_are_made_and_named_after_what_they_are(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    made = make_ca()
    name, status = made["metadata"]["name"], made["status"]
    found = scenario.authority(cluster, name)
    ((root_name, (_, pem)),) = found.roots.items()
    assert root_name == f"{name}-{fingerprint(pem)[:10]}" == status["activeRoot"]
    root = workload.certificates(pem)[0]
    assert root.subject == root.issuer
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length is None
    assert status["bundle"]["roots"] == [fingerprint(pem)]
    assert status["bundle"]["digest"] == hashlib.sha256(root.public_bytes(Encoding.DER)).hexdigest()

    body = cluster.request("GET", path_of(names.CA_ROOT, name=root_name))
    assert body["status"]["state"] == "Active"
    assert body["status"]["fingerprint"] == fingerprint(pem)
    assert body["spec"]["source"] == "Generated"
    assert "ownerReferences" not in body["metadata"], "deleting the configuration must not delete its keys"

    secret = scenario.key_secret(cluster, name, "signer")
    signer = x509.load_pem_x509_certificate(workload.secret_entry(secret, "tls.crt"))
    key_id = signer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()
    assert secret["metadata"]["name"] == f"meshca-signer-{name}-{key_id[:10]}"
    assert status["signer"]["subjectKeyID"] == key_id
    assert signer.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert scenario.bundle(cluster, namespace, made["spec"]["trustBundle"]["configMapName"]) == pem


def test_030_without_a_trust_domain_the_uid_makes_one_that_leaves_carry(
    installed: Installation, namespace: str, make_ca: Callable[..., JSON]
) -> None:
    cluster = installed.cluster
    made = make_ca(trustDomain=None)
    domain = f"{made['metadata']['uid']}.meshca.local"
    assert made["status"]["trustDomain"] == domain
    asked = workload.leaf(
        namespace, "web", caConfigurationName=made["metadata"]["name"], request=workload.csr().pem
    )
    workload.create(cluster, asked)
    issued = workload.wait_reason(cluster, namespace, "web", "Issued")
    assert issued["status"]["spiffeID"] == f"spiffe://{domain}/ns/{namespace}/sa/default"


def is_p224(key: object) -> bool:
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp224r1"


def is_p384(key: object) -> bool:
    return isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp384r1"


def is_rsa2048(key: object) -> bool:
    return isinstance(key, rsa.RSAPublicKey) and key.key_size == 2048


def is_ed25519(key: object) -> bool:
    return isinstance(key, ed25519.Ed25519PublicKey)


@pytest.mark.parametrize(
    ("wanted", "is_it"),
    [
        pytest.param({"algorithm": "ECDSA", "size": 224}, is_p224, id="036-ecdsa-224"),
        pytest.param({"algorithm": "ECDSA", "size": 384}, is_p384, id="036-ecdsa-384"),
        pytest.param({"algorithm": "RSA", "size": 2048}, is_rsa2048, id="036-rsa-2048"),
        pytest.param({"algorithm": "Ed25519"}, is_ed25519, id="036-ed25519"),
    ],
)
def test_root_and_signer_have_the_key_asked_for_and_leaves_verify(
    installed: Installation,
    namespace: str,
    make_ca: Callable[..., JSON],
    wanted: JSON,
    is_it: Callable[[object], bool],
) -> None:
    cluster = installed.cluster
    made = make_ca(privateKey=wanted)
    name, bundle_name = made["metadata"]["name"], made["spec"]["trustBundle"]["configMapName"]
    asked = {"caConfigurationName": name}
    workload.create(cluster, workload.leaf(namespace, "csr", request=workload.csr().pem, **asked))
    workload.create(cluster, workload.leaf(namespace, "kept", secretName="kept-tls", **asked))
    roots = scenario.bundle(cluster, namespace, bundle_name)
    for leaf in ("csr", "kept"):
        issued = workload.wait_reason(cluster, namespace, leaf, "Issued")
        chain = issued["status"]["certificateChain"]
        assert is_it(workload.certificates(chain)[1].public_key())
        assert workload.openssl_verify(chain, roots) == ""
    assert is_it(workload.certificates(roots)[0].public_key())


def test_032_what_leaves_the_desired_root_as_it_is_makes_no_certificate(
    installed: Installation, make_ca: Callable[..., JSON]
) -> None:
    """The same spec again writes nothing at all; a TTL, a limit, an identity rule: the same root goes on."""
    cluster = installed.cluster
    made = make_ca()
    name = made["metadata"]["name"]
    before = scenario.authority(cluster, name)
    body = scenario.restored(made)
    mark = cluster.audit_mark()
    cluster.apply(body)
    body["spec"] |= {
        "root": {"ttl": "43800h"},
        "leaf": {"ttl": "2h", "maxTTL": "4h"},
        "limits": {"csrMaxPerSecond": 100},
        "identity": {"dnsNames": ["*.example"]},
    }
    cluster.request("PATCH", scenario.path(name), {"spec": body["spec"]})
    changed = cluster.wait_for(
        lambda items: next((i for i in items if i["status"].get("observedGeneration") == 2), None),
        scenario.path(name),
    )
    assert scenario.ready(changed)["status"] == "True"
    assert changed["status"]["activeRoot"] == made["status"]["activeRoot"]
    assert scenario.authority(cluster, name) == before
    assert sorted(scenario.writes_for(cluster, mark, name)) == [
        ("patch", "configmaps"),
        ("update", "caconfigurations/status"),
    ]
