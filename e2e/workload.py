"""What a workload does: make a key and a CSR, ask for a leaf, read it back, judge it with OpenSSL.

Decides nothing about meshca; stands where a user's code would stand.
"""

from __future__ import annotations

import base64
import subprocess
import tempfile
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from e2e import secrecy, tools

if TYPE_CHECKING:
    from collections.abc import Iterable

    from e2e.cluster import Cluster

JSON = dict[str, Any]
LEAVES = "/apis/meshca.dev/v1alpha1/namespaces/{namespace}/leafcertificaterequests"


@dataclass(frozen=True, slots=True)
class Request:
    """A CSR as PEM and its private key as PEM."""

    pem: str
    key: bytes


def csr(
    *,
    uris: Iterable[str] = (),
    dns_names: Iterable[str] = (),
    addresses: Iterable[str] = (),
    emails: Iterable[str] = (),
) -> Request:
    """Make a P-256 key and a CSR with these names."""
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    names += [x509.DNSName(name) for name in dns_names]
    names += [x509.IPAddress(ip_address(address)) for address in addresses]
    names += [x509.RFC822Name(email) for email in emails]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    secrecy.remember(text)
    return Request(pem, text)


def leaf(namespace: str, name: str, *, account: str = "default", **spec: Any) -> JSON:
    """Return a LeafCertificateRequest object."""
    return {
        "apiVersion": "meshca.dev/v1alpha1",
        "kind": "LeafCertificateRequest",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"serviceAccountName": account} | spec,
    }


def path(namespace: str, name: str = "") -> str:
    """Return the URL path of a request, or of all in a namespace."""
    base = LEAVES.format(namespace=namespace)
    return f"{base}/{name}" if name else base


def create(cluster: Cluster, body: JSON, *, identity: str = "admin") -> JSON:
    """Create a request and return it as stored."""
    return cluster.client(identity).request("POST", path(body["metadata"]["namespace"]), body)


def wait_reason(cluster: Cluster, namespace: str, name: str, reason: str, timeout: float = 60.0) -> JSON:
    """Wait until the Ready condition of a request has a reason; return the request."""

    def met(objects: list[JSON]) -> JSON | None:
        found = [item for item in objects if _reason(item) == reason]
        return found[0] if found else None

    return cluster.wait_for(met, path(namespace, name), timeout=timeout)


def _reason(body: JSON) -> str:
    conditions = body.get("status", {}).get("conditions", [])
    return next((str(entry["reason"]) for entry in conditions if entry["type"] == "Ready"), "")


def ready_message(body: JSON) -> str:
    """Return the message of the Ready condition."""
    conditions = body["status"]["conditions"]
    return next(str(entry["message"]) for entry in conditions if entry["type"] == "Ready")


def certificates(pem: str) -> list[x509.Certificate]:
    """Parse a chain."""
    return x509.load_pem_x509_certificates(pem.encode())


def secret_entry(secret: JSON, entry: str) -> bytes:
    """Return one entry of a Secret."""
    return base64.b64decode(secret["data"][entry])


def openssl_verify(chain: str, bundle: str) -> str:
    """Have OpenSSL verify a chain strictly against a bundle; returns what it says, "" when it is content."""
    leaf_certificate, *others = certificates(chain)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "leaf").write_bytes(leaf_certificate.public_bytes(Encoding.PEM))
        (place / "chain").write_bytes(b"".join(item.public_bytes(Encoding.PEM) for item in others))
        (place / "roots").write_text(bundle)
        command = [
            str(tools.openssl()),
            "verify",
            "-x509_strict",
            "-CAfile",
            "roots",
            "-untrusted",
            "chain",
            "leaf",
        ]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr
