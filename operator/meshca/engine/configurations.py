"""Reconciles one CAConfiguration: observe consistently, plan one step, carry it out, observe again.

Decides what is read and how often; what to do is decided in ``planning.configuration``. Reads come from
the API server, never from the watch store, because these decisions make and trust keys.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.caconfiguration import CAConfigurationSpec
from meshca.engine.authorities import BundleWish
from meshca.engine.castate import read_roots, rival, unreadable_roots
from meshca.engine.limits import DEFAULT_REISSUE_PER_SECOND
from meshca.engine.outcome import Outcome
from meshca.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    MisconfiguredError,
    NotFoundError,
)
from meshca.pki import chain
from meshca.planning.authority import Authority
from meshca.planning.ca import CASnapshot, ImportedPair, Publication, RaiseLeafTTL
from meshca.planning.configuration import plan_configuration
from meshca.planning.desired import resolve
from meshca.planning.secrets import CERTIFICATE, KEY, data_of
from meshca.planning.views import Meta

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from meshca.clock import Clock
    from meshca.engine.authorities import Authorities
    from meshca.engine.intake import Intake
    from meshca.engine.ports import Cluster
    from meshca.engine.steps import StepExecutor
    from meshca.engine.telemetry import Telemetry
    from meshca.planning.ca import CAPlan
    from meshca.planning.desired import Desired

_log = logging.getLogger(__name__)
JSON = dict[str, Any]
MOST_STEPS = 24
MOST_SKEW = 60.0
"""Seconds by which our clock and the API server's may differ."""
CLUSTER_WIDE = "ClusterTrustBundle"


