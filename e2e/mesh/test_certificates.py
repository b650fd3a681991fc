"""Certificates change under live traffic, without a rotation: and the stream sees what goes wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e import roots, scenario, workload
from e2e.mesh.pair import CLIENT, SERVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.mesh.local import LocalPair

pytestmark = pytest.mark.cluster

PAST = "2026-01-01T00:00:00Z"


def renew(pair: LocalPair, name: str) -> None:
    where = f"{workload.path(pair.namespace, name)}/status"
    identity = scenario.medic(pair.cluster)
    pair.cluster.request("PATCH", where, {"status": {"renewAt": PAST}}, identity=identity)


def test_renewed_certificates_are_taken_up_without_one_failed_handshake(
    make_pair: Callable[..., LocalPair],
) -> None:
    pair = make_pair()
    before = {name: pair.serial(name) for name in (CLIENT, SERVER)}
    with pair.stream() as stream:
        stream.wait_meeting(lambda m: (m.client, m.server) == (before[CLIENT], before[SERVER]))
        renew(pair, CLIENT)
        stream.wait_meeting(lambda m: m.client != before[CLIENT] and m.server == before[SERVER])
        renew(pair, SERVER)
        stream.wait_meeting(lambda m: m.client != before[CLIENT] and m.server != before[SERVER])
        stream.wait(20)
    pair.assert_no_failure(stream)


@pytest.mark.parametrize("side", [CLIENT, SERVER])
def test_a_side_that_trusts_another_root_is_counted_with_the_reason(
    make_pair: Callable[..., LocalPair], side: str
) -> None:
    pair = make_pair()
    bundle = {CLIENT: pair.client, SERVER: pair.server}[side].roots
    with pair.stream() as stream:
        stream.wait(10)
        assert stream.failed == 0, stream
        bundle.withhold()
        bundle.volume.write({"ca.crt": roots.root()[0]})
        stream.wait_failed(21)
    assert all("503" in reason for reason in stream.failures)
    if side == CLIENT:
        assert all("CERTIFICATE_VERIFY_FAILED" in reason for reason in stream.failures)
    else:
        pair.wait_complaint("CERTIFICATE_VERIFY_FAILED")
    with pytest.raises(AssertionError, match=r"failed\n.*503"):
        pair.assert_no_failure(stream)
