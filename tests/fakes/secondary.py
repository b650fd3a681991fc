"""A secondary cluster by hand, as its primary sees it: what it asks, what it answers, what it reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.scalars import format_time
from meshca.pki import certificates
from tests.fakes import pki

if TYPE_CHECKING:
    from datetime import timedelta

    from cryptography import x509

    from meshca.pki.keys import PrivateKey
    from tests.fakes.engine import Cluster

JSON = dict[str, Any]
TRUST_DOMAIN = "spiffe://example.org"


@dataclass
class Hand:
    """One secondary; ``register`` is what a person does in the primary, the rest is what it does itself."""

    cluster: Cluster
    name: str = "west"
    namespace: str = ""
    number: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.namespace = self.namespace or f"meshca-fed-{self.name}"

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:meshca"

    def register(self, **spec: Any) -> JSON:
        server = self.cluster.server
        if server.find(names.NAMESPACE, self.namespace) is None:
            server.create(names.NAMESPACE, {"metadata": {"name": self.namespace}})
        given = {
            "clusterName": self.name,
            "namespace": self.namespace,
            "requester": {"username": self.user},
        }
        body = {"metadata": {"name": self.name}, "spec": given | spec}
        return server.create(names.FEDERATED_CLUSTER, body)

    def unregister(self) -> None:
        self.cluster.server.delete(names.FEDERATED_CLUSTER, self.name)

    def ask(self, *uris: str, key: PrivateKey | None = None, request: str = "", **spec: Any) -> str:
        """Ask for a signer; returns the name of the request."""
        self.number += 1
        chosen = key or pki.key("ECDSA 256", f"{self.name}-{self.number}")
        wanted = [pki.uri(text) for text in uris or (TRUST_DOMAIN,)]
        asked: JSON = {
            "clusterName": self.name,
            "request": request or pki.request(chosen, *wanted),
            "requester": self.user,
        }
        name = f"{self.name}-{self.number:010}"
        body = {"metadata": {"name": name, "namespace": self.namespace}, "spec": asked | spec}
        self.cluster.server.create(names.INTERMEDIATE, body)
        return name

    def answer(self, name: str) -> JSON:
        found = self.cluster.server.find(names.INTERMEDIATE, name, self.namespace)
        return dict((found or {}).get("status") or {})

    def said(self, name: str) -> tuple[str, str]:
        """Return reason and message of a request."""
        conditions = self.answer(name).get("conditions") or [{}]
        return str(conditions[0].get("reason", "")), str(conditions[0].get("message", ""))

    async def granted(self, *uris: str, **spec: Any) -> list[x509.Certificate]:
        """Ask, wait, and return the chain."""
        name = self.ask(*uris, **spec)
        await self.cluster.until(lambda: self.said(name)[0] == "Issued")
        return certificates.load_all(self.answer(name)["certificateChain"])

    def report(self, **status: Any) -> None:
        """Report fields; ``lastSeen`` is now unless it is given."""
        status.setdefault("lastSeen", format_time(self.cluster.clock.now()))
        self.cluster.server.merge(
            names.FEDERATED_CLUSTER, self.name, "", {"status": status}, subresource="status"
        )

    def follow(self, *, lasts: timedelta | None = None, root: str = "") -> None:
        """Report that all targets hold the bundle and that it signs under the active root.

        ``lasts`` is for how long leaves remain under ``root`` (a fingerprint).
        """
        configuration = self.cluster.server.find(names.CA_CONFIGURATION, "default") or {}
        status = configuration["status"]
        active = self.cluster.server.find(names.CA_ROOT, status["activeRoot"]) or {}
        left: list[JSON] = []
        if lasts is not None:
            end = format_time(self.cluster.clock.now() + lasts)
            left = [{"root": root, "leaves": 3, "lastNotAfter": end}]
        self.report(
            bundleDigest=status["bundle"]["digest"],
            roots=status["bundle"]["roots"],
            activeRoot=active["status"]["fingerprint"],
            leaves=left or None,
        )

    def condition(self, kind: str) -> tuple[str, str, str]:
        """Return status, reason and message of a condition of the FederatedCluster."""
        found = self.cluster.server.find(names.FEDERATED_CLUSTER, self.name) or {}
        for entry in (found.get("status") or {}).get("conditions") or ():
            if entry["type"] == kind:
                return entry["status"], entry["reason"], entry["message"]
        return "", "", ""

    def ttl(self) -> str:
        found = self.cluster.server.find(names.FEDERATED_CLUSTER, self.name) or {}
        return str((found.get("status") or {}).get("intermediateTTL", ""))

    def events(self) -> list[str]:
        """Return the reasons of the Events about this cluster and its requests, oldest first."""
        found = [
            item
            for item in self.cluster.server.all(names.EVENT)
            if item["regarding"]["kind"] in {"FederatedCluster", "IntermediateCertificateRequest"}
            and item["regarding"]["name"].startswith(self.name)
        ]
        return [str(item["reason"]) for item in sorted(found, key=lambda item: str(item.get("eventTime")))]
