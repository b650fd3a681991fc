"""Carries out what only a secondary does: mirror a root, ask for a signer, adopt it; and tells about it.

Decides how a step becomes a write and its preconditions, and what is worth an Event; never which step.
Writes to this cluster only: what the primary is to show is the link's to write.
"""

from __future__ import annotations

from functools import singledispatchmethod
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.conditions import ConditionType, Reason, find_condition, observed
from meshca.api.v1alpha1.scalars import format_time
from meshca.engine.turns import Context
from meshca.errors import ConflictError
from meshca.pki import keys
from meshca.pki.certificates import to_pem
from meshca.pki.request import signer_request
from meshca.planning import steps
from meshca.planning.joining import lifetime, with_token
from meshca.planning.requested import REQUEST
from meshca.planning.secondarystatus import OURS
from meshca.planning.secrets import CERTIFICATE, CHAIN, KEY, data_of, encode
from meshca.providers.builtin import run_key_work

if TYPE_CHECKING:
    from meshca.clock import Clock
    from meshca.engine.ports import Cluster, Recorder

JSON = dict[str, Any]
_TOLD = OURS | {Reason.SECONDARY_BEHIND, Reason.JOIN_SECRET_INVALID}
_ENDED: dict[str, tuple[str, str]] = {
    Reason.NOT_REGISTERED: ("Registered", "the primary signs for this cluster again"),
    Reason.JOIN_SECRET_INVALID: ("JoinSecretWritten", "the join Secret holds the renewed token"),
    Reason.SECONDARY_BEHIND: ("SecondariesFollow", "no registered cluster lags behind any more"),
}
_ACCEPTED = ("PrimaryAccepted", "the primary is followed again")


