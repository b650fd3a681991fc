"""What is known of published bundles when the watch and an answer tell of one in either order."""

from __future__ import annotations

import pytest

from meshca.engine.bundles import Bundles, BundleView

PLACE = ("shop", "meshca-trust-bundle")
CLUSTER_WIDE = ("", "meshca.dev:default:bundle")


def view(version: int, uid: str = "u") -> BundleView:
    return BundleView(uid=uid, resource_version=str(version), owner="default", digest=f"digest-{version}")


def test_an_answer_is_kept_whatever_its_version_when_nothing_was_heard_meanwhile() -> None:
    bundles = Bundles()
    bundles.tell(PLACE, view(9))
    with bundles.inquiry() as inquiry:
        assert bundles.answer(inquiry, PLACE, view(3)), "versions go back when etcd is restored"
    assert bundles.get(PLACE) == view(3)
    with bundles.inquiry() as inquiry:
        assert bundles.answer(inquiry, PLACE, None)
    assert PLACE not in bundles


@pytest.mark.parametrize(
    ("heard", "answer", "latest"),
    [(5, 7, 7), (7, 7, 7), (9, 7, 9), (9, None, 9), (None, 7, None), (None, None, None)],
)
def test_the_later_of_what_was_heard_and_an_answer_is_kept(
    heard: int | None, answer: int | None, latest: int | None
) -> None:
    bundles = Bundles()
    bundles.tell(PLACE, view(4))
    with bundles.inquiry() as inquiry:
        if heard is None:
            bundles.gone(PLACE, "u")
        else:
            bundles.tell(PLACE, view(heard))
        kept = bundles.answer(inquiry, PLACE, view(answer) if answer is not None else None)
    assert kept is (answer is not None and answer == latest)
    assert bundles.get(PLACE) == (view(latest) if latest is not None else None)


def test_an_answer_is_news_for_another_one_that_is_under_way() -> None:
    bundles = Bundles()
    with bundles.inquiry() as listing:
        with bundles.inquiry() as write:
            assert bundles.answer(write, PLACE, view(8))
        assert not bundles.answer(listing, PLACE, view(6))
        assert not bundles.answer(listing, PLACE, None)
    assert bundles.get(PLACE) == view(8)


def test_an_object_is_ours_until_it_is_gone() -> None:
    bundles = Bundles()
    bundles.claim(view(1))
    assert bundles.is_claimed(view(2))
    bundles.gone(PLACE, "u")
    assert not bundles.is_claimed(view(2))


def test_a_cluster_trust_bundle_that_leaves_its_selector_is_still_ours() -> None:
    bundles = Bundles()
    bundles.claim(view(1))
    bundles.gone(CLUSTER_WIDE, "u")
    assert bundles.is_claimed(view(2))
