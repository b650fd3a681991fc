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
from meshca.api.v1alpha1.scalars import format_time
from meshca.engine.evidence import Verifier, facts_of_issue
from meshca.engine.intake import leaf_key
from meshca.engine.outcome import Outcome
from meshca.engine.work import Urgency
from meshca.errors import InvalidError, NotFoundError, TransientError
from meshca.pki import issuance, keys
from meshca.pki.certificates import public_key_of, to_pem
from meshca.pki.renewal import renew_at
from meshca.planning.authority import Authority
from meshca.planning.leaf import (
    ISSUED,
    LeafSnapshot,
    Report,
    pending_report,
    plan_leaf,
)
from meshca.planning.views import leaf_view
from meshca.providers.builtin import run_key_work

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from meshca.clock import Clock
    from meshca.engine.authorities import Authorities
    from meshca.engine.managed import ManagedKeys
    from meshca.engine.ports import Cluster
    from meshca.engine.store import Store
    from meshca.engine.telemetry import LeafKind, Telemetry
    from meshca.engine.timers import Timers
    from meshca.engine.work import Key
    from meshca.pki.keys import PublicKey
    from meshca.planning.leaf import Issue
    from meshca.planning.views import IssuedFacts, LeafView

_log = logging.getLogger(__name__)
JSON = dict[str, Any]


