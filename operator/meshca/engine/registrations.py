"""Reconciles one FederatedCluster: what the primary says of it, and that it is gone.

Decides what is read and when an Event is due; what is said is decided in ``planning.registration``.
Nothing is polled: a timer fires when a cluster becomes silent or its signers' life becomes shorter.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.engine.outcome import Outcome
from meshca.errors import NotFoundError
from meshca.planning.registration import RegistrationSnapshot, plan_registration
from meshca.planning.secondaries import namespace_owner, read_secondaries
from meshca.planning.views import Meta

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.clock import Clock
    from meshca.engine.authorities import Authorities
    from meshca.engine.federation import FederationIntake
    from meshca.engine.ports import Cluster, Recorder
    from meshca.engine.telemetry import Telemetry
    from meshca.planning.registration import RegistrationPlan
    from meshca.planning.secondaries import Secondary

_log = logging.getLogger(__name__)
JSON = dict[str, Any]


class RegistrationReconciler:
    """One pass over one registered cluster: at most one status write."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        authorities: Authorities,
        intake: FederationIntake,
        recorder: Recorder,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._cluster = cluster
        self._authorities = authorities
        self._intake = intake
        self._recorder = recorder
        self._clock = clock
        self._telemetry = telemetry
        self._known: dict[str, JSON] = {}

    async def reconcile(self, name: str) -> tuple[Outcome, datetime | None]:
        """Look at one cluster and return when to look again."""
        bodies = await self._cluster.list(names.FEDERATED_CLUSTER)
        body = next((item for item in bodies if Meta.of(item).name == name), None)
        everyone = read_secondaries(bodies)
        secondary = next((item for item in everyone if item.meta.name == name), None)
        if body is None or secondary is None:
            self._gone(name)
            return Outcome(), None
        self._known[name] = body
        configuration = await self._configuration(secondary.spec.ca_configuration_name)
        plan = plan_registration(
            RegistrationSnapshot(
                now=self._clock.now(),
                secondary=secondary,
                rival=namespace_owner(secondary, everyone),
                exists=bool(configuration),
                is_secondary=bool(((configuration.get("spec") or {}).get("federation") or {}).get("primary")),
                authority=self._authorities.signing_roots.get(secondary.spec.ca_configuration_name),
            )
        )
        self._telemetry.federated_cluster_seen(
            secondary.spec.ca_configuration_name, name, secondary.status.last_seen
        )
        await self._write(body, secondary, plan)
        return Outcome(), plan.due

    async def _configuration(self, name: str) -> JSON:
        try:
            return await self._cluster.get(names.CA_CONFIGURATION, name)
        except NotFoundError:
            return {}

    async def _write(self, body: JSON, secondary: Secondary, plan: RegistrationPlan) -> None:
        before = body.get("status") or {}
        if all(before.get(field) == value for field, value in plan.status.items()):
            return
        metadata = {"uid": secondary.meta.uid, "resourceVersion": secondary.meta.resource_version}
        # A merge: what the secondary reports stands beside it, and is not ours to write.
        await self._cluster.patch(
            names.FEDERATED_CLUSTER,
            secondary.meta.name,
            "",
            {"metadata": metadata, "status": plan.status},
            subresource="status",
        )
        for event in plan.events:
            self._recorder.record(body, kind=event.kind, reason=event.reason, note=event.note)

    def _gone(self, name: str) -> None:
        """Say once that a cluster is not registered any more."""
        body = self._known.pop(name, None)
        self._intake.forget_cluster(name)
        if body is None:
            return
        configuration = str((body.get("spec") or {}).get("caConfigurationName", ""))
        self._telemetry.federated_cluster_seen(configuration, name, None)
        _log.info("cluster is not registered any more", extra={"cluster": name})
        self._recorder.record(
            body,
            kind="Normal",
            reason="ClusterUnregistered",
            note=f"secondary cluster {name!r} gets no signers any more, and holds up nothing of"
            f" CAConfiguration {configuration!r}",
        )
