"""The key of a signer for which the primary has yet to make the certificate, and what it answered.

Decides whether a granted certificate is the one that was asked for, and when a refused request is made
anew, under a new key. Never looks at who may ask: that is the primary's to decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from meshca.api.v1alpha1.conditions import Reason
from meshca.errors import InvalidError
from meshca.pki import chain, csr, keys, lint
from meshca.pki.certificates import load_all, public_key_of
from meshca.pki.issuer import issuer_of
from meshca.planning import signers
from meshca.planning.secrets import KEY, data_of
from meshca.planning.views import Meta

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cryptography import x509

    from meshca.pki.identity import TrustDomain
    from meshca.pki.keys import PublicKey
    from meshca.planning.ca import KeySecret, Root
    from meshca.planning.primary import Answer

REQUEST: Final = "tls.csr"
SOON: Final = timedelta(seconds=45)
"""After this a request can be made anew that came before the primary's policy knew of this cluster."""
OUTDATED: Final = timedelta(minutes=1)
"""The same, for one that was signed under a root that is not active any more."""
LATER: Final = timedelta(minutes=10)
"""The same, for one that was refused for good."""


@dataclass(frozen=True, slots=True)
class RequestedKey:
    """A Secret with a signer's key and the request for it (PEM); ``problem`` says why it is of no use."""

    meta: Meta
    request: str
    public_key: PublicKey | None
    subject_key_id: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an answer amounts to: a certificate to adopt, or why not and when to ask anew (UTC)."""

    certificate: x509.Certificate | None = None
    reason: str = ""
    message: str = ""
    again: datetime | None = None


def read_requested(body: Mapping[str, Any]) -> RequestedKey:
    """Read the Secret of a key that waits for its certificate; a broken one has its ``problem`` told."""
    meta = Meta.of(body)
    try:
        text = data_of(body, REQUEST)
        found = csr.parse(text, keys=keys.CA_KEYS)
        key = keys.load_trusted(data_of(body, KEY))
    except InvalidError as error:
        return RequestedKey(meta, "", None, "", error.message)
    if not keys.same_key(key.public_key(), found.public_key):
        return RequestedKey(meta, "", None, "", "its key does not belong to its request")
    skid = keys.subject_key_id(found.public_key).hex()
    return RequestedKey(meta, text.decode("ascii"), found.public_key, skid)


def judge(
    asked: RequestedKey,
    answer: Answer | None,
    root: Root,
    present: KeySecret | None,
    *,
    trust_domain: TrustDomain,
    now: datetime,
) -> Verdict | None:
    """Decide about an answer; None while there is none to decide about.

    ``root`` is the one that is active in the primary, ``present`` the signer under it that is in use.
    """
    made = asked.meta.created or now
    if answer is None:
        return None
    if not answer.chain:
        return _refused(answer, made)
    try:
        certificate = load_all(answer.chain)[0]
        if not _under(certificate, root):
            return Verdict(
                message="the signer that the primary made is not under the root that is active there",
                again=made + OUTDATED,
            )
        _check(certificate, asked, root, trust_domain)
        _check_time(certificate, present, now)
    except InvalidError as error:
        return Verdict(
            reason=Reason.PRIMARY_MISMATCH,
            message=f"the signer that the primary made is refused: {error.message}",
            again=made + LATER,
        )
    return Verdict(certificate=certificate)


def _refused(answer: Answer, made: datetime) -> Verdict | None:
    said = f"the primary does not sign for this cluster ({answer.reason}): {answer.message}"
    if answer.reason == Reason.POLICY_GAP:
        return Verdict(message=said, again=made + SOON)
    if answer.reason == Reason.DENIED:
        # The same request is signed once the cluster is registered.
        return Verdict(reason=Reason.NOT_REGISTERED, message=said)
    if answer.reason == Reason.INVALID_REQUEST:
        return Verdict(reason=Reason.NOT_REGISTERED, message=said, again=made + LATER)
    return None


def _under(certificate: x509.Certificate, root: Root) -> bool:
    try:
        chain.check_issued(certificate, root.certificate)
    except InvalidError:
        return False
    return True


def _check(certificate: x509.Certificate, asked: RequestedKey, root: Root, trust_domain: TrustDomain) -> None:
    lint.lint_signer(certificate, issuer_of(root.certificate), trust_domain=trust_domain)
    if public_key_of(certificate) != asked.public_key:
        raise InvalidError("it is about another key")


def _check_time(certificate: x509.Certificate, present: KeySecret | None, now: datetime) -> None:
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if start > now:
        raise InvalidError("it is not valid yet")
    # The newest signer under a root is the one that signs: it must be worth more than the one it replaces.
    if present is None or present.facts is None or signers.is_of_the_future(present, now):
        old_start, old_end = None, now
    else:
        old_start, old_end = present.facts.not_before, max(present.facts.not_after, now)
    if end < old_end or end <= now:
        raise InvalidError("it ends before the signer in use" if old_start else "it has expired")
    if old_start is not None and start <= old_start:
        raise InvalidError("it begins before the signer in use")
