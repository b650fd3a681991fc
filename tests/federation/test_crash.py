"""A secondary that dies after any of its writes: at its start, and while it follows a rotation."""

from __future__ import annotations

import asyncio

import pytest

from meshca.api import names
from tests.fakes.engine import DieAfter
from tests.fakes.federation import Federation, federated
from tests.fakes.turning import trigger, turned

pytestmark = pytest.mark.looptime

MOST_AT_START = 20
MOST_IN_ROTATION = 24
LOST = pytest.mark.parametrize("lost", [False, True], ids=["killed", "unanswered"])


async def die(found: Federation, count: int, *, lost: bool, seconds: float) -> None:
    """Run the secondary's operator until it has written so often; then nothing it sends arrives."""
    death = DieAfter(writes=count, lose_last=lost, times=None)
    found.secondary.server.faults.append(death)
    async with found.secondary.operator():
        await asyncio.sleep(seconds)
    found.secondary.server.faults.clear()


def in_order(found: Federation) -> bool:
    second = found.secondary
    told = second.condition("RotationInProgress")[1] in {"None", "Completed"}
    return told and found.active(second) == found.active(found.primary)


async def settled(found: Federation, roots: int) -> None:
    """Check that everything is in its place, and that nothing is written any more."""
    second = found.secondary
    await second.until(lambda: found.reported().get("activeRoot") == active_fingerprint(found), 120)
    await asyncio.sleep(30)
    assert len(second.server.all(names.CA_ROOT)) == roots
    assert len(second.secrets("signer")) == roots
    assert second.secrets(names.KEY_ROLE_REQUESTED) == []
    second.written()
    await asyncio.sleep(120)
    leaves = {"LeafCertificateRequest/status", "Secret"}
    assert [item for item in second.written() if item[1] not in leaves] == []


def active_fingerprint(found: Federation) -> str:
    root = found.secondary.server.find(names.CA_ROOT, found.active(found.secondary)) or {}
    return str((root.get("status") or {}).get("fingerprint"))


@LOST
@pytest.mark.parametrize("count", range(MOST_AT_START))
async def test_a_start_killed_after_any_write_is_resumed(count: int, lost: bool) -> None:
    async with federated() as found:
        found.join()
        second = found.secondary
        async with turned(second) as witness:
            await die(found, count, lost=lost, seconds=20)
            async with second.operator():
                await second.until_ready()
                second.leaf("web")
                await second.until(lambda: second.ready("web")[0] == "Issued")
                await settled(found, 1)
                assert len(witness.active) == 1
                # At most one key was made in vain, and the primary signed what was asked for.
                assert len(found.requests()) <= 2


@LOST
@pytest.mark.parametrize("count", range(MOST_IN_ROTATION))
async def test_a_rotation_killed_after_any_write_is_resumed(count: int, lost: bool) -> None:
    async with federated() as found:
        found.join()
        second = found.secondary
        async with second.operator():
            await second.until_ready()
            second.leaf("csr", renewal="Automatic")
            await second.until(lambda: second.ready("csr")[0] == "Issued" and found.reported())
            await asyncio.sleep(5)
        before = found.active(second)
        async with turned(second) as witness:
            trigger(found.primary, "one")
            await die(found, count, lost=lost, seconds=30)
            async with second.operator():
                await second.until(lambda: found.active(second) not in {"", before}, 900)
                await second.until(lambda: in_order(found), 120)
                await settled(found, 2)
                assert len(witness.active) == 1
                assert second.status("csr")["root"] == found.active(second)


async def test_number_of_writes_of_a_start_and_of_a_rotation() -> None:
    async with federated() as found:
        found.join()
        second = found.secondary
        second.written()
        async with second.operator():
            await second.until_ready()
            await second.until(found.reported)
            await asyncio.sleep(5)
            start = second.written()
            second.leaf("csr", renewal="Automatic")
            await second.until(lambda: second.ready("csr")[0] == "Issued")
            second.written()
            before = found.active(second)
            trigger(found.primary, "one")
            await second.until(lambda: found.active(second) != before and in_order(found), 120)
            await asyncio.sleep(5)
            turn = second.written()
    assert all(code < 300 for *_, code in [*start, *turn])
    assert len(start) <= MOST_AT_START
    assert len(turn) <= MOST_IN_ROTATION
