"""What only the leader does: watch, decide, write, in an event loop and a thread of its own.

Decides the order of starting and stopping: nothing is issued before policy, configurations and what
surrounds them were read once, and a stop lets running writes end. Lives as long as the Lease is held;
never restarts within a process.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

import kopf

from meshca.api import names
from meshca.api.policyparts import AdmissionParameters
from meshca.engine.admissions import AdmissionReconciler
from meshca.engine.authorities import Authorities
from meshca.engine.configurations import ConfigurationReconciler
from meshca.engine.intake import ADMISSION_KEY, LEAF, Intake, configuration_key
from meshca.engine.intermediates import IntermediateReconciler
from meshca.engine.leaves import LeafReconciler
from meshca.engine.lookout import Lookout
from meshca.engine.managed import ManagedKeys
from meshca.engine.publisher import Publisher
from meshca.engine.queue import WorkQueue
from meshca.engine.registrations import RegistrationReconciler
from meshca.engine.secondaries import Primaries
from meshca.engine.steps import StepExecutor
from meshca.engine.store import Store
from meshca.engine.timers import Timers
from meshca.engine.work import Urgency
from meshca.engine.workers import SAFETY_NET, Workers
from meshca.errors import MeshCAError
from meshca.handlers import watches
from meshca.kube.credentials import in_cluster
from meshca.kube.events import EventRecorder
from meshca.kube.gateway import WRITE_SECONDS, Gateway
from meshca.kube.session import Session
from meshca.planning.leaf import is_of_the_future
from meshca.planning.views import Meta, annotations_of
from meshca.providers.registry import ProviderRegistry
from meshca.runtime import sources
from meshca.runtime.links import LinkThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.clock import Clock
    from meshca.config import Settings
    from meshca.engine.telemetry import Telemetry
    from meshca.engine.work import Key
    from meshca.kube.watch import Reflector
    from meshca.planning.primary import PrimaryView
    from meshca.server.pulse import Pulse

_log = logging.getLogger(__name__)
GAUGES_EVERY = 15.0
DRAIN_SECONDS = 5.0


class Leader:
    """One term of leading; ``run`` wants a loop of its own, ``stop`` may be called from anywhere."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        fence: Callable[[], float],
        telemetry: Telemetry,
        pulse: Pulse,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._fence = fence
        self._telemetry = telemetry
        self._pulse = pulse
        self._stop_kopf = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reflectors: list[Reflector] = []
        self._leaves: Reflector | None = None

    def stop(self) -> None:
        """End the term; thread-safe, returns at once."""
        self._stop_kopf.set()
        if self._loop is not None and self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)

    @property
    def synced(self) -> bool:
        """Return whether every kind was listed once; thread-safe."""
        return self._leaves is not None and self._leaves.synced.is_set()

    def watch_age(self) -> float | None:
        """Return the seconds since the most silent watch gave a sign of life; thread-safe."""
        ages = [self._clock.monotonic() - reflector.last_activity for reflector in self._reflectors]
        return max(ages, default=None)

    async def run(self) -> None:
        """Lead until ``stop`` or until a part breaks."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        if self._stop_kopf.is_set():
            return
        self._pulse.start()
        credentials = in_cluster(self._settings.token_dir, self._clock)
        session = Session(credentials, may_write=lambda: self._fence() >= WRITE_SECONDS)
        try:
            gateway = Gateway(session, self._fence, on_write=self._telemetry.api_write, clock=self._clock)
            await self._lead(gateway)
        finally:
            self._pulse.stop()
            await session.aclose()

    async def _lead(self, gateway: Gateway) -> None:
        engine = _Engine(self._settings, self._clock, gateway, self._telemetry)
        links = LinkThread(
            asyncio.get_running_loop(),
            engine.tell_primary,
            fence=self._fence,
            clock=self._clock,
            telemetry=self._telemetry,
        )
        links.start()
        engine.primaries.on_wish = links.wish
        try:
            await self._work(engine)
        finally:
            links.stop()
            await links.stopped()

    async def _work(self, engine: _Engine) -> None:
        assert self._stop is not None
        self._reflectors = await engine.sources()
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        parts = [
            *(asyncio.create_task(reflector.run(), name="reflector") for reflector in self._reflectors),
            asyncio.create_task(engine.recorder.run(), name="events"),
            asyncio.create_task(self._follow(engine), name="engine"),
        ]
        try:
            await asyncio.wait([stopped, *parts], return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                if part.done():
                    part.result()
        finally:
            await engine.wind_down()
            for task in [stopped, *parts]:
                task.cancel()
            await asyncio.gather(stopped, *parts, return_exceptions=True)

    async def _follow(self, engine: _Engine) -> None:
        await asyncio.gather(*(reflector.synced.wait() for reflector in self._reflectors))
        await engine.first_look()
        registry = watches.registry_for(engine.intake, self._login, engine.heard)
        leaves = self._leaves = engine.leaf_source()
        self._reflectors = [*self._reflectors, leaves]
        workers = asyncio.create_task(engine.workers.run(self._settings.workers), name="workers")
        others = (
            asyncio.create_task(watches.watch(registry, self._stop_kopf), name="watches"),
            asyncio.create_task(leaves.run(), name="leaves"),
            asyncio.create_task(self._gauges(engine), name="gauges"),
            asyncio.create_task(engine.safety_net(), name="safety-net"),
        )
        try:
            # None of them ends by itself: a leader that goes on without one is worse than none.
            done, _ = await asyncio.wait([workers, *others], return_when=asyncio.FIRST_COMPLETED)
            for part in done:
                part.result()
        finally:
            for task in others:
                task.cancel()
            engine.queue.close()
            await asyncio.gather(workers, *others, return_exceptions=True)

    def _login(self) -> kopf.ConnectionInfo:
        found = in_cluster(self._settings.token_dir, self._clock)
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=str(self._settings.token_dir / "ca.crt"),
            scheme="Bearer",
            token=found.token.current(),
        )

    async def _gauges(self, engine: _Engine) -> None:
        while True:
            self._telemetry.queue(engine.queue.depth(), engine.queue.oldest_age())
            for configuration in engine.store.configurations:
                self._telemetry.leaves(configuration, engine.store.leaves.states(configuration))
            await asyncio.sleep(GAUGES_EVERY)


class _Engine:
    """The parts of the engine, wired."""

    def __init__(self, settings: Settings, clock: Clock, gateway: Gateway, telemetry: Telemetry) -> None:
        self._settings = settings
        self._clock = clock
        self._gateway = gateway
        self.store = Store()
        self.authorities = Authorities()
        self.recorder = EventRecorder(gateway, clock, instance=settings.pod_name)
        self.queue = WorkQueue(max_in_flight=settings.workers, on_throttled=self._throttled)
        self.timers = Timers(clock, self._fire)
        self.providers = ProviderRegistry()
        self.intake = Intake(self.store, self.queue, self.authorities, self.timers, clock)
        self.publisher = Publisher(
            cluster=gateway, store=self.store, authorities=self.authorities, intake=self.intake, clock=clock
        )
        self.admissions = AdmissionReconciler(
            cluster=gateway,
            authorities=self.authorities,
            intake=self.intake,
            clock=clock,
            skew=lambda: gateway.skew,
            parameters=AdmissionParameters(
                operator_user=settings.username,
                operator_namespace=settings.namespace,
                break_glass_group=settings.break_glass_group,
            ),
        )
        self.lookout = Lookout(
            cluster=gateway, store=self.store, authorities=self.authorities, queue=self.queue, clock=clock
        )
        self.primaries = Primaries()
        self.configurations = ConfigurationReconciler(
            cluster=gateway,
            authorities=self.authorities,
            intake=self.intake,
            executor=StepExecutor(
                cluster=gateway,
                providers=self.providers,
                signing_keys=self.authorities.keys,
                recorder=self.recorder,
                clock=clock,
                operator_namespace=settings.namespace,
            ),
            lookout=self.lookout,
            primaries=self.primaries,
            clock=clock,
            skew=lambda: gateway.skew,
            telemetry=telemetry,
            operator_namespace=settings.namespace,
        )
        self.leaves = LeafReconciler(
            cluster=gateway,
            store=self.store,
            authorities=self.authorities,
            intake=self.intake,
            timers=self.timers,
            clock=clock,
            telemetry=telemetry,
            managed=ManagedKeys(gateway, self.store, clock, settings.managed_key_namespaces),
            operator_namespace=settings.namespace,
        )
        self.workers = Workers(
            queue=self.queue,
            timers=self.timers,
            configurations=self.configurations,
            leaves=self.leaves,
            publisher=self.publisher,
            admissions=self.admissions,
            registrations=RegistrationReconciler(
                cluster=gateway,
                authorities=self.authorities,
                intake=self.intake.federation,
                recorder=self.recorder,
                clock=clock,
                telemetry=telemetry,
            ),
            intermediates=IntermediateReconciler(
                cluster=gateway,
                authorities=self.authorities,
                intake=self.intake.federation,
                providers=self.providers,
                recorder=self.recorder,
                clock=clock,
                skew=lambda: gateway.skew,
            ),
        )

    def tell_primary(self, configuration: str, view: PrimaryView) -> None:
        """Take in what a link tells of the primary of a configuration."""
        self.primaries.tell(configuration, view)
        self.intake.primary(configuration)

    def heard(self) -> None:
        """Note that a watch of our own kinds is alive."""

    async def sources(self) -> list[Reflector]:
        """Return the reflectors to run."""
        self.publisher.cluster_bundles = await sources.has_cluster_bundles(self._gateway)
        self.lookout.cluster_bundles = self.publisher.cluster_bundles
        return sources.reflectors(
            self._gateway,
            self._settings,
            self.intake,
            self._clock,
            cluster_bundles=self.publisher.cluster_bundles,
        )

    def leaf_source(self) -> Reflector:
        """Return the reflector of leaves, to run once it is known what may be issued."""
        return sources.leaf_reflector(self._gateway, self.intake, self._clock)

    async def first_look(self) -> None:
        """Read the policy and every configuration once, before the first leaf is looked at."""
        # Or a rotation would look complete as long as the watch has told of no leaf.
        self.store.leaves.listing = True
        await sources.insist(self.admissions.reconcile)
        for body in await sources.insist(lambda: self._gateway.list(names.CA_CONFIGURATION)):
            name = Meta.of(body).name
            self.intake.configuration("", body)
            try:
                await self.configurations.reconcile(name)
            except MeshCAError as error:
                _log.warning("not read at start", extra={"configuration": name, "why": error.message})
            except Exception:  # noqa: BLE001  a defect met by one CA must not keep the others from starting
                _log.exception("defect while reading at start", extra={"configuration": name})
        await self._finish_deletions()

    async def _finish_deletions(self) -> None:
        """Go on with configurations that are gone and whose keys were to be deleted with them."""
        selector = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
        kept = await sources.insist(
            lambda: self._gateway.list(names.CONFIG_MAP, self._settings.namespace, label_selector=selector)
        )
        for body in kept:
            name = annotations_of(body).get(names.ANNOTATION_DELETE_KEYS, "")
            if name and name not in self.store.configurations:
                self.queue.add(configuration_key(name), Urgency.CONTROL)

    async def safety_net(self) -> None:
        """Look every ten minutes at what no watch may have told of."""
        while True:
            await asyncio.sleep(SAFETY_NET)
            # Its record is not watched, and without one the next leader would count anew.
            self.queue.add(ADMISSION_KEY, Urgency.CONTROL)
            for name in tuple(self.store.configurations):
                self.queue.add(configuration_key(name), Urgency.CONTROL)
            self.intake.federation.look_at_all()
            # Their timers are of the future, too.
            for view in self.store.leaves:
                if is_of_the_future(view, self._clock.now()):
                    self.intake.queue_leaf(view)

    async def wind_down(self) -> None:
        """Take nothing new and let what runs end, for a few seconds."""
        self.queue.close()
        self.timers.close()
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self.queue.drained()
        except TimeoutError:
            _log.warning("stopped with work in flight", extra={"items": self.queue.in_flight})

    def _fire(self, key: Key, urgency: Urgency) -> None:
        if key.kind == LEAF:
            view = self.store.leaves.get((key.namespace, key.name))
            if view is not None:
                self.intake.queue_leaf(view)
        else:
            self.queue.add(key, urgency)

    def _throttled(self, key: Key, urgency: Urgency) -> None:
        self.workers.throttled(key, urgency)
