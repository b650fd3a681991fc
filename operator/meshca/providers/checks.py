"""What a provider returned, looked at before anybody uses it.

Decides whether a root or a signer is what was asked for: the lint of certificates made here, the key that
was asked for, a signature that verifies. A provider may be a remote service with defects of its own, so
its answer is trusted no more than a stranger's. Never repairs anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshca.errors import InvalidError
from meshca.pki import chain, keys, lint
from meshca.pki.certificates import public_key_of
from meshca.pki.issuer import issuer_of

if TYPE_CHECKING:
    from cryptography import x509

    from meshca.providers.api import KeyPair, RootRequest, SignerRequest


def check_root(pair: KeyPair, request: RootRequest) -> KeyPair:
    """Return the pair; ``InvalidError`` when it is not the root that was asked for."""
    lint.lint_root(pair.certificate, trust_domain=request.trust_domain)
    chain.check_issued(pair.certificate, pair.certificate)
    if not keys.matches(pair.key, pair.certificate):
        raise InvalidError("the provider's root does not belong to its key")
    made = keys.spec_of(public_key_of(pair.certificate))
    if made != request.key:
        raise InvalidError(f"the provider made a root with key {made}, asked for was {request.key}")
    return pair


def check_signer(certificate: x509.Certificate, root: KeyPair, request: SignerRequest) -> x509.Certificate:
    """Return the certificate; ``InvalidError`` when it is not the signer that was asked for."""
    lint.lint_signer(certificate, issuer_of(root.certificate), trust_domain=request.trust_domain)
    chain.check_issued(certificate, root.certificate)
    if not keys.same_key(public_key_of(certificate), request.public_key):
        raise InvalidError("the provider signed another key than the signer's")
    return certificate


def check_cross(certificate: x509.Certificate, issuer: KeyPair, root: x509.Certificate) -> x509.Certificate:
    """Return the certificate; ``InvalidError`` when it is not the new root, signed by the older one."""
    lint.lint_cross(certificate, issuer_of(issuer.certificate), new_root=root)
    chain.check_issued(certificate, issuer.certificate)
    if not keys.same_key(public_key_of(certificate), public_key_of(root)):
        raise InvalidError("the provider signed another key than the new root's")
    return certificate
