"""A secondary that follows its primary, both in one loop of virtual time."""

from __future__ import annotations

import pytest

from meshca.api import names
from tests.fakes.federation import joined
from tests.fakes.turning import trigger

pytestmark = pytest.mark.looptime


async def test_045_a_secondary_boots_from_its_primary_and_issues_leaves() -> None:
    async with joined() as (found, witness):
        assert witness.broken == []
        root = found.secondary.server.find(names.CA_ROOT, found.active(found.secondary))
        assert root is not None
        assert root["spec"]["source"] == "Mirrored"


async def test_120_the_primary_rotates_and_the_secondary_follows() -> None:
    async with joined() as (found, _):
        before = found.active(found.secondary)
        trigger(found.primary, "one")
        await found.secondary.until(lambda: found.active(found.secondary) not in {"", before}, 120)
        await found.secondary.until(
            lambda: found.secondary.condition("RotationInProgress")[1] == "Completed", 120
        )


async def test_roots_of_the_primary_are_found_without_their_labels() -> None:
    async with joined() as (found, _):
        before = found.active(found.secondary)
        for root in found.primary.server.all(names.CA_ROOT):
            name = root["metadata"]["name"]
            found.primary.server.merge(names.CA_ROOT, name, "", {"metadata": {"labels": None}})
        trigger(found.primary, "one")
        await found.secondary.until(lambda: found.active(found.secondary) not in {"", before}, 120)