class LeafReconciler:
    """One pass over one request."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        store: Store,
        authorities: Authorities,
        timers: Timers,
        clock: Clock,
        telemetry: Telemetry,
        managed: ManagedKeys,
        operator_namespace: str,
    ) -> None:
        self._cluster = cluster
        self._store = store
        self._authorities = authorities
        self._timers = timers
        self._clock = clock
        self._telemetry = telemetry
        self._managed = managed
        self._operator_namespace = operator_namespace
        self._verifier = Verifier()

    async def reconcile(self, namespace: str, name: str) -> Outcome:
        """Look at one request and do what is due."""
        view = self._store.leaves.get((namespace, name))
        if view is None:
            return Outcome()
        view = self._verified(view)
        snapshot = await self._observe(view)
        plan = plan_leaf(snapshot)
        key = leaf_key(namespace, name)
        if plan.remove:
            await self._remove(view, plan.remove)
        elif plan.issue is not None:
            return await self._issue(view, plan.issue, snapshot)
        elif plan.report is not None:
            await self._report(view, plan.report, snapshot.now)
        if plan.due is not None:
            self._timers.set(key, plan.due, Urgency.RENEWAL)
        return Outcome(retry=plan.retry)

    async def report_rate_limited(self, namespace: str, name: str) -> None:
        """Say once of a waiting first issue that a limit holds it back."""
        view = self._store.leaves.get((namespace, name))
        if view is None or view.issued is not None or view.chain or view.reason:
            return
        report = pending_report(
            view,
            Reason.RATE_LIMITED,
            f"waiting behind spec.limits of CAConfiguration {view.spec.configuration!r}; nothing to do",
        )
        if report is not None:
            await self._report(view, report, self._clock.now())

    def _verified(self, view: LeafView) -> LeafView:
        authority = self._authorities.get(view.spec.configuration)
        if not view.chain or not isinstance(authority, Authority):
            return view
        facts = self._verifier.facts(view, authority, self._clock.now())
        if facts is None:
            return view
        view = view.with_issued(facts)
        self._store.leaves.put(view)
        return view

    async def _observe(self, view: LeafView) -> LeafSnapshot:
        place = (view.meta.namespace, view.spec.secret_name)
        namespace = self._store.namespaces.get(view.meta.namespace)
        return LeafSnapshot(
            now=self._clock.now(),
            leaf=view,
            authority=self._authorities.get(view.spec.configuration),
            admission=self._authorities.admission,
            namespace_labels=namespace.labels if namespace else {},
            account_exists=await self._account_exists(view),
            managed_allowed=self._managed.allowed(view.meta.namespace),
            operator_namespace=self._operator_namespace,
            secret=self._store.secrets.get(place) if view.spec.managed else None,
            older_claim=self._older_claim(view),
        )

    async def _account_exists(self, view: LeafView) -> bool:
        place = (view.meta.namespace, view.spec.service_account)
        if place in self._store.accounts:
            return True
        if not view.spec.service_account:
            return False
        try:
            # The watch may be a moment behind a workload that creates both at once.
            await self._cluster.get(names.SERVICE_ACCOUNT, view.spec.service_account, view.meta.namespace)
        except (NotFoundError, ValueError):
            return False
        return True

    def _older_claim(self, view: LeafView) -> str:
        if not view.spec.managed:
            return ""
        mine = (view.meta.created, view.meta.uid)
        for other in self._store.leaves.of_secret(view.meta.namespace, view.spec.secret_name):
            if other.key == view.key or other.meta.created is None or view.meta.created is None:
                continue
            if (other.meta.created, other.meta.uid) < mine and not other.meta.deleting:
                return other.meta.name
        return ""

    async def _issue(self, view: LeafView, issue: Issue, snapshot: LeafSnapshot) -> Outcome:
        authority = snapshot.authority
        assert isinstance(authority, Authority)
        if issue.request is None:
            return await self._issue_managed(view, issue, authority)
        try:
            leaf = await self._sign(issue.request.public_key, issue, authority)
        except TransientError as error:
            return await self._not_now(view, error)
        except InvalidError as error:
            report = pending_report(view, Reason.INVALID_REQUEST, error.message)
            if report is not None:
                await self._report(view, report, snapshot.now)
            return Outcome(retry=view.issued is not None)
        text = to_pem(leaf) + authority.chain
        await self._write_issued(view, facts_of_issue(leaf, text, authority.root), text, "csr")
        return Outcome(signed=True)

    async def _issue_managed(self, view: LeafView, issue: Issue, authority: Authority) -> Outcome:
        sign = partial(self._sign, issue=issue, authority=authority)
        try:
            kept = await self._managed.ensure(view, issue, authority, sign)
        except TransientError as error:
            return await self._not_now(view, error)
        if kept.conflict:
            report = pending_report(view, Reason.SECRET_CONFLICT, kept.conflict)
            if report is not None:
                await self._report(view, report, self._clock.now())
            return Outcome(retry=True, signed=kept.signed)
        assert kept.facts is not None
        await self._write_issued(view, kept.facts, kept.text, "managed")
        return Outcome(signed=kept.signed)

    async def _sign(self, public_key: PublicKey, issue: Issue, authority: Authority) -> x509.Certificate:
        key = self._authorities.keys.get(authority.configuration, authority.signer_secret)
        if key is None:
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

    async def _not_now(self, view: LeafView, error: TransientError) -> Outcome:
        if error.reason in {issuance.SIGNER_TOO_SHORT, issuance.SIGNER_EXPIRED, Reason.SIGNER_NOT_READY}:
            report = pending_report(view, Reason.SIGNER_NOT_READY, error.message)
            if report is not None:
                await self._report(view, report, self._clock.now())
            return Outcome(retry=True)
        raise error

    async def _write_issued(self, view: LeafView, facts: IssuedFacts, text: str, kind: LeafKind) -> None:
        due = renew_at(view.meta.uid, facts.not_before, facts.not_after)
        status: JSON = {
            "observedGeneration": view.meta.generation,
            "state": ISSUED,
            "certificateChain": text,
            "serialNumber": facts.serial,
            "spiffeID": facts.spiffe_id,
            "notBefore": format_time(facts.not_before),
            "notAfter": format_time(facts.not_after),
            "renewAt": format_time(due),
            "root": names.ca_root(view.spec.configuration, facts.root),
        }
        now = self._clock.now()
        written = await self._put_status(view, status, facts, now)
        plan = plan_leaf(await self._observe(written))
        if plan.due is not None:
            self._timers.set(leaf_key(*view.key), plan.due, Urgency.RENEWAL)
        started = view.meta.created if view.issued is None else view.renew_at
        seconds = (now - started).total_seconds() if started else 0.0
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
        status: JSON = {"observedGeneration": view.meta.generation, "state": report.state}
        status["conditions"] = [_ready_condition(view, report, now)]
        body = {
            "metadata": {"uid": view.meta.uid, "resourceVersion": view.meta.resource_version},
            "status": status,
        }
        # A patch, because what an issued leaf already says (its chain above all) has to stay.
        answer = await self._cluster.patch(
            names.LEAF, view.meta.name, view.meta.namespace, body, subresource="status"
        )
        self._store.leaves.put(leaf_view(answer, view))
        if not report.ready:
            self._telemetry.issue_failed(report.reason)

    async def _put_status(self, view: LeafView, status: JSON, facts: IssuedFacts, now: datetime) -> LeafView:
        report = Report(state=ISSUED, ready=True, reason=Reason.ISSUED, message="the certificate is issued")
        status["conditions"] = [_ready_condition(view, report, now)]
        metadata = {
            "name": view.meta.name,
            "namespace": view.meta.namespace,
            "uid": view.meta.uid,
            "resourceVersion": view.meta.resource_version,
        }
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
        self._store.leaves.put(known)
        return known

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

    def forget(self, key: Key) -> None:
        """Drop what is kept about a request that is gone."""
        self._timers.cancel(key)


def _ready_condition(view: LeafView, report: Report, now: datetime) -> JSON:
    ready = str(report.ready)
    since = view.reason_since if view.ready == ready and view.reason_since else now
    return {
        "type": "Ready",
        "status": ready,
        "reason": str(report.reason),
        "message": report.message[:4096],
        "observedGeneration": view.meta.generation,
        "lastTransitionTime": format_time(since),
    }
