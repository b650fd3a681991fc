"""The echo of our own status write: it costs nothing, whichever comes first, the watch or the answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from tests.fakes.engine import ready

if TYPE_CHECKING:
    from meshca.engine.outcome import Outcome

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize("delay", [0, 1], ids=["answer first", "watch first"])
@pytest.mark.parametrize("spec", [{}, {"secretName": "web-tls"}], ids=["csr", "managed"])
async def test_issued_leaf_is_looked_at_once(
    delay: float, spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ready() as cluster:
        assert cluster.engine is not None
        gateway, leaves = cluster.engine._gateway, cluster.engine.leaves
        write, reconcile = gateway.replace_status, leaves.reconcile
        looks: list[str] = []

        async def slow(resource: names.Resource, *rest: Any, **more: Any) -> Any:
            answer = await write(resource, *rest, **more)
            if resource == names.LEAF:
                await asyncio.sleep(delay)
            return answer

        async def counted(namespace: str, name: str, *, turn: bool = False) -> Outcome:
            looks.append(name)
            return await reconcile(namespace, name, turn=turn)

        monkeypatch.setattr(gateway, "replace_status", slow)
        monkeypatch.setattr(leaves, "reconcile", counted)
        cluster.leaf(**spec)
        await cluster.until_said("Issued")
        await asyncio.sleep(10)
        assert looks == ["web"]
        view = cluster.engine.store.leaves.get(("shop", "web"))
        assert view is not None
        assert view.issued is not None


async def test_change_that_follows_the_echo_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody moves the due time before the answer to the write that issued has come."""
    async with ready() as cluster:
        assert cluster.engine is not None
        gateway = cluster.engine._gateway
        write = gateway.replace_status
        moved: list[str] = []

        async def slow(resource: names.Resource, *rest: Any, **more: Any) -> Any:
            answer = await write(resource, *rest, **more)
            if resource == names.LEAF and not moved:
                moved.append(cluster.status()["serialNumber"])
                await asyncio.sleep(1)
                due = {"status": {"renewAt": "2020-01-01T00:00:00Z"}}
                cluster.server.merge(names.LEAF, "web", "shop", due, subresource="status")
                await asyncio.sleep(1)
            return answer

        monkeypatch.setattr(gateway, "replace_status", slow)
        cluster.leaf(secretName="web-tls")
        await asyncio.sleep(10)
        assert cluster.ready() == ("Issued", "Issued")
        assert cluster.status()["serialNumber"] != moved[0]
