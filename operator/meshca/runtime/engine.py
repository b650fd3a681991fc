"""What only the leader has: the parts of the engine, wired to one gateway.

Decides what is read before the first leaf is looked at, what is looked at again every ten minutes, and how
long running writes are waited for at the end; when any of this happens is ``runtime.leader``'s.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from meshca.api import names
from meshca.api.policyparts import AdmissionParameters
from meshca.clock import differ
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
from meshca.kube.events import EventRecorder
from meshca.planning.leaf import is_of_the_future
from meshca.planning.views import Meta, annotations_of
from meshca.providers.registry import ProviderRegistry
from meshca.runtime import sources

if TYPE_CHECKING:
    from meshca.clock import Clock
    from meshca.config import Settings
    from meshca.engine.telemetry import Telemetry
    from meshca.engine.work import Key
    from meshca.kube.gateway import Gateway
    from meshca.kube.watch import Reflector
    from meshca.planning.primary import PrimaryView

_log = logging.getLogger(__name__)
DRAIN_SECONDS = 5.0


class Engine:
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
            clocks_differ=lambda: differ(gateway.skew),
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
            clocks_differ=lambda: differ(gateway.skew),
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
                clocks_differ=lambda: differ(gateway.skew),
            ),
        )

    def tell_primary(self, configuration: str, view: PrimaryView) -> None:
        """Take in what a link tells of the primary of a configuration."""
        self.primaries.tell(configuration, view)
        self.intake.primary(configuration)

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
