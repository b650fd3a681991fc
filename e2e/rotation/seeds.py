"""A CA as it would be found after years: roots, keys and leaves made with dates in the past.

Decides how objects look that an operator made long ago; they are brought in as a restore tool would bring
them, by the break-glass identity, while no operator runs. The operator's own code makes the certificates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from e2e import scenario, workload
from e2e.client import path_of
from meshca.api import names
from meshca.api.v1alpha1.scalars import format_duration, format_time
from meshca.pki import desired, issuance, keys
from meshca.pki.certificates import facts, to_pem
from meshca.pki.identity import SPIFFEID, TrustDomain
from meshca.pki.profile import RootProfile, SignerProfile
from meshca.planning.secrets import encode

if TYPE_CHECKING:
    from cryptography import x509

    from e2e.cluster import Cluster

JSON = dict[str, Any]
KEY = keys.KeySpec.of(keys.KeyAlgorithm.ECDSA, 256)
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Root:
    """One root to seed and its past; ``age`` and all the rest are how long ago, or ahead where negative."""

    trigger: str
    age: timedelta
    life: timedelta = 3650 * DAY
    rotated_out: timedelta | None = None
    prunable: timedelta | None = None


@dataclass(slots=True)
class Pair:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any


@dataclass(slots=True)
class Past:
    """Seeds one CA; the last root is the active one. Call ``seed`` first."""

    cluster: Cluster
    body: JSON
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    roots: dict[str, str] = field(default_factory=dict)
    """Names of the CARoots by trigger."""
    _signers: dict[str, tuple[Pair, list[x509.Certificate]]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the name of the CA."""
        return str(self.body["metadata"]["name"])

    @property
    def domain(self) -> TrustDomain:
        """Return its trust domain."""
        return TrustDomain.parse(self.body["spec"]["trustDomain"])

    def seed(self, *roots: Root) -> None:
        """Make the CAConfiguration, its CARoots and its CA Secrets."""
        older: list[Pair] = []
        for root in roots:
            older.append(self._root(root, older))
        self.cluster.apply(self.body)
        status = {"trustDomain": self.domain.name, "activeRoot": self.roots[roots[-1].trigger]}
        self._status(scenario.path(self.name), status)

    def leaf(
        self, place: tuple[str, str], root: str, *, age: timedelta, ttl: timedelta, renewal: str = "Manual"
    ) -> None:
        """Make a request (namespace, name) over a CSR that was answered under a root so long ago."""
        namespace, name = place
        request = workload.csr()
        spec = {"caConfigurationName": self.name, "request": request.pem, "renewal": renewal}
        workload.create(self.cluster, workload.leaf(namespace, name, **spec))
        signer, crosses = self._signers[root]
        born = self.now - age
        certificate = issuance.leaf_certificate(
            keys.load_trusted(request.key).public_key(),
            issuer_cert=signer.certificate,
            issuer_key=signer.key,
            spiffe_id=SPIFFEID.parse(f"{self.domain.uri}/ns/{namespace}/sa/default"),
            ttl=ttl,
            now=born,
        )
        found = facts(certificate)
        condition = {
            "type": "Ready",
            "status": "True",
            "reason": "Issued",
            "message": "",
            "observedGeneration": 1,
            "lastTransitionTime": format_time(born),
        }
        status = {
            "observedGeneration": 1,
            "state": "Issued",
            "certificateChain": to_pem(certificate, signer.certificate, *crosses),
            "serialNumber": found.serial,
            "spiffeID": found.uris[0],
            "notBefore": format_time(found.not_before),
            "notAfter": format_time(found.not_after),
            "renewAt": format_time(found.not_after - ttl / 3),
            "root": self.roots[root],
            "conditions": [condition],
        }
        self._status(workload.path(namespace, name), status)

    def _root(self, root: Root, older: list[Pair]) -> Pair:
        born, key = self.now - root.age, keys.generate(KEY)
        certificate = issuance.self_signed_root(
            key, trust_domain=self.domain, configuration=self.name, profile=RootProfile(root.life), now=born
        )
        found = facts(certificate)
        identity = desired.desired_identity("Builtin", "", KEY, root.trigger, 0)
        base = desired.base_identity("Builtin", "", KEY, root.trigger)
        crosses = [
            issuance.cross_certificate(
                certificate, issuer_cert=item.certificate, issuer_key=item.key, now=born
            )
            for item in older
        ]
        secret = names.root_secret(self.name, identity)
        notes = {
            names.ANNOTATION_IDENTITY: base,
            names.ANNOTATION_RENEWAL: "0",
            names.ANNOTATION_PROVIDER: "Builtin",
        }
        extra = {"cross.crt": to_pem(*crosses)} if crosses else {}
        pair = Pair(certificate, key)
        self._secret(secret, "root", pair, extra, notes)
        self.roots[root.trigger] = names.ca_root(self.name, found.fingerprint)
        self._record(root, pair, secret, notes)
        self._signer(root, pair, crosses)
        return pair

    def _record(self, root: Root, pair: Pair, secret: str, notes: dict[str, str]) -> None:
        moments = {
            names.ANNOTATION_PUBLISHED_AT: self.now - root.age,
            names.ANNOTATION_ACTIVATED_AT: self.now - root.age,
            names.ANNOTATION_ROTATED_OUT_AT: self.now - root.rotated_out if root.rotated_out else None,
            names.ANNOTATION_PRUNABLE_AFTER: self.now - root.prunable if root.prunable else None,
        }
        told = {note: format_time(moment) for note, moment in moments.items() if moment is not None}
        lasting = {
            names.ANNOTATION_TRIGGER: root.trigger,
            names.ANNOTATION_LARGEST_LEAF_TTL: format_duration(30 * DAY),
        }
        body = {
            "apiVersion": names.API_VERSION,
            "kind": names.CA_ROOT.kind,
            "metadata": {
                "name": self.roots[root.trigger],
                "labels": self._labels(),
                "annotations": notes | told | lasting,
                "finalizers": [names.FINALIZER],
            },
            "spec": {
                "caConfigurationName": self.name,
                "certificate": to_pem(pair.certificate),
                "source": "Generated",
                "keySecretName": secret,
            },
        }
        self.cluster.request("POST", path_of(names.CA_ROOT), body, identity=scenario.medic(self.cluster))

    def _signer(self, root: Root, pair: Pair, crosses: list[x509.Certificate]) -> None:
        key = keys.generate(KEY)
        certificate = issuance.signer_certificate(
            key.public_key(),
            issuer_cert=pair.certificate,
            issuer_key=pair.key,
            trust_domain=self.domain,
            configuration=self.name,
            cluster_name="default",
            profile=SignerProfile(365 * DAY),
            now=self.now - root.age,
        )
        extra = {"ca.crt": to_pem(pair.certificate), "chain.crt": to_pem(certificate, *crosses)}
        name = names.signer_secret(self.name, facts(certificate).subject_key_id)
        signer = Pair(certificate, key)
        self._secret(name, "signer", signer, extra, {})
        self._signers[root.trigger] = (signer, crosses)

    def _labels(self) -> dict[str, str]:
        return {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_CONFIGURATION: self.name}

    def _secret(self, name: str, role: str, pair: Pair, extra: dict[str, str], notes: dict[str, str]) -> None:
        body = {
            "metadata": {
                "name": name,
                "labels": self._labels() | {names.LABEL_KEY_ROLE: role},
                "annotations": notes,
            },
            "type": "kubernetes.io/tls",
            "data": {
                "tls.crt": encode(to_pem(pair.certificate)),
                "tls.key": encode(keys.to_pem(pair.key)),
                **{entry: encode(text) for entry, text in extra.items()},
            },
        }
        self.cluster.request("POST", path_of(names.SECRET, scenario.SYSTEM), body)

    def _status(self, where: str, status: JSON) -> None:
        medic = scenario.medic(self.cluster)
        self.cluster.request("PATCH", f"{where}/status", {"status": status}, identity=medic)
