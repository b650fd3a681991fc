"""Watches over the admission policy that guards requests, and keeps its durable record.

Decides nothing: whether and since when the policy is in force is planned in ``planning.admission``.
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

    from meshca.api.admission import AdmissionParameters
    from meshca.clock import Clock
    from meshca.engine.authorities import Authorities
    from meshca.engine.intake import Intake
    from meshca.engine.ports import Cluster

_log = logging.getLogger(__name__)
JSON = dict[str, Any]


class AdmissionReconciler:
    """One pass over policy, binding and record."""

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
        shipped = admission.validating_policy(admission.REQUESTER, parameters)
        self._digest = admission.policy_digest(shipped, admission.validating_binding(admission.REQUESTER))

    async def reconcile(self) -> Outcome:
        """Read policy, binding and record consistently, and tell everybody when the verdict changed.

        Requests are dated by the API server: while our clock is slow, a policy counts from its time.
        """
        policy = await self._read(names.VALIDATING_POLICY)
        binding = await self._read(names.VALIDATING_BINDING)
        record = await self._record()
        plan = plan_admission(
            AdmissionSnapshot(
                now=self._clock.now() + timedelta(seconds=max(0.0, self._skew() or 0.0)),
                policy=Meta.of(policy) if policy else None,
                binding=Meta.of(binding) if binding else None,
                as_shipped=bool(policy and binding)
                and admission.as_shipped(policy or {}, binding or {}, self._parameters),
                digest=self._digest,
                predecessors=frozenset({self._digest}),
                record=record,
                name=admission.REQUESTER,
            )
        )
        if plan.record is not None:
            await self._keep(plan.record)
        if plan.admission != self._authorities.admission:
            self._authorities.admission = plan.admission
            _log.info(
                "admission policy",
                extra={"in_force": plan.admission.in_force, "detail": plan.admission.message},
            )
            self._intake.admission_changed()
        return Outcome()

    async def _read(self, resource: names.Resource) -> JSON | None:
        try:
            return await self._cluster.get(resource, admission.REQUESTER)
        except NotFoundError:
            return None

    async def _record(self) -> dict[str, str]:
        try:
            body = await self._cluster.get(
                names.CONFIG_MAP, names.ADMISSION_CONFIG_MAP, self._parameters.operator_namespace
            )
        except NotFoundError:
            return {}
        data = body.get("data") or {}
        return {key: value for key, value in data.items() if isinstance(value, str)}

    async def _keep(self, record: dict[str, str]) -> None:
        await self._cluster.apply(
            names.CONFIG_MAP,
            {
                "metadata": {
                    "name": names.ADMISSION_CONFIG_MAP,
                    "namespace": self._parameters.operator_namespace,
                    "labels": {names.LABEL_MANAGED_BY: names.MANAGED_BY},
                },
                "data": record,
            },
        )