class MirrorExecutor:
    """One method for each kind of step."""

    def __init__(
        self, *, cluster: Cluster, recorder: Recorder, clock: Clock, operator_namespace: str
    ) -> None:
        self._cluster = cluster
        self._recorder = recorder
        self._clock = clock
        self._namespace = operator_namespace

    async def execute(self, step: object, context: Context) -> None:
        """Carry out a step; errors of the call pass through."""
        await self._run(step, context)

    def _tell(self, body: JSON, kind: str, reason: str, note: str) -> None:
        self._recorder.record(body, kind=kind, reason=reason, note=note)

    @singledispatchmethod
    async def _run(self, step: object, _context: Context) -> None:
        raise TypeError(type(step).__name__)

    @_run.register
    async def _record_mirror(self, step: steps.RecordMirror, context: Context) -> None:
        name = names.ca_root(context.name, step.fingerprint)
        await self._cluster.create(
            names.CA_ROOT,
            {
                "metadata": {
                    "name": name,
                    "labels": _labels(context.name),
                    "annotations": {names.ANNOTATION_PUBLISHED_AT: format_time(self._clock.now())},
                    "finalizers": [names.FINALIZER],
                },
                "spec": {
                    "caConfigurationName": context.name,
                    "certificate": to_pem(step.certificate),
                    "source": "Mirrored",
                },
            },
        )
        self._tell(
            context.body, "Normal", "RootMirrored", f"root {name} of the primary is trusted from now on"
        )

    @_run.register
    async def _request_signer(self, _step: steps.RequestSigner, context: Context) -> None:
        desired, domain = context.desired, context.plan.trust_domain
        label = f"{context.name} {desired.cluster_name}"

        def make() -> tuple[keys.PrivateKey, str]:
            made = keys.generate(desired.key)
            return made, signer_request(made, trust_domain=domain, name=label)

        key, request = await run_key_work(desired.key, make)
        name = names.signer_secret(context.name, keys.subject_key_id(key.public_key()).hex())
        await self._cluster.create(
            names.SECRET,
            {
                "metadata": {
                    "name": name,
                    "namespace": self._namespace,
                    "labels": _labels(context.name) | {names.LABEL_KEY_ROLE: names.KEY_ROLE_REQUESTED},
                },
                "type": "kubernetes.io/tls",
                # Kubernetes wants the entry to be there.
                "data": {CERTIFICATE: "", KEY: encode(keys.to_pem(key)), REQUEST: encode(request)},
            },
        )
        note = f"the primary is asked for a signer with the key in Secret {name}"
        self._tell(context.body, "Normal", "SignerRequested", note)

    @_run.register
    async def _adopt(self, step: steps.AdoptSigner, context: Context) -> None:
        meta = step.requested.meta
        found = await self._cluster.get(names.SECRET, meta.name, meta.namespace)
        if not keys.matches(keys.load_trusted(data_of(found, KEY)), step.certificate):
            raise ConflictError(f"the key in Secret {meta.name!r} is another one now")
        body = {
            "metadata": {
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
                "labels": {names.LABEL_KEY_ROLE: names.KEY_ROLE_SIGNER},
            },
            "data": {
                CERTIFICATE: encode(to_pem(step.certificate)),
                names.BUNDLE_KEY: encode(step.root.pem),
                CHAIN: encode(step.chain),
                REQUEST: None,
            },
        }
        await self._cluster.patch(names.SECRET, meta.name, meta.namespace, body)
        note = f"the primary signed signer {meta.name} under root {step.root.meta.name}"
        self._tell(context.body, "Normal", "SignerGranted", note)

    @_run.register
    async def _drop(self, step: steps.DropRequest, context: Context) -> None:
        meta = step.requested.meta
        await self._cluster.delete(
            names.SECRET, meta.name, meta.namespace, uid=meta.uid, resource_version=meta.resource_version
        )
        if step.refused:
            self._tell(context.body, "Warning", "SignerRefused", step.why)

    @_run.register
    async def _renew_join(self, step: steps.RenewJoin, _context: Context) -> None:
        meta = step.join.meta
        found = await self._cluster.get(names.SECRET, meta.name, meta.namespace)
        entries = with_token(found, step.token.text, lifetime(step.token.text)[1])
        metadata = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        # A person's newer manifest wins: the version is the one that the token was renewed for.
        await self._cluster.patch(
            names.SECRET, meta.name, meta.namespace, {"metadata": metadata, "data": entries}
        )

    def tell_others(self, body: JSON, before: JSON, after: JSON) -> None:
        """Record one Event for each change of what the status says about other clusters."""
        if after.get("federation") and not before.get("federation"):
            self._tell(body, "Normal", "PrimaryJoined", "the primary was met, and its roots are mirrored")
        self._tell_reachable(body, before, after)
        self._tell_stopped(body, before, after)
        was, now = (find_condition(observed(item), ConditionType.DEGRADED) for item in (before, after))
        earlier, present = was.reason if was else "", now.reason if now else ""
        if now is not None and present in _TOLD and present != earlier:
            self._tell(body, "Warning", present, now.message)
        elif earlier in _TOLD and present not in _TOLD:
            self._tell(body, "Normal", *_ENDED.get(earlier, _ACCEPTED))

    def _tell_stopped(self, body: JSON, before: JSON, after: JSON) -> None:
        """Tell that nothing is issued any more, long after it was told that the primary is away."""
        was, now = (find_condition(observed(item), ConditionType.READY) for item in (before, after))
        if after.get("federation") and was and now and (was.status, now.status) == ("True", "False"):
            self._tell(body, "Warning", "IssuingStopped", now.message)

    def _tell_reachable(self, body: JSON, before: JSON, after: JSON) -> None:
        was, now = (find_condition(observed(item), ConditionType.REACHABLE) for item in (before, after))
        if now is None or (was.status if was else "True") == now.status:
            return
        if now.status == "True":
            self._tell(body, "Normal", "PrimaryReachable", now.message)
        else:
            self._tell(body, "Warning", now.reason, now.message)


def _labels(configuration: str) -> dict[str, str]:
    return {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_CONFIGURATION: configuration}
