"""Leaves follow the active root: paced, oldest first, whatever else happens to them meanwhile."""

from __future__ import annotations

import asyncio
import base64
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from meshca.pki import certificates, chain
from meshca.planning.authority import Unavailable
from tests.fakes.apiserver import status as api
from tests.fakes.engine import ready
from tests.fakes.rotation import Rotation

if TYPE_CHECKING:
    from meshca.planning.authority import Authority
    from tests.fakes.engine import Cluster

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]


async def fleet(cluster: Cluster, count: int, **asks: Any) -> list[str]:
    """Create leaves in two namespaces and return their names, the first to expire first."""
    if cluster.server.find(names.NAMESPACE, "yard") is None:
        cluster.server.create(names.NAMESPACE, {"metadata": {"name": "yard"}})
        cluster.account("yard", "web")
    made = [f"leaf-{n:03}" for n in range(count)]
    # Neither creation nor name says who expires first.
    for n in sorted(range(count), key=lambda n: n * 7 % count):
        cluster.leaf(made[n], place(made[n]), ttl=f"{20 * 60 + 10 * n}m", **({"renewal": "Automatic"} | asks))
    await cluster.until(lambda: all(cluster.ready(name, place(name))[0] == "Issued" for name in made))
    cluster.written()
    return made


def place(name: str) -> str:
    return ("shop", "yard")[int(name.rsplit("-", 1)[-1]) % 2]


def under(cluster: Cluster, name: str, namespace: str = "shop") -> str:
    return str(cluster.status(name, namespace)["root"])


def root_name(authority: Authority) -> str:
    return names.ca_root("default", authority.root)


def gaps(rotation: Rotation) -> list[float]:
    return [later[0] - sooner[0] for sooner, later in pairwise(rotation.notes.written)]


async def test_096_leaves_move_at_the_pace_the_first_to_expire_first() -> None:
    async with ready() as cluster:
        made = await fleet(cluster, 20)
        rotation = Rotation(cluster, rate=2)
        second = rotation.another()
        begin = cluster.clock.monotonic()
        await rotation.activate(second)
        assert (rotation.census().left, rotation.census().automatic) == (20, 20)
        await asyncio.sleep(5)
        assert 9 <= 20 - rotation.census().left <= 12
        assert [item.name.split("/")[1] for item in rotation.census().stragglers][-1] > "leaf-018"
        await cluster.until(lambda: not rotation.census().left)
        assert 9.4 <= cluster.clock.monotonic() - begin <= 10.5
        await asyncio.sleep(30)
        assert rotation.notes.names() == made, "one write each, oldest first"
        assert all(0.45 < gap < 0.55 for gap in gaps(rotation))
        for name in made:
            assert under(cluster, name, place(name)) == root_name(second)
            leaf, signer, cross = certificates.load_all(cluster.status(name, place(name))["certificateChain"])
            for root in second.trusted:
                assert chain.verify(leaf, [signer, cross], [root], at=cluster.clock.now())


async def test_100_rotation_goes_on_in_the_same_order_after_a_restart() -> None:
    async with ready() as cluster:
        made = await fleet(cluster, 16)
        rotation = Rotation(cluster, rate=2)
        await rotation.activate(rotation.another())
        await cluster.until(lambda: len(rotation.notes.written) == 6)
    await asyncio.sleep(60)
    async with cluster.operator():
        rotation.stand_in()
        await cluster.until(lambda: len(rotation.notes.written) >= 7)
        begin = cluster.clock.monotonic()
        await cluster.until(lambda: not rotation.census().left and not rotation.census().unread)
        assert 4.4 <= cluster.clock.monotonic() - begin <= 5.5
        await asyncio.sleep(30)
        assert rotation.notes.names() == made


async def test_165_no_look_goes_before_the_pace() -> None:
    async with ready() as cluster:
        made = await fleet(cluster, 12)
        rotation = Rotation(cluster, rate=1)
        await rotation.activate(rotation.another())
        await asyncio.sleep(0.5)  # an edit at the moment of a write is a conflict, and another story
        for _ in range(8):
            for name in reversed(made):
                labels = {"look": str(cluster.clock.monotonic())}
                cluster.server.merge(names.LEAF, name, place(name), {"metadata": {"labels": labels}})
            cluster.server.cut_watches(names.LEAF)
            await asyncio.sleep(1)
        assert 7 <= len(rotation.notes.written) <= 9
        await cluster.until(lambda: not rotation.census().left)
        assert rotation.notes.names() == made
        assert min(gaps(rotation)) > 0.9


