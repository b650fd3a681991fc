"""How often a configuration is looked at again while its leaves move."""

from __future__ import annotations

import pytest

from meshca.engine.intake import census_delay


@pytest.mark.parametrize(("leaves", "seconds"), [(0, 1.0), (10_000, 1.0), (25_000, 2.5), (100_000, 10.0)])
def test_the_pause_between_two_censuses_grows_with_the_number_of_leaves(leaves: int, seconds: float) -> None:
    assert census_delay(leaves) == seconds
