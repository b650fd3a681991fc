"""The engine as the runtime wires it, against the in-process API server, in virtual time.

Only Kopf is missing: reflectors of ``kube`` bring the CA kinds in, too. Everything else is what runs
in a cluster: gateway, watches, queue, timers, reconcilers.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import yaml

from meshca.api import admission, names
from meshca.api.policyparts import AdmissionParameters
from meshca.config import Settings
from meshca.kube.gateway import Gateway
from meshca.kube.watch import Reflector
from meshca.runtime.engine import Engine
from meshca.runtime.links import Links, connect
from tests.fakes import pki
from tests.fakes.apiserver import kinds
from tests.fakes.apiserver.faults import Fault, RequestInfo
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.apiserver.transport import FakeTransport
from tests.fakes.clock import LoopClock
from tests.fakes.telemetry import Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from meshca.kube.answers import WatchEvent
    from meshca.runtime.link import Connect

JSON = dict[str, Any]
P = ParamSpec("P")
NAMESPACE = "meshca-system"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:meshca"
GROUP = "meshca:break-glass"
PARAMETERS = AdmissionParameters(OPERATOR, NAMESPACE, GROUP)
CRDS = Path(__file__).parents[2] / "crds"
OWN = (names.CA_CONFIGURATION, names.CA_ROOT, names.FEDERATED_CLUSTER, names.INTERMEDIATE)


@cache
def crd_kinds() -> tuple[kinds.Kind, ...]:
    return tuple(kinds.from_crd(yaml.safe_load(path.read_text())) for path in sorted(CRDS.glob("*.yaml")))


def settings(**changes: Any) -> Settings:
    chosen: JSON = {
        "namespace": NAMESPACE,
        "pod_name": "meshca-0",
        "service_account": "meshca",
        "managed_key_namespaces": ("*",),
        "kubernetes_service_host": "127.0.0.1",
    }
    return Settings(**(chosen | changes))


@dataclass(slots=True, kw_only=True)
class DieAfter(Fault):
    """Lets so many writes of the operator through; then nothing it sends arrives any more."""

    writes: int
    lose_last: bool = False
    seen: int = 0

    def strikes(self, info: RequestInfo) -> bool:
        if info.user != OPERATOR:
            return False
        dead = self.seen >= self.writes
        self.seen += info.is_write
        self.lose_answer = self.lose_last and self.seen == self.writes and info.is_write and not dead
        self.unreachable = dead
        self.hits += dead
        return dead or self.lose_answer


@dataclass
class Cluster:
    """An API server with the chart's objects, and a workload namespace."""

    clock: LoopClock = field(default_factory=LoopClock)
    server: ApiServer = field(init=False)
    engine: Engine | None = None
    tally: Tally = field(default_factory=Tally)
    connect: Connect = connect

    def __post_init__(self) -> None:
        self.server = ApiServer(self.clock)
        self.server.register(*crd_kinds())
        for name in (NAMESPACE, "shop"):
            self.server.create(names.NAMESPACE, {"metadata": {"name": name}})
        self.account("shop", "web")
        self.server.audit.clear()

    def account(self, namespace: str, name: str) -> JSON:
        return self.server.create(names.SERVICE_ACCOUNT, {"metadata": {"name": name, "namespace": namespace}})

    def policy(self) -> None:
        """Apply the admission policies as the chart does; one that is there stays as it is."""
        for name in (admission.REQUESTER, admission.INTERMEDIATES):
            if self.server.find(names.VALIDATING_POLICY, name) is not None:
                continue
            self.server.create(names.VALIDATING_POLICY, admission.validating_policy(name, PARAMETERS))
            self.server.create(names.VALIDATING_BINDING, admission.validating_binding(name))

    def configure(self, name: str = "default", **spec: Any) -> JSON:
        return self.server.create(
            names.CA_CONFIGURATION,
            {"metadata": {"name": name}, "spec": {"trustDomain": "example.org"} | spec},
        )

    def leaf(self, name: str = "web", namespace: str = "shop", **spec: Any) -> JSON:
        """Create a request: a CSR unless ``secretName`` is given."""
        asks: JSON = {"serviceAccountName": "web"} | spec
        if "secretName" not in asks:
            asks.setdefault("request", pki.request())
        return self.server.create(
            names.LEAF, {"metadata": {"name": name, "namespace": namespace}, "spec": asks}
        )

    def status(self, name: str = "web", namespace: str = "shop") -> JSON:
        """Return the status of a request."""
        found = self.server.find(names.LEAF, name, namespace)
        return dict((found or {}).get("status") or {})

    def ready(self, name: str = "web", namespace: str = "shop") -> tuple[str, str]:
        """Return state and reason of a request."""
        return _ready(self.status(name, namespace))

    def said(self, name: str = "web", namespace: str = "shop") -> str:
        """Return the message of a request."""
        conditions = self.status(name, namespace).get("conditions") or [{}]
        return str(conditions[0].get("message", ""))

    def condition(self, kind: str = "Ready", name: str = "default") -> tuple[str, str, str]:
        """Return status, reason and message of a condition of a configuration."""
        found = self.server.find(names.CA_CONFIGURATION, name) or {}
        for entry in (found.get("status") or {}).get("conditions") or ():
            if entry["type"] == kind:
                return entry["status"], entry["reason"], entry["message"]
        return "", "", ""

    def secrets(self, role: str = "") -> list[JSON]:
        """Return CA Secrets, of one role if given."""
        return [
            item
            for item in self.server.all(names.SECRET, NAMESPACE)
            if role in {"", item["metadata"].get("labels", {}).get(names.LABEL_KEY_ROLE)}
            and names.LABEL_KEY_ROLE in item["metadata"].get("labels", {})
        ]

    def written(self) -> list[tuple[str, str, str, int]]:
        """Return what the operator wrote since the last look: verb, kind, name, answer; Events left out."""
        found = [
            (
                entry.info.verb,
                entry.info.resource.kind + ("/status" if entry.info.subresource else ""),
                entry.info.name,
                entry.code,
            )
            for entry in self.server.writes(user=OPERATOR)
            if entry.info.resource != names.EVENT
        ]
        self.server.audit.clear()
        return found

    def gateway(self) -> Gateway:
        """Return the operator's access to the server."""
        return Gateway(FakeTransport(self.server, OPERATOR), clock=self.clock)

    @asynccontextmanager
    async def operator(self, **changes: Any) -> AsyncIterator[Engine]:
        """Run the engine; leaving ends it as a kill does, except that tasks are awaited."""
        gateway = self.gateway()
        chosen = settings(**changes)
        engine = self.engine = Engine(chosen, self.clock, gateway, self.tally)
        links = Links(
            deliver=engine.tell_primary,
            fence=lambda: math.inf,
            clock=self.clock,
            telemetry=self.tally,
            connect=self.connect,
        )
        engine.primaries.on_wish = links.wish
        task = asyncio.create_task(self._start(engine, gateway, chosen))
        try:
            yield engine
        finally:
            engine.queue.close()
            engine.timers.close()
            if not task.cancel():
                task.result()  # a part broke: that is what the test has to show
            await asyncio.gather(task, return_exceptions=True)
            await links.aclose()
            self.engine = None

    async def _start(self, engine: Engine, gateway: Gateway, chosen: Settings) -> None:
        found = await engine.sources()
        async with asyncio.TaskGroup() as group:
            for reflector in found:
                group.create_task(reflector.run())
            group.create_task(engine.recorder.run())
            for reflector in found:
                await reflector.synced.wait()
            await engine.first_look()
            group.create_task(engine.workers.run(chosen.workers))
            group.create_task(engine.safety_net())
            group.create_task(engine.leaf_source().run())
            takes = (
                engine.intake.configuration,
                engine.intake.root,
                engine.intake.federation.cluster,
                engine.intake.federation.request,
            )
            for resource, take in zip(OWN, takes, strict=True):
                handler = _hand_over(take)
                group.create_task(Reflector(gateway, resource, handler=handler, clock=self.clock).run())

    async def until(self, holds: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until something holds; fails after so many (virtual) seconds."""
        pause = 0.05
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.05, seconds / 500 + 0.05)
        except TimeoutError:
            leaves = {item["metadata"]["name"]: _ready(item.get("status") or {}) for item in self.leaves()}
            raise AssertionError(
                f"not within {seconds} s; CA: {self.condition()}; leaves: {leaves}"
            ) from None

    def leaves(self) -> list[JSON]:
        return self.server.all(names.LEAF)

    async def until_ready(self, name: str = "default") -> None:
        """Wait until a configuration is Ready and its bundle everywhere."""

        def settled() -> bool:
            found = self.server.find(names.CA_CONFIGURATION, name) or {}
            targets = (found.get("status") or {}).get("bundle", {}).get("targets", {})
            return (
                self.condition(name=name)[0] == "True" and targets.get("total") == targets.get("current") != 0
            )

        await self.until(settled)

    async def until_said(self, reason: str, name: str = "web", seconds: float = 60.0) -> None:
        """Wait for a request's reason."""
        await self.until(lambda: self.ready(name)[1] == reason, seconds)


def _ready(status: Mapping[str, Any]) -> tuple[str, str]:
    conditions = status.get("conditions") or [{}]
    return str(status.get("state", "")), str(conditions[0].get("reason", ""))


def _hand_over(take: Callable[[str, Mapping[str, Any]], None]) -> Callable[[WatchEvent], None]:
    def handler(event: WatchEvent) -> None:
        take(event.type, event.object)

    return handler


@asynccontextmanager
async def ready(**spec: Any) -> AsyncIterator[Cluster]:
    """Run an operator whose CA is Ready, with nothing left to write."""
    cluster = Cluster()
    cluster.policy()
    cluster.configure(**spec)
    await asyncio.sleep(60)
    async with cluster.operator():
        await cluster.until_ready()
        await asyncio.sleep(5)
        cluster.written()
        yield cluster


def with_cluster(test: Callable[Concatenate[Cluster, P], Awaitable[None]]) -> Callable[P, Awaitable[None]]:
    """Give a test a running operator whose CA is Ready.

    No fixture, because fixtures run outside of virtual time.
    """

    @wraps(test)
    async def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async with ready() as cluster:
            await test(cluster, *args, **kwargs)

    shown = inspect.signature(test)
    run.__dict__["__signature__"] = shown.replace(parameters=list(shown.parameters.values())[1:])
    return run
