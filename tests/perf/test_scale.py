"""The simulated fleet stays in working order: it is not timed here, only run."""

from __future__ import annotations

from typing import Any

import pytest

from tests.perf import scale

LEAVES = 300


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return scale.measure(LEAVES)


def test_a_restart_writes_nothing_and_every_leaf_is_renewed_twice_and_moved_once(
    found: dict[str, Any],
) -> None:
    assert found["startup"]["writes"] == 0
    # The earliest of a third time fall due when the last of the second do.
    assert 2 * LEAVES <= sum(found["renewal"]["buckets"]) <= 2.1 * LEAVES
    assert found["rotation"]["issued"] == LEAVES
    assert found["rotation"]["most_in_a_second"] <= scale.REISSUE_PER_SECOND


def test_renewals_wait_for_their_part_of_the_life(found: dict[str, Any]) -> None:
    width = found["renewal"]["bucket_seconds"]
    first = next(at for at, count in enumerate(found["renewal"]["buckets"]) if count)
    assert first * width >= 0.6 * scale.TTL - width
