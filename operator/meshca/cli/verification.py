"""Whether one CA keeps its promises, judged from outside by certificates alone.

Pure: roots, then bundles, then leaves are added one by one; findings come out. Holds I1 (one active root),
I2 (each live leaf verifies under every published bundle), I3 (no bundle lacks a root that a live leaf
needs), I4 (no certificate outlives its issuer; cross-certificates do not count as a signer's issuer), and I9
where a bundle trusts a root that is not this CA's. Never believes a status field about a certificate.
Memory is bounded: equal bundles are kept once, leaves not at all, findings up to a limit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from meshca.errors import InvalidError
from meshca.pki.bundle import Bundle
from meshca.pki.certificates import authority_key_id_of, facts, fingerprint, load_all
from meshca.pki.chain import chain_facts, check_issued, verify

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from cryptography import x509

JSON = dict[str, Any]
TRUSTED: Final = frozenset({"Published", "Active", "Retiring"})
MOST_FINDINGS: Final = 100
MOST_BUNDLES: Final = 64
"""Different bundles that are held against each leaf; more are reported and not compared."""
_SIGNERS: Final = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise that is not kept; the same ``key`` means the same finding in another look."""

    invariant: str
    subject: str
    text: str

    @property
    def key(self) -> tuple[str, str]:
        """Return what stays the same while numbers and moments change."""
        return self.invariant, self.subject


@dataclass(frozen=True, slots=True)
class RootRecord:
    """A CARoot: its certificate, and what its status publishes."""

    name: str
    state: str
    certificate: x509.Certificate
    cross: tuple[x509.Certificate, ...] = ()
    signer: tuple[x509.Certificate, ...] = ()


@dataclass(slots=True)
class _Held:
    """One distinct bundle, where it is held, and which needed roots it lacks."""

    bundle: Bundle
    where: str
    places: int = 0
    lacks: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.where if self.places == 1 else f"{self.where} and {self.places - 1} more"


@dataclass(frozen=True, slots=True)
class Counts:
    """How much was looked at."""

    roots: int
    places: int
    bundles: int
    leaves: int
    live: int