class ConfigurationReconciler:
    """One pass over one configuration: as many steps as it takes, then at most one status write."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        authorities: Authorities,
        intake: Intake,
        executor: StepExecutor,
        clock: Clock,
        skew: Callable[[], float | None],
        telemetry: Telemetry,
        operator_namespace: str,
    ) -> None:
        self._cluster = cluster
        self._authorities = authorities
        self._intake = intake
        self._executor = executor
        self._clock = clock
        self._skew = skew
        self._telemetry = telemetry
        self._operator_namespace = operator_namespace

    async def reconcile(self, name: str) -> tuple[Outcome, datetime | None]:
        """Look at one configuration, do what is due, and return when to look again."""
        problem = taken = ""
        for _ in range(MOST_STEPS):
            found = await self._cluster.list(names.CA_CONFIGURATION)
            body = next((item for item in found if Meta.of(item).name == name), None)
            if body is None:
                self._gone(name)
                return Outcome(), None
            snapshot = await self._observe(body, found, problem)
            plan = plan_configuration(snapshot)
            if not self._keeps_issuing(name, plan):
                self._publish(snapshot, plan)
            if plan.step is None or problem:
                await self._write_status(body, plan)
                return Outcome(retry=bool(problem)), plan.due
            try:
                await self._executor.execute(plan, body)
            except AlreadyExistsError as error:
                # Adopted at the next look, unless it lacks what it is found by.
                if error.message == taken:
                    problem = f"{taken}: it is there without its labels; put them back"
                taken = error.message
            except ConflictError as error:
                _log.info("observing again", extra={"configuration": name, "why": error.message})
            except (MisconfiguredError, InvalidError, ForbiddenError) as error:
                problem = error.message
        return Outcome(retry=True), None

    async def _observe(self, body: JSON, everyone: list[JSON], problem: str) -> CASnapshot:
        meta = Meta.of(body)
        selector = f"{names.LABEL_CONFIGURATION}={meta.name}"
        secrets = await self._cluster.list(names.SECRET, self._operator_namespace, label_selector=selector)
        loaded = self._authorities.keys.load(meta.name, secrets)
        wish, wish_problem = _read_wish(meta.name, body.get("spec"))
        accepted, is_current = await self._accepted(meta.name, body.get("spec"))
        imported = await self._imported(wish or accepted)
        roots = await self._cluster.list(names.CA_ROOT)
        return CASnapshot(
            now=self._clock.now(),
            meta=meta,
            status=dict(body.get("status") or {}),
            wish=wish,
            wish_problem=wish_problem,
            accepted=accepted,
            accepted_is_current=is_current,
            roots=read_roots(roots, meta.name),
            root_secrets=tuple(item.view for item in loaded if item.role == names.KEY_ROLE_ROOT),
            signer_secrets=tuple(item.view for item in loaded if item.role == names.KEY_ROLE_SIGNER),
            imported=imported,
            admission=self._authorities.admission,
            trust_domain_owner=rival(body, everyone, "trustDomain"),
            bundle_owner=rival(body, everyone, "bundle"),
            publication=self._publication(meta.name),
            provider_problem=problem,
            unreadable_roots=unreadable_roots(roots, meta.name),
            clocks_differ=abs(self._skew() or 0.0) > MOST_SKEW,
        )

    async def _accepted(self, name: str, spec: object) -> tuple[Desired | None, bool]:
        try:
            body = await self._cluster.get(
                names.CONFIG_MAP, names.accepted_config_map(name), self._operator_namespace
            )
        except NotFoundError:
            return None, False
        try:
            kept = json.loads((body.get("data") or {}).get("spec.json", ""))
        except ValueError:
            return None, False
        desired, _ = _read_wish(name, kept)
        return desired, kept == spec

    async def _imported(self, desired: Desired | None) -> ImportedPair | None:
        if desired is None or not desired.imported_secret:
            return None
        secret = desired.imported_secret
        try:
            body = await self._cluster.get(names.SECRET, secret, self._operator_namespace)
            certificate, _ = chain.check_imported_root(
                data_of(body, CERTIFICATE),
                data_of(body, KEY),
                now=self._clock.now(),
                trust_domain=desired.trust_domain,
            )
        except NotFoundError:
            return ImportedPair("", "", f"Secret {secret!r} is not in the operator's namespace; create it")
        except InvalidError as error:
            return ImportedPair("", "", f"Secret {secret!r}: {error.message}")
        facts = chain.facts(certificate)
        return ImportedPair(facts.fingerprint, facts.uris[0] if facts.uris else "", "")

    def _publication(self, name: str) -> Publication:
        board = self._authorities.board(name)
        behind = board.behind | board.refused.keys()
        return Publication(
            total=len(board.current | behind),
            current=len(board.current),
            behind=tuple(sorted(place or CLUSTER_WIDE for place in behind)),
            refused=tuple(sorted((place or CLUSTER_WIDE, why) for place, why in board.refused.items())),
            complete=board.complete,
        )

    def _keeps_issuing(self, name: str, plan: CAPlan) -> bool:
        """Tell whether the former rules hold on, because a longer lifetime is not on record yet."""
        return isinstance(plan.step, RaiseLeafTTL) and isinstance(self._authorities.get(name), Authority)

    def _publish(self, snapshot: CASnapshot, plan: CAPlan) -> None:
        name, authority = snapshot.meta.name, plan.authority
        desired = plan.desired
        if self._authorities.set(name, authority):
            self._intake.authority_changed(name)
        if isinstance(authority, Authority) and desired is not None:
            wish = BundleWish(
                configuration=name,
                name=desired.bundle_name,
                pem=authority.bundle,
                digest=authority.bundle_digest,
                namespaces=desired.bundle_namespaces,
                cluster_trust_bundle=desired.cluster_trust_bundle,
            )
            self._intake.set_limits(
                name, desired.csr_max_per_second, desired.csr_max_concurrent, desired.reissue_per_second
            )
            self._intake.bundle_wish(wish)
            self._telemetry.signer_expiry(name, authority.signer_not_after)
        # This version knows no rotation, so that its phase is none.
        self._telemetry.rotation_phase(name, "")
        for root in snapshot.roots:
            self._telemetry.root_expiry(name, root.meta.name, root.facts.not_after)

    async def _write_status(self, body: JSON, plan: CAPlan) -> None:
        if (body.get("status") or {}) == plan.status:
            return
        meta = Meta.of(body)
        await self._cluster.replace_status(
            names.CA_CONFIGURATION,
            {
                "metadata": {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version},
                "status": plan.status,
            },
        )

    def _gone(self, name: str) -> None:
        self._authorities.forget(name)
        self._intake.authority_changed(name)
        self._intake.set_limits(name, 0, 0, DEFAULT_REISSUE_PER_SECOND)
        self._telemetry.forget_configuration(name)


def _read_wish(name: str, spec: object) -> tuple[Desired | None, str]:
    try:
        return resolve(name, CAConfigurationSpec.read(spec, at="spec")), ""
    except InvalidError as error:
        return None, error.message
