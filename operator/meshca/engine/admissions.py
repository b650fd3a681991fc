"""Watches over the admission policies that guard requests, and keeps a durable record of each.

Decides nothing: whether and since when a policy is in force is planned in ``planning.admission``.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from meshca.api import admission, names
from meshca.engine.outcome import Outcome
from meshca.errors import NotFoundError
from meshca.planning.admission import AdmissionSnapshot, plan_admission
from meshca.planning.views import Meta

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.api.policyparts import AdmissionParameters
    from meshca.clock import Clock
    from meshca.engine.authorities import Authorities
    from meshca.engine.intake import Intake
    from meshca.engine.ports import Cluster
    from meshca.planning.authority import Admission

_log = logging.getLogger(__name__)
JSON = dict[str, Any]


class AdmissionReconciler:
    """One pass over the policies of leaves and of intermediates, their bindings and their records."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        authorities: Authorities,
        intake: Intake,
        clock: Clock,
        skew: Callable[[], float | None],
        parameters: AdmissionParameters,
    ) -> None:
        self._cluster = cluster
        self._authorities = authorities
        self._intake = intake
        self._clock = clock
        self._skew = skew
        self._parameters = parameters

    async def reconcile(self) -> Outcome:
        """Read policies, bindings and records consistently, and tell everybody when a verdict changed."""
        verdict = await self._look(admission.REQUESTER, names.ADMISSION_CONFIG_MAP)
        if verdict != self._authorities.admission:
            self._authorities.admission = verdict
            _tell(admission.REQUESTER, verdict)
            self._intake.admission_changed()
        verdict = await self._look(admission.INTERMEDIATES, names.INTERMEDIATES_ADMISSION_CONFIG_MAP)
        if verdict != self._authorities.intermediates_admission:
            self._authorities.intermediates_admission = verdict
            _tell(admission.INTERMEDIATES, verdict)
            self._intake.federation.admission_changed()
        return Outcome()

    async def _look(self, name: str, kept_in: str) -> Admission:
        """Return whether one policy is in force and since when.

        Requests are dated by the API server: while our clock is slow, a policy counts from its time.
        """
        policy = await self._read(names.VALIDATING_POLICY, name)
        binding = await self._read(names.VALIDATING_BINDING, name)
        digest = admission.policy_digest(
            admission.validating_policy(name, self._parameters), admission.validating_binding(name)
        )
        plan = plan_admission(
            AdmissionSnapshot(
                now=self._clock.now() + timedelta(seconds=max(0.0, self._skew() or 0.0)),
                policy=Meta.of(policy) if policy else None,
                binding=Meta.of(binding) if binding else None,
                as_shipped=bool(policy and binding)
                and admission.as_shipped(policy or {}, binding or {}, self._parameters),
                digest=digest,
                predecessors=frozenset({digest}),
                record=await self._record(kept_in),
                name=name,
            )
        )
        if plan.record is not None:
            await self._keep(kept_in, plan.record)
        return plan.admission

    async def _read(self, resource: names.Resource, name: str) -> JSON | None:
        try:
            return await self._cluster.get(resource, name)
        except NotFoundError:
            return None

    async def _record(self, kept_in: str) -> dict[str, str]:
        try:
            body = await self._cluster.get(names.CONFIG_MAP, kept_in, self._parameters.operator_namespace)
        except NotFoundError:
            return {}
        data = body.get("data") or {}
        return {key: value for key, value in data.items() if isinstance(value, str)}

    async def _keep(self, kept_in: str, record: dict[str, str]) -> None:
        await self._cluster.apply(
            names.CONFIG_MAP,
            {
                "metadata": {
                    "name": kept_in,
                    "namespace": self._parameters.operator_namespace,
                    "labels": {names.LABEL_MANAGED_BY: names.MANAGED_BY},
                },
                "data": record,
            },
        )


def _tell(name: str, verdict: Admission) -> None:
    _log.info(
        "admission policy",
        extra={"policy": name, "in_force": verdict.in_force, "detail": verdict.message},
    )
