"""Which names a request gets: the SPIFFE ID of its account, and the DNS and IP names policy allows.

The identity comes from the object's namespace and field, never from the wish in the CSR; what the CSR
wishes is only compared. Never looks at keys or lifetimes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from meshca.errors import DeniedError, InvalidError
from meshca.pki.names import dns_name, ip_allowed, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshca.pki.identity import SPIFFEID, PathTemplate, TrustDomain
    from meshca.pki.names import IPAddress
    from meshca.planning.authority import Authority


@dataclass(frozen=True, slots=True)
class Wish:
    """The names a request asks for, all from an untrusted user; ``uris`` only ever come from a CSR."""

    uris: tuple[str, ...]
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Granted:
    """The names a leaf will carry."""

    spiffe_id: SPIFFEID
    dns_names: tuple[str, ...]
    ip_addresses: tuple[IPAddress, ...]


@dataclass(frozen=True, slots=True)
class NameRule:
    """All that an account's SPIFFE ID depends on besides the account."""

    trust_domain: TrustDomain
    cluster_name: str
    template: PathTemplate

    @classmethod
    def of(cls, authority: Authority) -> NameRule:
        """Return the rule by which a configuration gives names now."""
        return cls(authority.trust_domain, authority.cluster_name, authority.naming.template)

    def gives(self, namespace: str, account: str) -> str:
        """Return the URI that an account gets, or "" where the rule makes no SPIFFE ID of it."""
        try:
            return self.template.render(
                self.trust_domain,
                namespace=namespace,
                service_account=account,
                cluster_name=self.cluster_name,
            ).uri
        except InvalidError:
            return ""


def grant(authority: Authority, *, namespace: str, account: str, wish: Wish) -> Granted:
    """Return the names for an account, or raise ``DeniedError`` (policy) or ``InvalidError`` (not a name)."""
    spiffe_id = authority.naming.template.render(
        authority.trust_domain,
        namespace=namespace,
        service_account=account,
        cluster_name=authority.cluster_name,
    )
    _check_uris(wish.uris, spiffe_id)
    return Granted(
        spiffe_id=spiffe_id,
        dns_names=_dns_names(authority, namespace, account, wish.dns_names),
        ip_addresses=_ip_addresses(authority, wish.ip_addresses),
    )


def _check_uris(uris: tuple[str, ...], expected: SPIFFEID) -> None:
    if len(uris) > 1:
        raise InvalidError(f"the CSR carries {len(uris)} URI names; an X509-SVID has exactly one")
    if uris and not expected.matches(uris[0]):
        raise DeniedError(
            f"the CSR asks for {uris[0][:2048]!r}, but this ServiceAccount's identity is {expected.uri!r}"
        )


def _dns_names(authority: Authority, namespace: str, account: str, wanted: Iterable[str]) -> tuple[str, ...]:
    granted: dict[str, None] = {}
    for text in wanted:
        name = dns_name(text)
        if not any(
            pattern.allows(
                name, namespace=namespace, service_account=account, cluster_name=authority.cluster_name
            )
            for pattern in authority.naming.dns_patterns
        ):
            raise DeniedError(
                f"DNS name {name!r} is not allowed by spec.identity.dnsNames of CAConfiguration"
                f" {authority.configuration!r}"
            )
        granted[name] = None
    return tuple(granted)


def _ip_addresses(authority: Authority, wanted: Iterable[str]) -> tuple[IPAddress, ...]:
    granted: dict[IPAddress, None] = {}
    for text in wanted:
        address = parse_address(text)
        if not ip_allowed(address, authority.naming.networks):
            raise DeniedError(
                f"IP address {address} is not allowed by spec.identity.ipAddresses of CAConfiguration"
                f" {authority.configuration!r}"
            )
        granted[address] = None
    return tuple(granted)
