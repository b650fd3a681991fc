"""The gateway over a fake API server: fence, timeouts, counting, doubt, paging."""

from __future__ import annotations

import json
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from meshca import errors
from meshca.api.names import CA_ROOT, LEAF, NAMESPACE, SECRET
from meshca.kube.addresses import path_of
from meshca.kube.gateway import WRITE_SECONDS, Gateway
from meshca.kube.transport import Response, Stream
from tests.fakes.apiserver import status
from tests.fakes.apiserver.server import ApiServer
from tests.fakes.apiserver.transport import FakeTransport
from tests.fakes.clock import LoopClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.looptime

JSON = dict[str, Any]
NS = "default"


@pytest.fixture
def server() -> ApiServer:
    return ApiServer(LoopClock())


@pytest.fixture
def gateway(server: ApiServer) -> Gateway:
    return Gateway(FakeTransport(server))


def _leaf(name: str = "a") -> JSON:
    return {"metadata": {"name": name, "namespace": NS}, "spec": {"secretName": "s"}}


async def test_a_token_that_is_not_in_the_answer_is_no_token() -> None:
    transport = Scripted(Response(201, {}, b'{"status":{"token":""}}'))
    with pytest.raises(errors.UnknownOutcomeError, match="holds no token"):
        await Gateway(transport).token("meshca", NS, seconds=600, audiences=["other"])
    asked = transport.asked[0]
    assert asked["path"] == "/api/v1/namespaces/default/serviceaccounts/meshca/token"
    assert json.loads(asked["body"])["spec"] == {"expirationSeconds": 600, "audiences": ["other"]}


class Scripted:
    """A transport that gives prepared answers and keeps what it was asked."""

    def __init__(self, *answers: Response, lines: tuple[bytes, ...] = (), code: int = 200) -> None:
        self.answers = list(answers)
        self.lines = lines
        self.code = code
        self.asked: list[JSON] = []

    async def request(self, method: str, path: str, **more: Any) -> Response:
        self.asked.append({"method": method, "path": path} | more)
        return self.answers.pop(0)

    @asynccontextmanager
    async def stream(self, path: str, **more: Any) -> AsyncIterator[Stream]:
        self.asked.append({"path": path} | more)

        async def lines() -> AsyncIterator[bytes]:
            for line in self.lines:
                yield line

        yield Stream(self.code, {}, lines())

    async def aclose(self) -> None:
        return


def _ok(body: JSON) -> Response:
    return Response(200, {}, json.dumps(body).encode())


WRITES: dict[str, tuple[Callable[[Gateway, JSON], Awaitable[object]], tuple[str, str]]] = {
    "create": (lambda g, _: g.create(LEAF, _leaf("b")), ("LeafCertificateRequest", "create")),
    "replace": (lambda g, o: g.replace(LEAF, o), ("LeafCertificateRequest", "update")),
    "status": (lambda g, o: g.replace_status(LEAF, o), ("LeafCertificateRequest/status", "update")),
    "patch": (lambda g, _: g.patch(LEAF, "a", NS, {"spec": {}}), ("LeafCertificateRequest", "patch")),
    "patch status": (
        lambda g, _: g.patch(LEAF, "a", NS, {"status": {}}, subresource="status"),
        ("LeafCertificateRequest/status", "patch"),
    ),
    "apply": (lambda g, _: g.apply(LEAF, _leaf("a")), ("LeafCertificateRequest", "apply")),
    "delete": (
        lambda g, o: g.delete(LEAF, "a", NS, uid=o["metadata"]["uid"]),
        ("LeafCertificateRequest", "delete"),
    ),
}


@pytest.mark.parametrize("name", WRITES)
async def test_no_write_leaves_when_the_lease_may_end_before_it(server: ApiServer, name: str) -> None:
    made = server.create(LEAF, _leaf())
    server.audit.clear()
    counted: list[tuple[str, str]] = []
    gateway = Gateway(
        FakeTransport(server),
        lambda: WRITE_SECONDS - 0.01,
        on_write=lambda kind, verb: counted.append((kind, verb)),
    )
    with pytest.raises(errors.TransientError) as caught:
        await WRITES[name][0](gateway, made)
    assert caught.value.reason == "LeaseExpiring"
    assert server.audit == []
    assert counted == []