async def test_renewal_that_is_due_counts_as_a_move_and_waits_for_no_turn() -> None:
    async with ready() as cluster:
        await fleet(cluster, 3)
        rotation = Rotation(cluster, rate=1e-6)
        second = rotation.another()
        await rotation.activate(second)
        await asyncio.sleep(20 * 3600)
        assert rotation.census().left == 0
        assert sorted(rotation.notes.names()) == ["leaf-000", "leaf-000", "leaf-001", "leaf-002"]


@pytest.mark.parametrize("old", ["first", "given up"])
async def test_098_leaves_of_a_root_given_up_move_on_to_the_next(old: str) -> None:
    async with ready() as cluster:
        await fleet(cluster, 8)
        rotation = Rotation(cluster, rate=2)
        second, third = rotation.another("second"), rotation.another("third")
        await rotation.activate(second)
        await cluster.until(lambda: rotation.census().left == 4)
        rotation.notes.written.clear()
        target = rotation.trusting(third if old == "first" else rotation.first, second)
        await rotation.activate(target)
        wrong = 8 if old == "first" else 4
        assert rotation.census().left == wrong
        await cluster.until(lambda: not rotation.census().left)
        await asyncio.sleep(20)
        assert len(rotation.notes.written) == wrong
        assert {under(cluster, f"leaf-{n:03}", place(f"leaf-{n:03}")) for n in range(8)} == {
            root_name(target)
        }


async def test_095_manual_leaf_is_told_with_one_write_and_reads_rotate() -> None:
    async with ready() as cluster:
        made = await fleet(cluster, 6, renewal="Manual")
        rotation = Rotation(cluster, rate=2)
        await rotation.activate(rotation.another())
        await asyncio.sleep(1)
        assert 2 <= len(rotation.notes.written) <= 3
        await asyncio.sleep(30)
        assert rotation.notes.names() == made
        assert {cluster.ready(name, place(name)) for name in made} == {("Rotate", "Issued")}
        assert cluster.status(made[1], "yard")["conditions"][0]["status"] == "True"
        assert "make a new request" in cluster.said(made[1], "yard")
        found = rotation.census()
        assert (found.left, found.automatic) == (6, 0)
        assert {item.reason for item in found.stragglers} == {"waits for its holder"}
        # Deleted or expired, they count no more.
        cluster.server.delete(names.LEAF, made[0], "shop")
        await asyncio.sleep(1)
        assert rotation.census().left == 5
        await asyncio.sleep(22 * 3600)
        over = rotation.census()
        assert (over.by_root, over.stragglers, over.unread, over.manual_end) == ({}, (), 0, None)
        assert [name for _, kind, name in rotation.notes.written if "status" in kind] == made


async def test_102_signals_are_withdrawn_when_the_old_root_is_active_again() -> None:
    async with ready() as cluster:
        made = await fleet(cluster, 6, renewal="Manual")
        rotation = Rotation(cluster, rate=2)
        second = rotation.another()
        await rotation.activate(second)
        await cluster.until(lambda: len(rotation.notes.written) == 4)
        rotation.notes.written.clear()
        await rotation.activate(rotation.trusting(rotation.first, second))
        await asyncio.sleep(30)
        assert rotation.notes.names() == made[:4]
        assert min(gaps(rotation)) > 0.45
        assert {cluster.ready(name, place(name)) for name in made} == {("Issued", "Issued")}


async def test_097_leaf_that_was_being_issued_when_the_root_changed_moves() -> None:
    async with ready() as cluster:
        rotation = Rotation(cluster, rate=50)
        engine = cluster.engine
        assert engine is not None
        gateway = engine.leaves._cluster
        write = gateway.replace_status

        async def slow(resource: names.Resource, body: JSON) -> str:
            await asyncio.sleep(2)
            return await write(resource, body)

        gateway.replace_status = slow  # type: ignore[method-assign]
        cluster.leaf(renewal="Automatic")
        await asyncio.sleep(1)
        second = rotation.another()
        await rotation.activate(second)
        await cluster.until(lambda: cluster.status().get("root") == root_name(second))
        assert rotation.notes.names() == ["web", "web"]