class Verification:
    """One look at one configuration at a moment (UTC): add roots first, then bundles, then leaves."""

    def __init__(self, roots: Iterable[RootRecord], active: str, now: datetime) -> None:
        self._roots = {fingerprint(root.certificate): root for root in roots}
        self._active = active
        self._now = now
        self._bundles: dict[str, _Held] = {}
        self._signers: dict[str, str] = {}
        self._found: list[Finding] = []
        self.total = 0
        self._places = self._leaves = self._live = 0
        self._check_active()
        for root in self._roots.values():
            self._check_root(root)

    @property
    def counts(self) -> Counts:
        """Return how much was looked at so far."""
        return Counts(len(self._roots), self._places, len(self._bundles), self._leaves, self._live)

    def findings(self) -> tuple[Finding, ...]:
        """Return what was found, those of bundles last; at most ``MOST_FINDINGS``, ``total`` counts all."""
        lacking = [
            Finding(
                "I3",
                f"{held.where}/{self._root_name(root)}",
                f"bundle of {held} lacks root {self._root_name(root)}, which {count} live leaves need",
            )
            for held in self._bundles.values()
            for root, count in held.lacks.items()
        ]
        return (*self._found, *lacking)[:MOST_FINDINGS]

    @property
    def kept(self) -> bool:
        """Tell whether every promise is kept."""
        return not self.findings()

    # --- roots ----------------------------------------------------------------------------------

    def _check_active(self) -> None:
        named = [root for root in self._roots.values() if root.state == "Active"]
        if not self._active:
            if self._roots:
                self._note("I1", "status.activeRoot", "no root is active, although there are CARoots")
            return
        if self._active not in {root.name for root in self._roots.values()}:
            self._note("I1", self._active, f"the active root {self._active} has no readable CARoot")
        if [root.name for root in named] != [self._active]:
            listed = ", ".join(sorted(root.name for root in named)) or "none"
            self._note(
                "I1", "state", f"exactly {self._active} should be in state Active, but it is: {listed}"
            )

    def _check_root(self, root: RootRecord) -> None:
        end = root.certificate.not_valid_after_utc
        if root.name == self._active and end <= self._now:
            self._note("I2", root.name, f"the active root {root.name} expired at {end:%Y-%m-%dT%H:%M:%SZ}")
        for signer in root.signer[:1]:
            if signer.not_valid_after_utc > end:
                self._note("I4", root.name, f"the signer of {root.name} outlives it")
        for cross in root.cross:
            self._check_cross(root.name, cross)

    def _check_cross(self, subject: str, cross: x509.Certificate) -> None:
        for issuer in self._roots.values():
            if fingerprint(issuer.certificate) != fingerprint(cross) and _issued(cross, issuer.certificate):
                if cross.not_valid_after_utc > issuer.certificate.not_valid_after_utc:
                    self._note("I4", subject, f"a cross-certificate by {issuer.name} outlives that root")
                return

    # --- bundles --------------------------------------------------------------------------------

    def missing_bundle(self, place: str, why: str) -> None:
        """Note a place that is to hold the bundle and does not."""
        self._places += 1
        self._note("I2", place, f"{place}: {why}")

    def add_bundle(self, place: str, text: str) -> None:
        """Take the bundle published at a place: a namespace, or the name of a ClusterTrustBundle; PEM."""
        self._places += 1
        try:
            bundle = Bundle.parse(text)
        except InvalidError as error:
            self._note("I2", place, f"bundle of {place} cannot be read: {error.message}")
            return
        held = self._bundles.get(bundle.digest)
        if held is not None:
            held.places += 1
            return
        if len(self._bundles) >= MOST_BUNDLES:
            self._note("I2", place, f"bundle of {place} differs from {MOST_BUNDLES} others: not compared")
            return
        self._bundles[bundle.digest] = _Held(bundle, place, 1)
        self._check_bundle(place, bundle)

    def _check_bundle(self, place: str, bundle: Bundle) -> None:
        for name in bundle.fingerprints:
            if name not in self._roots:
                self._note(
                    "I9", f"{place}/{name[:10]}", f"bundle of {place} trusts {name[:10]}, no root of this CA"
                )
        active = next((name for name, root in self._roots.items() if root.name == self._active), "")
        if active and active not in bundle.fingerprints:
            self._note("I2", place, f"bundle of {place} lacks the active root {self._active}")

    # --- leaves ---------------------------------------------------------------------------------

    def add_leaf(self, name: str, text: str) -> None:
        """Take the chain of an issued leaf, PEM that anybody may have written; ``name`` is for people."""
        self._leaves += 1
        if not text.strip():
            return
        try:
            issued = chain_facts(text)
        except InvalidError as error:
            self._note("I2", name, f"leaf {name}: {error.message}")
            return
        if issued.leaf.not_after <= self._now:
            return
        self._live += 1
        leaf, signer, *others = issued.certificates
        if issued.leaf.not_after > issued.signer.not_after:
            self._note("I4", name, f"leaf {name} outlives its signer")
        needed = self._needed(signer)
        if not needed:
            self._note("I2", name, f"leaf {name}: its signer is under no root of this CA")
        for cross in others:
            self._check_cross(name, cross)
        for held in self._bundles.values():
            self._check_leaf(name, leaf, [signer, *others], held)
            if needed and needed not in held.bundle.fingerprints:
                held.lacks[needed] = held.lacks.get(needed, 0) + 1

    def _check_leaf(
        self, name: str, leaf: x509.Certificate, above: list[x509.Certificate], held: _Held
    ) -> None:
        try:
            verify(leaf, above, held.bundle.roots, at=self._now)
        except InvalidError as error:
            self._note("I2", name, f"leaf {name} fails under the bundle of {held}: {error.message}")

    def _needed(self, signer: x509.Certificate) -> str:
        """Return the fingerprint of the root that issued a signer, "" when there is none."""
        key = fingerprint(signer)
        if key not in self._signers:
            if len(self._signers) >= _SIGNERS:
                self._signers.clear()
            self._signers[key] = next(
                (name for name, root in self._roots.items() if _issued(signer, root.certificate)), ""
            )
            root = self._roots.get(self._signers[key])
            if root and signer.not_valid_after_utc > root.certificate.not_valid_after_utc:
                self._note("I4", root.name, f"signer {facts(signer).serial} outlives root {root.name}")
        return self._signers[key]

    # --- both -----------------------------------------------------------------------------------

    def _root_name(self, name: str) -> str:
        return self._roots[name].name

    def _note(self, invariant: str, subject: str, text: str) -> None:
        self.total += 1
        if len(self._found) < MOST_FINDINGS:
            self._found.append(Finding(invariant, subject, text))


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if certificate.issuer != issuer.subject or not authority_key_id_of(certificate):
        return False
    try:
        check_issued(certificate, issuer)
    except InvalidError:
        return False
    return True


def root_record(item: JSON) -> RootRecord:
    """Read a CARoot; ``InvalidError`` when its certificate cannot be read."""
    status = item.get("status") or {}
    signer = str((status.get("signer") or {}).get("certificateChain", ""))
    return RootRecord(
        name=str(item["metadata"]["name"]),
        state=str(status.get("state", "")),
        certificate=load_all(str(item["spec"].get("certificate", "")))[0],
        cross=tuple(found for text in status.get("crossCertificates") or () for found in _readable(text)),
        signer=tuple(_readable(signer)),
    )


def _readable(text: str) -> list[x509.Certificate]:
    try:
        return load_all(text)
    except InvalidError:
        return []
