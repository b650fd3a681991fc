"""The root of a mesh is replaced under live Envoys: no handshake fails, whatever arrives late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from e2e import workload
from e2e.mesh import rotation
from e2e.mesh.pair import CLIENT, SERVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.mesh.local import LocalPair, LocalSide

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
TRIGGER: JSON = {"rotation": {"trigger": "again"}}
RSA: JSON = {"privateKey": {"algorithm": "RSA", "size": 2048}}
"""Changes of the spec: each is one way to ask for another root."""


def trusts(side: LocalSide, root: str) -> bool:
    return root.strip() in side.roots.volume.read("ca.crt").decode()


@pytest.mark.parametrize("change", [TRIGGER, RSA], ids=["EC-EC", "EC-RSA"])
def test_a_rotation_with_an_early_prune_fails_no_handshake(
    make_pair: Callable[..., LocalPair], change: JSON
) -> None:
    pair = make_pair()
    cluster = pair.cluster
    old = rotation.active(cluster, pair.authority)
    certificate = rotation.certificate(cluster, old)
    before = {pair.serial(CLIENT), pair.serial(SERVER)}
    with pair.stream() as stream:
        stream.wait(20)
        rotation.begin(cluster, pair.authority, **change)
        rotated = rotation.follow(cluster, pair.authority, old)
        pair.wait_moved(stream)
        assert all(trusts(side, certificate) for side in pair.sides), "it stays until it is pruned"
        rotation.prune_now(cluster, old)
        pair.wait_trust(rotation.certificate(cluster, rotated["status"]["activeRoot"]))
        stream.wait(40)
    pair.assert_no_failure(stream)
    assert not before & {pair.serial(CLIENT), pair.serial(SERVER)}
    assert rotated["status"]["rotation"]["percent"] == 100
    assert rotation.active(cluster, pair.authority) == rotated["status"]["activeRoot"] != old


@pytest.mark.parametrize(
    ("late", "change"),
    [
        pytest.param(CLIENT, TRIGGER, id="client-late-EC-EC"),
        pytest.param(SERVER, TRIGGER, id="server-late-EC-EC"),
        pytest.param(CLIENT, RSA, id="client-late-EC-RSA"),
        pytest.param(SERVER, RSA, id="server-late-EC-RSA"),
    ],
)
def test_the_cross_certificate_carries_a_side_that_has_not_heard_of_the_new_root(
    make_pair: Callable[..., LocalPair], late: str, change: JSON
) -> None:
    pair = make_pair()
    cluster = pair.cluster
    behind, ahead = pair.sides if late == CLIENT else pair.sides[::-1]
    old = rotation.active(cluster, pair.authority)
    before = pair.serial(ahead.name)
    with pair.stream() as stream:
        stream.wait(20)
        behind.roots.withhold()
        rotation.begin(cluster, pair.authority, **change)
        new = rotation.certificate(cluster, rotation.wait_active(cluster, pair.authority, old))
        rotation.follow(cluster, pair.authority, old)
        moved = pair.serial(ahead.name)
        assert moved != before
        stream.wait_meeting(lambda m: moved in {m.client, m.server})
        stream.wait(40)
        assert trusts(ahead, new)
        assert not trusts(behind, new), "so only the cross-certificate can have carried these"
        behind.roots.release()
        pair.wait_moved(stream)
        rotation.prune_now(cluster, old)
        stream.wait(40)
    pair.assert_no_failure(stream)
    assert stream.count(lambda m: moved in {m.client, m.server}) >= 40


def test_without_the_cross_certificate_the_side_that_is_late_refuses(
    make_pair: Callable[..., LocalPair],
) -> None:
    pair = make_pair()
    old = rotation.active(pair.cluster, pair.authority)
    with pair.stream() as stream:
        pair.client.roots.withhold()
        rotation.begin(pair.cluster, pair.authority)
        rotation.follow(pair.cluster, pair.authority, old)
        pair.wait_moved(stream)
        assert stream.failed == 0, stream
        pair.server.leaf.withhold()
        files = pair.server.leaf.volume.files
        chain = workload.certificates(files["tls.crt"].decode())
        assert len(chain) == 3, "leaf, signer, cross-certificate"
        kept = b"".join(item.public_bytes(Encoding.PEM) for item in chain[:2])
        pair.server.leaf.volume.write(files | {"tls.crt": kept})
        stream.wait_failed(21)
    assert all("CERTIFICATE_VERIFY_FAILED" in reason for reason in stream.failures)