async def test_refused_turn_is_told_once_tried_again_and_holds_up_nobody() -> None:
    async with ready() as cluster:
        for name in ("gone", "back"):
            cluster.account("shop", name)
        for name, account in (("a", "gone"), ("b", "back"), ("c", "web"), ("d", "web")):
            cluster.leaf(
                name, renewal="Automatic", ttl="71h" if name < "c" else "72h", serviceAccountName=account
            )
        await cluster.until(lambda: all(cluster.ready(name)[0] == "Issued" for name in "abcd"))
        for name in ("gone", "back"):
            cluster.server.delete(names.SERVICE_ACCOUNT, name, "shop")
        rotation = Rotation(cluster, rate=1)
        second = rotation.another()
        await rotation.activate(second)
        await asyncio.sleep(10)
        assert sorted(rotation.notes.names()) == ["a", "b", "c", "d"]
        found = rotation.census()
        assert [(item.name, item.reason[:9]) for item in found.stragglers] == [
            ("shop/a", "Pending: "),
            ("shop/b", "Pending: "),
        ]
        assert cluster.ready("a") == ("Renew", "Pending")
        assert cluster.said("a").startswith("the rotation cannot reach this certificate yet: ")
        cluster.account("shop", "back")
        await cluster.until(lambda: cluster.ready("b") == ("Issued", "Issued"), 600)
        assert under(cluster, "b") == root_name(second)
        await asyncio.sleep(3600)
        assert sorted(rotation.notes.names()) == ["a", "b", "b", "c", "d"]
        assert cluster.ready("a") == ("Renew", "Pending")


async def test_many_refusals_are_told_at_the_pace_too() -> None:
    async with ready() as cluster:
        await fleet(cluster, 12)
        for namespace in ("shop", "yard"):
            cluster.server.delete(names.SERVICE_ACCOUNT, "web", namespace)
        rotation = Rotation(cluster, rate=1)
        await rotation.activate(rotation.another())
        await asyncio.sleep(60)
        assert len(rotation.notes.written) == 12
        assert min(gaps(rotation)) > 0.9


async def test_i7_managed_leaf_moves_with_two_writes_and_a_new_key() -> None:
    async with ready() as cluster:
        cluster.leaf(secretName="web-tls")
        await cluster.until_said("Issued")
        before = data(cluster)
        rotation = Rotation(cluster)
        second = rotation.another()
        await rotation.activate(second)
        await cluster.until(lambda: not rotation.census().left)
        await asyncio.sleep(30)
        assert [kind for _, kind, _ in rotation.notes.written] == ["Secret", "LeafCertificateRequest/status"]
        after = data(cluster)
        assert after["tls.key"] != before["tls.key"]
        assert after["tls.crt"] == cluster.status()["certificateChain"]
        assert after["ca.crt"] == second.bundle


async def test_secret_that_is_ahead_of_its_status_is_no_reason_to_stay_under_the_older_root() -> None:
    async with ready() as cluster:
        cluster.leaf(secretName="web-tls")
        await cluster.until_said("Issued")
        first = data(cluster)["tls.crt"]
        broken = cluster.server.fault(resource=names.LEAF, subresource="status", times=None, unreachable=True)
        cluster.server.delete(names.SECRET, "web-tls", "shop")
        await cluster.until(lambda: cluster.server.find(names.SECRET, "web-tls", "shop"))
        assert data(cluster)["tls.crt"] != first
        rotation = Rotation(cluster)
        second = rotation.another()
        await rotation.activate(second)
        cluster.server.faults.remove(broken)
        await cluster.until(lambda: under(cluster, "web") == root_name(second), 600)
        await asyncio.sleep(60)
        assert rotation.notes.names()[-1:] == ["web"]
        assert [kind for _, kind, _ in rotation.notes.written].count("Secret") == 1
        assert data(cluster)["tls.crt"] == cluster.status()["certificateChain"]


def data(cluster: Cluster, name: str = "web-tls") -> dict[str, str]:
    found = cluster.server.find(names.SECRET, name, "shop")
    assert found is not None
    return {key: base64.b64decode(value).decode() for key, value in found["data"].items()}


