"""When a retired root goes by itself: its time, the evidence, and what goes with it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from meshca.planning.authority import Authority
from meshca.planning.ca import Census, Evidence, Straggler
from tests.fakes.caworld import bootstrapped
from tests.fakes.pki import NOW
from tests.fakes.retired import ask_deletion, message_of, names_of, rotated

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
KEPT = 72 * HOUR + 10 * MINUTE


GOING = [
    "MarkPruned",
    "RemoveSigner",
    "RemoveRootSecret",
    "DeleteRoot",
    "ReleaseRoot",
]


@pytest.mark.parametrize(
    ("after", "stays"),
    [(timedelta(0), True), (72 * HOUR, True), (KEPT - SECOND, True), (KEPT, False), (900 * HOUR, False)],
)
def test_130_retired_root_goes_when_no_leaf_can_need_it_and_not_before(after: timedelta, stays: bool) -> None:
    world, old = rotated()
    assert world.plan().due == NOW + KEPT
    world.now = NOW + after
    plan = world.settle()
    assert (old.meta.name in names_of(world)) is stays
    assert (old.certificate in plan.bundle.roots) is stays
    assert world.active_name == names_of(world)[-1]
    if not stays:
        assert [step for step in world.done if step in GOING] == GOING
        assert (len(world.root_secrets), len(world.signer_secrets)) == (1, 1)


def test_bundle_is_without_the_root_as_soon_as_its_end_is_decided_and_its_key_goes_after() -> None:
    world, old = rotated()
    world.now = NOW + KEPT
    while "MarkPruned" not in world.done:
        assert old.certificate in world.plan().bundle.roots
        world.step()
    assert old.certificate not in world.plan().bundle.roots
    assert len(world.root_secrets) == 2
    world.settle()
    authority = world.plan().authority
    assert isinstance(authority, Authority)
    # Nobody trusts the issuer of the cross-certificate any more.
    assert authority.chain.count("BEGIN") == 1
    assert "crossCertificates" not in world.active.status
    assert [secret.cross for secret in world.root_secrets] == [()]


@pytest.mark.parametrize("count", range(len(GOING)))
def test_212_prune_that_was_interrupted_is_finished(count: int) -> None:
    world, old = rotated()
    world.now = NOW + KEPT
    while "MarkPruned" not in world.done:
        world.step()
    for _ in range(count):
        world.step()
    pruned_status = [root.status for root in world.roots if root.pruned]
    world.status = {}
    world.settle()
    assert pruned_status or count
    assert names_of(world) == [world.active_name]
    assert old.meta.name not in names_of(world)
    assert (len(world.root_secrets), len(world.signer_secrets)) == (1, 1)


def test_leaf_that_needs_the_root_keeps_it_whatever_the_time_and_is_named() -> None:
    world, old = rotated()
    world.now = NOW + KEPT
    needy = tuple(f"shop/leaf-{n}" for n in range(12))
    world.needed = {old.facts.fingerprint: needy}
    for _ in range(40):
        if world.step() is None:
            break
    message = message_of(world, old)
    assert "shop/leaf-0" in message
    assert "shop/leaf-9 and 2 more" in message
    assert old.certificate in world.plan().bundle.roots
    world.needed, world.evidence = {}, ()
    world.settle()
    assert old.meta.name not in names_of(world)


def test_evidence_says_when_to_look_again() -> None:
    world, old = rotated()
    world.now = NOW + KEPT
    ends = world.now + 3 * HOUR
    world.evidence = (Evidence(old.facts.fingerprint, ("shop/leaf",), 1, ends),)
    assert world.plan().due == ends


def test_watch_that_knows_of_a_leaf_saves_the_question() -> None:
    world, old = rotated()
    world.now = NOW + KEPT
    straggler = Straggler("shop/leaf", world.now + HOUR, automatic=False)
    world.census = Census(by_root={old.facts.fingerprint: 1}, stragglers=(straggler,))
    plan = world.settle()
    assert "GatherEvidence" not in world.done
    assert "1 leaves need it, the first to expire are shop/leaf" in message_of(world, old)
    assert world.root(old.meta.name).status["leaves"] == 1
    assert plan.due == straggler.not_after
    world.census = Census(unread=3)
    told, world.done = message_of(world, old), []
    assert world.settle().bundle.roots
    assert world.done == []
    assert message_of(world, old) == told, "as long as nobody knows better"
    assert world.root(old.meta.name).status["leaves"] == 1


def test_leaves_that_nobody_can_read_for_want_of_a_signer_hold_no_root() -> None:
    world, old = rotated()
    active = world.active
    world.now = NOW + KEPT
    world.root_secrets = [item for item in world.root_secrets if item.meta.name != active.key_secret]
    world.signer_secrets = []
    world.census = Census(unread=3)
    world.settle()
    assert "GatherEvidence" in world.done
    assert old.meta.name not in [root.meta.name for root in world.roots]


@pytest.mark.parametrize(
    ("leaf", "wanted"),
    [
        pytest.param({"ttl": "1h"}, KEPT, id="216 lowered"),
        pytest.param({"ttl": "100h"}, KEPT, id="raised"),
        pytest.param({"ttl": "2h", "maxTTL": "500h"}, KEPT, id="raised for some"),
    ],
)
def test_216_time_of_a_root_that_is_out_is_not_changed_by_later_bounds(leaf: Any, wanted: timedelta) -> None:
    world, old = rotated()
    world.spec = world.spec | {"leaf": leaf}
    world.settle()
    assert world.root(old.meta.name).prunable_after == NOW + wanted
    world.now = NOW + KEPT - SECOND
    world.settle()
    assert old.meta.name in names_of(world)


@pytest.mark.parametrize(
    ("before", "during", "wanted"),
    [
        pytest.param({"ttl": "200h"}, {"ttl": "1h"}, 200 * HOUR, id="216 lowered during"),
        pytest.param({"ttl": "1h"}, {"ttl": "200h"}, 200 * HOUR, id="raised during"),
        pytest.param({"ttl": "1h", "maxTTL": "300h"}, {"ttl": "1h"}, 300 * HOUR, id="216 maximum lowered"),
    ],
)
def test_216_longest_leaf_ever_allowed_under_a_root_counts(
    before: Any, during: Any, wanted: timedelta
) -> None:
    world = bootstrapped(spec={"trustDomain": "example.org", "leaf": before})
    old = world.active_name
    world.ask("one")
    while "MarkPublished" not in world.done:
        world.step()
    world.spec = world.spec | {"leaf": during}
    world.settle()
    assert world.active_name != old
    assert world.root(old).prunable_after == NOW + wanted + 10 * MINUTE


def test_longer_leaf_is_allowed_only_once_that_is_on_record() -> None:
    world = bootstrapped()
    world.spec = world.spec | {"leaf": {"ttl": "100h"}}
    while "RaiseLeafTTL" not in world.done:
        authority = world.plan().authority
        assert isinstance(authority, Authority)
        assert authority.leaf_max_ttl == 72 * HOUR
        world.step()
    authority = world.plan().authority
    assert isinstance(authority, Authority)
    assert authority.leaf_max_ttl == 100 * HOUR == world.active.largest_leaf_ttl


def test_record_of_an_activation_that_came_late_is_made_again_with_a_later_time() -> None:
    world = bootstrapped()
    world.ask("one")
    while "MarkRotatedOut" not in world.done:
        world.step()
    world.now += 61 * SECOND
    world.settle()
    assert world.done.count("MarkRotatedOut") == 2
    assert world.roots[0].prunable_after == NOW + KEPT + 61 * SECOND
    world = bootstrapped()
    world.ask("one")
    while "MarkRotatedOut" not in world.done:
        world.step()
    world.now += 60 * SECOND
    world.settle()
    assert world.done.count("MarkRotatedOut") == 1


def test_131_time_that_a_root_is_kept_follows_a_longer_leaf_life_that_came_before_the_switch() -> None:
    world = bootstrapped()
    old = world.active
    world.ask("one")
    while "MarkRotatedOut" not in world.done:
        world.step()
    world.spec = world.spec | {"leaf": {"ttl": "72h", "maxTTL": "720h"}}
    world.settle()
    assert world.root(old.meta.name).prunable_after == NOW + 720 * HOUR + 10 * MINUTE
    assert world.done.count("MarkRotatedOut") == 2


def test_227_cross_certificates_and_signers_do_not_pile_up() -> None:
    world = bootstrapped()
    for number in range(30):
        world.ask(str(number))
        world.settle()
        plan = world.plan()
        assert isinstance(plan.authority, Authority)
        assert plan.authority.chain.count("BEGIN") <= 3
        assert len(world.roots) <= 3
        assert len(world.signer_secrets) == len(world.root_secrets) == len(world.roots)
        assert all(len(secret.cross) <= 2 for secret in world.root_secrets)
        world.now += 40 * HOUR
    world.now += KEPT
    world.settle()
    assert len(world.roots) == len(world.signer_secrets) == 1
    assert world.root_secrets[0].cross == ()


def test_217_expired_cross_certificate_is_served_no_more() -> None:
    world = bootstrapped(
        spec={
            "trustDomain": "example.org",
            "root": {"ttl": "10000h"},
            "intermediate": {"ttl": "4000h"},
            "leaf": {"ttl": "1000h"},
        }
    )
    old = world.active
    world.now = old.facts.not_after - 100 * HOUR
    world.settle()
    assert world.active_name != old.meta.name
    world.needed = {old.facts.fingerprint: ("shop/a",)}
    assert world.plan().due == old.facts.not_after
    world.now = old.facts.not_after
    world.settle()
    assert old.meta.name in names_of(world)
    plan = world.plan()
    assert isinstance(plan.authority, Authority)
    assert plan.authority.chain.count("BEGIN") == 1


def test_what_only_a_list_of_all_requests_shows_is_told_once_and_stays() -> None:
    world, old = rotated()
    world.now = NOW + timedelta(hours=1)
    world.needed[old.facts.fingerprint] = ("shop/web",)
    ask_deletion(world, old)
    world.settle()
    assert "needed by shop/web" in message_of(world, old)
    world.done.clear()
    world.settle()
    assert world.done == ["GatherEvidence"]
    assert "needed by shop/web" in message_of(world, old)
