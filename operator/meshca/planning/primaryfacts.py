"""What the primary's objects say, taken together: a view of its roots that is consistent, or why not.

Decides when its CAConfiguration and its CARoots, which are watched apart, agree. Every field may hold
anything: the primary may be broken, or a liar. Whether to believe it is decided in ``planning.pinning``.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from meshca.api.v1alpha1 import scalars
from meshca.errors import InvalidError
from meshca.pki import certificates
from meshca.pki.bundle import Bundle
from meshca.pki.identity import TrustDomain
from meshca.planning.primary import Answer, Need, PrimaryFacts, PrimaryRoot, Report
from meshca.planning.views import Meta, condition, read_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from cryptography import x509

JSON = dict[str, Any]
ACTIVE: Final = "Active"
PRUNED: Final = "Pruned"
SILENT: Final = timedelta(minutes=15)
"""After this without a report a cluster's name is free for another reporter."""
_MOST_ROOTS: Final = 16
_MOST_BUNDLES: Final = 2**53
"""Larger numbers are no sequence, and no API server takes them."""
_LONGEST: Final = 1024


def read_facts(configuration: Mapping[str, Any] | None, roots: Iterable[JSON]) -> PrimaryFacts | str:
    """Return the facts, or a sentence that says what is missing in the primary."""
    if configuration is None:
        return "the primary has no such CAConfiguration; check spec.federation.primary.caConfigurationName"
    name, status = Meta.of(configuration).name, _mapping(configuration.get("status"))
    bundle = _mapping(status.get("bundle"))
    wanted, sequence = _texts(bundle.get("roots")), bundle.get("sequence")
    domain = _text(status.get("trustDomain"))
    if not wanted or not _is_domain(domain) or not _is_sequence(sequence):
        return "the primary's CA is not ready yet"
    found = {root.fingerprint: (key, root) for key, root in _roots(roots, name)}
    if len(wanted) > _MOST_ROOTS or any(fingerprint not in found for fingerprint in wanted):
        return "the primary's bundle and CARoots do not agree (yet)"
    mine = tuple(found[fingerprint][1] for fingerprint in sorted(set(wanted)))
    digest = Bundle(tuple(root.certificate for root in mine)).digest
    if digest != bundle.get("digest"):
        return "the primary's bundle and its digest do not agree (yet)"
    named = _text(status.get("activeRoot"))
    active = [root for key, root in (found[item.fingerprint] for item in mine) if key == named]
    return PrimaryFacts(
        uid=_text(Meta.of(configuration).uid),
        trust_domain=domain,
        active_root=active[0].fingerprint if active and active[0].state == ACTIVE else "",
        digest=digest,
        sequence=sequence,
        roots=mine,
        uncrossed=_is_forced(_mapping(_mapping(configuration.get("spec")).get("rotation"))),
    )


def read_answer(body: Mapping[str, Any]) -> Answer:
    """Read what the primary says to a request for a signer."""
    ready = condition(body, "Ready")
    chain = _mapping(body.get("status")).get("certificateChain")
    return Answer(
        name=Meta.of(body).name,
        reason=_text(ready.get("reason")),
        message=_text(ready.get("message")),
        chain=chain if isinstance(chain, str) and len(chain) <= scalars.CHAIN_MAX_LENGTH else "",
    )


def read_report(body: Mapping[str, Any]) -> Report | None:
    """Read what a FederatedCluster says that this cluster reported last, or None when nothing."""
    status = _mapping(body.get("status"))
    digest, roots = _text(status.get("bundleDigest")), _texts(status.get("roots"))
    if not digest and not roots:
        return None
    return Report(
        digest=digest,
        roots=tuple(roots),
        active_root=_text(status.get("activeRoot")),
        signer_not_after=read_time(_text(status.get("signerNotAfter"))),
        needs=tuple(_needs(status.get("leaves"))),
    )


def rival(body: Mapping[str, Any], reporter: str, now: datetime) -> bool:
    """Tell whether another cluster reports under this name: one that is not silent."""
    status = _mapping(body.get("status"))
    other, seen = _text(status.get("reporter")), read_time(_text(status.get("lastSeen")))
    return bool(other) and other != reporter and seen is not None and now - seen < SILENT


def report_body(report: Report, reporter: str, last_seen: str) -> JSON:
    """Write a report as the status of a FederatedCluster; ``last_seen`` is RFC 3339."""
    end = report.signer_not_after
    return {
        "reporter": reporter,
        "bundleDigest": report.digest,
        "roots": list(report.roots),
        "activeRoot": report.active_root,
        "signerNotAfter": scalars.format_time(end) if end is not None else None,
        "leaves": [
            {
                "root": need.root,
                "leaves": need.leaves,
                "lastNotAfter": scalars.format_time(need.last_not_after),
            }
            for need in report.needs
        ],
        "lastSeen": last_seen,
    }


def read_ttl(body: Mapping[str, Any]) -> timedelta | None:
    """Return the life that the primary says it gives to this cluster's signers."""
    try:
        found = scalars.parse_duration(_text(_mapping(body.get("status")).get("intermediateTTL")))
    except ValueError:
        return None
    return found or None


def read_crosses(texts: object) -> tuple[x509.Certificate, ...]:
    """Read cross-certificates (a list of PEM texts); what is none is left out."""
    found = []
    for text in _texts(texts)[:_MOST_ROOTS]:
        try:
            found.append(certificates.load_one(text))
        except InvalidError:
            # Whoever needs it sees that it is missing.
            continue
    return tuple(found)


def _roots(bodies: Iterable[JSON], configuration: str) -> Iterable[tuple[str, PrimaryRoot]]:
    for body in bodies:
        spec, status = _mapping(body.get("spec")), _mapping(body.get("status"))
        state = _text(status.get("state"))
        if spec.get("caConfigurationName") != configuration or state == PRUNED:
            continue
        try:
            certificate = certificates.load_one(str(spec.get("certificate", "")))
        except InvalidError:
            # Then the bundle that names it does not agree, which is told.
            continue
        cross = read_crosses(status.get("crossCertificates"))
        yield (
            Meta.of(body).name,
            PrimaryRoot(certificates.fingerprint(certificate), certificate, state, cross),
        )


def _needs(value: object) -> Iterable[Need]:
    for item in value if isinstance(value, list) else ():
        entry = _mapping(item)
        end, leaves = read_time(_text(entry.get("lastNotAfter"))), entry.get("leaves")
        if end is not None:
            yield Need(_text(entry.get("root")), leaves if isinstance(leaves, int) else 0, end)


def _is_forced(rotation: Mapping[str, Any]) -> bool:
    trigger = _text(rotation.get("trigger"))
    return bool(trigger) and rotation.get("forceWithoutCrossSigning") == trigger


def _is_sequence(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MOST_BUNDLES


def _is_domain(text: str) -> bool:
    try:
        TrustDomain.parse(text)
    except InvalidError:
        return False
    return True


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= _LONGEST else ""


def _texts(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
