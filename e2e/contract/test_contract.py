"""The contract of tests/contract on the real API server: what keeps the fake one honest.

All cases run at once, each in a namespace of its own, because some of them mostly wait.
"""

from __future__ import annotations

import asyncio
import base64
import json
from functools import partial
from typing import TYPE_CHECKING

import aiohttp
import pytest

from e2e.contract import trouble
from e2e.controlplane import ControlPlane
from meshca.api.names import NAMESPACE
from meshca.errors import MeshCAError
from meshca.kube.credentials import from_kubeconfig
from meshca.kube.gateway import Gateway
from meshca.kube.session import Session
from tests.contract import cases
from tests.contract.harness import CASES, CRD, GADGET, WIDGET, Contract, crd

if TYPE_CHECKING:
    from e2e.cluster import Cluster
    from meshca.kube.credentials import Credentials

pytestmark = pytest.mark.cluster

assert cases.MODULES, "importing them fills CASES"
AT_ONCE = 16
SERVED_SECONDS = 30.0
CASE_SECONDS = 180.0


@pytest.fixture(scope="module")
def outcomes(cluster: Cluster) -> dict[str, BaseException | None]:
    """Return what each case raised, or None."""
    if cluster.prefix:
        pytest.skip("the API server lives in another network namespace; the control plane shows the same")
    return asyncio.run(_run_all(cluster))


@pytest.mark.parametrize("name", CASES)
def test_the_real_server_keeps_the_contract(outcomes: dict[str, BaseException | None], name: str) -> None:
    if (error := outcomes[name]) is not None:
        raise error


async def _run_all(cluster: Cluster) -> dict[str, BaseException | None]:
    credentials = await from_kubeconfig(cluster.kubeconfig())
    session = Session(credentials, connections=0)
    gateway = Gateway(session)
    crds = [await gateway.create(CRD, crd(resource)) for resource in (WIDGET, GADGET)]
    try:
        for resource in (WIDGET, GADGET):
            await _served(gateway, resource.plural)
        free = asyncio.Semaphore(AT_ONCE)
        # Those that wait long go first.
        alone = cases.FORGETS | cases.HANGS
        names = sorted(CASES.keys() - alone, key=lambda name: name not in cases.SLOW)
        run = partial(_run, cluster, session, credentials, free)
        found = await asyncio.gather(*(run(name) for name in names))
        return dict(zip(names, found, strict=True)) | {name: await run(name) for name in sorted(alone)}
    finally:
        for made in crds:
            await gateway.delete(CRD, made["metadata"]["name"], uid=made["metadata"]["uid"])
        await session.aclose()


async def _served(gateway: Gateway, plural: str) -> None:
    """Wait until a new kind is served: the API server says 404, then 503, for some seconds."""
    resource = {kind.plural: kind for kind in (WIDGET, GADGET)}[plural]
    async with asyncio.timeout(SERVED_SECONDS):
        while True:
            try:
                await gateway.list(resource)
            except MeshCAError:
                await asyncio.sleep(0.2)
            else:
                return


async def _run(
    cluster: Cluster, session: Session, credentials: Credentials, free: asyncio.Semaphore, name: str
) -> BaseException | None:
    async def compact() -> None:
        assert isinstance(cluster, ControlPlane)
        await _compact(cluster.etcd)

    gateway = Gateway(session)
    async with free:
        namespace = f"contract-{list(CASES).index(name)}"
        made = await gateway.create(NAMESPACE, {"metadata": {"name": namespace}})
        ours = isinstance(cluster, ControlPlane)
        contract = Contract(
            session,
            namespace,
            compact if ours else None,
            _age_token,
            crowded=lambda: trouble.crowded(cluster, gateway, namespace),
            hung=(lambda: trouble.hung(cluster)) if isinstance(cluster, ControlPlane) else None,
            dial=lambda: trouble.dial(credentials),
        )
        try:
            async with asyncio.timeout(CASE_SECONDS):
                await CASES[name](contract)
        except (Exception, pytest.skip.Exception) as error:  # noqa: BLE001  the test raises it
            return error
        finally:
            await gateway.delete(NAMESPACE, namespace, uid=made["metadata"]["uid"])
    return None


async def _compact(etcd: str) -> None:
    """Forget etcd's history up to now."""
    key = base64.b64encode(b"/none").decode()
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        async with http.post(f"{etcd}/v3/kv/range", json={"key": key}) as answer:
            revision = (await answer.json())["header"]["revision"]
        async with http.post(
            f"{etcd}/v3/kv/compaction", json={"revision": revision, "physical": True}, raise_for_status=False
        ) as answer:
            # Another case may have compacted later revisions already.
            assert answer.status in {200, 400}, await answer.text()


def _age_token(token: str) -> str:
    """Let a page token name a version of long ago: recent ones are served from the API server's cache."""
    padded = token + "=" * (-len(token) % 4)
    content = json.loads(base64.urlsafe_b64decode(padded)) | {"rv": 2}
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
