"""What a CA says while leaves carry names that it no longer gives."""

from __future__ import annotations

from datetime import timedelta

import pytest

from meshca.planning.ca import Census, Misnamed, Publication
from meshca.planning.naming import NameRule
from tests.fakes.caworld import World, bootstrapped
from tests.fakes.pki import NOW
from tests.fakes.planning import OUT_OF_FORCE, authority

HOUR = timedelta(hours=1)
LISTED = tuple(f"shop/leaf-{n}" for n in range(10))
QUIET = ("False", "AsExpected", "everything is as expected")


def world(misnamed: Misnamed | None, **changes: object) -> World:
    found = bootstrapped()
    found.census = Census(misnamed=misnamed)
    for name, value in changes.items():
        setattr(found, name, value)
    found.settle()
    return found


@pytest.mark.parametrize(
    ("misnamed", "words"),
    [
        pytest.param(Misnamed(1, LISTED[:1]), " 1 (shop/leaf-0);", id="one"),
        pytest.param(Misnamed(10, LISTED), " 10 (shop/leaf-0, ", id="as many as are listed"),
        pytest.param(Misnamed(11, LISTED), " 11 (shop/leaf-0, ", id="one more than are listed"),
        pytest.param(Misnamed(99, LISTED), " 99 (shop/leaf-0, ", id="two digits are exact"),
        pytest.param(Misnamed(100, LISTED), " at least 100 (", id="three digits are not"),
        pytest.param(Misnamed(12_999, LISTED), " at least 12000 (", id="nor are more"),
    ],
)
def test_leaves_with_a_former_name_are_counted_and_named(misnamed: Misnamed, words: str) -> None:
    state, reason, message = world(misnamed).condition("Degraded")
    assert (state, reason) == ("True", "IdentityTemplateChanged")
    assert words in message
    assert (" and others)" in message) == (misnamed.count > 10)
    assert "a CSR that asks for the old URI is refused: its holder must make a new request" in message
    assert len(message) < 1000


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"admission": OUT_OF_FORCE}, "AdmissionPolicyMissing", id="the policy is missing"),
        pytest.param(
            {"publication": Publication(complete=True, refused=(("shop", "forbidden"),))},
            "NamespacesNotWritable",
            id="the bundle is refused",
        ),
    ],
)
def test_what_is_worse_is_said_first(changes: dict[str, object], reason: str) -> None:
    assert world(Misnamed(1, LISTED[:1]), **changes).condition("Degraded")[1] == reason


def test_it_clears_with_the_last_of_them() -> None:
    found = world(Misnamed(2, LISTED[:2]))
    found.census = Census(misnamed=Misnamed(1, LISTED[1:2]))
    found.settle()
    assert "1 (shop/leaf-1)" in found.condition("Degraded")[2]
    found.census = Census(misnamed=Misnamed())
    found.settle()
    assert found.condition("Degraded") == QUIET


@pytest.mark.parametrize("before", [None, Misnamed(3, LISTED[:3])], ids=["quiet", "told"])
def test_i6_a_start_says_nothing_new_before_the_chains_are_read(before: Misnamed | None) -> None:
    found = world(before)
    told = found.condition("Degraded")
    assert (told == QUIET) == (before is None)
    found.census = Census()
    plan = found.settle()
    assert plan.status == found.status
    assert found.condition("Degraded") == told


def test_the_end_of_the_first_of_them_is_waited_for() -> None:
    end = NOW + 2 * HOUR
    assert world(Misnamed(1, LISTED[:1], end)).plan().due == end
    assert world(Misnamed()).plan().due != end


def test_a_name_that_breaks_the_rules_of_spiffe_is_given_to_nobody() -> None:
    rule = NameRule.of(authority())
    assert rule.gives("shop", "web") == "spiffe://example.org/ns/shop/sa/web"
    assert rule.gives("shop", "a b") == ""
    assert rule == NameRule.of(authority(leaf={"ttl": "2h"}))
    assert rule != NameRule.of(authority(clusterName="blue"))
