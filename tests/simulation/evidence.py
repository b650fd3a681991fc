"""What judges hold against an operator: versions of bundles and of chains, and what stands in objects.

Decides how an object is read, by the library of the product, and until when a version counted; never
whether anything is right.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.x509 import DNSName, SubjectAlternativeName

from meshca.api import names
from meshca.errors import InvalidError
from meshca.pki import certificates, keys

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from tests.fakes.apiserver.server import ApiServer

JSON = dict[str, Any]


@dataclass(slots=True)
class Held:
    """One version of a bundle in one place and until when (world time) it was the present one."""

    place: tuple[str, str]
    roots: tuple[x509.Certificate, ...]
    text: str
    until: datetime | None = None


@dataclass(slots=True)
class Served:
    """One issued chain and until when (world time) its request showed it."""

    place: tuple[str, str]
    chain: tuple[x509.Certificate, ...]
    text: str
    until: datetime | None = None

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]

    def needs(self, root: x509.Certificate) -> bool:
        """Tell whether its signer was issued under a root."""
        mine = certificates.authority_key_id_of(self.chain[1])
        return mine == certificates.subject_key_id_of(root)


def pair_ok(secret: JSON) -> bool:
    """Tell whether the key in a Secret is that of its certificate."""
    try:
        key = keys.load_private(entry(secret, "tls.key").encode())
        return keys.matches(key, certificates.load_all(entry(secret, "tls.crt"))[0])
    except InvalidError:
        return False


def dns_names(leaf: x509.Certificate) -> set[str]:
    """Return the DNS names that a certificate has."""
    found = certificates.extension(leaf, SubjectAlternativeName)
    return set(found.value.get_values_for_type(DNSName)) if found is not None else set()


def state_of(root: JSON) -> str:
    """Return the state that a CARoot says it is in, "" for none."""
    return str((root.get("status") or {}).get("state", ""))


def status_of(server: ApiServer, configuration: str) -> JSON:
    """Return what a CAConfiguration says of itself, empty for nothing."""
    found = server.find(names.CA_CONFIGURATION, configuration)
    return dict((found or {}).get("status") or {})


def entry(secret: JSON, name: str) -> str:
    """Return an entry of a Secret as text, "" for none."""
    return base64.b64decode((secret.get("data") or {}).get(name, "")).decode(errors="replace")


def bundle_text(item: JSON) -> str:
    """Return the roots in a ConfigMap or ClusterTrustBundle, PEM."""
    data = item.get("data") or {}
    return str(data.get(names.BUNDLE_KEY) or (item.get("spec") or {}).get("trustBundle", ""))
