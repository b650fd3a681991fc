"""``meshca inspect``: each certificate readable, whatever it is read from, and never a private key."""

from __future__ import annotations

import base64
import io
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from meshca.api import names
from meshca.cli.chains import describe, reference
from meshca.errors import InvalidError
from meshca.pki import keys
from meshca.pki.certificates import to_pem
from tests.fakes import pki
from tests.fakes.cli import Mesh, cross
from tests.fakes.pki import DAY, NOW

if TYPE_CHECKING:
    from pathlib import Path

A, B = pki.authority(name="a"), pki.authority(name="b")
KEY = keys.to_pem(A.signer_key).decode()


def test_a_chain_says_of_each_certificate_who_issued_it() -> None:
    found = describe(to_pem(B.leaf(), B.signer, cross(B, A), A.root, B.leaf()), NOW)
    assert [dict(pairs)["issued by"] for pairs in found.certificates] == [
        "the next one",
        "the next one",
        "the next one",
        "itself (a root)",
        "a certificate that is not here",
    ]
    leaf, signer, *_ = map(dict, found.certificates)
    assert leaf["SPIFFE ID"] == "spiffe://example.org/ns/shop/sa/web"
    assert (leaf["CA"], signer["CA"], leaf["key"]) == ("no", "yes, path length 0", "ECDSA 256")
    assert leaf["valid until"] == "2030-01-04T12:00:00Z (in 3 d)"


def test_what_is_out_of_order_broken_or_expired_is_said() -> None:
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    found = describe(to_pem(A.leaf(), B.signer) + broken, NOW + 4 * DAY)
    first, second, third = map(dict, found.certificates)
    assert first["issued by"] == "NOT the next one"
    assert first["valid until"].endswith("EXPIRED")
    assert second["issued by"] == "unknown: the next one cannot be read"
    assert third == {"cannot be read": "certificate: it cannot be decoded as X.509"}


def test_other_names_are_shown() -> None:
    names_ = x509.SubjectAlternativeName(
        [
            x509.DNSName("web.example.org"),
            x509.IPAddress(ip_address("10.0.0.1")),
            pki.uri("urn:x"),
        ]
    )
    made = pki.craft(
        A.leaf().public_key(),
        A.signer_key,
        {x509.SubjectAlternativeName: (names_, False)},
        issuer=A.signer.subject,
    )
    (pairs,) = describe(to_pem(made), NOW).certificates
    assert {("DNS name", "web.example.org"), ("IP address", "10.0.0.1"), ("URI", "urn:x")} <= set(pairs)
    assert dict(pairs)["subject"] == "(empty)"


def test_a_private_key_is_left_out_wherever_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    file.write_text(KEY + to_pem(A.leaf(), A.signer))
    code, out, _ = Mesh().run("inspect", str(file))
    assert code == 0
    assert "2 certificates" in out
    assert "1 other blocks are left out" in out
    assert not any(line in out for line in KEY.splitlines()[1:-1])


def test_a_secret_shows_its_certificates_the_chain_first_and_no_key() -> None:
    mesh = Mesh()
    entries = {
        "ca.crt": to_pem(A.root),
        "tls.crt": to_pem(A.leaf(), A.signer),
        "tls.key": KEY,
        "empty.crt": "",
        "note.txt": to_pem(B.root),
    }
    data = {key: base64.b64encode(text.encode()).decode() for key, text in entries.items()}
    mesh.server.create(names.SECRET, {"metadata": {"name": "web", "namespace": "shop"}, "data": data})
    code, out, _ = mesh.run("inspect", "secret/shop/web")
    assert code == 0
    headings = [line for line in out.splitlines() if line.endswith("certificates")]
    assert headings == ["tls.crt: 2 certificates", "ca.crt: 1 certificates"]
    assert "PRIVATE" not in out
    assert KEY.splitlines()[1] not in out


def test_a_request_shows_its_chain_and_says_when_it_has_none() -> None:
    mesh = Mesh().healthy()
    code, out, _ = mesh.run("inspect", "lcr/shop/web")
    assert (code, "status.certificateChain: 2 certificates" in out) == (0, True)
    mesh.leaf("none")
    code, _, errors = mesh.run("inspect", "lcr/shop/none")
    assert (code, "has no certificate" in errors) == (2, True)


@pytest.mark.parametrize("data", [{"a": "QQ=="}, {"tls.crt": "QQ=="}])
def test_a_secret_without_certificates_is_said_so(data: dict[str, str]) -> None:
    mesh = Mesh()
    mesh.server.create(names.SECRET, {"metadata": {"name": "s", "namespace": "shop"}, "data": data})
    code, _, errors = mesh.run("inspect", "secret/shop/s")
    assert (code, "holds no certificate" in errors) == (2, True)


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meshca.cli.app._stdin", lambda: io.StringIO(to_pem(A.root)))
    code, out, _ = Mesh().run("inspect", "-")
    assert (code, "itself (a root)" in out) == (0, True)


def test_a_file_that_is_not_there_is_exit_code_2(tmp_path: Path) -> None:
    code, _, errors = Mesh().run("inspect", str(tmp_path / "none"))
    assert (code, "expected a PEM file" in errors) == (2, True)
    with pytest.raises(InvalidError, match="no certificate"):
        describe(A.root_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), NOW)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("secret/a/b", ("secret", "a", "b")),
        ("lcr/a/b", ("lcr", "a", "b")),
        ("secret/a", None),
        ("secret/a/b/c", None),
        ("pod/a/b", None),
        ("file.pem", None),
        ("-", None),
    ],
)
def test_a_source_is_an_object_or_a_file(source: str, expected: tuple[str, str, str] | None) -> None:
    assert reference(source) == expected
