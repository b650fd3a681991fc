"""A rotation as leaves see it: another authority from one moment on, put in place of the CA's own work."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from meshca.engine.outcome import Outcome
from meshca.pki import certificates, issuance
from meshca.pki.bundle import Bundle
from meshca.planning.authority import Authority, Unavailable
from tests.fakes import pki
from tests.fakes.apiserver.faults import Fault
from tests.fakes.engine import OPERATOR, Cluster

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.pki.keys import PrivateKey
    from meshca.planning.ca import Census
    from tests.fakes.apiserver.faults import RequestInfo


@dataclass(slots=True, kw_only=True)
class Notes(Fault):
    """Lets everything through and notes when the operator wrote what."""

    cluster: Cluster
    written: list[tuple[float, str, str]] = field(default_factory=list)

    def strikes(self, info: RequestInfo) -> bool:
        if info.user == OPERATOR and info.is_write and info.namespace != "meshca-system":
            kind = info.resource.kind + ("/status" if info.subresource else "")
            self.written.append((self.cluster.clock.monotonic(), kind, info.name))
        return False

    def names(self) -> list[str]:
        """Return the requests whose status was written, in order."""
        return [name for _, kind, name in self.written if kind == "LeafCertificateRequest/status"]


@dataclass
class Rotation:
    """Says which root is active, and stands in for the reconciler of configurations from then on."""

    cluster: Cluster
    rate: float = 50.0
    first: Authority = field(init=False)
    now: Authority | Unavailable = field(init=False)
    looks: int = 0
    notes: Notes = field(init=False)
    _keys: dict[str, PrivateKey] = field(default_factory=dict)
    _root_keys: dict[str, PrivateKey] = field(default_factory=dict)

    def __post_init__(self) -> None:
        engine = self.cluster.engine
        assert engine is not None
        found = engine.authorities.get("default")
        assert isinstance(found, Authority)
        self.first = self.now = found
        for name, loaded in engine.authorities.keys._loaded["default"].items():
            assert loaded.key is not None
            self._keys[name] = loaded.key
            if loaded.view.facts is not None and loaded.view.facts.fingerprint == found.root:
                self._root_keys[found.root] = loaded.key
        self.notes = Notes(cluster=self.cluster)
        self.cluster.server.faults.append(self.notes)
        self.stand_in()

    def stand_in(self) -> None:
        """Take over from the reconciler of the engine that runs now, and hand it the present authority."""
        engine = self.cluster.engine
        assert engine is not None
        engine.configurations.reconcile = self._reconcile  # type: ignore[method-assign]
        setattr(engine.authorities.keys, "get", lambda _, secret: self._keys.get(secret))  # noqa: B010  a method

    async def _reconcile(self, name: str) -> tuple[Outcome, datetime | None]:
        engine = self.cluster.engine
        assert engine is not None
        self.looks += 1
        engine.intake.set_limits(name, 0, 0, self.rate)
        if engine.authorities.set(name, self.now):
            engine.intake.authority_changed(name)
        return Outcome(), None

    async def activate(self, authority: Authority | Unavailable) -> None:
        """Make this the authority."""
        self.now = authority
        await self._reconcile("default")

    def another(self, name: str = "second", **changes: Any) -> Authority:
        """Return an authority with a root and a signer of its own, cross-signed by the first root."""
        now = self.cluster.clock.now()
        root_key, signer_key = pki.key(name=f"root {name}"), pki.key(name=f"signer {name}")
        root = pki.make_root(root_key, now=now)
        signer = pki.make_signer(signer_key.public_key(), root, root_key, now=now)
        secret = f"meshca-signer-default-{name}"
        self._keys[secret] = signer_key
        cross = issuance.cross_certificate(
            root,
            issuer_cert=self.first.trusted[0],
            issuer_key=self._root_keys[self.first.root],
            now=now,
        )
        bundle = Bundle.of([*self.first.trusted, root])
        facts = certificates.facts(signer)
        return replace(
            self.first,
            root=certificates.fingerprint(root),
            signer=signer,
            signer_key_id=facts.subject_key_id,
            signer_secret=secret,
            signer_not_after=facts.not_after,
            chain=certificates.to_pem(signer, cross),
            bundle=bundle.pem,
            bundle_digest=bundle.digest,
            trusted=bundle.roots,
            **changes,
        )

    def trusting(self, authority: Authority, *others: Authority, **changes: Any) -> Authority:
        """Return an authority in whose bundle the roots of others are, too."""
        bundle = Bundle.of([root for item in (authority, *others) for root in item.trusted])
        changed = {"bundle": bundle.pem, "bundle_digest": bundle.digest, "trusted": bundle.roots}
        return replace(authority, **(changed | changes))

    def census(self) -> Census:
        """Count what is left."""
        engine, active = self.cluster.engine, self.now
        assert engine is not None
        assert isinstance(active, Authority)
        bundle = active.bundle if active.bundle_in_secrets else ""
        now = self.cluster.clock.now()
        return engine.store.leaves.census("default", active.root, now, bundle=bundle)
