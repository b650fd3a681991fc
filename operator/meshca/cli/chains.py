"""``meshca inspect``: what stands in each certificate of a chain, readable.

``describe`` is pure. Only CERTIFICATE blocks are ever decoded; a private key beside them is counted and left
out, whatever it is read from.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from meshca.api import names
from meshca.cli.screen import moment
from meshca.errors import InvalidError
from meshca.pki.certificates import extension, facts, load_one
from meshca.pki.chain import check_issued

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from meshca.cli.screen import Screen
    from meshca.kube.gateway import Gateway

JSON = dict[str, Any]
LIMIT_BYTES: Final = 1024 * 1024
MOST: Final = 32
_SHORT: Final = {NameOID.SERIAL_NUMBER: "serialNumber"}
_BLOCK: Final = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
SOURCES: Final = "a PEM file, - for standard input, secret/NAMESPACE/NAME or lcr/NAMESPACE/NAME"


@dataclass(frozen=True, slots=True)
class Description:
    """What a text holds: pairs of label and value for each certificate, and what was left out."""

    certificates: tuple[tuple[tuple[str, str], ...], ...]
    left_out: int


def describe(text: str, now: datetime) -> Description:
    """Describe the certificates of a PEM text from anybody; ``InvalidError`` when it holds none."""
    blocks = [(found[1], found[0]) for found in _BLOCK.finditer(text[:LIMIT_BYTES])]
    chosen = [block for label, block in blocks if label == "CERTIFICATE"][:MOST]
    if not chosen:
        raise InvalidError("no certificate found there")
    read = [_read(block) for block in chosen]
    return Description(
        tuple(
            tuple(_pairs(one, read[index + 1] if index + 1 < len(read) else None, now))
            for index, one in enumerate(read)
        ),
        len(blocks) - len(chosen),
    )


def _read(block: str) -> x509.Certificate | str:
    try:
        return load_one(block)
    except InvalidError as error:
        return error.message


def _pairs(
    one: x509.Certificate | str, following: x509.Certificate | str | None, now: datetime
) -> Iterator[tuple[str, str]]:
    if isinstance(one, str):
        yield "cannot be read", one
        return
    found = facts(one)
    yield "subject", one.subject.rfc4514_string(_SHORT) or "(empty)"
    for uri in found.uris:
        yield "SPIFFE ID" if uri.startswith("spiffe://") else "URI", uri
    names_extension = extension(one, x509.SubjectAlternativeName)
    for name in names_extension.value.get_values_for_type(x509.DNSName) if names_extension else ():
        yield "DNS name", name
    for address in names_extension.value.get_values_for_type(x509.IPAddress) if names_extension else ():
        yield "IP address", str(address)
    yield "serial", found.serial
    yield "valid from", moment(found.not_before, now)
    yield "valid until", moment(found.not_after, now) + ("  EXPIRED" if found.not_after <= now else "")
    yield "key", str(found.key_spec)
    if found.is_ca:
        yield "CA", "yes" if found.path_length is None else f"yes, path length {found.path_length}"
    else:
        yield "CA", "no"
    yield "issuer", one.issuer.rfc4514_string(_SHORT)
    yield "fingerprint", found.fingerprint
    yield "issued by", _issuer(one, following)


def _issuer(one: x509.Certificate, following: x509.Certificate | str | None) -> str:
    if one.issuer == one.subject and _signed(one, one):
        return "itself (a root)"
    if following is None:
        return "a certificate that is not here"
    if isinstance(following, str):
        return "unknown: the next one cannot be read"
    return "the next one" if _signed(one, following) else "NOT the next one"


def _signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        check_issued(certificate, issuer)
    except InvalidError:
        return False
    return True


def reference(source: str) -> tuple[str, str, str] | None:
    """Split ``secret/NAMESPACE/NAME`` or ``lcr/NAMESPACE/NAME``; None for a file."""
    kind, _, rest = source.partition("/")
    namespace, _, name = rest.partition("/")
    if kind not in {"secret", "lcr"} or not namespace or not name or "/" in name:
        return None
    return kind, namespace, name


async def fetch(gateway: Gateway, kind: str, namespace: str, name: str) -> dict[str, str]:
    """Read the certificates of an object: PEM texts by the entry they stand in, private keys never."""
    if kind == "lcr":
        item = await gateway.get(names.LEAF, name, namespace)
        chain = str((item.get("status") or {}).get("certificateChain", ""))
        if not chain:
            raise InvalidError(f"LeafCertificateRequest {namespace}/{name} has no certificate")
        return {"status.certificateChain": chain}
    data: JSON = (await gateway.get(names.SECRET, name, namespace)).get("data") or {}
    found = {key: _decoded(value) for key, value in sorted(data.items()) if key.endswith((".crt", ".pem"))}
    chosen = {key: text for key, text in found.items() if "-----BEGIN CERTIFICATE-----" in text}
    if not chosen:
        raise InvalidError(f"Secret {namespace}/{name} holds no certificate in an entry *.crt or *.pem")
    # The workload's own chain first, then what it trusts.
    return dict(sorted(chosen.items(), key=lambda entry: (entry[0] != "tls.crt", entry[0])))


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode("utf-8", "replace")


def show(screen: Screen, texts: dict[str, str], now: datetime) -> None:
    """Write what each text holds."""
    for entry, text in texts.items():
        found = describe(text, now)
        screen.line(f"{entry}: {len(found.certificates)} certificates", "bold")
        for number, pairs in enumerate(found.certificates, 1):
            screen.line(f"  {number}.")
            screen.pairs(((label, value, "") for label, value in pairs), indent=4)
        if found.left_out:
            screen.line(f"  {found.left_out} other blocks are left out; private keys are never shown")
