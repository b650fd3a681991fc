"""Two clusters in one loop of virtual time: a primary, a secondary, and the line between them."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.scalars import format_time
from meshca.engine.outcome import Outcome
from meshca.errors import TransientError, UnknownOutcomeError
from meshca.kube.transport import Response, Stream
from meshca.pki import certificates, csr, issuance, keys
from meshca.pki.identity import TrustDomain
from meshca.pki.profile import SignerProfile
from meshca.planning.joining import claims_of
from meshca.planning.secrets import data_of
from tests.fakes import pki
from tests.fakes.apiserver.tokens import granted
from tests.fakes.apiserver.transport import FakeTransport
from tests.fakes.engine import NAMESPACE, Cluster
from tests.fakes.witness import Witness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import timedelta

    from meshca.kube.credentials import FixedToken
    from meshca.planning.joining import Join
    from tests.fakes.apiserver.faults import RequestInfo
    from tests.fakes.apiserver.server import ApiServer

JSON = dict[str, Any]
SHORT: JSON = {"leaf": {"ttl": "1h"}, "trustBundle": {"clusterTrustBundle": False}}
DAYS = 86400
UNAUTHORIZED = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "message": "Unauthorized",
    "reason": "Unauthorized",
    "code": 401,
}


@dataclass
class Line:
    """What lies between a secondary and the API servers it can reach, by address; may be cut and healed."""

    servers: dict[str, ApiServer]
    latency: float = 0.01
    whole: asyncio.Event = field(default_factory=asyncio.Event)
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    revoked: set[str] = field(default_factory=set)
    """Users whose tokens count no more."""
    garbage: bool = False
    """Whether something answers that is no API server."""

    def __post_init__(self) -> None:
        self.whole.set()

    def cut(self) -> None:
        self.broken.set()

    def heal(self) -> None:
        self.broken.clear()

    def connect(self, join: Join, token: FixedToken) -> LineTransport:
        return LineTransport(self, join.server, token)


class LineTransport:
    """A connection over a line, as whoever the token names."""

    def __init__(self, line: Line, address: str, token: FixedToken) -> None:
        self._line = line
        self._address = address
        self._token = token

    def _inner(self) -> FakeTransport | None:
        claims, server = claims_of(self._token.current()), self._line.servers[self._address]
        user = str(claims.get("sub", ""))
        expired = claims.get("exp", 0) <= server.clock.now().timestamp()
        if not user or expired or user in self._line.revoked:
            return None
        return FakeTransport(server, user, latency=self._line.latency)

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "",
        accept: str = "application/json",
        timeout: float,  # noqa: ASYNC109  as the protocol has it
    ) -> Response:
        if self._line.broken.is_set():
            await asyncio.sleep(self._line.latency)
            raise TransientError(f"{method} {path}: the API server cannot be reached", reason="Unreachable")
        if self._line.garbage:
            return Response(200, {}, b'{"items": [{"metadata": 3}, 7], "metadata": {"resourceVersion": "1"}}')
        inner = self._inner()
        if inner is None:
            return Response(401, {}, json.dumps(UNAUTHORIZED).encode())
        answer = await inner.request(
            method,
            path,
            params=params,
            body=body,
            content_type=content_type,
            accept=accept,
            timeout=timeout,
        )
        if self._line.broken.is_set():
            raise UnknownOutcomeError(f"{method} {path}: no answer", reason="NoAnswer")
        return answer

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str],
        accept: str = "application/json",
        timeout: float,  # noqa: ASYNC109  as the protocol has it
    ) -> AsyncIterator[Stream]:
        inner = self._inner()
        if self._line.broken.is_set():
            raise TransientError(f"GET {path}: the API server cannot be reached", reason="Unreachable")
        if inner is None:
            yield Stream(401, {}, _lines_of(json.dumps(UNAUTHORIZED).encode()))
            return
        async with inner.stream(path, params=params, accept=accept, timeout=timeout) as found:
            yield Stream(found.status, found.headers, self._lines(found.lines, path))

    async def _lines(self, lines: AsyncIterator[bytes], path: str) -> AsyncIterator[bytes]:
        while True:
            following = asyncio.ensure_future(anext(lines))
            broken = asyncio.ensure_future(self._line.broken.wait())
            try:
                done, _ = await asyncio.wait([following, broken], return_when=asyncio.FIRST_COMPLETED)
                if broken in done:
                    raise UnknownOutcomeError(f"GET {path}: no answer", reason="NoAnswer")
                yield following.result()
            except StopAsyncIteration:
                return
            finally:
                following.cancel()
                broken.cancel()
                await asyncio.gather(following, broken, return_exceptions=True)

    async def aclose(self) -> None:
        return


async def _lines_of(*lines: bytes) -> AsyncIterator[bytes]:
    for line in lines:
        yield line


@dataclass
class Federation:
    """A primary and a secondary; the primary's operator runs only while a test runs it."""

    primary: Cluster = field(default_factory=Cluster)
    secondary: Cluster = field(default_factory=Cluster)
    cluster: str = "west"
    server: str = "https://primary.example.org:6443"
    line: Line = field(init=False)
    by_hand: bool = False
    """Whether a test answers requests in place of the primary's operator."""
    ttl: timedelta = 90 * pki.DAY
    longest: str = ""
    """``maxIntermediateTTL`` of its registration."""

    def __post_init__(self) -> None:
        self.line = Line({self.server: self.primary.server})
        self.secondary.connect = self.line.connect
        self.primary.server.authorize = self._authorize
        self.forbidden: set[str] = set()
        self.seconds = 7 * DAYS

    @property
    def namespace(self) -> str:
        return names.federation_namespace(self.cluster)

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{names.FEDERATION_ACCOUNT}"

    def _authorize(self, info: RequestInfo) -> str | None:
        """Allow a secondary what ``meshca federation invite`` gives it, less what a test has taken away."""
        if not info.user.startswith("system:serviceaccount:meshca-fed-"):
            return None
        reads = {"get", "list", "watch"}
        allowed = {
            names.CA_CONFIGURATION.plural: reads,
            names.CA_ROOT.plural: reads,
            names.INTERMEDIATE.plural: reads | {"create"},
            names.FEDERATED_CLUSTER.plural: {"get", "patch"},
            names.SERVICE_ACCOUNT.plural: {"create"},
        }
        plural = info.resource.plural
        taken = {plural, f"{plural}/{info.verb}"} & self.forbidden
        if taken or info.verb not in allowed.get(plural, set()):
            return f"User {info.user!r} cannot {info.verb} resource {plural!r}"
        return None

    def invite(self) -> None:
        """Register the secondary, as the command line does."""
        server = self.primary.server
        server.create(names.NAMESPACE, {"metadata": {"name": self.namespace}})
        self.primary.account(self.namespace, names.FEDERATION_ACCOUNT)
        self.register()

    def register(self) -> None:
        self.primary.server.create(
            names.FEDERATED_CLUSTER,
            {
                "metadata": {"name": self.cluster},
                "spec": {
                    "clusterName": self.cluster,
                    "namespace": self.namespace,
                    "requester": {"username": self.user},
                }
                | ({"maxIntermediateTTL": self.longest} if self.longest else {}),
            },
        )

    def token(self) -> str:
        account = self.primary.server.find(names.SERVICE_ACCOUNT, names.FEDERATION_ACCOUNT, self.namespace)
        assert account is not None
        asked = {"spec": {"expirationSeconds": self.seconds}}
        return str(granted(account, asked, self.primary.clock.now())["status"]["token"])

    def join(self, *, digest: str = "", **spec: Any) -> None:
        """Apply a join manifest in the secondary."""
        self.secondary.server.create(names.SECRET, self.join_secret())
        primary = {
            "kubeconfigSecretName": "meshca-primary-default",
            "bundleDigest": digest or self.bundle_digest(),
        }
        asked = {"clusterName": self.cluster, "federation": {"primary": primary}}
        self.secondary.server.create(
            names.CA_CONFIGURATION, {"metadata": {"name": "default"}, "spec": SHORT | asked | spec}
        )

    def join_secret(self) -> JSON:
        authority = base64.b64encode(certificates.to_pem(pki.authority().root).encode()).decode()
        kubeconfig = {
            "current-context": "primary",
            "contexts": [{"name": "primary", "context": {"cluster": "primary", "user": "secondary"}}],
            "clusters": [
                {
                    "name": "primary",
                    "cluster": {"server": self.server, "certificate-authority-data": authority},
                }
            ],
            "users": [{"name": "secondary", "user": {"token": self.token()}}],
        }
        text = base64.b64encode(json.dumps(kubeconfig).encode()).decode()
        return {
            "metadata": {"name": "meshca-primary-default", "namespace": NAMESPACE},
            "type": "Opaque",
            "data": {"kubeconfig": text},
        }

    def bundle_digest(self) -> str:
        return str(self.status(self.primary)["bundle"]["digest"])

    @staticmethod
    def status(cluster: Cluster, name: str = "default") -> JSON:
        found = cluster.server.find(names.CA_CONFIGURATION, name) or {}
        return dict(found.get("status") or {})

    def active(self, cluster: Cluster) -> str:
        return str(self.status(cluster).get("activeRoot", ""))

    def reported(self) -> JSON:
        found = self.primary.server.find(names.FEDERATED_CLUSTER, self.cluster) or {}
        return dict(found.get("status") or {})

    def requests(self) -> list[JSON]:
        return self.primary.server.all(names.INTERMEDIATE, self.namespace)

    def answer(self, request: JSON, status: JSON) -> None:
        """Write the status of a request, as the primary's operator would."""
        metadata = request["metadata"]
        self.primary.server.merge(
            names.INTERMEDIATE, metadata["name"], self.namespace, {"status": status}, subresource="status"
        )

    def refuse(self, request: JSON, reason: str, message: str = "no") -> None:
        condition = {
            "type": "Ready",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastTransitionTime": format_time(self.primary.clock.now()),
        }
        self.answer(request, {"conditions": [condition]})

    def grant(self, request: JSON, root: str = "") -> None:
        """Sign a request under a root of the primary, by default the active one."""
        name = root or self.active(self.primary)
        found = self.primary.server.find(names.CA_ROOT, name)
        assert found is not None
        certificate = certificates.load_one(found["spec"]["certificate"])
        secret = self.primary.server.find(names.SECRET, found["spec"]["keySecretName"], NAMESPACE)
        assert secret is not None
        signer = issuance.signer_certificate(
            csr.parse(request["spec"]["request"], keys=keys.CA_KEYS).public_key,
            issuer_cert=certificate,
            issuer_key=keys.load_trusted(data_of(secret, "tls.key")),
            trust_domain=TrustDomain.parse(self.status(self.primary)["trustDomain"]),
            configuration="default",
            cluster_name=self.cluster,
            profile=SignerProfile(self.ttl),
            now=self.primary.clock.now(),
        )
        crosses = (found.get("status") or {}).get("crossCertificates") or []
        self.answer(
            request, {"certificateChain": certificates.to_pem(signer) + "".join(crosses), "root": name}
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the primary's operator until its CA is Ready, and on."""
        async with self.primary.operator() as engine:
            if self.by_hand:
                engine.workers._intermediates.reconcile = _nothing  # type: ignore[method-assign, assignment]
            await self.primary.until_ready()
            yield


async def _nothing(*_: object) -> tuple[Outcome, None]:
    return Outcome(), None


@asynccontextmanager
async def federated(*, by_hand: bool = False, ttl: str = "", **spec: Any) -> AsyncIterator[Federation]:
    """Run a primary whose CA is Ready, and give a secondary that was invited and has not joined.

    ``ttl`` is the longest life of its signers.
    """
    found = Federation(by_hand=by_hand, longest=ttl)
    for cluster in (found.primary, found.secondary):
        cluster.policy()
    found.primary.configure(**(SHORT | spec))
    await asyncio.sleep(60)
    async with found.running():
        found.invite()
        yield found


@asynccontextmanager
async def joined(*, ttl: str = "", **spec: Any) -> AsyncIterator[tuple[Federation, Witness]]:
    """Run both; the secondary has issued an Automatic and a managed leaf, and has reported."""
    async with federated(ttl=ttl) as found:
        found.join(**spec)
        witness = Witness(found.secondary.server)
        async with found.secondary.operator():
            await found.secondary.until_ready()
            for name, more in (("csr", {"renewal": "Automatic"}), ("managed", {"secretName": "tls"})):
                found.secondary.leaf(name, **more)
            await found.secondary.until(
                lambda: all(found.secondary.ready(name)[0] == "Issued" for name in ("csr", "managed"))
            )
            await found.secondary.until(found.reported)
            await asyncio.sleep(5)
            found.secondary.written()
            yield found, witness
            assert witness.broken == []
