"""What a secondary reports to its primary, and what it says of its own leaves and keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from meshca.planning.authority import Authority
from meshca.planning.ca import Census, Publication
from tests.fakes import pki
from tests.fakes.secondworld import following, publish, rotate

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def test_the_report() -> None:
    world = following()
    root = world.active.facts
    wish = world.plan().primary
    assert wish is not None
    assert wish.report is not None
    assert (wish.reporter, wish.configuration, wish.cluster) == (world.uid, "default", "west")
    assert wish.report.roots == (root.fingerprint,)
    assert wish.report.active_root == root.fingerprint
    assert wish.report.digest == world.primary.status["bundle"]["digest"]
    assert wish.report.needs == ()
    signer = world.signer_secrets[0].facts
    assert signer is not None
    assert wish.report.signer_not_after == signer.not_after


def test_the_report_says_which_roots_are_needed_and_until_when() -> None:
    world = following()
    first = world.root(world.active_name)
    rotate(world)
    world.follow()
    until = world.root(first.meta.name).prunable_after
    assert until is not None
    name = first.facts.fingerprint
    late = until + HOUR
    for census, now, wanted in (
        (Census(), world.now, (0, until)),
        (Census(by_root={name: 2}, ends={name: late}), world.now, (2, late)),
        (Census(by_root={name: 2}, ends={name: late}), late, (2, late)),
        (Census(), until, None),
    ):
        world.census, world.now = census, now
        wish = world.plan().primary
        assert wish is not None
        assert wish.report is not None
        assert [(need.leaves, need.last_not_after) for need in wish.report.needs] == (
            [wanted] if wanted else []
        )


def test_a_report_says_what_is_known_while_places_and_leaves_are_read() -> None:
    world = following()
    first = world.root(world.active_name)
    rotate(world)
    world.follow()
    before = world.plan().primary
    assert before is not None
    assert before.report is not None
    until = world.root(first.meta.name).prunable_after
    assert until is not None
    world.now = until
    world.told = {"reported": before.report}
    world.look()
    world.publication, world.census = Publication(), Census(unread=3)
    wish = world.plan().primary
    assert wish is not None
    assert wish.report == before.report
    # Nobody has reported before: then not until it is known.
    world.told = {}
    world.look()
    wish = world.plan().primary
    assert wish is not None
    assert wish.report is None


def test_a_place_that_refuses_holds_up_the_report_for_ten_minutes() -> None:
    world = following()
    world.publication = replace(world.publication, behind=("shop",))
    wish = world.plan().primary
    assert wish is not None
    assert wish.report is None
    world.pass_time(10 * MINUTE)
    wish = world.plan().primary
    assert wish is not None
    assert wish.report is not None


def test_a_leaf_lives_a_third_of_the_signer_at_most() -> None:
    world = following(told={"intermediate_ttl": 30 * HOUR})
    plan = world.plan()
    assert isinstance(plan.authority, Authority)
    assert (plan.authority.leaf_ttl, plan.authority.leaf_max_ttl) == (10 * HOUR, 10 * HOUR)
    assert plan.status["federation"]["intermediateTTL"] == "30h"
    world.view = None
    plan = world.plan()
    assert isinstance(plan.authority, Authority)
    assert plan.authority.leaf_ttl == 10 * HOUR
    world.told = {"intermediate_ttl": timedelta(seconds=1)}
    world.look()
    plan = world.plan()
    assert isinstance(plan.authority, Authority)
    assert plan.authority.leaf_ttl == HOUR
    # It is renewed in time, whatever the primary says of the next one.
    assert plan.due is not None
    assert plan.due <= plan.authority.signer_not_after - HOUR / 2


def test_the_keys_of_a_secondary_go_with_its_configuration_when_that_was_asked_for() -> None:
    world = following()
    world.pass_time(60 * pki.DAY)
    world.look()
    world.delete_keys = True
    world.settle()
    world.deleting = True
    world.settle()
    assert (world.roots, world.signer_secrets, world.requested, world.held) == ([], [], [], False)
    assert world.plan().primary is None


def test_a_recorded_life_that_is_none_counts_as_absent() -> None:
    world = following()
    world.view = None
    world.status = world.status | {"federation": world.status["federation"] | {"intermediateTTL": "soon"}}
    assert "intermediateTTL" not in world.plan().status["federation"]


def test_managed_secrets_hold_a_root_that_comes_without_cross_certificates_before_it_is_reported() -> None:
    world = following()
    publish(world)
    for forced in (False, True):
        world.look(facts=replace(world.facts(), uncrossed=forced))
        world.census = Census(bundles_behind=2 if forced else 0)
        plan = world.settle()
        assert isinstance(plan.authority, Authority)
        assert plan.authority.bundle_in_secrets is forced
        assert plan.primary is not None
        assert (plan.primary.report is None) is forced
    world.census = Census()
    wish = world.plan().primary
    assert wish is not None
    assert wish.report is not None
    assert len(wish.report.roots) == 2
