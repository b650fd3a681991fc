"""What is rare: news out of order, objects that come and go between two calls."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from meshca.engine import evidence
from meshca.errors import InvalidError, TransientError
from meshca.pki import certificates, issuance, keys
from meshca.planning.views import newer
from tests.fakes import pki, planning
from tests.fakes.apiserver import status as api
from tests.fakes.engine import OPERATOR, Cluster, with_cluster

if TYPE_CHECKING:
    from tests.fakes.apiserver.faults import RequestInfo

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]
VIEW = planning.unverified(planning.issued())


def owned_garbage(cluster: Cluster) -> None:
    leaf = cluster.server.find(names.LEAF, "web", "shop")
    assert leaf is not None
    owner = {
        "apiVersion": names.API_VERSION,
        "kind": names.LEAF.kind,
        "name": "web",
        "uid": leaf["metadata"]["uid"],
    }
    metadata = {"name": "web-tls", "namespace": "shop", "ownerReferences": [owner]}
    data = {"tls.crt": "QQ==", "tls.key": "QQ=="}
    cluster.server.create(names.SECRET, {"metadata": metadata, "type": "kubernetes.io/tls", "data": data})


def sound(cluster: Cluster) -> bool:
    secret = cluster.server.find(names.SECRET, "web-tls", "shop")
    assert secret is not None
    chain = base64.b64decode(secret["data"]["tls.crt"]).decode()
    key = keys.load_private(base64.b64decode(secret["data"]["tls.key"]))
    return chain == cluster.status()["certificateChain"] and keys.matches(
        key, certificates.load_all(chain)[0]
    )


@with_cluster
async def test_own_secret_that_appears_at_the_moment_of_its_making_is_filled(cluster: Cluster) -> None:
    def appear(_: RequestInfo) -> None:
        owned_garbage(cluster)

    fault = cluster.server.fault(verb="create", resource=names.SECRET, user=OPERATOR, before=appear)
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    await asyncio.sleep(5)
    assert fault.hits == 1
    assert sound(cluster)


@with_cluster
async def test_own_pair_of_an_earlier_process_is_taken_over(cluster: Cluster) -> None:
    """The answer to the create was lost, and a new process has not heard of the Secret yet."""
    cluster.server.silence_watches(names.SECRET)
    cluster.server.fault(verb="create", resource=names.SECRET, user=OPERATOR, lose_answer=True)
    cluster.leaf(secretName="web-tls")
    assert cluster.engine is not None
    await cluster.until(lambda: cluster.server.find(names.SECRET, "web-tls", "shop"))
    cluster.engine.leaves._managed._doubtful.clear()
    pair = cluster.server.find(names.SECRET, "web-tls", "shop")
    assert pair is not None
    await cluster.until_said("Issued")
    again = cluster.server.find(names.SECRET, "web-tls", "shop")
    assert again is not None
    assert again["data"] == pair["data"]
    assert sound(cluster)


@with_cluster
async def test_secret_that_was_there_and_is_gone_is_made_at_the_next_try(cluster: Cluster) -> None:
    gone = api.ApiError(409, "AlreadyExists", 'secrets "web-tls" already exists')
    fault = cluster.server.fault(verb="create", resource=names.SECRET, user=OPERATOR, error=gone)
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued", seconds=10)
    assert fault.hits == 1
    assert sound(cluster)


@with_cluster
async def test_whole_pair_of_a_stranger_in_the_secret_is_not_taken_over(cluster: Cluster) -> None:
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    pair, key = pki.authority(name=" stranger"), pki.key("ECDSA 256", "stranger leaf")
    leaf = pair.leaf(key.public_key(), now=cluster.clock.now())
    data = {
        "tls.crt": certificates.to_pem(leaf, pair.signer).encode(),
        "tls.key": keys.to_pem(key),
        "ca.crt": certificates.to_pem(pair.root).encode(),
    }
    written = {name: base64.b64encode(value).decode() for name, value in data.items()}
    cluster.server.merge(names.SECRET, "web-tls", "shop", {"data": written})
    await asyncio.sleep(10)
    assert sound(cluster)
    assert cluster.status()["spiffeID"] == "spiffe://example.org/ns/shop/sa/web"


@pytest.mark.parametrize("chain", ["garbage", "stranger"])
@with_cluster
async def test_chain_that_proves_nothing_is_replaced(cluster: Cluster, chain: str) -> None:
    cluster.leaf()
    await cluster.until_said("Issued")
    pair = pki.authority(name=" stranger")
    text = (
        certificates.to_pem(pair.leaf(now=cluster.clock.now()), pair.signer) if chain == "stranger" else chain
    )
    forged = {"certificateChain": text}
    cluster.server.merge(names.LEAF, "web", "shop", {"status": forged}, subresource="status")
    await cluster.until(lambda: cluster.status()["certificateChain"] != text, 5)
    signer = certificates.load_all(cluster.status()["certificateChain"])[1]
    assert certificates.uris_of(signer) == ("spiffe://example.org",)


def test_chain_for_a_request_that_is_no_csr_proves_nothing() -> None:
    broken = replace(VIEW, spec=replace(VIEW.spec, request="garbage"))
    verifier = evidence.Verifier()
    assert verifier.facts(VIEW, planning.authority(), pki.NOW) is not None
    assert verifier.facts(broken, planning.authority(), pki.NOW) is None


def test_verified_signers_are_not_kept_without_end() -> None:
    verifier = evidence.Verifier()
    verifier._signers = {(str(number), ""): "root" for number in range(1001)}
    assert verifier.facts(VIEW, planning.authority(), pki.NOW) is not None
    assert len(verifier._signers) == 1


@with_cluster
async def test_late_news_of_a_leaf_do_not_undo_what_was_written(cluster: Cluster) -> None:
    old = cluster.leaf()
    await cluster.until_said("Issued")
    assert cluster.engine is not None
    cluster.engine.intake.leaf("MODIFIED", old)
    view = cluster.engine.store.leaves.get(("shop", "web"))
    assert view is not None
    assert view.issued is not None
    listed = dict(old, metadata=old["metadata"] | {"resourceVersion": "1"})
    cluster.engine.intake.leaf("", listed)
    view = cluster.engine.store.leaves.get(("shop", "web"))
    assert view is not None
    assert view.meta.resource_version == "1", "after a restore of etcd versions begin anew"


@with_cluster
async def test_late_deletion_of_an_earlier_secret_is_ignored(cluster: Cluster) -> None:
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    secret = cluster.server.find(names.SECRET, "web-tls", "shop")
    assert secret is not None
    assert cluster.engine is not None
    cluster.written()
    earlier = dict(secret, metadata=secret["metadata"] | {"uid": "earlier"})
    cluster.engine.intake.managed_secret("DELETED", earlier)
    await asyncio.sleep(5)
    assert cluster.written() == []


@with_cluster
async def test_secret_as_an_etcd_restore_left_it_is_believed_when_listed_and_not_before(
    cluster: Cluster,
) -> None:
    cluster.leaf(secretName="web-tls")
    await cluster.until_said("Issued")
    assert cluster.engine is not None
    secret = cluster.server.find(names.SECRET, "web-tls", "shop")
    assert secret is not None
    earlier = secret["metadata"] | {"resourceVersion": "1"}
    restored = dict(secret, metadata=earlier, data=secret["data"] | {"tls.key": "QQ=="})
    known = cluster.engine.store.secrets["shop", "web-tls"]
    cluster.engine.intake.managed_secret("MODIFIED", restored)
    assert cluster.engine.store.secrets["shop", "web-tls"] == known
    cluster.engine.intake.managed_secret("", restored)
    view = cluster.engine.store.secrets["shop", "web-tls"]
    assert (view.resource_version, view.consistent) == ("1", False)
    cluster.written()
    await asyncio.sleep(5)
    assert cluster.engine.store.secrets["shop", "web-tls"] == known, "it was looked at itself"
    assert cluster.written() == []


@pytest.mark.parametrize(
    ("version", "known", "later"),
    [("10", "9", True), ("9", "10", False), ("9", "9", False), ("x", "9", True)],
)
def test_versions_count_up_and_odd_ones_count_as_later(version: str, known: str, later: bool) -> None:
    assert newer(version, known) is later


@with_cluster
async def test_request_replaced_while_its_version_was_in_doubt_is_served(cluster: Cluster) -> None:
    def swap(_: RequestInfo) -> None:
        cluster.server.delete(names.LEAF, "web", "shop")
        cluster.leaf()

    cluster.server.silence_watches(names.LEAF)
    cluster.server.fault(verb="update", resource=names.LEAF, user=OPERATOR, before=swap)
    assert cluster.engine is not None
    cluster.engine.intake.leaf("ADDED", cluster.leaf())
    await cluster.until_said("Issued", seconds=10)


@with_cluster
async def test_request_gone_while_its_version_was_in_doubt_is_left_to_the_watch(cluster: Cluster) -> None:
    cluster.server.silence_watches(names.LEAF)
    assert cluster.engine is not None
    body = cluster.leaf()
    cluster.engine.leaves._stale.add(("shop", "web"))
    cluster.server.delete(names.LEAF, "web", "shop")
    cluster.engine.intake.leaf("ADDED", body)
    await asyncio.sleep(5)
    assert cluster.written() == []
    cluster.engine.intake.leaf("DELETED", body)
    assert cluster.engine.store.leaves.get(("shop", "web")) is None
    await cluster.engine.leaves.reconcile("shop", "web")
    assert cluster.engine.leaves._stale == set()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (InvalidError("the lint found that it is odd"), ("Failed", "InvalidRequest")),
        (TransientError("expired", reason=issuance.SIGNER_EXPIRED), ("Pending", "SignerNotReady")),
    ],
    ids=["lint", "signer"],
)
@pytest.mark.parametrize("managed", [False, True], ids=["csr", "managed"])
@with_cluster
async def test_signing_that_is_refused_late_is_told(
    cluster: Cluster, error: Exception, told: tuple[str, str], managed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(issuance, "leaf_certificate", refuse)
    cluster.leaf(**({"secretName": "web-tls"} if managed else {}))
    await cluster.until(lambda: cluster.ready() == told, 5)
    cluster.written()
    await asyncio.sleep(60)
    assert cluster.written() == []


@with_cluster
async def test_signing_that_fails_for_a_passing_reason_is_tried_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, failures = issuance.leaf_certificate, [TransientError("busy")]

    def stumble(*args: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return original(*args, **more)

    monkeypatch.setattr(issuance, "leaf_certificate", stumble)
    cluster.leaf()
    await cluster.until_said("Issued", seconds=5)
    assert len(cluster.written()) == 1


@with_cluster
async def test_key_that_is_not_loaded_at_the_moment_is_waited_for(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cluster.engine is not None
    signing = cluster.engine.authorities.keys
    with monkeypatch.context() as patch:
        patch.setattr(signing, "get", lambda *_: None)
        cluster.leaf()
        await cluster.until_said("SignerNotReady")
    await cluster.until_said("Issued")
