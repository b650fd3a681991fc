"""When a signer is renewed, which one signs, and which ones are removed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshca.pki import certificates
from meshca.pki.certificates import load_all
from meshca.pki.chain import verify
from meshca.planning import signers, steps
from meshca.planning.assess import assess
from meshca.planning.authority import Authority, Unavailable
from meshca.planning.ca import Census
from tests.fakes import pki
from tests.fakes.caworld import World, bootstrapped, broken, key_secret
from tests.fakes.pki import NOW

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)
SHORT = {"leaf": {"ttl": "1h"}, "intermediate": {"ttl": "10h"}, "root": {"ttl": "1000h"}}
SIGNER = timedelta(hours=10)


def due(world: World) -> bool:
    found = assess(world.snapshot())
    assert found.root is not None
    return signers.is_due(found.signer, found.root, found.desired, world.now)


def end_of(world: World) -> datetime:
    facts = world.signer_secrets[-1].facts
    assert facts is not None
    return facts.not_after


HALF = NOW + (8760 * HOUR - HOUR) / 2


@pytest.mark.parametrize(
    ("moment", "wanted"),
    [
        pytest.param(NOW, False, id="110 0 %"),
        pytest.param(NOW + 8760 * HOUR * 0.49, False, id="110 49 %"),
        pytest.param(HALF - SECOND, False, id="110 just before"),
        pytest.param(HALF, True, id="110 50 %"),
        pytest.param(NOW + 8760 * HOUR * 0.99, True, id="110 99 %"),
        pytest.param(NOW + 8760 * HOUR, True, id="110 expired"),
        pytest.param(NOW + 20000 * HOUR, True, id="110 expired long ago"),
    ],
)
def test_signer_is_due_from_half_of_its_life_on(moment: datetime, wanted: bool) -> None:
    world = bootstrapped()
    world.now = moment
    assert due(world) == wanted


def test_renewed_signer_takes_over_and_the_old_one_is_removed() -> None:
    world = bootstrapped()
    old = world.signer_secrets[0].meta.name
    world.now = HALF
    plan = world.settle()
    assert world.done == ["MakeSigner", "WriteRootStatus", "RemoveSigner"]
    assert isinstance(plan.authority, Authority)
    assert plan.authority.signer_secret == world.signer_secrets[0].meta.name != old
    assert plan.authority.root == world.roots[0].facts.fingerprint
    assert world.roots[0].status["signer"]["secretName"] == plan.authority.signer_secret


def test_due_time_is_told_and_kept() -> None:
    world = bootstrapped()
    assert world.plan().due == HALF
    assert world.status["signer"]["renewAt"] == f"{HALF:%Y-%m-%dT%H:%M:%SZ}"


def test_115_failing_renewal_leaves_the_old_signer_in_use() -> None:
    world = bootstrapped()
    world.now = HALF + 100 * DAY
    plan = world.plan()
    assert isinstance(plan.step, steps.MakeSigner)
    assert isinstance(plan.authority, Authority)
    world.provider_problem = "the provider answers 500"
    assert world.condition("Ready")[1:] == ("ProviderError", "the provider answers 500")
    assert isinstance(world.plan().authority, Authority)


def test_signer_is_renewed_early_when_leaves_would_be_cut_short() -> None:
    world = bootstrapped(spec={"leaf": {"ttl": "1000h"}, "intermediate": {"ttl": "3000h"}})
    world.spec = {"leaf": {"ttl": "2000h"}, "intermediate": {"ttl": "6000h"}}
    world.now = NOW + 1000 * HOUR
    assert due(world)


def test_signer_is_renewed_late_when_new_ones_are_to_live_shorter() -> None:
    """At half-life a new one would not gain a quarter; it does when 0.8 of its life are left of the old."""
    world = bootstrapped(spec={"leaf": {"ttl": "1h"}, "intermediate": {"ttl": "3000h"}})
    world.spec = {"leaf": {"ttl": "1h"}, "intermediate": {"ttl": "1000h1s"}}
    world.now = NOW + 1500 * HOUR
    world.settle()
    assert "MakeSigner" not in world.done
    assert world.plan().due == NOW + 2200 * HOUR  # 0.8 s earlier, in whole seconds
    world.now = NOW + 2200 * HOUR
    assert due(world)


def test_signer_is_not_renewed_within_a_minute_of_its_making() -> None:
    world = bootstrapped(spec={"leaf": {"ttl": "1000h"}, "intermediate": {"ttl": "3000h"}})
    world.spec = {"leaf": {"ttl": "4000h"}, "intermediate": {"ttl": "12000h"}}
    world.now = NOW + 59 * SECOND
    assert not due(world)
    assert world.plan().due == NOW + 60 * SECOND
    world.now = NOW + 60 * SECOND
    assert due(world)


@pytest.mark.parametrize("left", [1, 5, 9, 11, 14], ids=lambda hours: f"{hours} h of root left")
def test_219_root_near_its_end_causes_no_loop_of_signers(left: int) -> None:
    """A root that lives no longer than its signer: the leaf is cut short, no signer is made again."""
    world = bootstrapped(spec=SHORT | {"root": {"ttl": "1000h", "renewBefore": "30s"}})
    root_end = world.roots[0].facts.not_after
    world.now = root_end - left * HOUR
    world.settle()
    assert world.done.count("MakeSigner") == 1
    for minutes in range(0, left * 60, 7):
        world.now = root_end - left * HOUR + minutes * timedelta(minutes=1)
        world.settle()
    assert world.done.count("MakeSigner") <= 4
    assert end_of(world) == root_end


def test_145_expired_root_is_told_and_signs_nothing_more() -> None:
    world = bootstrapped(spec=SHORT)
    world.now = world.roots[0].facts.not_after + SECOND
    plan = world.settle()
    assert world.done == ["WriteRootStatus"]
    assert isinstance(plan.authority, Unavailable)
    assert "has expired" in plan.authority.message
    assert world.condition("Ready")[:2] == ("False", "RootExpired")
    assert world.condition("RootExpiringSoon")[:2] == ("True", "RootExpired")


def test_145_signer_not_yet_valid_signs() -> None:
    world = bootstrapped()
    world.now = NOW - 5 * HOUR
    assert isinstance(world.plan().authority, Authority)


def test_expired_signer_is_replaced_at_once() -> None:
    world = bootstrapped()
    world.now = NOW + 8760 * HOUR
    plan = world.plan()
    assert isinstance(plan.authority, Unavailable)
    plan = world.settle()
    assert world.done == ["MakeSigner", "WriteRootStatus", "RemoveSigner"]
    assert isinstance(plan.authority, Authority)


@pytest.mark.parametrize("readable", [True, False], ids=["wrong key", "garbage"])
def test_broken_signer_is_replaced_and_removed(readable: bool) -> None:
    world = bootstrapped()
    spoilt = broken(world.signer_secrets[0], "its key does not belong to its certificate")
    if not readable:
        spoilt = replace(spoilt, certificate=None, facts=None)
    world.signer_secrets = [spoilt]
    assert isinstance(world.plan().authority, Unavailable)
    plan = world.settle()
    assert world.done == ["MakeSigner", "WriteRootStatus", "RemoveSigner"]
    assert isinstance(plan.authority, Authority)
    assert spoilt not in world.signer_secrets


@pytest.mark.parametrize("faked_name", [True, False], ids=["same subject", "another subject"])
def test_signer_that_no_root_here_has_signed_is_never_used_and_is_removed(faked_name: bool) -> None:
    world = bootstrapped()
    domain = pki.TRUST_DOMAIN
    other_key = pki.key("ECDSA 256", "other root")
    other = pki.make_root(other_key) if faked_name else pki.imported_root(other_key)
    stranger = pki.make_signer(pki.key("ECDSA 256", "stranger").public_key(), other, other_key)
    assert certificates.trust_domain_of(stranger) == domain
    world.now += DAY
    world.signer_secrets.append(key_secret(stranger, "meshca-signer-default-ffffffffff"))
    plan = world.plan()
    assert isinstance(plan.authority, Authority)
    assert plan.authority.signer_secret != "meshca-signer-default-ffffffffff"
    world.settle()
    assert world.done == ["RemoveSigner"]
    assert [item.meta.name for item in world.signer_secrets] == [plan.authority.signer_secret]


def test_two_signers_of_one_root_the_newest_signs() -> None:
    """What a pass left behind that crashed between making a signer and removing the old one."""
    world = bootstrapped()
    world.now = HALF
    world.step()
    assert world.done == ["MakeSigner"]
    newest = world.signer_secrets[-1].meta.name
    world.signer_secrets.reverse()
    plan = world.plan()
    assert isinstance(plan.authority, Authority)
    assert plan.authority.signer_secret == newest


def test_no_signer_is_removed_before_its_root_is_active() -> None:
    world = bootstrapped()
    world.now = HALF
    world.step()
    world.status = {key: value for key, value in world.status.items() if key != "activeRoot"}
    assert isinstance(world.plan().step, steps.CommitActive)


_LIVES = st.tuples(st.integers(1, 60), st.integers(3, 12), st.integers(0, 4000), st.booleans())


@given(_LIVES, st.lists(st.integers(1, 3000), max_size=12))
def test_every_renewal_gains_a_quarter_and_waits_a_minute(
    lives: tuple[int, int, int, bool], waits: list[int]
) -> None:
    """Whatever the lives of root, signer and leaf, and whenever the operator looks."""
    leaf, ratio, more, raised = lives
    longest = leaf * 2 if raised else leaf
    spec: dict[str, Any] = {
        "leaf": {"ttl": f"{leaf}h"},
        "intermediate": {"ttl": f"{longest * ratio}h"},
        "root": {"ttl": f"{longest * ratio + more}h"},
    }
    world = bootstrapped(spec=spec)
    if raised:
        world.spec = spec | {"leaf": {"ttl": f"{longest}h"}}
    for minutes in waits:
        plan = world.plan()
        # Either at the time that the plan asks for, or by chance in between.
        chance = world.now + minutes * timedelta(minutes=1)
        world.now = min(plan.due, chance) if plan.due is not None else chance
        old, made = world.signer_secrets[-1].facts, len(world.done)
        world.settle()
        new = world.signer_secrets[-1].facts
        assert old is not None
        assert new is not None
        if "MakeSigner" not in world.done[made:]:
            continue
        assert world.done[made:].count("MakeSigner") == 1
        if old.not_after > world.now:
            assert new.not_after - world.now >= (old.not_after - world.now) * 1.25
            assert new.not_before - old.not_before >= timedelta(minutes=1)


def test_110_both_signers_are_renewed_while_a_root_is_published_and_the_newest_one_signs_after() -> None:
    world = bootstrapped()
    world.spec = world.spec | {"rotation": {"trigger": "one", "minimumPublishTime": "5000h"}}
    world.settle()
    assert world.plan().status["rotation"]["phase"] == "Publish"
    before = {secret.meta.name for secret in world.signer_secrets}
    assert len(before) == 2
    world.now += 4400 * HOUR
    plan = world.settle()
    after = {secret.meta.name for secret in world.signer_secrets}
    assert (len(after), after & before) == (2, set())
    assert isinstance(plan.authority, Authority)
    assert plan.authority.signer_secret in after
    assert plan.status["rotation"]["phase"] == "Publish"
    world.now += 601 * HOUR
    turned = world.settle().authority
    assert isinstance(turned, Authority)
    assert turned.signer_secret in after - {plan.authority.signer_secret}
    _, cross = load_all(turned.chain)
    verify(turned.signer, [cross], [world.roots[0].certificate], at=world.now)


def test_111_signer_is_renewed_while_leaves_are_moving_and_keeps_its_cross_certificate() -> None:
    world = bootstrapped()
    world.spec = world.spec | {"rotation": {"trigger": "one", "deadline": "8000h"}}
    world.settle()
    world.census = Census(by_root={world.roots[0].facts.fingerprint: 1})
    world.status = world.status | {"rotation": world.status["rotation"] | {"phase": "Reissue"}}
    old = world.plan().authority
    world.now += 4400 * HOUR
    plan = world.settle()
    assert plan.status["rotation"]["phase"] == "Reissue"
    assert isinstance(old, Authority)
    assert isinstance(plan.authority, Authority)
    assert plan.authority.signer_key_id != old.signer_key_id
    assert len(load_all(plan.authority.chain)) == 2


def test_signer_is_not_renewed_by_a_clock_that_differs() -> None:
    world = bootstrapped()
    world.now = HALF
    world.clocks_differ = True
    assert world.plan().step is None
    world.clocks_differ = False
    assert isinstance(world.plan().step, steps.MakeSigner)
    world.clocks_differ = True
    world.now = end_of(world) - 72 * HOUR - SECOND
    assert world.plan().step is None
    world.now += SECOND
    assert isinstance(world.plan().step, steps.MakeSigner)


def test_signer_of_a_clock_that_was_wrong_does_not_sign_once_it_is_right() -> None:
    world = bootstrapped(spec=SHORT)
    world.now += 9 * HOUR
    world.settle()
    [future] = world.signer_secrets
    assert future.facts is not None
    world.now -= 9 * HOUR
    plan = world.settle()
    assert isinstance(plan.authority, Authority)
    assert plan.authority.signer_secret != future.meta.name
    assert plan.authority.signer.not_valid_before_utc <= world.now
    assert future not in world.signer_secrets
