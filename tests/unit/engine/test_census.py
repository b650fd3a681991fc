"""Which leaves count for a rotation, and when the count is news."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api.v1alpha1.conditions import Reason
from meshca.engine.store import UNREAD, Store
from meshca.planning.ca import Census
from meshca.planning.leaf import ASK_AGAIN, Report
from meshca.planning.moves import bundle_digest
from tests.fakes.pki import NOW
from tests.fakes.planning import HOUR, authority, fresh, issued, secret, told, unverified

if TYPE_CHECKING:
    from meshca.planning.views import LeafView

ACTIVE = authority().root
OLD, OLDER = "0d" * 32, "01" * 32


def leaf(name: str, root: str = OLD, hours: int = 72, **asks: Any) -> LeafView:
    """Return a live leaf under a root."""
    view = issued(**asks)
    assert view.issued is not None
    facts = replace(view.issued, root=root, not_after=NOW + timedelta(hours=hours))
    return replace(view, meta=replace(view.meta, name=name, uid=f"uid-{name}"), issued=facts)


def store(*views: LeafView) -> Store:
    found = Store()
    for view in views:
        found.leaves.put(view)
    return found


def census(found: Store, **changes: Any) -> Census:
    return found.leaves.census("default", ACTIVE, NOW + HOUR, **changes)


def test_leaves_count_under_the_root_they_need() -> None:
    found = census(
        store(
            leaf("a", automatic=True),
            leaf("b"),
            leaf("c", OLDER, hours=80),
            leaf("moved", ACTIVE),
            leaf("other", configuration="other"),
            fresh(),
        )
    )
    assert found.by_root == {OLD: 2, OLDER: 1}
    assert (found.left, found.automatic, found.unread) == (3, 1, 0)
    assert found.manual_end == NOW + timedelta(hours=80)
    assert [item.name for item in found.stragglers] == ["shop/a", "shop/b", "shop/c"]


def test_dead_leaves_do_not_count() -> None:
    deleting = leaf("deleting")
    deleting = replace(deleting, meta=replace(deleting.meta, deleting=True))
    assert census(store(leaf("expired", hours=1), deleting)) == Census()


def test_up_to_ten_stragglers_the_first_to_expire_first() -> None:
    found = census(store(*(leaf(f"l{n:02}", hours=100 - n) for n in range(12))))
    assert [item.name for item in found.stragglers] == [f"shop/l{n:02}" for n in range(11, 1, -1)]
    assert found.stragglers[0].not_after == NOW + timedelta(hours=89)


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        pytest.param(None, "", id="its turn has not come"),
        pytest.param(ASK_AGAIN, "waits for its holder", id="manual"),
        pytest.param(
            Report("Renew", True, Reason.PENDING, "no account"), "Pending: no account", id="refused"
        ),
    ],
)
def test_straggler_says_why_it_has_not_moved(report: Report | None, reason: str) -> None:
    view = leaf("web") if report is None else told(leaf("web"), report)
    assert [item.reason for item in census(store(view)).stragglers] == [reason]


def test_long_reason_is_cut() -> None:
    view = told(leaf("web"), Report("Renew", True, Reason.DENIED, "x" * 1000))
    (straggler,) = census(store(view)).stragglers
    assert len(straggler.reason) == 120
    assert straggler.reason.startswith("Denied: xxx")
    assert straggler.reason.endswith("…")


def test_chain_is_unread_until_somebody_looked_at_it_whatever_came_out() -> None:
    good, bad = unverified(leaf("good", automatic=True)), unverified(leaf("bad"))
    found = store(good, bad)
    assert census(found).unread == 2
    found.leaves.put(leaf("good"))
    found.leaves.put(replace(bad, worthless=True))
    assert (census(found).unread, census(found).left) == (0, 1)


def test_chain_that_is_being_written_is_not_unread() -> None:
    view = unverified(leaf("web"))
    found = Store()
    with found.leaves.writing(view.key, view.chain_digest):
        found.leaves.put(view)
        assert census(found).unread == 0


@pytest.mark.parametrize(
    ("changes", "behind"),
    [
        pytest.param({"bundle": bundle_digest("old")}, 1, id="old bundle"),
        pytest.param({"bundle": bundle_digest("new")}, 0, id="new bundle"),
        pytest.param({"bundle": "", "consistent": False}, 1, id="unreadable"),
        pytest.param({"owner_uid": "another"}, 0, id="not ours"),
    ],
)
def test_secrets_behind_are_those_that_are_ours_and_hold_another_bundle(
    changes: dict[str, Any], behind: int
) -> None:
    view = leaf("web", secret_name="web-tls")
    found = store(view, leaf("csr"), leaf("late", hours=1, secret_name="late-tls"))
    found.secrets["shop", "late-tls"] = secret(view)
    assert census(found, bundle="new").bundles_behind == 0, "a missing Secret is made with the new bundle"
    found.secrets["shop", "web-tls"] = secret(view, **changes)
    assert census(found, bundle="new").bundles_behind == behind
    assert census(found).bundles_behind == 0


def test_every_change_of_what_a_root_is_needed_for_is_told() -> None:
    heard: list[tuple[str, str]] = []
    found = Store()
    found.leaves.on_root = lambda configuration, root: heard.append((configuration, root))

    def after(view: LeafView | None) -> list[tuple[str, str]]:
        heard.clear()
        if view is None:
            found.leaves.remove(("shop", "web"))
        else:
            found.leaves.put(view)
        return list(heard)

    assert after(replace(fresh(), meta=leaf("web").meta)) == []
    assert after(unverified(leaf("web"))) == [("default", UNREAD)]
    assert after(leaf("web")) == [("default", UNREAD), ("default", OLD)]
    assert after(told(leaf("web"), ASK_AGAIN)) == []
    assert after(leaf("web", ACTIVE)) == [("default", OLD), ("default", ACTIVE)]
    assert after(leaf("web", ACTIVE, configuration="other")) == [("default", ACTIVE), ("other", ACTIVE)]
    assert after(None) == [("other", ACTIVE)]
    assert after(None) == []
    assert census(found) == Census()
