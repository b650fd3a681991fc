"""Carries out one step of a CA plan: each is one write, or a key made and then one write.

Decides how a step becomes objects and preconditions; never which step. A write that finds the object
already there is a conflict: the caller observes again and adopts it. Secrets and CARoots have no owner
reference, so that deleting a configuration never deletes a key.
"""

from __future__ import annotations

import json
import logging
from functools import singledispatchmethod
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.scalars import format_duration
from meshca.engine.mirrors import MirrorExecutor
from meshca.engine.turns import Context, TurnExecutor, annotate
from meshca.errors import ConflictError
from meshca.pki import chain, keys
from meshca.pki.certificates import to_pem
from meshca.planning import steps
from meshca.planning.secrets import CERTIFICATE, CHAIN, CROSS, KEY, data_of, encode
from meshca.planning.views import Meta
from meshca.providers.api import KeyPair, RootRequest, SignerRequest
from meshca.providers.builtin import run_key_work
from meshca.providers.checks import check_root, check_signer

if TYPE_CHECKING:
    from meshca.clock import Clock
    from meshca.engine.authorities import SigningKeys
    from meshca.engine.ports import Cluster, Recorder
    from meshca.planning.ca import CAPlan
    from meshca.planning.desired import Desired
    from meshca.providers.registry import ProviderRegistry

_log = logging.getLogger(__name__)
JSON = dict[str, Any]


