"""Everything at once, at random: whatever happened, once it ends all is well again (I1, I2, I4, I8).

Each seed is one story: users and strangers act, the network and processes fail. Afterwards the faults end,
and within a while every request that can be granted holds a certificate that verifies under every published
bundle, and nothing is written any more.
"""

from __future__ import annotations

import asyncio
import base64
import random
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import pytest

from meshca.api import admission, names
from meshca.pki import certificates, chain, keys
from tests.fakes import pki
from tests.fakes.apiserver.status import ApiError
from tests.fakes.engine import NAMESPACE, OPERATOR, Cluster

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]
ACTIONS = 60
SEEDS = 8


class Story:
    """One run of random events; each method whose name begins with ``do_`` is one."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.cluster = Cluster()
        self.stack = AsyncExitStack()
        self.numbers = iter(range(10000))
        self.told: list[str] = []

    @property
    def server(self) -> Any:
        return self.cluster.server

    async def run(self) -> None:
        self.cluster.policy()
        self.cluster.configure(leaf={"ttl": "1h"}, intermediate={"ttl": "3h"}, root={"ttl": "20000h"})
        await asyncio.sleep(60)
        await self.start()
        events = [name for name in dir(self) if name.startswith("do_")]
        for _ in range(ACTIONS):
            event = self.random.choice(events)
            self.told.append(event)
            try:
                getattr(self, event)()
            except ApiError as error:
                self.told.append(f"  {error.reason}")
            if event == "do_restart":
                await self.stack.aclose()
                await asyncio.sleep(self.random.choice([0, 1, 30]))
                await self.start()
            await asyncio.sleep(self.random.choice([0, 0, 0.001, 0.05, 1, 20, 600]))
        self.server.faults.clear()
        self.server.down = False
        self.do_policy_put_back()

    async def start(self) -> None:
        self.stack = AsyncExitStack()
        await self.stack.enter_async_context(self.cluster.operator())

    def pick(self, resource: names.Resource, namespace: str = "") -> JSON | None:
        found = self.server.all(resource, namespace)
        return self.random.choice(found) if found else None

    def do_csr(self) -> None:
        self.cluster.leaf(f"csr-{next(self.numbers)}", renewal="Automatic")

    def do_manual(self) -> None:
        self.cluster.leaf(f"manual-{next(self.numbers)}")

    def do_managed(self) -> None:
        number = next(self.numbers)
        self.cluster.leaf(f"managed-{number}", secretName=f"tls-{self.random.randrange(4)}")

    def do_delete_leaf(self) -> None:
        if leaf := self.pick(names.LEAF):
            self.server.delete(names.LEAF, leaf["metadata"]["name"], "shop")

    def do_replace_leaf(self) -> None:
        if leaf := self.pick(names.LEAF):
            self.server.delete(names.LEAF, leaf["metadata"]["name"], "shop")
            self.cluster.leaf(leaf["metadata"]["name"], **leaf["spec"])

    def do_delete_secret(self) -> None:
        if secret := self.pick(names.SECRET, "shop"):
            self.server.delete(names.SECRET, secret["metadata"]["name"], "shop")

    def do_edit_secret(self) -> None:
        if secret := self.pick(names.SECRET, "shop"):
            entry = self.random.choice(["tls.crt", "tls.key", "ca.crt"])
            self.server.merge(names.SECRET, secret["metadata"]["name"], "shop", {"data": {entry: "QQ=="}})

    def do_wipe_leaf_status(self) -> None:
        if (leaf := self.pick(names.LEAF)) and leaf.get("status"):
            wiped = {"status": dict.fromkeys(leaf["status"])}
            self.server.merge(names.LEAF, leaf["metadata"]["name"], "shop", wiped, subresource="status")

    def do_wipe_ca_status(self) -> None:
        found = self.server.find(names.CA_CONFIGURATION, "default")
        wiped = {"status": dict.fromkeys((found or {}).get("status") or {})}
        self.server.merge(names.CA_CONFIGURATION, "default", "", wiped, subresource="status")

    def do_delete_signer(self) -> None:
        if found := self.cluster.secrets("signer"):
            self.server.delete(names.SECRET, found[0]["metadata"]["name"], NAMESPACE)

    def do_spoil_signer(self) -> None:
        if found := self.cluster.secrets("signer"):
            name = found[0]["metadata"]["name"]
            self.server.merge(names.SECRET, name, NAMESPACE, {"data": {"tls.key": "QQ=="}})

    def do_delete_bundle(self) -> None:
        if found := self.server.find(names.CONFIG_MAP, "meshca-trust-bundle", "shop"):
            self.server.delete(names.CONFIG_MAP, found["metadata"]["name"], "shop")

    def do_policy_gone(self) -> None:
        self.server.delete(names.VALIDATING_BINDING, admission.REQUESTER)

    def do_policy_put_back(self) -> None:
        if self.server.find(names.VALIDATING_BINDING, admission.REQUESTER) is None:
            self.server.create(names.VALIDATING_BINDING, admission.validating_binding(admission.REQUESTER))

    def do_account_gone(self) -> None:
        self.server.delete(names.SERVICE_ACCOUNT, "web", "shop")

    def do_account_back(self) -> None:
        if self.server.find(names.SERVICE_ACCOUNT, "web", "shop") is None:
            self.cluster.account("shop", "web")

    def do_cut_watches(self) -> None:
        self.server.cut_watches(half_line=self.random.random() < 0.5)

    def do_silence_watches(self) -> None:
        self.server.silence_watches(self.random.choice([names.LEAF, names.SECRET, names.CONFIG_MAP]))

    def do_compact(self) -> None:
        self.server.compact()
        self.server.cut_watches()

    def do_fault(self) -> None:
        kind: JSON = self.random.choice(
            [
                {"unreachable": True},
                {"lose_answer": True},
                {"late": 2.0},
                {"error": ApiError(500, "InternalError", "etcd")},
                {"error": ApiError(429, "TooManyRequests", "slow", headers={"Retry-After": "1"})},
                {"error": ApiError(409, "Conflict", "conflict")},
            ]
        )
        times = self.random.choice([1, 1, 3, 10])
        self.server.fault(user=OPERATOR, times=times, writes_only=self.random.random() < 0.8, **kind)

    def do_down(self) -> None:
        self.server.down = True

    def do_up(self) -> None:
        self.server.down = False

    def do_restart(self) -> None:
        """Kill the operator; see ``run``."""


def roots(cluster: Cluster, namespace: str) -> list[Any]:
    found = cluster.server.find(names.CONFIG_MAP, "meshca-trust-bundle", namespace)
    assert found is not None
    return certificates.load_all(found["data"]["ca.crt"])


def is_settled(cluster: Cluster, leaf: JSON) -> bool:
    """Tell whether a request was granted, or refused for something that its user or a stranger did."""
    state, reason = cluster.ready(leaf["metadata"]["name"])
    if reason in {"PolicyGap", "InvalidRequest"}:
        return state == "Failed"
    if reason == "SecretConflict":
        return any(
            other["spec"].get("secretName") == leaf["spec"]["secretName"]
            for other in cluster.leaves()
            if other["metadata"]["uid"] != leaf["metadata"]["uid"]
        )
    return (state, reason) == ("Issued", "Issued")


def check_leaf(cluster: Cluster, leaf: JSON) -> None:
    """Check I2 and I4 of one leaf, and that a managed Secret holds the same pair."""
    status = leaf.get("status") or {}
    if status.get("state") != "Issued":
        return
    certificate, *others = certificates.load_all(status["certificateChain"])
    if certificate.not_valid_after_utc <= cluster.clock.now():
        assert leaf["spec"].get("renewal") != "Automatic"
        return
    path = chain.verify(certificate, others, roots(cluster, "shop"), at=cluster.clock.now())
    assert all(below.not_valid_after_utc <= above.not_valid_after_utc for below, above in pairwise(path))
    assert certificates.uris_of(certificate) == ("spiffe://example.org/ns/shop/sa/web",)
    if "secretName" not in leaf["spec"]:
        assert certificate.public_key() == pki.key("ECDSA 256", "leaf").public_key()
        return
    secret = cluster.server.find(names.SECRET, leaf["spec"]["secretName"], "shop")
    assert secret is not None
    assert base64.b64decode(secret["data"]["tls.crt"]).decode() == status["certificateChain"]
    assert keys.matches(keys.load_private(base64.b64decode(secret["data"]["tls.key"])), certificate)


async def converge(story: Story) -> None:
    cluster = story.cluster
    if cluster.server.find(names.SERVICE_ACCOUNT, "web", "shop") is None:
        cluster.account("shop", "web")

    def calm() -> bool:
        return cluster.condition()[0] == "True" and all(
            is_settled(cluster, leaf) for leaf in cluster.leaves()
        )

    await cluster.until(calm, 1200)
    # A silent watch is noticed after 70 s, and the longest back-off is five minutes.
    await asyncio.sleep(600)
    await cluster.until(calm, 60)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_i8_whatever_happened_it_ends_well(seed: int) -> None:
    story = Story(seed)
    cluster = story.cluster
    try:
        await story.run()
        await converge(story)
        assert len(cluster.server.all(names.CA_ROOT)) == len(cluster.secrets("root")) == 1
        for leaf in cluster.leaves():
            check_leaf(cluster, leaf)
        cluster.written()
        signers = cluster.secrets("signer")
        await asyncio.sleep(120)
        written = [entry for entry in cluster.written() if "Leaf" not in entry[1] and entry[1] != "Secret"]
        assert not written or cluster.secrets("signer") != signers
    except AssertionError as error:
        error.add_note("\n".join(story.told))
        raise
    finally:
        await story.stack.aclose()
