"""Reconciles one LeafCertificateRequest: observe, plan, and carry out at most one status write.

Decides what an error of a call means for the request; what should happen is decided in
``planning.leaf``. Never writes what the status says already.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.conditions import Reason
from meshca.engine.evidence import Verifier, facts_of_issue
from meshca.engine.intake import leaf_key
from meshca.engine.leafstatus import issued_status, reported_status
from meshca.engine.observer import LeafObserver
from meshca.engine.outcome import Outcome
from meshca.engine.work import Urgency
from meshca.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    TransientError,
    UnknownOutcomeError,
)
from meshca.pki import issuance, keys
from meshca.pki.certificates import public_key_of, to_pem
from meshca.pki.renewal import renew_at
from meshca.planning.authority import Authority
from meshca.planning.leaf import FAILED, is_move, is_repair, plan_leaf, refused
from meshca.planning.refusals import Refusal
from meshca.planning.views import leaf_view, newer
from meshca.providers.builtin import run_key_work

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cryptography import x509

    from meshca.clock import Clock
    from meshca.engine.authorities import Authorities
    from meshca.engine.intake import Intake
    from meshca.engine.managed import ManagedKeys
    from meshca.engine.ports import Cluster
    from meshca.engine.store import Store
    from meshca.engine.telemetry import LeafKind, Telemetry
    from meshca.engine.timers import Timers
    from meshca.pki.keys import PublicKey
    from meshca.planning.leaf import Issue, LeafPlan, LeafSnapshot, Report
    from meshca.planning.views import IssuedFacts, LeafView

_log = logging.getLogger(__name__)
_NOT_READY = frozenset({issuance.SIGNER_TOO_SHORT, issuance.SIGNER_EXPIRED, Reason.SIGNER_NOT_READY})
JSON = dict[str, Any]


class LeafReconciler:
    """One pass over one request."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        authorities: Authorities,
        intake: Intake,
        timers: Timers,
        clock: Clock,
        telemetry: Telemetry,
        managed: ManagedKeys,
        clocks_differ: Callable[[], bool],
        operator_namespace: str,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._authorities = authorities
        self._intake = intake
        self._timers = timers
        self._clock = clock
        self._telemetry = telemetry
        self._managed = managed
        self._observer = LeafObserver(
            cluster=cluster,
            store=store,
            authorities=authorities,
            clock=clock,
            managed=managed,
            clocks_differ=clocks_differ,
            operator_namespace=operator_namespace,
        )
        self._verifier = Verifier()
        self._stale: set[tuple[str, str]] = set()

    async def reconcile(self, namespace: str, name: str, *, turn: bool = False) -> Outcome:
        """Look at one request and do what is due; ``turn``: a rotation's pace has let it in."""
        place = (namespace, name)
        view = self._store.leaves.get(place)
        if view is None:
            self._stale.discard(place)
            return Outcome()
        if place in self._stale:
            view = await self._read_again(view)
            if view is None:
                return Outcome()
        try:
            return await self._pass(self._verified(view), turn=turn)
        except (ConflictError, UnknownOutcomeError):
            # Somebody else wrote, or perhaps this did: the watch may not have told yet.
            self._stale.add(place)
            raise

    async def _pass(self, view: LeafView, *, turn: bool) -> Outcome:
        snapshot = await self._observer.observe(view, turn=turn)
        plan = plan_leaf(snapshot)
        if plan.remove:
            await self._remove(view, plan.remove)
            return Outcome()
        if plan.issue is not None:
            return await self._issue(view, plan.issue, snapshot)
        final = plan.report is not None and plan.report.state == FAILED
        if final and await self._observer.rules_changed(snapshot):
            return Outcome(retry=True)
        if plan.rebundle:
            return await self._rebundle(snapshot, plan)
        return await self._settle(snapshot, plan)

    async def report_rate_limited(self, namespace: str, name: str) -> None:
        """Say once of a waiting first issue that a limit holds it back."""
        view = self._store.leaves.get((namespace, name))
        if view is None or view.issued is not None or view.chain or view.reason:
            return
        message = f"waiting behind spec.limits of CAConfiguration {view.spec.configuration!r}; nothing to do"
        plan = refused(view, Refusal(Reason.RATE_LIMITED, message), self._clock.now())
        if plan.report is not None:
            await self._report(view, plan.report, self._clock.now())

    async def _settle(self, snapshot: LeafSnapshot, plan: LeafPlan) -> Outcome:
        """Carry out a plan that issues and removes nothing."""
        view = snapshot.leaf
        if plan.report is not None:
            await self._report(view, plan.report, self._clock.now())
            if snapshot.turn:
                self._intake.moved(view.spec.configuration)
        self._schedule(view, plan)
        # What a rotation has to say is paced like what it signs.
        return Outcome(retry=plan.retry, signed=snapshot.turn and plan.report is not None)

    def _schedule(self, view: LeafView, plan: LeafPlan) -> None:
        if plan.due is not None:
            self._timers.set(leaf_key(*view.key), plan.due, Urgency.RENEWAL)
        if plan.move:
            self._intake.queue_move(view)

    async def _refuse(self, snapshot: LeafSnapshot, reason: str, message: str) -> Outcome:
        refusal, moving = Refusal(reason, message), is_move(snapshot)
        return await self._settle(snapshot, refused(snapshot.leaf, refusal, self._clock.now(), moving=moving))

    async def _rebundle(self, snapshot: LeafSnapshot, plan: LeafPlan) -> Outcome:
        view, authority = snapshot.leaf, snapshot.authority
        assert isinstance(authority, Authority)
        try:
            await self._managed.rebundle(view, authority)
        except ForbiddenError as error:
            return await self._refuse_secret(snapshot, error)
        self._intake.moved(view.spec.configuration)
        outcome = await self._settle(snapshot, plan)
        return replace(outcome, signed=True)

    async def _refuse_secret(self, snapshot: LeafSnapshot, error: ForbiddenError) -> Outcome:
        message = f"the API server refuses Secret {snapshot.leaf.spec.secret_name!r}: {error.message}"
        return await self._refuse(snapshot, Reason.MANAGED_KEYS_NOT_ALLOWED, message)

    async def _read_again(self, view: LeafView) -> LeafView | None:
        """Read a request whose known version is in doubt; None when it is gone, as the watch will tell."""
        try:
            body = await self._cluster.get(names.LEAF, view.meta.name, view.meta.namespace)
        except NotFoundError:
            return None
        self._stale.discard(view.key)
        if self._store.leaves.get(view.key) is None:
            # Deleted since it was read: kept now, it would stay for ever.
            return None
        found = leaf_view(body, view)
        if found.meta.uid != view.meta.uid:
            found = leaf_view(body)
        self._store.leaves.put(found)
        return found

    def _verified(self, view: LeafView) -> LeafView:
        authority = self._authorities.get(view.spec.configuration)
        if not view.chain or not isinstance(authority, Authority):
            return view
        facts = self._verifier.facts(view, authority, self._clock.now())
        view = view.with_issued(facts) if facts is not None else replace(view, worthless=True)
        self._store.leaves.put(view)
        return view

    async def _issue(self, view: LeafView, issue: Issue, snapshot: LeafSnapshot) -> Outcome:
        authority = snapshot.authority
        assert isinstance(authority, Authority)
        try:
            if issue.request is None:
                return await self._issue_managed(snapshot, issue, authority)
            leaf = await self._sign(issue.request.public_key, issue, authority)
        except InvalidError as error:
            return await self._refuse(snapshot, Reason.INVALID_REQUEST, error.message)
        except TransientError as error:
            if error.reason not in _NOT_READY:
                raise
            return await self._refuse(snapshot, Reason.SIGNER_NOT_READY, error.message)
        text = to_pem(leaf) + authority.chain
        facts = facts_of_issue(leaf, text, authority.root)
        await self._write_issued(view, facts, text, "csr", snapshot.now)
        return Outcome(signed=True)

    async def _issue_managed(self, snapshot: LeafSnapshot, issue: Issue, authority: Authority) -> Outcome:
        view = snapshot.leaf
        sign = partial(self._sign, issue=issue, authority=authority)
        try:
            if is_repair(snapshot) and await self._managed.is_sound(view):
                # Its watch has yet to tell, or was refused: a restart is no reason for a new key.
                return await self._pass(view, turn=snapshot.turn)
            kept = await self._managed.ensure(view, issue, authority, sign)
        except ForbiddenError as error:
            return await self._refuse_secret(snapshot, error)
        if kept.conflict:
            outcome = await self._refuse(snapshot, Reason.SECRET_CONFLICT, kept.conflict)
            return replace(outcome, signed=outcome.signed or kept.signed)
        assert kept.facts is not None
        await self._write_issued(view, kept.facts, kept.text, "managed", snapshot.now)
        if authority.bundle_in_secrets:
            self._intake.moved(view.spec.configuration)
        return Outcome(signed=kept.signed)

    async def _sign(self, public_key: PublicKey, issue: Issue, authority: Authority) -> x509.Certificate:
        key = self._authorities.keys.get(authority.configuration, authority.signer_secret)
        if key is None:
            if self._authorities.get(authority.configuration) != authority:
                raise ConflictError("another signer took the place of the one that was to sign")
            raise TransientError("the signer's key is not loaded", reason=Reason.SIGNER_NOT_READY)
        return await run_key_work(
            keys.spec_of(public_key_of(authority.signer)),
            lambda: issuance.leaf_certificate(
                public_key,
                issuer_cert=authority.signer,
                issuer_key=key,
                spiffe_id=issue.names.spiffe_id,
                dns_names=issue.names.dns_names,
                ip_addresses=issue.names.ip_addresses,
                ttl=issue.ttl,
                now=self._clock.now(),
            ),
        )

    async def _write_issued(
        self, view: LeafView, facts: IssuedFacts, text: str, kind: LeafKind, looked: datetime
    ) -> None:
        due = renew_at(view.meta.uid, facts.not_before, facts.not_after)
        now = self._clock.now()
        status = issued_status(view, facts, text, due, now)
        written = await self._put_status(view, status, facts)
        plan = plan_leaf(await self._observer.observe(written))
        self._schedule(view, plan)
        started = view.meta.created if view.issued is None else view.renew_at
        if view.issued is not None and (started is None or started > looked):
            started = looked  # nothing was due: a rotation asked, and its pace is no delay
        seconds = max(0.0, (now - started).total_seconds()) if started else 0.0
        self._telemetry.leaf_issued(view.spec.configuration, kind, seconds)
        _log.debug(
            "leaf issued",
            extra={
                "namespace": view.meta.namespace,
                "leaf": view.meta.name,
                "spiffe_id": facts.spiffe_id,
                "serial": facts.serial,
                "not_after": status["notAfter"],
            },
        )

    async def _report(self, view: LeafView, report: Report, now: datetime) -> None:
        body = {
            "metadata": {"uid": view.meta.uid, "resourceVersion": view.meta.resource_version},
            "status": reported_status(view, report, now),
        }
        # A patch, because what an issued leaf already says (its chain above all) has to stay.
        answer = await self._cluster.patch(
            names.LEAF, view.meta.name, view.meta.namespace, body, subresource="status"
        )
        self._keep(leaf_view(answer, view))
        if not report.ready:
            self._telemetry.issue_failed(report.reason)

    async def _put_status(self, view: LeafView, status: JSON, facts: IssuedFacts) -> LeafView:
        metadata = {
            "name": view.meta.name,
            "namespace": view.meta.namespace,
            "uid": view.meta.uid,
            "resourceVersion": view.meta.resource_version,
        }
        with self._store.leaves.writing(view.key, facts.digest):
            version = await self._cluster.replace_status(names.LEAF, {"metadata": metadata, "status": status})
        # Taken into the store at once: the echo of this write then changes nothing.
        written = leaf_view({"metadata": metadata | {"resourceVersion": version}, "status": status})
        known = replace(
            written,
            meta=replace(view.meta, resource_version=version),
            spec=view.spec,
            issued=facts,
            chain="",
        )
        self._keep(known)
        return known

    def _keep(self, written: LeafView) -> None:
        """Keep what was written, unless the watch was quicker: removed, replaced or changed since."""
        current = self._store.leaves.get(written.key)
        if current is None or current.meta.uid != written.meta.uid:
            return
        if not newer(current.meta.resource_version, written.meta.resource_version):
            self._store.leaves.put(written)

    async def _remove(self, view: LeafView, why: str) -> None:
        _log.info(
            "request removed",
            extra={"namespace": view.meta.namespace, "leaf": view.meta.name, "why": why},
        )
        try:
            await self._cluster.delete(
                names.LEAF,
                view.meta.name,
                view.meta.namespace,
                uid=view.meta.uid,
                resource_version=view.meta.resource_version,
            )
        except NotFoundError:
            return
