"""One simulated cluster: an API server with a clock, the nodes that run the operator, and its judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshca.api import admission, names
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.clock import LoopClock
from tests.fakes.engine import NAMESPACE, PARAMETERS, crd_kinds
from tests.simulation.judge import Judge
from tests.simulation.replica import Node

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

JSON = dict[str, Any]
CONFIGURATION = "default"
BUNDLE = "meshca-trust-bundle"
NAMESPACES = ("shop", "bank", "farm")
ACCOUNTS = ("web", "db")


@dataclass
class SimCluster:
    """``true`` is the world's clock; the server and each node have clocks of their own."""

    name: str
    rng: random.Random
    true: LoopClock
    note: Callable[[str], None]
    nodes: list[Node] = field(default_factory=list)
    replicas: int = 2
    broken: list[str] = field(default_factory=list)
    follows: SimCluster | None = None
    """Its primary, if it has one."""

    def __post_init__(self) -> None:
        self.clock = LoopClock()
        self.server = ApiServer(self.clock)
        self.server.register(*crd_kinds())
        for name in (NAMESPACE, *NAMESPACES):
            self.server.create(names.NAMESPACE, {"metadata": {"name": name}})
        for namespace in NAMESPACES:
            for account in ACCOUNTS:
                self.account(namespace, account)
        self.judge = Judge(self.server, self.true.now, CONFIGURATION, BUNDLE)
        self.server.store.listeners.append(
            lambda change: self.note(f"{change.version} {change.type} {change.resource.kind} {change.item}")
        )
        self.nodes = [
            Node(f"{self.name}-meshca-{number}", self.server, self.rng, broke=self._broke)
            for number in range(self.replicas)
        ]
        for node in self.nodes:
            node.network.told = lambda who, request, code: self.note(
                f"{who} {request.method} {request.path} {code}"
            )

    def _broke(self, name: str, error: BaseException) -> None:
        self.broken.append(f"{name}: {error!r}")

    def account(self, namespace: str, name: str) -> None:
        if self.server.find(names.SERVICE_ACCOUNT, name, namespace) is None:
            self.server.create(names.SERVICE_ACCOUNT, {"metadata": {"name": name, "namespace": namespace}})

    def policy(self) -> None:
        """Put the admission policies in force, whatever is left of them."""
        for name in (admission.REQUESTER, admission.INTERMEDIATES):
            if self.server.find(names.VALIDATING_POLICY, name) is None:
                self.server.create(names.VALIDATING_POLICY, admission.validating_policy(name, PARAMETERS))
            if self.server.find(names.VALIDATING_BINDING, name) is None:
                self.server.create(names.VALIDATING_BINDING, admission.validating_binding(name))

    def configure(self, spec: JSON) -> None:
        body = {"metadata": {"name": CONFIGURATION}, "spec": spec}
        self.server.create(names.CA_CONFIGURATION, body)

    @property
    def configuration(self) -> JSON:
        return self.server.find(names.CA_CONFIGURATION, CONFIGURATION) or {}

    @property
    def status(self) -> JSON:
        return dict(self.configuration.get("status") or {})

    def condition(self, kind: str) -> tuple[str, str, str]:
        """Return status, reason and message of a condition of the configuration."""
        for entry in self.status.get("conditions") or ():
            if entry["type"] == kind:
                return entry["status"], entry["reason"], entry["message"]
        return "", "", ""

    def up(self) -> None:
        for node in self.nodes:
            node.up()

    async def down(self, *, graceful: bool = True) -> None:
        for node in self.nodes:
            await node.down(graceful=graceful)
