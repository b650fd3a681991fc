"""The certificate authority of one test cluster, and the kubeconfig files made from it.

Decides names and usages of the certificates; verifying them is left to the programs that use them.
Keys are P-256, certificates live 30 days; everything is written into one private directory.
"""

from __future__ import annotations

import base64
import ipaddress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LIFETIME = timedelta(days=30)
BACKDATED = timedelta(minutes=5)


class Authority:
    """A cluster CA in a directory: ``ca.crt``, ``sa.key``, ``sa.pub`` and a pair per certificate."""

    def __init__(self, directory: Path, name: str) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} CA")])
        self.ca_file = directory / "ca.crt"
        self.ca_key_file = directory / "ca.key"
        certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        _write_key(self.ca_key_file, self._key)
        self._service_accounts()

    def issue(self, file: str, name: str, groups: Iterable[str] = (), names: Iterable[str] = ()) -> Path:
        """Make ``<file>.crt`` and ``<file>.key``, good as client and as server, and return the first.

        ``groups`` become organisations; ``names`` become DNS names or IP addresses.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
            + [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        )
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        builder = (
            _builder(subject, self._name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if alternatives := [_general_name(entry) for entry in names]:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        target = self.directory / f"{file}.crt"
        _write_key(target.with_suffix(".key"), key)
        target.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return target

    def kubeconfig(self, file: str, server: str, name: str, groups: Iterable[str] = ()) -> Path:
        """Issue a client certificate and return ``<file>.conf``, a kubeconfig that uses it."""
        certificate = self.issue(file, name, groups)
        user = {"client-certificate": str(certificate), "client-key": str(certificate.with_suffix(".key"))}
        target = self.directory / f"{file}.conf"
        write_kubeconfig(target, server, self.ca_file, user)
        return target

    def _service_accounts(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        _write_key(self.directory / "sa.key", key)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (self.directory / "sa.pub").write_bytes(public)


def write_kubeconfig(target: Path, server: str, ca_file: Path, user: dict[str, str]) -> None:
    """Write a kubeconfig with one cluster, one user and one context, readable by its owner only."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "meshca", "cluster": {"server": server, "certificate-authority": str(ca_file)}}
        ],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "meshca", "context": {"cluster": "meshca", "user": "user"}}],
        "current-context": "meshca",
    }
    target.touch(mode=0o600)
    target.write_text(yaml.safe_dump(config))


def read_cluster(kubeconfig: Path) -> tuple[str, bytes]:
    """Return the server's address and the CA's PEM of a kubeconfig's current context."""
    config = yaml.safe_load(kubeconfig.read_text())
    current = {item["name"]: item["context"] for item in config["contexts"]}[config["current-context"]]
    cluster = {item["name"]: item["cluster"] for item in config["clusters"]}[current["cluster"]]
    if data := cluster.get("certificate-authority-data"):
        return cluster["server"], base64.b64decode(data)
    return cluster["server"], (kubeconfig.parent / cluster["certificate-authority"]).read_bytes()


def base64_text(data: bytes) -> str:
    """Return standard base64, as kubeconfig files and the API take it."""
    return base64.b64encode(data).decode()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + LIFETIME)
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(entry: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(entry))
    except ValueError:
        return x509.DNSName(entry)


def _write_key(target: Path, key: ec.EllipticCurvePrivateKey) -> None:
    target.touch(mode=0o600)
    target.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
