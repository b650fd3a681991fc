"""Making each kind of certificate in two steps: prepare it and lint the exact content, then sign it.

Decides lifetimes within the issuer's, and refuses issuers that cannot do it; never who may ask. What makes
the two steps safe is in prepared.py; the functions that do both in one go are what callers mostly want.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature

from meshca.errors import InvalidError, TransientError
from meshca.pki import lint, template
from meshca.pki.certificates import path_length_of, public_key_of, uris_of
from meshca.pki.issuer import Issuer, check_can_issue, issuer_of
from meshca.pki.keys import PrivateKey, PublicKey, check_ca_key, check_leaf_key, same_key
from meshca.pki.names import dns_name
from meshca.pki.prepared import Prepared, issue
from meshca.pki.profile import CA_BACKDATE, LEAF_BACKDATE, LEAF_TTL_MAX, MIN_REMAINING, hours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from meshca.pki.identity import SPIFFEID, TrustDomain
    from meshca.pki.names import IPAddress
    from meshca.pki.profile import RootProfile, SignerProfile

SIGNER_TOO_SHORT: Final = "SignerTooShort"
SIGNER_EXPIRED: Final = "SignerExpired"
ROOT_EXPIRED: Final = "RootExpired"

# A root that cross-signs has the cross-certificate and the signer below it; a cross-signed one the signer.
_CROSS_SIGNING_PATH: Final = 2
_SIGNING_PATH: Final = 1


def prepare_root(
    public_key: PublicKey,
    *,
    trust_domain: TrustDomain,
    configuration: str,
    profile: RootProfile,
    now: datetime,
) -> Prepared:
    """Prepare a self-signed root for its own key; ``InvalidError`` for a key that no CA may have."""
    check_ca_key(public_key)
    now = _whole(now)
    builder = template.root(
        public_key,
        trust_domain=trust_domain,
        configuration=configuration,
        not_before=now - CA_BACKDATE,
        not_after=now + profile.ttl,
    )
    prepared = Prepared(builder, public_key)
    lint.lint_root(prepared.draft, trust_domain=trust_domain)
    return prepared


def prepare_signer(
    public_key: PublicKey,
    issuer: Issuer,
    *,
    trust_domain: TrustDomain,
    configuration: str,
    cluster_name: str,
    profile: SignerProfile,
    now: datetime,
) -> Prepared:
    """Prepare a pathLen 0 signer that ends no later than its issuer.

    ``InvalidError`` for a key that no CA may have, the issuer's own key, another trust domain or an issuer
    with pathLen 0; ``TransientError`` with reason ``RootExpired`` when the issuer has expired.
    """
    check_ca_key(public_key)
    now = _whole(now)
    _check_alive(issuer, now, "root", ROOT_EXPIRED)
    _check_path_length(issuer, _SIGNING_PATH)
    _check_trust_domain(issuer.uris, trust_domain.uri)
    builder = template.signer(
        public_key,
        issuer,
        trust_domain=trust_domain,
        name=f"{configuration} {cluster_name}",
        not_before=now - CA_BACKDATE,
        not_after=min(now + profile.ttl, issuer.not_after),
    )
    prepared = Prepared(builder, issuer.public_key)
    lint.lint_signer(prepared.draft, issuer, trust_domain=trust_domain)
    return prepared


def prepare_cross(new_root: x509.Certificate, issuer: Issuer, *, now: datetime) -> Prepared:
    """Prepare the new root's certificate by an older root; NotAfter is the smaller of both (X-31).

    ``InvalidError`` when either cannot be what it must be: not a CA, the same key, another trust domain, no
    room in a pathLen, or an expired new root; ``TransientError`` with reason ``RootExpired`` when the older
    one has expired.
    """
    now = _whole(now)
    _check_alive(issuer, now, "root", ROOT_EXPIRED)
    _check_path_length(issuer, _CROSS_SIGNING_PATH)
    _check_new_root(new_root, issuer, now)
    builder = template.cross(
        new_root,
        issuer,
        not_before=now - CA_BACKDATE,
        not_after=min(new_root.not_valid_after_utc, issuer.not_after),
    )
    prepared = Prepared(builder, issuer.public_key)
    lint.lint_cross(prepared.draft, issuer, new_root=new_root)
    return prepared


def prepare_leaf(
    public_key: PublicKey,
    issuer: Issuer,
    *,
    spiffe_id: SPIFFEID,
    dns_names: Sequence[str] = (),
    ip_addresses: Sequence[IPAddress] = (),
    ttl: timedelta,
    now: datetime,
) -> Prepared:
    """Prepare a leaf for names that were granted already; NotAfter is ``now + ttl`` or the issuer's.

    ``InvalidError`` for a key or name that no leaf may have; ``TransientError`` with reason
    ``SignerExpired``, or ``SignerTooShort`` when the issuer lives for less than a tenth of ``ttl``.
    """
    check_leaf_key(public_key)
    now = _whole(now)
    _check_alive(issuer, now, "signer", SIGNER_EXPIRED)
    _check_remaining(issuer, ttl, now)
    dns_names = [dns_name(name) for name in dns_names]
    builder = template.leaf(
        public_key,
        issuer,
        spiffe_id=spiffe_id,
        dns_names=dns_names,
        ip_addresses=ip_addresses,
        not_before=now - LEAF_BACKDATE,
        not_after=min(now + ttl, issuer.not_after),
    )
    prepared = Prepared(builder, issuer.public_key)
    lint.lint_leaf(
        prepared.draft,
        issuer,
        public_key=public_key,
        spiffe_id=spiffe_id,
        dns_names=dns_names,
        ip_addresses=ip_addresses,
    )
    return prepared


def self_signed_root(
    key: PrivateKey, *, trust_domain: TrustDomain, configuration: str, profile: RootProfile, now: datetime
) -> x509.Certificate:
    """Prepare and issue a root; errors as ``prepare_root``. Slow for RSA keys."""
    prepared = prepare_root(
        key.public_key(), trust_domain=trust_domain, configuration=configuration, profile=profile, now=now
    )
    return _verified(issue(prepared, key), None)


def signer_certificate(
    public_key: PublicKey,
    *,
    issuer_cert: x509.Certificate,
    issuer_key: PrivateKey,
    trust_domain: TrustDomain,
    configuration: str,
    cluster_name: str,
    profile: SignerProfile,
    now: datetime,
) -> x509.Certificate:
    """Prepare and issue a signer; errors as ``prepare_signer``. Slow for RSA issuers."""
    prepared = prepare_signer(
        public_key,
        issuer_of(issuer_cert),
        trust_domain=trust_domain,
        configuration=configuration,
        cluster_name=cluster_name,
        profile=profile,
        now=now,
    )
    return _verified(issue(prepared, issuer_key), issuer_cert)


def cross_certificate(
    new_root_cert: x509.Certificate, *, issuer_cert: x509.Certificate, issuer_key: PrivateKey, now: datetime
) -> x509.Certificate:
    """Prepare and issue a cross-certificate; errors as ``prepare_cross``. Slow for RSA issuers."""
    prepared = prepare_cross(new_root_cert, issuer_of(issuer_cert), now=now)
    return _verified(issue(prepared, issuer_key), issuer_cert)


def leaf_certificate(
    public_key: PublicKey,
    *,
    issuer_cert: x509.Certificate,
    issuer_key: PrivateKey,
    spiffe_id: SPIFFEID,
    dns_names: Sequence[str] = (),
    ip_addresses: Sequence[IPAddress] = (),
    ttl: timedelta,
    now: datetime,
) -> x509.Certificate:
    """Prepare and issue a leaf; errors as ``prepare_leaf``. Slow for RSA issuers.

    Its signature is not verified again: that would cost as much as the rest, and the key was compared.
    """
    prepared = prepare_leaf(
        public_key,
        issuer_of(issuer_cert),
        spiffe_id=spiffe_id,
        dns_names=dns_names,
        ip_addresses=ip_addresses,
        ttl=ttl,
        now=now,
    )
    return issue(prepared, issuer_key)


def check_not_expired(root_cert: x509.Certificate, signer_cert: x509.Certificate, now: datetime) -> None:
    """Refuse to sign under an expired root or signer, in that order; one not yet valid may sign.

    ``TransientError`` with reason ``RootExpired`` or ``SignerExpired``.
    """
    _check_alive(issuer_of(root_cert), now, "root", ROOT_EXPIRED)
    _check_alive(issuer_of(signer_cert), now, "signer", SIGNER_EXPIRED)


def _whole(now: datetime) -> datetime:
    if now.tzinfo is None:
        raise InvalidError("a moment without a time zone cannot go into a certificate")
    return now.astimezone(UTC).replace(microsecond=0)


def _check_alive(issuer: Issuer, now: datetime, what: str, reason: str) -> None:
    if issuer.not_after <= now:
        raise TransientError(
            f"{what} expired: its NotAfter was {issuer.not_after:%Y-%m-%dT%H:%M:%SZ}", reason=reason
        )


def _check_remaining(issuer: Issuer, ttl: timedelta, now: datetime) -> None:
    if not timedelta(0) < ttl <= LEAF_TTL_MAX:
        raise InvalidError(f"ttl must be more than 0s and at most {hours(LEAF_TTL_MAX)}")
    left = issuer.not_after - now
    if left < ttl * MIN_REMAINING:
        raise TransientError(
            f"signer expires in {hours(left)}, less than a tenth of the wanted {hours(ttl)}",
            reason=SIGNER_TOO_SHORT,
        )


def _check_path_length(issuer: Issuer, needed: int) -> None:
    if issuer.path_length is not None and issuer.path_length < needed:
        raise InvalidError(
            f"the issuer's pathLen is {issuer.path_length}; it must be absent or at least {needed}"
        )


def _check_trust_domain(issuer_uris: Sequence[str], uri: str) -> None:
    if issuer_uris and tuple(issuer_uris) != (uri,):
        raise InvalidError(f"the issuer is of trust domain {' '.join(issuer_uris)}, not {uri}")


def _check_new_root(new_root: x509.Certificate, issuer: Issuer, now: datetime) -> None:
    try:
        check_can_issue(new_root)
    except InvalidError as error:
        raise InvalidError(f"the new root cannot be cross-signed: {error.message}") from None
    if new_root.not_valid_after_utc <= now:
        raise InvalidError("the new root cannot be cross-signed: it has expired")
    if same_key(public_key_of(new_root), issuer.public_key):
        raise InvalidError("the new root has the same key as the root that should cross-sign it")
    path_length = path_length_of(new_root)
    if path_length is not None and path_length < _SIGNING_PATH:
        raise InvalidError(
            f"the new root's pathLen is {path_length}; it must be absent or at least {_SIGNING_PATH}"
        )
    for uri in uris_of(new_root):
        _check_trust_domain(issuer.uris, uri)


def _verified(certificate: x509.Certificate, issuer: x509.Certificate | None) -> x509.Certificate:
    # A CA certificate lives for years, so a fault of the signing machine is caught here and now.
    try:
        certificate.verify_directly_issued_by(issuer or certificate)
    except InvalidSignature:
        raise TransientError("the signature just made does not verify", reason="BadSignature") from None
    return certificate