async def test_bundle_reaches_every_managed_secret_without_touching_key_or_status() -> None:
    async with ready() as cluster:
        made = [f"leaf-{n:03}" for n in range(6)]
        for name in made:
            cluster.leaf(name, secretName=name)
        cluster.leaf("csr", renewal="Automatic")
        await cluster.until(lambda: all(cluster.ready(name)[0] == "Issued" for name in [*made, "csr"]))
        before = {name: data(cluster, name) for name in made}
        rotation = Rotation(cluster, rate=2)
        second = rotation.another()
        wider = rotation.trusting(rotation.first, second, bundle_in_secrets=True)
        await rotation.activate(wider)
        assert (rotation.census().bundles_behind, rotation.census().left) == (6, 0)
        looks = rotation.looks
        await cluster.until(lambda: not rotation.census().bundles_behind)
        await asyncio.sleep(30)
        assert sorted(rotation.notes.written, key=lambda entry: entry[2]) == [
            (at, "Secret", name)
            for (at, _, _), name in zip(
                sorted(rotation.notes.written, key=lambda entry: entry[2]), made, strict=True
            )
        ]
        assert min(gaps(rotation)) > 0.45
        assert rotation.looks > looks, "the configuration hears of it"
        for name in made:
            assert data(cluster, name) == before[name] | {"ca.crt": wider.bundle}
        # What a restart finds is sound.
        rotation.notes.written.clear()
    async with cluster.operator():
        rotation.stand_in()
        await asyncio.sleep(60)
        assert rotation.notes.written == []


async def test_bundle_that_is_refused_is_told_and_counts_until_it_is_there() -> None:
    async with ready() as cluster:
        cluster.leaf(secretName="web-tls")
        await cluster.until_said("Issued")
        rotation = Rotation(cluster, rate=2)
        no = api.forbidden(names.SECRET, "web-tls", "no")
        refusal = cluster.server.fault(resource=names.SECRET, verb="patch", times=None, error=no)
        await rotation.activate(rotation.trusting(rotation.first, rotation.another(), bundle_in_secrets=True))
        await cluster.until_said("ManagedKeysNotAllowed")
        assert cluster.ready()[0] == "Renew"
        assert rotation.census().bundles_behind == 1
        cluster.server.faults.remove(refusal)
        await cluster.until_said("Issued", seconds=600)
        assert rotation.census().bundles_behind == 0


async def test_configuration_hears_of_moves_at_most_once_a_second_and_of_nothing_else() -> None:
    async with ready() as cluster:
        await fleet(cluster, 20)
        rotation = Rotation(cluster, rate=4)
        await asyncio.sleep(30)
        looks = rotation.looks
        for n in range(5):
            cluster.leaf(f"more-{n}")
        await asyncio.sleep(5)
        assert rotation.looks == looks, "leaves that are issued under the active root are no news"
        await rotation.activate(rotation.another())
        await cluster.until(lambda: rotation.census().automatic == 0)
        await asyncio.sleep(10)
        assert 5 <= rotation.looks - looks <= 10


async def test_i6_restart_without_a_rotation_writes_nothing() -> None:
    async with ready() as cluster:
        await fleet(cluster, 10)
        rotation = Rotation(cluster)
    async with cluster.operator():
        rotation.stand_in()
        await asyncio.sleep(60)
        assert rotation.notes.written == []
        assert rotation.looks <= 4


async def test_nothing_moves_while_the_ca_cannot_sign() -> None:
    async with ready() as cluster:
        await fleet(cluster, 4)
        rotation = Rotation(cluster)
        second = rotation.another()
        await rotation.activate(Unavailable("SignerNotReady", "being made"))
        await asyncio.sleep(30)
        assert rotation.notes.written == []
        await rotation.activate(second)
        await asyncio.sleep(5)
        assert len(rotation.notes.written) == 4


async def test_time_that_a_leaf_waited_for_its_turn_is_no_delay() -> None:
    async with ready() as cluster:
        await fleet(cluster, 4)
        rotation = Rotation(cluster, rate=0.01)
        heard: list[float] = []
        cluster.tally.leaf_issued = lambda *said: heard.append(said[2])  # type: ignore[method-assign]
        await rotation.activate(rotation.another())
        await asyncio.sleep(500)
        assert len(heard) == 4
        assert max(heard) < 1
