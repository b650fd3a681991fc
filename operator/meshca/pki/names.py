"""Which DNS names and IP addresses ``identity`` lets into a leaf, beside its SPIFFE ID.

Patterns are lists of whole labels. A word stands for exactly one label and so does ``*``: a ServiceAccount
name may contain dots, and were it let spread over several labels, one account could reach the name that
another pattern gives to somebody else. Never resolves anything.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from meshca.errors import InvalidError
from meshca.pki.identity import CLUSTER_WORD, REQUIRED_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

DNS_LIMIT_BYTES: Final = 253
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ANY: Final = "*"
_WORDS: Final = {f"{{{name}}}": name for name in (*REQUIRED_WORDS, CLUSTER_WORD)}


def dns_name(text: str) -> str:
    """Return a host name from an untrusted user in lower case (RFC 1123 section 2.1).

    ``InvalidError`` for wildcards, a final dot, labels over 63 or names over 253 bytes.
    """
    name = text.lower() if text.isascii() else ""
    labels = name.split(".")
    # A last label of digits would make it look like an IP address to some clients.
    if len(name) > DNS_LIMIT_BYTES or labels[-1].isdigit() or not all(map(_LABEL.fullmatch, labels)):
        raise InvalidError(f"DNS name {text[:80]!r} is not a host name of letters, digits, '-' and '.'")
    return name


@dataclass(frozen=True, slots=True)
class DNSPattern:
    """A host name in which a label may be a word in braces or ``*``, which is exactly one label."""

    labels: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern from ``identity.dnsNames``; ``InvalidError`` names the label that is wrong."""
        if len(text) > DNS_LIMIT_BYTES:
            raise InvalidError(f"dnsNames: a pattern is longer than {DNS_LIMIT_BYTES} bytes")
        labels = tuple(text.split("."))
        for label in labels:
            if label != _ANY and label not in _WORDS and not _LABEL.fullmatch(label):
                raise InvalidError(
                    f"dnsNames: label {label[:80]!r} of {text[:80]!r} is neither lower-case letters, digits"
                    f" and '-', nor '*', nor one of {', '.join(_WORDS)}"
                )
        return cls(labels)

    def allows(self, name: str, *, namespace: str, service_account: str, cluster_name: str) -> bool:
        """Tell whether one account may have an untrusted DNS name; malformed names are never allowed."""
        try:
            wanted = dns_name(name).split(".")
        except InvalidError:
            return False
        values = {"namespace": namespace, "serviceAccount": service_account, CLUSTER_WORD: cluster_name}
        return len(wanted) == len(self.labels) and all(
            label == _ANY or have == (values[_WORDS[label]] if label in _WORDS else label)
            for have, label in zip(wanted, self.labels, strict=True)
        )


def parse_network(text: str) -> IPNetwork:
    """Read one CIDR from ``identity.ipAddresses``.

    ``InvalidError`` for anything else, a scope, or host bits that are set.
    """
    try:
        return ipaddress.ip_network(_unscoped(text))
    except ValueError:
        raise InvalidError(
            f"ipAddresses: {text[:80]!r} is not a CIDR such as 10.0.0.0/8 or fd00::/8"
        ) from None


def parse_address(text: str) -> IPAddress:
    """Read one IP address from an untrusted user; ``InvalidError`` for anything else or a scope."""
    try:
        return ipaddress.ip_address(_unscoped(text))
    except ValueError:
        raise InvalidError(f"IP address {text[:80]!r} is not one") from None


def _unscoped(text: str) -> str:
    # A scope is the number of an interface on one machine, and has no place in a certificate.
    return "" if "%" in text else text


def ip_allowed(address: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    """Tell whether an address lies in one of the networks; families never match each other."""
    return any(address in network for network in networks)