@pytest.mark.parametrize("name", WRITES)
async def test_every_write_is_counted_by_kind_and_verb(server: ApiServer, name: str) -> None:
    made = server.create(LEAF, _leaf())
    counted: list[tuple[str, str]] = []
    gateway = Gateway(
        FakeTransport(server),
        lambda: WRITE_SECONDS,
        on_write=lambda kind, verb: counted.append((kind, verb)),
    )
    await WRITES[name][0](gateway, made)
    assert counted == [WRITES[name][1]]
    assert [entry.code < 300 for entry in server.audit] == [True]


async def test_reads_need_no_lease(server: ApiServer) -> None:
    server.create(LEAF, _leaf())
    gateway = Gateway(FakeTransport(server), lambda: -math.inf)
    assert (await gateway.get(LEAF, "a", NS))["metadata"]["name"] == "a"
    assert len(await gateway.list(LEAF)) == 1


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize(
    "fault",
    [{"lose_answer": True}, {"late": 100.0}, {"delay": 100.0}, {"error": status.unavailable()}],
    ids=["answer lost", "late", "slow", "503"],
)
async def test_a_write_without_a_clear_answer_is_in_doubt(
    server: ApiServer, gateway: Gateway, name: str, fault: JSON
) -> None:
    made = server.create(LEAF, _leaf())
    server.fault(**fault)
    with pytest.raises(errors.UnknownOutcomeError):
        await WRITES[name][0](gateway, made)


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_that_was_never_sent_is_not_in_doubt(
    server: ApiServer, gateway: Gateway, name: str
) -> None:
    made = server.create(LEAF, _leaf())
    server.down = True
    with pytest.raises(errors.TransientError) as caught:
        await WRITES[name][0](gateway, made)
    assert not isinstance(caught.value, errors.UnknownOutcomeError)


async def test_a_write_waits_four_seconds_and_no_longer(server: ApiServer, gateway: Gateway) -> None:
    clock = LoopClock()
    server.fault(delay=1000.0)
    before = clock.monotonic()
    with pytest.raises(errors.UnknownOutcomeError):
        await gateway.create(LEAF, _leaf())
    assert clock.monotonic() - before == pytest.approx(4.0)


