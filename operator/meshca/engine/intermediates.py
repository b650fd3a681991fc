"""Reconciles one IntermediateCertificateRequest: observe, decide, put on record, sign, answer.

Decides the order in which a grant becomes durable: first the CARoot records until when it may be needed,
then the signer is signed, then the request shows it. So a crash after any write leaves at worst a record
of a signer that nobody has. Everything is read from the API server, because this makes trust.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.conditions import ConditionType, Reason, set_condition
from meshca.api.v1alpha1.scalars import format_time
from meshca.engine.castate import read_root
from meshca.engine.outcome import Outcome
from meshca.engine.turns import annotate
from meshca.errors import ConflictError, MisconfiguredError, NotFoundError, RefusedError
from meshca.pki.certificates import to_pem
from meshca.planning.intermediate import Issue, Keep, Remove, plan_request
from meshca.planning.requestview import RequestSnapshot, read_request
from meshca.planning.secondaries import extended, namespace_owner, read_secondaries
from meshca.providers.api import KeyPair, SignerRequest
from meshca.providers.checks import check_signer

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cryptography import x509

    from meshca.clock import Clock
    from meshca.engine.authorities import Authorities
    from meshca.engine.federation import FederationIntake
    from meshca.engine.ports import Cluster, Recorder
    from meshca.planning.ca import Root
    from meshca.planning.intermediate import Refuse, Wait
    from meshca.planning.requestview import RequestView
    from meshca.providers.registry import ProviderRegistry

_log = logging.getLogger(__name__)
JSON = dict[str, Any]


class IntermediateReconciler:
    """One pass over one request: at most one record, one signature and one status write."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        authorities: Authorities,
        intake: FederationIntake,
        providers: ProviderRegistry,
        recorder: Recorder,
        clock: Clock,
        clocks_differ: Callable[[], bool],
    ) -> None:
        self._cluster = cluster
        self._authorities = authorities
        self._intake = intake
        self._providers = providers
        self._recorder = recorder
        self._clock = clock
        self._clocks_differ = clocks_differ

    async def reconcile(self, namespace: str, name: str) -> tuple[Outcome, datetime | None]:
        """Look at one request, do what is due, and return when to look again."""
        try:
            body = await self._cluster.get(names.INTERMEDIATE, name, namespace)
        except NotFoundError:
            self._intake.forget_request((namespace, name))
            return Outcome(), None
        snapshot = await self._observe(read_request(body))
        decision = plan_request(snapshot)
        match decision:
            case Issue():
                return await self._issue(body, snapshot, decision), None
            case Remove(why):
                await self._remove(snapshot.request, why)
                return Outcome(), None
            case Keep(message, due):
                await self._report(body, snapshot, Reason.ISSUED, message)
                return Outcome(), due
            case _:
                await self._answer(body, snapshot, decision)
                return Outcome(), decision.due

    async def _observe(self, request: RequestView) -> RequestSnapshot:
        everyone = read_secondaries(await self._cluster.list(names.FEDERATED_CLUSTER))
        registration = next((item for item in everyone if item.meta.name == request.cluster), None)
        configuration = await self._configuration(request.configuration)
        authority = self._authorities.signing_roots.get(request.configuration)
        return RequestSnapshot(
            now=self._clock.now(),
            request=request,
            registration=registration,
            rival=namespace_owner(registration, everyone) if registration is not None else "",
            is_secondary=bool(((configuration.get("spec") or {}).get("federation") or {}).get("primary")),
            active_root=str((configuration.get("status") or {}).get("activeRoot", "")),
            authority=authority,
            root=await self._root(authority.name) if authority is not None else None,
            admission=self._authorities.intermediates_admission,
            clocks_differ=self._clocks_differ(),
            successor_since=await self._successor_since(request) if request.issued else None,
        )

    async def _configuration(self, name: str) -> JSON:
        try:
            return await self._cluster.get(names.CA_CONFIGURATION, name) if name else {}
        except NotFoundError:
            return {}

    async def _root(self, name: str) -> Root | None:
        try:
            return read_root(await self._cluster.get(names.CA_ROOT, name))
        except NotFoundError:
            return None

    async def _successor_since(self, request: RequestView) -> datetime | None:
        """Return when the first later request of the same cluster was granted."""
        mine = (str(request.meta.created), request.meta.name)
        found = []
        for body in await self._cluster.list(names.INTERMEDIATE, request.meta.namespace):
            other = read_request(body)
            same = (other.cluster, other.configuration) == (request.cluster, request.configuration)
            later = (str(other.meta.created), other.meta.name) > mine
            if same and later and other.issued and other.settled_at is not None:
                found.append(other.settled_at)
        return min(found, default=None)

    async def _issue(self, body: JSON, snapshot: RequestSnapshot, decision: Issue) -> Outcome:
        try:
            await self._grant(body, snapshot, decision)
        except (MisconfiguredError, RefusedError) as error:
            await self._report(body, snapshot, Reason.SIGNER_NOT_READY, error.message)
            return Outcome(retry=True)
        return Outcome(signed=True)

    async def _grant(self, body: JSON, snapshot: RequestSnapshot, decision: Issue) -> None:
        request, root = snapshot.request, decision.root
        key = self._authorities.keys.get(request.configuration, decision.authority.secret)
        if key is None:
            raise ConflictError(f"the key in Secret {decision.authority.secret!r} is gone")
        record = extended(root, request.cluster, decision.until)
        if record is not None:
            await annotate(self._cluster, root, {names.ANNOTATION_INTERMEDIATES: record})
        certificate = await self._sign(KeyPair(root.certificate, key), snapshot, decision)
        status: JSON = {
            "observedGeneration": request.meta.generation,
            "certificateChain": to_pem(certificate) + decision.authority.crosses,
            "root": decision.authority.name,
            "notAfter": format_time(certificate.not_valid_after_utc),
        }
        message = f"the signer was granted until {format_time(certificate.not_valid_after_utc)}"
        await self._write(body, snapshot, status, Reason.ISSUED, "the signer was granted")
        self._recorder.record(body, kind="Normal", reason="IntermediateIssued", note=message)

    async def _sign(self, root: KeyPair, snapshot: RequestSnapshot, decision: Issue) -> x509.Certificate:
        authority, registration = decision.authority, snapshot.registration
        assert registration is not None
        request = SignerRequest(
            configuration=authority.configuration,
            trust_domain=authority.trust_domain,
            cluster_name=registration.name,
            public_key=decision.public_key,
            ttl=registration.spec.max_intermediate_ttl or authority.intermediate_ttl,
            now=snapshot.now,
        )
        signed = await self._providers.get(authority.provider).sign_signer(root, request)
        certificate = check_signer(signed, root, request)
        if certificate.not_valid_after_utc > decision.until:
            raise RefusedError("the provider's signer lives longer than was put on record")
        return certificate

    async def _answer(self, body: JSON, snapshot: RequestSnapshot, decision: Refuse | Wait) -> None:
        refused = decision.reason in {Reason.DENIED, Reason.INVALID_REQUEST, Reason.POLICY_GAP}
        if await self._report(body, snapshot, decision.reason, decision.message) and refused:
            self._recorder.record(body, kind="Warning", reason="IntermediateRefused", note=decision.message)

    async def _report(self, body: JSON, snapshot: RequestSnapshot, reason: str, message: str) -> bool:
        """Say how a request stands, and return whether that was news."""
        before = body.get("status") or {}
        kept = {key: before[key] for key in ("certificateChain", "root", "notAfter") if key in before}
        status = kept | {"observedGeneration": snapshot.request.meta.generation}
        return await self._write(body, snapshot, status, reason, message)

    async def _write(
        self, body: JSON, snapshot: RequestSnapshot, status: JSON, reason: str, message: str
    ) -> bool:
        meta = snapshot.request.meta
        conditions = set_condition(
            snapshot.request.status.conditions,
            ConditionType.READY,
            "True" if reason == Reason.ISSUED else "False",
            reason,
            message,
            observed_generation=meta.generation,
            now=snapshot.now,
        )
        status["conditions"] = [condition.to_dict() for condition in conditions]
        if status == body.get("status"):
            return False
        metadata = {
            "name": meta.name,
            "namespace": meta.namespace,
            "uid": meta.uid,
            "resourceVersion": meta.resource_version,
        }
        await self._cluster.replace_status(names.INTERMEDIATE, {"metadata": metadata, "status": status})
        return True

    async def _remove(self, request: RequestView, why: str) -> None:
        meta = request.meta
        _log.info("request removed", extra={"namespace": meta.namespace, "request": meta.name, "why": why})
        try:
            await self._cluster.delete(
                names.INTERMEDIATE,
                meta.name,
                meta.namespace,
                uid=meta.uid,
                resource_version=meta.resource_version,
            )
        except NotFoundError:
            return