class StepExecutor:
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
        self._mirrors = MirrorExecutor(
            cluster=cluster, recorder=recorder, clock=clock, operator_namespace=operator_namespace
        )
        self._turns = TurnExecutor(
            cluster=cluster,
            providers=providers,
            signing_keys=signing_keys,
            recorder=recorder,
            clock=clock,
            operator_namespace=operator_namespace,
        )

    def cross_signers(self) -> frozenset[str]:
        """Name the providers whose roots can sign another root."""
        return self._turns.cross_signers()

    def tell_phase(self, body: JSON, before: JSON, after: JSON) -> None:
        """Record an Event for each new phase or end of a rotation, and for what is new about the primary."""
        self._turns.tell_phase(body, before, after)
        self._mirrors.tell_others(body, before, after)

    async def execute(self, plan: CAPlan, body: JSON) -> None:
        """Carry out a step; errors of the call pass through, and ``ConflictError`` means observe again."""
        context = Context(Meta.of(body).name, plan, body)
        _log.info("CA step", extra={"configuration": context.name, "step": type(plan.step).__name__})
        if isinstance(plan.step, steps.SECONDARY):
            await self._mirrors.execute(plan.step, context)
        else:
            await self._run(plan.step, context)

    @singledispatchmethod
    async def _run(self, step: object, context: Context) -> None:
        await self._turns.execute(step, context)

    @_run.register
    async def _accept_spec(self, _: steps.AcceptSpec, context: Context) -> None:
        await self._cluster.apply(
            names.CONFIG_MAP,
            {
                "metadata": {
                    "name": names.accepted_config_map(context.name),
                    "namespace": self._namespace,
                    "labels": _labels(context.name),
                },
                "data": {"spec.json": json.dumps(context.body.get("spec"), sort_keys=True)},
            },
        )

    @_run.register
    async def _settle_trust_domain(self, step: steps.SettleTrustDomain, context: Context) -> None:
        await self._write_status(context.body, _status(context.body) | {"trustDomain": step.name})

    async def _write_status(self, body: JSON, status: JSON) -> None:
        meta = Meta.of(body)
        metadata = {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version}
        await self._cluster.replace_status(names.CA_CONFIGURATION, {"metadata": metadata, "status": status})

    @_run.register
    async def _make_root(self, step: steps.MakeRoot, context: Context) -> None:
        desired = context.desired
        pair = await (self._imported(desired) if step.imported else self._generated(desired, context.plan))
        if step.imported and not chain.facts(pair.certificate).fingerprint.startswith(step.identity):
            raise ConflictError(f"Secret {desired.imported_secret!r} holds another root than a moment ago")
        secret = _key_secret(step.secret, self._namespace, context.name, role=names.KEY_ROLE_ROOT, pair=pair)
        secret["metadata"]["annotations"] = {
            names.ANNOTATION_IDENTITY: step.base,
            names.ANNOTATION_RENEWAL: str(step.renewal),
            names.ANNOTATION_PROVIDER: desired.provider,
        }
        if step.cross:
            secret["data"][CROSS] = encode(step.cross)
        await self._cluster.create(names.SECRET, secret)

    async def _generated(self, desired: Desired, plan: CAPlan) -> KeyPair:
        request = RootRequest(
            configuration=desired.configuration,
            trust_domain=plan.trust_domain,
            key=desired.key,
            ttl=desired.root_ttl,
            now=self._clock.now(),
        )
        return check_root(await self._providers.get(desired.provider).make_root(request), request)

    async def _imported(self, desired: Desired) -> KeyPair:
        body = await self._cluster.get(names.SECRET, desired.imported_secret, self._namespace)
        certificate, key = chain.check_imported_root(
            data_of(body, CERTIFICATE),
            data_of(body, KEY),
            now=self._clock.now(),
            trust_domain=desired.trust_domain,
        )
        return KeyPair(certificate, key)

    @_run.register
    async def _record_root(self, step: steps.RecordRoot, context: Context) -> None:
        secret = step.secret
        assert secret.certificate is not None
        assert secret.facts is not None
        await self._cluster.create(
            names.CA_ROOT,
            {
                "metadata": {
                    "name": names.ca_root(context.name, secret.facts.fingerprint),
                    "labels": _labels(context.name),
                    "annotations": {
                        names.ANNOTATION_IDENTITY: secret.base,
                        names.ANNOTATION_RENEWAL: str(secret.renewal),
                        names.ANNOTATION_PROVIDER: secret.provider,
                    },
                    "finalizers": [names.FINALIZER],
                },
                "spec": {
                    "caConfigurationName": context.name,
                    "certificate": to_pem(secret.certificate),
                    "source": "Imported" if step.imported else "Generated",
                    "keySecretName": secret.meta.name,
                },
            },
        )

    @_run.register
    async def _raise_leaf_ttl(self, step: steps.RaiseLeafTTL, _context: Context) -> None:
        await annotate(
            self._cluster, step.root, {names.ANNOTATION_LARGEST_LEAF_TTL: format_duration(step.ttl)}
        )

    @_run.register
    async def _make_signer(self, step: steps.MakeSigner, context: Context) -> None:
        desired = context.desired
        root_key = self._keys.get(context.name, step.root_secret.meta.name)
        if root_key is None:
            raise ConflictError(f"the key in Secret {step.root_secret.meta.name!r} is gone")
        key = await run_key_work(desired.key, lambda: keys.generate(desired.key))
        root = KeyPair(step.root.certificate, root_key)
        request = SignerRequest(
            configuration=context.name,
            trust_domain=context.plan.trust_domain,
            cluster_name=desired.cluster_name,
            public_key=key.public_key(),
            ttl=desired.intermediate_ttl,
            now=self._clock.now(),
        )
        signed = await self._providers.get(step.root.provider or desired.provider).sign_signer(root, request)
        certificate = check_signer(signed, root, request)
        name = names.signer_secret(context.name, chain.facts(certificate).subject_key_id)
        secret = _key_secret(
            name,
            self._namespace,
            context.name,
            role=names.KEY_ROLE_SIGNER,
            pair=KeyPair(certificate, key),
        )
        secret["data"] |= {
            names.BUNDLE_KEY: encode(step.root.pem),
            CHAIN: encode(to_pem(certificate) + step.chain),
        }
        await self._cluster.create(names.SECRET, secret)
        self._recorder.record(
            context.body, kind="Normal", reason="SignerMade", note=f"signer {name} was made"
        )


def _status(body: JSON) -> JSON:
    return dict(body.get("status") or {})


def _labels(configuration: str) -> dict[str, str]:
    return {names.LABEL_MANAGED_BY: names.MANAGED_BY, names.LABEL_CONFIGURATION: configuration}


def _key_secret(name: str, namespace: str, configuration: str, *, role: str, pair: KeyPair) -> JSON:
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": _labels(configuration) | {names.LABEL_KEY_ROLE: role},
        },
        "type": "kubernetes.io/tls",
        "data": {
            CERTIFICATE: encode(to_pem(pair.certificate)),
            KEY: encode(keys.to_pem(pair.key)),
        },
    }