@pytest.mark.parametrize(
    "fault", [{"lose_answer": True}, {"unreachable": True}, {"error": status.internal()}]
)
async def test_a_read_is_never_in_doubt(server: ApiServer, gateway: Gateway, fault: JSON) -> None:
    for call in (lambda: gateway.get(NAMESPACE, NS), lambda: gateway.list(NAMESPACE)):
        server.fault(**fault)
        with pytest.raises(errors.TransientError) as caught:
            await call()
        assert type(caught.value) is errors.TransientError


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{"])
async def test_an_answer_that_is_no_object_is_an_error(body: bytes) -> None:
    with pytest.raises(errors.UnknownOutcomeError):
        await Gateway(Scripted(Response(201, {}, body))).create(LEAF, _leaf())
    with pytest.raises(errors.TransientError) as caught:
        await Gateway(Scripted(Response(200, {}, body))).get(LEAF, "a", NS)
    assert type(caught.value) is errors.TransientError


@pytest.mark.parametrize(("name", "namespace"), [("", NS), ("a/status", NS), ("a", ""), ("../b", NS)])
async def test_a_call_never_addresses_more_than_one_object(
    gateway: Gateway, name: str, namespace: str
) -> None:
    with pytest.raises(ValueError, match="does not address one object"):
        await gateway.delete(LEAF, name, namespace, uid="u")
    with pytest.raises(ValueError, match="does not address one object"):
        await gateway.get(LEAF, name, namespace)


def test_paths_are_those_of_the_api() -> None:
    assert path_of(SECRET, "n", "s") == "/api/v1/namespaces/n/secrets/s"
    assert path_of(SECRET) == "/api/v1/secrets"
    assert path_of(CA_ROOT, "ignored", "r", "status") == "/apis/meshca.dev/v1alpha1/caroots/r/status"


async def test_writes_name_their_content_type_and_their_time() -> None:
    metadata = {"name": "a", "namespace": NS}
    transport = Scripted(*[_ok({"metadata": metadata})] * 5)
    gateway = Gateway(transport)
    await gateway.create(LEAF, _leaf())
    await gateway.replace_status(LEAF, _leaf())
    await gateway.patch(LEAF, "a", NS, {"spec": {}})
    await gateway.apply(LEAF, _leaf(), force=False)
    await gateway.delete(LEAF, "a", NS, uid="u", resource_version="7")
    create, put, patch, apply, delete = transport.asked
    assert [call["content_type"] for call in (create, put, patch, apply, delete)] == [
        "application/json",
        "application/json",
        "application/merge-patch+json",
        "application/apply-patch+yaml",
        "application/json",
    ]
    assert all(call["params"]["timeout"] == "4s" for call in transport.asked)
    assert put["accept"].startswith("application/json;as=PartialObjectMetadata;")
    assert apply["params"] == {"timeout": "4s", "fieldManager": "meshca-operator", "force": "false"}
    assert json.loads(create["body"])["kind"] == "LeafCertificateRequest"
    assert "kind" not in json.loads(patch["body"])
    assert json.loads(delete["body"])["preconditions"] == {"uid": "u", "resourceVersion": "7"}


async def test_lists_are_paged_by_500(server: ApiServer) -> None:
    for number in range(501):
        server.create(SECRET, {"metadata": {"name": f"s{number}", "namespace": NS}})
    page = _ok({"metadata": {"continue": "next page"}, "items": None})
    transport = Scripted(page, _ok({"items": [{"metadata": {"name": "x"}}]}))
    assert len(await Gateway(transport).list(SECRET, NS, label_selector="a=b")) == 1
    assert transport.asked[0]["params"] == {"labelSelector": "a=b", "limit": "500"} | {
        "continue": "next page"
    }
    assert len(await Gateway(FakeTransport(server)).list(SECRET, NS)) == 501


async def test_a_list_survives_that_its_page_token_expires(server: ApiServer, gateway: Gateway) -> None:
    for number in range(600):
        server.create(SECRET, {"metadata": {"name": f"s{number}", "namespace": NS}})
    first = server.fault(verb="list", before=lambda _info: None)
    second = server.fault(verb="list", before=lambda _info: server.compact())
    found = await gateway.list(SECRET, NS)
    assert len(found) == 600
    assert (first.hits, second.hits) == (1, 1)


async def test_skew_comes_from_the_date_of_answers(server: ApiServer) -> None:
    clock = LoopClock()
    gateway = Gateway(FakeTransport(server), clock=clock)
    assert gateway.skew is None
    await gateway.list(NAMESPACE)
    assert gateway.skew is not None
    assert abs(gateway.skew) <= 1.0
    clock.step(-300)
    assert Gateway(FakeTransport(server)).skew is None
    fresh = Gateway(FakeTransport(server), clock=clock)
    await fresh.list(NAMESPACE)
    assert fresh.skew == pytest.approx(300, abs=1.0)


async def _drain(gateway: Gateway) -> list[Any]:
    return [event async for event in gateway.watch(SECRET, resource_version="1")]


@pytest.mark.parametrize("line", [b"{", b"[]", b"null", b'{"type":"ADDED"}', b'{"type":"MODIFIED","obj'])
async def test_a_broken_line_ends_a_watch_with_an_error(line: bytes) -> None:
    with pytest.raises(errors.TransientError) as caught:
        await _drain(Gateway(Scripted(lines=(line,))))
    assert caught.value.reason == "BadAnswer"


@pytest.mark.parametrize(
    ("code", "kind"), [(410, errors.GoneError), (500, errors.TransientError), (0, errors.TransientError)]
)
async def test_an_error_event_is_an_error(code: int, kind: type[errors.MeshCAError]) -> None:
    line = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": code}}).encode()
    with pytest.raises(kind):
        await _drain(Gateway(Scripted(lines=(line,))))


async def test_a_watch_that_is_refused_says_why() -> None:
    body = json.dumps(status.forbidden(SECRET, "", "no").body(), indent=1).encode()
    with pytest.raises(errors.ForbiddenError, match="is forbidden: no"):
        await _drain(Gateway(Scripted(lines=tuple(body.split(b"\n")), code=403)))


async def test_items_of_a_watch_know_their_kind() -> None:
    line = b'{"type":"ADDED","object":{"kind":"PartialObjectMetadata","metadata":{"name":"x"}}}'
    (event,) = await _drain(Gateway(Scripted(lines=(line,))))
    assert event.object == {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}
