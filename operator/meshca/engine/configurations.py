"""Reconciles one CAConfiguration: observe consistently, plan one step, carry it out, observe again.

Decides what is read and how often; what to do is decided in ``planning.configuration``. Reads come from
the API server, never from the watch store, because these decisions make and trust keys.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.castatus import RotationPhase
from meshca.engine.authorities import BundleWish
from meshca.engine.castate import Imports, alone, read_roots, rival, unreadable_roots
from meshca.engine.limits import DEFAULT_REISSUE_PER_SECOND
from meshca.engine.outcome import Outcome
from meshca.engine.repeats import Repeats
from meshca.engine.secondaries import SecondaryObserver
from meshca.engine.wishes import Wishes, read_wish
from meshca.errors import (
    AlreadyExistsError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    LeaseExpiringError,
    MisconfiguredError,
    RefusedError,
    TransientError,
)
from meshca.planning.authority import Authority
from meshca.planning.ca import CASnapshot, Publication
from meshca.planning.configuration import plan_configuration
from meshca.planning.secondaries import read_secondaries, registered
from meshca.planning.steps import CrossSign, GatherEvidence, RaiseLeafTTL, ReadBack, RecordPhase, RenewJoin
from meshca.planning.views import Meta, annotations_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from meshca.clock import Clock
    from meshca.engine.authorities import Authorities
    from meshca.engine.intake import Intake
    from meshca.engine.lookout import Lookout
    from meshca.engine.ports import Cluster
    from meshca.engine.secondaries import Primaries
    from meshca.engine.steps import StepExecutor
    from meshca.engine.telemetry import Telemetry
    from meshca.planning.ca import CAPlan, Evidence

_log = logging.getLogger(__name__)
JSON = dict[str, Any]
MOST_STEPS = 40
COUNTED_EVERY = 1.0
"""Seconds between two writes of how far a rotation has come."""
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
        lookout: Lookout,
        primaries: Primaries,
        clock: Clock,
        clocks_differ: Callable[[], bool],
        telemetry: Telemetry,
        operator_namespace: str,
    ) -> None:
        self._cluster = cluster
        self._authorities = authorities
        self._intake = intake
        self._executor = executor
        self._lookout = lookout
        self._primaries = primaries
        self._wishes = Wishes(cluster, clock, operator_namespace)
        self._secondaries = SecondaryObserver(cluster, primaries, operator_namespace)
        self._cross_problems: dict[str, dict[tuple[str, str], str]] = {}
        self._unkept_tokens: dict[str, str] = {}
        self._counted: dict[str, float] = {}
        self._measured: dict[str, set[str]] = {}
        self._imports = Imports()
        self._repeats = Repeats()
        self._clock = clock
        self._clocks_differ = clocks_differ
        self._telemetry = telemetry
        self._operator_namespace = operator_namespace

    async def reconcile(self, name: str) -> tuple[Outcome, datetime | None]:
        """Look at one configuration, do what is due, and return when to look again."""
        problem = taken = ""
        evidence: tuple[Evidence, ...] = ()
        for _ in range(MOST_STEPS):
            found = await self._cluster.list(names.CA_CONFIGURATION)
            body = next((item for item in found if Meta.of(item).name == name), None)
            if body is None:
                return await self._gone(name)
            snapshot = replace(await self._observe(body, found, problem), evidence=evidence)
            plan = plan_configuration(snapshot)
            self._primaries.wish(name, plan.primary)
            if not self._keeps_issuing(name, plan):
                self._publish(snapshot, plan)
            if plan.step is None or problem:
                await self._write_status(body, plan)
                self._cross_problems.pop(name, None)
                self._unkept_tokens.pop(name, None)
                # A due time by a clock that is wrong may come too late once it is put right.
                blocked = bool(snapshot.cross_problems) or snapshot.clocks_differ
                return Outcome(retry=bool(problem) or blocked or snapshot.unkept_token is not None), plan.due
            try:
                evidence += await self._take(plan, body)
            except AlreadyExistsError as error:
                # Adopted at the next look, unless it lacks what it is found by.
                if error.message == taken:
                    problem = f"{taken}: it is there without its labels; put them back"
                taken = error.message
            except ConflictError as error:
                _log.info("observing again", extra={"configuration": name, "why": error.message})
            except (MisconfiguredError, InvalidError, ForbiddenError, RefusedError) as error:
                if not self._cannot_cross(name, plan, error.message):
                    problem = error.message
        return Outcome(retry=True), None

    async def _take(self, plan: CAPlan, body: JSON) -> tuple[Evidence, ...]:
        """Carry out a step; returns what was found out about who needs a root."""
        meta, step = Meta.of(body), plan.step
        assert step is not None
        futile = self._repeats.problem(meta, step, self._clock.monotonic())
        if futile:
            raise RefusedError(futile)
        match step:
            case RecordPhase():
                await self._write_status(body, plan)
            case ReadBack():
                await self._lookout.read_back(meta.name)
            case GatherEvidence(root):
                return (await self._lookout.evidence(meta.name, root),)
            case RenewJoin():
                if not await self._keep_token(plan, body):
                    return ()
            case _:
                await self._executor.execute(plan, body)
        self._repeats.note(meta, step, self._clock.monotonic())
        return ()

    async def _keep_token(self, plan: CAPlan, body: JSON) -> bool:
        """Write the token that the link has got; what keeps it from being written stops nothing else."""
        name = Meta.of(body).name
        try:
            await self._executor.execute(plan, body)
        except (MisconfiguredError, InvalidError, ForbiddenError) as error:
            self._unkept_tokens[name] = error.message
        except LeaseExpiringError:
            raise
        except TransientError:
            self._unkept_tokens[name] = ""
        else:
            return True
        return False

    def _cannot_cross(self, name: str, plan: CAPlan, why: str) -> bool:
        """Remember, for this look, that a root cannot sign the new one, which may be permitted."""
        step = plan.step
        if not isinstance(step, CrossSign):
            return False
        pair = (step.issuer.facts.fingerprint, step.root.facts.fingerprint)
        self._cross_problems.setdefault(name, {})[pair] = f"root {step.issuer.meta.name!r}: {why}"
        return True

    async def _observe(self, body: JSON, everyone: list[JSON], problem: str) -> CASnapshot:
        meta = Meta.of(body)
        selector = f"{names.LABEL_CONFIGURATION}={meta.name}"
        secrets = await self._cluster.list(names.SECRET, self._operator_namespace, label_selector=selector)
        loaded = self._authorities.keys.load(meta.name, secrets)
        wish, wish_problem = read_wish(meta.name, body.get("spec"))
        accepted, is_current, held = await self._wishes.accepted(meta.name, body.get("spec"))
        imported = await self._wishes.imported(wish or accepted)
        roots = await self._cluster.list(names.CA_ROOT)
        mine = read_roots(roots, meta.name)
        imported = alone(imported, roots, {Meta.of(item).name for item in everyone}, meta.name, self._imports)
        active = str((body.get("status") or {}).get("activeRoot", ""))
        return CASnapshot(
            now=self._clock.now(),
            meta=meta,
            status=dict(body.get("status") or {}),
            wish=wish,
            wish_problem=wish_problem,
            accepted=accepted,
            accepted_is_current=is_current,
            roots=mine,
            root_secrets=tuple(item.view for item in loaded if item.role == names.KEY_ROLE_ROOT),
            signer_secrets=tuple(item.view for item in loaded if item.role == names.KEY_ROLE_SIGNER),
            imported=imported,
            admission=self._authorities.admission,
            trust_domain_owner=rival(body, everyone, "trustDomain"),
            bundle_owner=rival(body, everyone, "bundle"),
            publication=self._publication(meta.name),
            provider_problem=problem,
            unreadable_roots=unreadable_roots(roots, meta.name),
            clocks_differ=self._clocks_differ(),
            census=self._lookout.census(meta.name, mine, active),
            cross_signers=self._executor.cross_signers(),
            cross_problems=dict(self._cross_problems.get(meta.name, {})),
            unkept_token=self._unkept_tokens.get(meta.name),
            delete_keys=annotations_of(body).get(names.ANNOTATION_DELETE_KEYS) == meta.name,
            held=held,
            secondaries=registered(
                read_secondaries(await self._cluster.list(names.FEDERATED_CLUSTER)), meta.name
            ),
            **await self._secondaries.observe(body, wish or accepted, secrets),
        )

    def _publication(self, name: str) -> Publication:
        board = self._authorities.board(name)
        behind = board.behind | board.refused.keys()
        return Publication(
            total=len(board.current | behind),
            current=len(board.current),
            behind=tuple(sorted(place or CLUSTER_WIDE for place in behind)),
            refused=tuple(sorted((place or CLUSTER_WIDE, why) for place, why in board.refused.items())),
            complete=board.complete,
            digest=board.digest,
            read_back=board.read_back,
        )

    def _keeps_issuing(self, name: str, plan: CAPlan) -> bool:
        """Tell whether the former rules hold on, because a longer lifetime is not on record yet."""
        return isinstance(plan.step, RaiseLeafTTL) and isinstance(self._authorities.get(name), Authority)

    def _publish(self, snapshot: CASnapshot, plan: CAPlan) -> None:
        name, authority = snapshot.meta.name, plan.authority
        desired = plan.desired
        if self._authorities.set(name, authority):
            self._intake.authority_changed(name)
        if self._authorities.set_signing_root(name, plan.signing_root):
            self._intake.federation.signing_root_changed(name)
        if desired is not None:
            self._intake.set_limits(
                name, desired.csr_max_per_second, desired.csr_max_concurrent, desired.reissue_per_second
            )
        # Also when nothing can be signed: what peers trust is the way out of an expired root.
        if desired is not None and plan.bundle.roots and plan.publishes:
            self._intake.bundle_wish(
                BundleWish(
                    configuration=name,
                    name=desired.bundle_name,
                    pem=plan.bundle.pem,
                    digest=plan.bundle.digest,
                    namespaces=desired.bundle_namespaces,
                    cluster_trust_bundle=desired.cluster_trust_bundle,
                )
            )
            self._authorities.board(name).digest = plan.bundle.digest
        if isinstance(authority, Authority):
            self._telemetry.signer_expiry(name, authority.signer_not_after)
        phase = (plan.status.get("rotation") or {}).get("phase", "")
        self._telemetry.rotation_phase(name, "" if phase == RotationPhase.COMPLETE else phase)
        self._measure_roots(snapshot)

    def _measure_roots(self, snapshot: CASnapshot) -> None:
        """Tell when each root ends, and which ones are gone: nobody is to be alarmed by those."""
        name = snapshot.meta.name
        ends = {root.meta.name: root.facts.not_after for root in snapshot.roots if not root.pruned}
        for root in self._measured.get(name, set()) | ends.keys():
            self._telemetry.root_expiry(name, root, ends.get(root))
        self._measured[name] = set(ends)

    async def _write_status(self, body: JSON, plan: CAPlan) -> None:
        before = body.get("status") or {}
        if before == plan.status:
            return
        meta = Meta.of(body)
        now = self._clock.monotonic()
        if (
            _only_counts(before, plan.status)
            and now - self._counted.get(meta.name, -math.inf) < COUNTED_EVERY
        ):
            # Our own writes come back as news: without this each would lead to the next.
            self._intake.published(meta.name)
            return
        self._counted[meta.name] = now
        await self._cluster.replace_status(
            names.CA_CONFIGURATION,
            {
                "metadata": {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version},
                "status": plan.status,
            },
        )
        self._executor.tell_phase(body, before, plan.status)

    async def _gone(self, name: str) -> tuple[Outcome, datetime | None]:
        """Stop issuing; and remove the keys if, while it was there, that was asked for."""
        self._authorities.forget(name)
        self._primaries.wish(name, None)
        self._intake.authority_changed(name)
        self._intake.federation.signing_root_changed(name)
        self._intake.set_limits(name, 0, 0, DEFAULT_REISSUE_PER_SECOND)
        self._telemetry.forget_configuration(name)
        self._counted.pop(name, None)
        self._measured.pop(name, None)
        self._imports.forget(name)
        _, _, held = await self._wishes.accepted(name, None)
        if not held:
            return Outcome(), None
        ghost = {
            "metadata": {
                "name": name,
                "deletionTimestamp": "gone",
                "annotations": {names.ANNOTATION_DELETE_KEYS: name},
            }
        }
        for _ in range(MOST_STEPS):
            snapshot = await self._observe(ghost, [], "")
            plan = plan_configuration(snapshot)
            if plan.step is None:
                self._authorities.keys.forget(name)
                return Outcome(retry=snapshot.held), None
            await self._executor.execute(plan, ghost)
        return Outcome(retry=True), None


def _only_counts(before: JSON, after: JSON) -> bool:
    """Tell whether a status differs in nothing but how far a rotation has come."""
    told, wanted = before.get("rotation") or {}, after.get("rotation") or {}
    same_phase = told.get("phase") == wanted.get("phase") and told.get("to") == wanted.get("to")
    return same_phase and before | {"rotation": None} == after | {"rotation": None}
