"""Users who change their mind faster than anything can be done about it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshca.api.v1alpha1.scalars import parse_time
from tests.fakes.engine import ready
from tests.fakes.turning import trigger, turning, wish

pytestmark = pytest.mark.looptime
JSON = dict[str, Any]


async def test_user_who_edits_again_and_again_is_taken_at_the_last_word() -> None:
    async with ready() as cluster:
        for number in range(12):
            wish(cluster, leaf={"ttl": f"{50 + number}h"})
            await asyncio.sleep(3)
            assert cluster.condition()[:2] == ("True", "Initialised")
        assert cluster.condition()[0] == "True"
        cluster.leaf("csr")
        await cluster.until(lambda: cluster.ready("csr")[0] == "Issued")
        life = cluster.status("csr")
        assert life["notAfter"] > life["notBefore"]
        assert cluster.engine is not None
        assert _hours(life) == 61


def _hours(life: JSON) -> int:
    begins, ends = (parse_time(str(life[key])) for key in ("notBefore", "notAfter"))
    return int((ends - begins).total_seconds() // 3600)


async def test_103_ten_changes_of_the_wish_within_a_minute_end_on_the_last() -> None:
    async with ready() as cluster:
        for number in range(10):
            trigger(cluster, f"t{number}")
            await asyncio.sleep(4)
            assert cluster.condition()[:2] == ("True", "Initialised")
        await cluster.until(lambda: turning(cluster)[1] in {"Completed", "RotationQueued"}, 60)
