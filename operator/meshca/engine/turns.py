"""Carries out the steps by which one root takes another's place, and by which a root leaves.

Decides how a step becomes a write and its preconditions, and proves a new root with a leaf before it is put
into use; never which step. Every write is conditional on what was observed: 409 means observe again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from functools import singledispatchmethod
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.conditions import Reason
from meshca.api.v1alpha1.scalars import format_time
from meshca.errors import ConflictError, InvalidError, MisconfiguredError, NotFoundError
from meshca.pki import chain, issuance, keys
from meshca.pki.certificates import load_all, to_pem
from meshca.pki.identity import SPIFFEID
from meshca.planning import steps
from meshca.planning.secrets import CHAIN, CROSS, encode
from meshca.planning.views import Meta
from meshca.providers.api import CrossSigns, KeyPair
from meshca.providers.builtin import run_key_work
from meshca.providers.checks import check_cross

if TYPE_CHECKING:
    from meshca.clock import Clock
    from meshca.engine.authorities import SigningKeys
    from meshca.engine.ports import Cluster, Recorder
    from meshca.planning.ca import CAPlan, KeySecret, Root
    from meshca.planning.desired import Desired
    from meshca.providers.registry import ProviderRegistry

_log = logging.getLogger(__name__)
JSON = dict[str, Any]
TRIAL = timedelta(hours=1)
TRIAL_KEY = keys.KeySpec.of(keys.KeyAlgorithm.ECDSA, 256)
TRIAL_ID = "/meshca/trial"
_WARNINGS = {Reason.ROTATION_BLOCKED, Reason.ROTATION_QUEUED, Reason.ABORTED}


@dataclass(frozen=True, slots=True)
class Context:
    """The configuration that a step belongs to, as it was observed."""

    name: str
    plan: CAPlan
    body: JSON

    @property
    def desired(self) -> Desired:
        """Return the wish that the step serves."""
        assert self.plan.desired is not None
        return self.plan.desired


async def annotate(cluster: Cluster, root: Root, notes: dict[str, str | None]) -> None:
    """Write annotations of a CARoot as it was observed; None removes one."""
    metadata = {"uid": root.meta.uid, "resourceVersion": root.meta.resource_version, "annotations": notes}
    await cluster.patch(names.CA_ROOT, root.meta.name, "", {"metadata": metadata})


class TurnExecutor:
    """One method for each kind of step."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        providers: ProviderRegistry,
        signing_keys: SigningKeys,
        recorder: Recorder,
        clock: Clock,
        operator_namespace: str,
    ) -> None:
        self._cluster = cluster
        self._providers = providers
        self._keys = signing_keys
        self._recorder = recorder
        self._clock = clock
        self._namespace = operator_namespace

    def cross_signers(self) -> frozenset[str]:
        """Name the providers whose roots can sign another root."""
        return self._providers.cross_signers()

    def tell_phase(self, body: JSON, before: JSON, after: JSON) -> None:
        """Record one Event for each new phase or end of a rotation."""
        was, now = _turning(before), _turning(after)
        reason = now.get("reason", "")
        if not reason or reason == was.get("reason") or reason == Reason.NONE:
            return
        late = reason == Reason.COMPLETED and bool((after.get("rotation") or {}).get("stragglers"))
        kind = "Warning" if reason in _WARNINGS or late else "Normal"
        self._tell(body, kind, f"Rotation{reason.removeprefix('Rotation')}", str(now.get("message", "")))

    async def execute(self, step: object, context: Context) -> None:
        """Carry out a step; errors of the call pass through."""
        await self._run(step, context)

    def _tell(self, body: JSON, kind: str, reason: str, note: str) -> None:
        self._recorder.record(body, kind=kind, reason=reason, note=note)

    @singledispatchmethod
    async def _run(self, step: object, _context: Context) -> None:
        raise TypeError(type(step).__name__)

    @_run.register
    async def _cross_sign(self, step: steps.CrossSign, context: Context) -> None:
        key = self._keys.get(context.name, step.issuer_secret.meta.name)
        if key is None:
            raise ConflictError(f"the key in Secret {step.issuer_secret.meta.name!r} is gone")
        provider = self._providers.get(step.issuer.provider or context.desired.provider)
        if not isinstance(provider, CrossSigns):
            raise MisconfiguredError(f"the provider of root {step.issuer.meta.name!r} cannot cross-sign")
        issuer = KeyPair(step.issuer.certificate, key)
        signed = await provider.cross_sign(issuer, step.root.certificate, self._clock.now())
        check_cross(signed, issuer, step.root.certificate)
        await self._write_data(step.secret, {CROSS: to_pem(*step.secret.cross, signed)})

    @_run.register
    async def _keep_cross(self, step: steps.KeepCross, _context: Context) -> None:
        await self._write_data(step.secret, {CROSS: step.pem or None})

    @_run.register
    async def _write_chain(self, step: steps.WriteChain, _context: Context) -> None:
        await self._write_data(step.secret, {CHAIN: step.chain})

    async def _write_data(self, secret: KeySecret, data: dict[str, str | None]) -> None:
        entries = {name: encode(text) if text is not None else None for name, text in data.items()}
        meta = secret.meta
        body = {"metadata": _exactly(meta), "data": entries}
        await self._cluster.patch(names.SECRET, meta.name, meta.namespace, body)

    @_run.register
    async def _touch(self, step: steps.TouchSecret, _context: Context) -> None:
        meta = step.secret.meta
        notes = {"annotations": {names.ANNOTATION_PUBLISHED_AT: step.mark}}
        await self._cluster.patch(
            names.SECRET, meta.name, meta.namespace, {"metadata": _exactly(meta) | notes}
        )

    @_run.register
    async def _mark_published(self, step: steps.MarkPublished, _context: Context) -> None:
        moment = self._clock.now()
        if step.root.rotated_out_at is not None:
            # Whole seconds are kept: it must show that this came after.
            moment = max(moment, step.root.rotated_out_at + timedelta(seconds=1))
        await annotate(self._cluster, step.root, {names.ANNOTATION_PUBLISHED_AT: format_time(moment)})

    @_run.register
    async def _mark_active(self, step: steps.MarkActive, context: Context) -> None:
        await annotate(
            self._cluster,
            step.root,
            {
                names.ANNOTATION_ACTIVATED_AT: format_time(self._clock.now()),
                names.ANNOTATION_TRIGGER: context.desired.trigger,
                names.ANNOTATION_ROTATED_OUT_AT: None,
            },
        )

    @_run.register
    async def _mark_rotated_out(self, step: steps.MarkRotatedOut, context: Context) -> None:
        await annotate(
            self._cluster,
            step.root,
            {
                names.ANNOTATION_ROTATED_OUT_AT: format_time(self._clock.now()),
                names.ANNOTATION_PRUNABLE_AFTER: format_time(step.prunable_after),
                # Asked of a root in use it was refused; it must not be granted later, when nobody expects it.
                names.ANNOTATION_PRUNE_NOW: None,
            },
        )
        if step.root.prune_now:
            note = f"{names.ANNOTATION_PRUNE_NOW} of root {step.root.meta.name} is not granted: it was active"
            self._tell(context.body, "Warning", "PruneRefused", f"{note}; ask again if it is to go now")

    @_run.register
    async def _mark_in_force(self, step: steps.MarkInForce, _context: Context) -> None:
        await annotate(self._cluster, step.root, {names.ANNOTATION_ROTATED_OUT_AT: None})

    @_run.register
    async def _commit_active(self, step: steps.CommitActive, context: Context) -> None:
        if step.signer is not None:
            await self._prove(step, context)
        status = dict(context.body.get("status") or {}) | {"activeRoot": step.root.meta.name}
        await self._write_status(names.CA_CONFIGURATION, Meta.of(context.body), status)
        self._tell(context.body, "Normal", "RootActivated", f"root {step.root.meta.name} is active")

    async def _prove(self, step: steps.CommitActive, context: Context) -> None:
        """Verify the new signer and a leaf of it under the new root alone, and under each older one alone."""
        now = self._clock.now()
        signer, *crosses = load_all(step.chain)
        assert step.signer is not None
        key = self._keys.get(context.name, step.signer.meta.name)
        if key is None:
            raise ConflictError(f"the key in Secret {step.signer.meta.name!r} is gone")
        trial = keys.generate(TRIAL_KEY)
        domain = context.plan.trust_domain
        leaf = await run_key_work(
            keys.spec_of(key.public_key()),
            lambda: issuance.leaf_certificate(
                trial.public_key(),
                issuer_cert=signer,
                issuer_key=key,
                spiffe_id=SPIFFEID.parse(domain.uri + TRIAL_ID),
                ttl=TRIAL,
                now=now,
            ),
        )
        for root, between in ((step.root, []), *((item, crosses) for item in step.older)):
            try:
                chain.verify(leaf, [signer, *between], [root.certificate], at=now)
            except InvalidError as error:
                raise MisconfiguredError(
                    f"a leaf of the new root does not verify under {root.meta.name!r}: {error.message}"
                ) from None

    async def _write_status(self, resource: names.Resource, meta: Meta, status: JSON) -> None:
        metadata = {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version}
        await self._cluster.replace_status(resource, {"metadata": metadata, "status": status})

    @_run.register
    async def _write_root_status(self, step: steps.WriteRootStatus, _context: Context) -> None:
        await self._write_status(names.CA_ROOT, step.root.meta, step.status)

    @_run.register
    async def _mark_pruned(self, step: steps.MarkPruned, context: Context) -> None:
        await self._write_status(names.CA_ROOT, step.root.meta, step.status)
        note = f"root {step.root.meta.name} is pruned: {step.why}"
        _log.info("root pruned", extra={"configuration": context.name, "note": note})
        if "uid" in context.body["metadata"]:
            self._tell(context.body, "Normal", "RootPruned", note)

    @_run.register
    async def _remove_signer(self, step: steps.RemoveSigner, _context: Context) -> None:
        await self._delete_secret(step.secret)

    @_run.register
    async def _remove_root_secret(self, step: steps.RemoveRootSecret, _context: Context) -> None:
        await self._delete_secret(step.secret)

    async def _delete_secret(self, secret: KeySecret) -> None:
        meta = secret.meta
        await self._cluster.delete(
            names.SECRET, meta.name, meta.namespace, uid=meta.uid, resource_version=meta.resource_version
        )

    @_run.register
    async def _delete_root(self, step: steps.DeleteRoot, _context: Context) -> None:
        meta = step.root.meta
        await self._cluster.delete(
            names.CA_ROOT, meta.name, uid=meta.uid, resource_version=meta.resource_version
        )

    @_run.register
    async def _release_root(self, step: steps.ReleaseRoot, _context: Context) -> None:
        meta = step.root.meta
        left = [item for item in step.root.finalizers if item != names.FINALIZER]
        await self._cluster.patch(
            names.CA_ROOT, meta.name, "", {"metadata": _exactly(meta) | {"finalizers": left}}
        )

    @_run.register
    async def _hold(self, step: steps.HoldConfiguration, context: Context) -> None:
        name = names.accepted_config_map(context.name)
        found = await self._accepted(name)
        if found is None:
            return
        meta = Meta.of(found)
        if not step.held and "uid" not in context.body["metadata"]:
            await self._cluster.delete(names.CONFIG_MAP, name, meta.namespace, uid=meta.uid)
            return
        notes = {names.ANNOTATION_DELETE_KEYS: context.name if step.held else None}
        body = {"metadata": _exactly(meta) | {"annotations": notes}}
        await self._cluster.patch(names.CONFIG_MAP, name, meta.namespace, body)

    async def _accepted(self, name: str) -> JSON | None:
        try:
            return await self._cluster.get(names.CONFIG_MAP, name, self._namespace)
        except NotFoundError:
            return None


def _exactly(meta: Meta) -> JSON:
    return {"uid": meta.uid, "resourceVersion": meta.resource_version}


def _turning(status: JSON) -> JSON:
    for entry in status.get("conditions") or ():
        if isinstance(entry, dict) and entry.get("type") == "RotationInProgress":
            return entry
    return {}
