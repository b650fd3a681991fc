"""Which leaves carry a name that is no longer given, and what it costs to know."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from meshca.engine.store import Store
from meshca.planning.ca import Misnamed
from meshca.planning.naming import NameRule
from tests.fakes.pki import NOW
from tests.fakes.planning import HOUR, authority, issued, unverified

if TYPE_CHECKING:
    from collections.abc import Iterable

    from meshca.planning.views import LeafView

RULE = NameRule.of(authority())
OTHER = NameRule.of(
    authority(identity={"pathTemplate": "/dc/{clusterName}/ns/{namespace}/sa/{serviceAccount}"})
)


def leaf(name: str, uri: str = "", hours: int = 72) -> LeafView:
    view = issued()
    assert view.issued is not None
    named = uri or RULE.gives("shop", view.spec.service_account)
    facts = replace(view.issued, spiffe_id=named, not_after=NOW + timedelta(hours=hours))
    return replace(view, meta=replace(view.meta, name=name, uid=f"uid-{name}"), issued=facts)


def store(views: Iterable[LeafView]) -> tuple[Store, list[str]]:
    """Return a store that has been told the first rule, and where it tells news."""
    found, news = Store(), list[str]()
    found.leaves.on_names = news.append
    assert found.leaves.expect_names("default", RULE)
    for view in views:
        found.leaves.put(view)
    return found, news


def misnamed(found: Store, hours: int = 1) -> Misnamed | None:
    return found.leaves.census("default", authority().root, NOW + hours * HOUR).misnamed


def test_nothing_is_known_before_the_rule_and_the_chains_are() -> None:
    found = Store()
    found.leaves.put(leaf("web"))
    assert misnamed(found) is None
    found.leaves.expect_names("default", RULE)
    assert misnamed(found) == Misnamed()
    found.leaves.put(unverified(leaf("unread")))
    assert misnamed(found) is None


def test_a_changed_rule_misnames_every_leaf_until_it_moves_ends_or_goes() -> None:
    found, news = store(leaf(name, hours=72 + n) for n, name in enumerate("abcd"))
    assert misnamed(found) == Misnamed()
    assert found.leaves.expect_names("default", OTHER)
    end = NOW + timedelta(hours=72)
    assert misnamed(found) == Misnamed(4, ("shop/a", "shop/b", "shop/c", "shop/d"), end)
    found.leaves.put(leaf("a", OTHER.gives("shop", "web")))
    found.leaves.remove(("shop", "b"))
    going = leaf("c")
    found.leaves.put(replace(going, meta=replace(going.meta, deleting=True)))
    assert news == ["default"] * 3
    assert misnamed(found) == Misnamed(1, ("shop/d",), NOW + timedelta(hours=75))
    assert misnamed(found, 75) == Misnamed()


def test_a_leaf_that_was_signed_by_the_former_rule_while_it_changed_counts() -> None:
    found, news = store(())
    found.leaves.expect_names("default", OTHER)
    found.leaves.put(leaf("late"))
    assert news == ["default"]
    assert misnamed(found) == Misnamed(1, ("shop/late",), NOW + timedelta(hours=72))
    found.leaves.expect_names("default", RULE)
    assert misnamed(found) == Misnamed()


def test_the_ten_that_end_last_are_named() -> None:
    found, _ = store(leaf(f"leaf-{n:02}", "spiffe://example.org/other", 100 - n) for n in range(15))
    known = misnamed(found)
    assert known is not None
    assert known.count == 15
    assert known.names == tuple(f"shop/leaf-{n:02}" for n in range(10))
    assert known.first_end == NOW + timedelta(hours=86)


def test_leaves_of_other_configurations_are_not_looked_at() -> None:
    found, _ = store((leaf("web"),))
    other = leaf("other", "spiffe://other.org/x")
    found.leaves.put(replace(other, spec=replace(other.spec, configuration="other")))
    assert misnamed(found) == Misnamed()
    found.leaves.remove(("shop", "other"))
    assert misnamed(found) == Misnamed()


def test_a_leaf_that_comes_again_for_another_configuration_is_counted_there() -> None:
    found, news = store((leaf("web", "spiffe://example.org/other"),))
    again = leaf("web", "spiffe://example.org/other")
    found.leaves.put(replace(again, spec=replace(again.spec, configuration="other")))
    assert news == ["default"] * 2
    assert misnamed(found) == Misnamed()
    found.leaves.expect_names("other", RULE)
    found.leaves.remove(("shop", "web"))
    assert news == ["default"] * 2 + ["other"]


def test_a_leaf_whose_certificate_is_known_is_not_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    view = leaf("web")
    found, _ = store((view,))
    monkeypatch.setattr(NameRule, "gives", lambda *_: pytest.fail("compared again"))
    found.leaves.put(replace(view, meta=replace(view.meta, resource_version="101"), state="Renew"))
    assert not found.leaves.expect_names("default", RULE)
    assert misnamed(found) == Misnamed()
