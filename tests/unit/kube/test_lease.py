"""Leader election in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshca.api.names import LEASE
from tests.fakes.apiserver import status
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.candidates import NS, Candidate, candidates, lease_spec
from tests.fakes.clock import LoopClock

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(LoopClock())


async def test_the_first_acquires_and_renews(server: ApiServer) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        assert a.elector.is_leader
        assert 14 < a.elector.remaining() <= 15
        first = lease_spec(server)
        assert first["holderIdentity"] == "a"
        assert first["leaseDurationSeconds"] == 15
        assert first["leaseTransitions"] == 1
        assert first["acquireTime"] == first["renewTime"] == "2026-03-01T00:00:00.000000Z"
        await asyncio.sleep(61)
        later = lease_spec(server)
        assert later["acquireTime"] == first["acquireTime"]
        assert later["renewTime"] == "2026-03-01T00:01:00.000000Z"
        assert later["leaseTransitions"] == 1
        assert a.elector.remaining() > 12
    writes = server.writes(LEASE, user="system:a")
    assert 30 <= len(writes) <= 33
    assert len(server.audit) == len(writes), "nothing but the Lease is written"


async def test_a_follower_only_looks(server: ApiServer) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        async with candidates(server, "b") as [b]:
            await asyncio.sleep(120)
            assert not b.elector.is_leader
            assert b.elector.remaining() == 0.0
            assert b.elector.holder == "a"
            assert server.writes(user=b.user) == []


async def test_a_follower_takes_over_only_when_it_saw_nothing_for_a_whole_term(server: ApiServer) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        await asyncio.sleep(10)
        a.task.cancel()
        stopped = a.clock.monotonic()
        async with candidates(server, "b") as [b]:
            await b.elector.acquired.wait()
            waited = b.clock.monotonic() - stopped
            assert 15 <= waited <= 15 + 2 * 4.4
            assert a.elector.remaining() == 0.0
            assert lease_spec(server)["leaseTransitions"] == 2


@pytest.mark.parametrize("step", [3600.0, -3600.0, 86400.0 * 365])
async def test_wall_clocks_do_not_matter(server: ApiServer, step: float) -> None:
    async with candidates(server, "a", "b") as both:
        leader, follower = await _sorted(both)
        follower.clock.step(step)
        await asyncio.sleep(120)
        leader.clock.step(-step)
        await asyncio.sleep(120)
        assert leader.elector.is_leader
        assert not follower.elector.is_leader
        assert not leader.elector.lost.is_set()


async def _sorted(both: list[Candidate]) -> tuple[Candidate, Candidate]:
    waits = [asyncio.create_task(one.elector.acquired.wait()) for one in both]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    leader, follower = sorted(both, key=lambda one: not one.elector.is_leader)
    return leader, follower


@pytest.mark.parametrize(
    "fault",
    [
        {"unreachable": True},
        {"delay": 1000.0},
        {"error": status.internal()},
        {"error": status.forbidden(LEASE, "meshca", "no rule")},
        {"error": status.unauthorized()},
    ],
    ids=["unreachable", "hanging", "500", "403", "401"],
)
async def test_leadership_ends_at_the_renew_deadline(server: ApiServer, fault: JSON) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        renewed = a.clock.monotonic()
        server.fault(user=a.user, times=None, **fault)
        await asyncio.sleep(9.5)
        assert a.elector.is_leader
        assert 5 < a.elector.remaining() < 6, "others respect it for longer than we use it"
        await a.elector.lost.wait()
        assert a.clock.monotonic() - renewed == pytest.approx(10.0, abs=0.1)
        assert not a.elector.is_leader
        assert a.elector.remaining() == 0.0
        await asyncio.sleep(0.1)
        assert a.task.done()


async def test_two_never_lead_at_once_when_the_leader_is_cut_off(server: ApiServer) -> None:
    async with candidates(server, "a", "b") as both:
        leader, follower = await _sorted(both)
        await asyncio.sleep(20)
        server.fault(user=leader.user, unreachable=True, times=None)
        for _ in range(400):
            await asyncio.sleep(0.1)
            assert not (leader.elector.remaining() and follower.elector.is_leader)
        assert follower.elector.is_leader
        assert leader.elector.lost.is_set()


async def test_a_short_outage_is_survived(server: ApiServer) -> None:
    async with candidates(server, "a", "b") as both:
        leader, follower = await _sorted(both)
        server.down = True
        await asyncio.sleep(7)
        server.down = False
        await asyncio.sleep(30)
        assert leader.elector.is_leader
        assert not leader.elector.lost.is_set()
        assert not follower.elector.is_leader


async def test_a_renewal_whose_answer_was_lost_is_found_again(server: ApiServer) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        for _ in range(5):
            server.fault(verb="update", lose_answer=True)
            await asyncio.sleep(6)
        assert a.elector.is_leader
        assert lease_spec(server)["leaseTransitions"] == 1


async def test_an_acquisition_whose_answer_was_lost_is_not_trusted_yet(server: ApiServer) -> None:
    server.fault(verb="update", lose_answer=True)
    async with candidates(server, "a") as [a]:
        await asyncio.sleep(1)
        assert lease_spec(server)["holderIdentity"] == "a"
        assert not a.elector.is_leader
        await asyncio.sleep(5)
        assert a.elector.is_leader


async def test_a_lease_that_somebody_took_is_lost_at_once(server: ApiServer) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        server.merge(LEASE, "meshca", NS, {"spec": {"holderIdentity": "usurper"}})
        before = a.clock.monotonic()
        await a.elector.lost.wait()
        assert a.clock.monotonic() - before <= 2.1
        assert a.elector.holder == "usurper"
        assert lease_spec(server)["holderIdentity"] == "usurper"


@pytest.mark.parametrize("change", [{"metadata": {"labels": {"l": "1"}}}, {"spec": {"holderIdentity": ""}}])
async def test_other_edits_of_the_lease_are_survived(server: ApiServer, change: JSON) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        server.merge(LEASE, "meshca", NS, change)
        await asyncio.sleep(30)
        assert a.elector.is_leader
        assert lease_spec(server)["holderIdentity"] == "a"
        lease = server.find(LEASE, "meshca", NS)
        assert lease is not None
        assert lease["metadata"].get("labels") == change.get("metadata", {}).get("labels")


async def test_a_deleted_lease_is_made_anew(server: ApiServer) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        server.delete(LEASE, "meshca", NS)
        await asyncio.sleep(5)
        assert a.elector.is_leader
        assert lease_spec(server)["holderIdentity"] == "a"


async def test_a_race_for_a_new_lease_has_one_winner(server: ApiServer) -> None:
    for _ in range(20):
        async with candidates(server, "a", "b", "c") as three:
            await asyncio.sleep(3)
            assert sum(one.elector.is_leader for one in three) == 1
        server.delete(LEASE, "meshca", NS)


async def test_the_term_of_the_holder_counts_and_not_ours(server: ApiServer) -> None:
    spec = {"holderIdentity": "old", "leaseDurationSeconds": 60, "renewTime": "2001-01-01T00:00:00.000000Z"}
    server.create(LEASE, {"metadata": {"name": "meshca", "namespace": NS}, "spec": spec})
    async with candidates(server, "a") as [a]:
        await asyncio.sleep(59)
        assert not a.elector.is_leader
        await asyncio.sleep(7)
        assert a.elector.is_leader


async def test_a_holder_without_a_term_is_given_ours(server: ApiServer) -> None:
    server.create(LEASE, {"metadata": {"name": "meshca", "namespace": NS}, "spec": {"holderIdentity": "old"}})
    async with candidates(server, "a") as [a]:
        await asyncio.sleep(14)
        assert not a.elector.is_leader
        await asyncio.sleep(7)
        assert a.elector.is_leader


async def test_a_failure_that_lasts_is_said_once(server: ApiServer, caplog: pytest.LogCaptureFixture) -> None:
    server.fault(verb="get", times=None, error=status.forbidden(LEASE, "meshca", "no rule"))
    async with candidates(server, "a"):
        await asyncio.sleep(60)
    assert len([record for record in caplog.records if "no rule" in record.message]) == 1


async def test_the_real_server_may_be_slow(server: ApiServer) -> None:
    async with candidates(server, "a") as [a]:
        server.fault(user=a.user, times=None, delay=1.5)
        await a.elector.acquired.wait()
        seen = []
        for _ in range(100):
            await asyncio.sleep(0.1)
            seen.append(a.elector.remaining())
        assert min(seen) >= 15 - 1.5 - 2 - 1.5 - 0.1
        assert max(seen) <= 15 - 1.5, "counted from the sending, as others may have seen it that early"


async def test_age_tells_when_the_lease_was_last_seen(server: ApiServer) -> None:
    async with candidates(server, "a") as [a]:
        assert a.elector.age() is None
        await asyncio.sleep(10)
        assert (a.elector.age() or 99) <= 2.1
        server.down = True
        await asyncio.sleep(7)
        assert (a.elector.age() or 0) >= 7


async def test_cancelling_a_candidate_that_was_just_beaten_resigns(server: ApiServer) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        server.merge(LEASE, "meshca", NS, {"spec": {"holderIdentity": "usurper"}})
        server.fault(verb="get", delay=1.0)
        await asyncio.sleep(3.5)
        a.task.cancel()
        await asyncio.gather(a.task, return_exceptions=True)
        assert a.elector.lost.is_set()
        assert a.elector.remaining() == 0.0
        await a.elector.release()
        assert lease_spec(server)["holderIdentity"] == "usurper"


async def test_213_who_slept_through_its_term_sends_nothing_on_waking(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with candidates(server, "a") as [a]:
        await a.elector.acquired.wait()
        await asyncio.sleep(3)
        running, sent = a.clock.monotonic, list[str]()

        async def replace(*_: Any, **__: Any) -> JSON:
            sent.append("what was cancelled at once may have left all the same")
            raise AssertionError

        monkeypatch.setattr(a.clock, "monotonic", lambda: running() + 30)
        monkeypatch.setattr(a.elector._cluster, "replace", replace)
        await asyncio.wait_for(a.task, 3)
        assert a.elector.lost.is_set()
        assert sent == []
