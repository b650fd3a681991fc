"""``engine.ports.Cluster`` over a ``Transport``: plain JSON, explicit content types, typed errors.

Decides how a call is addressed, fenced, timed and counted; never what is written, and it never
repeats a write: what an unknown outcome means is for the caller to observe. Hand-written since the
generated clients cost four times the CPU per call and choose PATCH content types by kind.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from meshca.api.names import FIELD_MANAGER, SERVICE_ACCOUNT, TOKEN_REQUEST
from meshca.engine.ports import Page
from meshca.errors import GoneError, LeaseExpiringError, MeshCAError, TransientError, UnknownOutcomeError
from meshca.kube.addresses import key, object_path, path_of, place
from meshca.kube.answers import WatchEvent, decoded, failure, watch_event
from meshca.kube.times import ServerTime
from meshca.kube.transport import Response

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from meshca.api.names import Resource
    from meshca.clock import Clock
    from meshca.engine.ports import JSON
    from meshca.kube.transport import Stream, Transport

READ_SECONDS = 30.0
WRITE_SECONDS = 4.0
PAGE_SIZE = 500

_JSON = "application/json"
_MERGE = "application/merge-patch+json"
# JSON is YAML; the name is what the API server insists on.
_APPLY = "application/apply-patch+yaml"
_PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


# One encoder for all: json.dumps would make one for each call with these separators.
_encode = json.JSONEncoder(separators=(",", ":")).encode


def _unfenced() -> float:
    return math.inf


def _unheard() -> None:
    return None


def _uncounted(_kind: str, _verb: str) -> None:
    return None


class Gateway:
    """Access to one API server.

    ``fence`` returns the seconds that the Lease is still ours (infinity where none is needed) and
    ``on_write`` hears of every write that was sent: kind (with ``/status`` for a status) and one of
    create, update, patch, apply, delete.
    """

    def __init__(
        self,
        transport: Transport,
        fence: Callable[[], float] = _unfenced,
        *,
        on_write: Callable[[str, str], None] = _uncounted,
        clock: Clock | None = None,
    ) -> None:
        self._transport = transport
        self._fence = fence
        self._on_write = on_write
        self._server_time = ServerTime(clock) if clock is not None else None

    @property
    def skew(self) -> float | None:
        """Return the seconds by which the API server's clock is ahead of ours; None before any answer."""
        return self._server_time.skew if self._server_time is not None else None

    async def get(self, resource: Resource, name: str, namespace: str = "") -> JSON:
        """Read one object, consistently."""
        path = object_path(resource, namespace, name)
        return decoded(await self._read(path, {}, _JSON, f"get {resource.kind} {key(namespace, name)}"))

    async def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> list[JSON]:
        """List objects consistently (quorum read), all pages; ``namespace=""`` means everywhere."""
        selectors = _selectors(label_selector, field_selector)
        try:
            pages = self.pages(resource, namespace, selectors)
            return [item async for page in pages for item in page.items]
        except GoneError:
            # The list outlived the server's history: once more, in one piece.
            pages = self.pages(resource, namespace, selectors, page_size=0)
            return [item async for page in pages for item in page.items]

    async def pages(
        self,
        resource: Resource,
        namespace: str = "",
        selectors: dict[str, str] | None = None,
        *,
        metadata_only: bool = False,
        page_size: int = PAGE_SIZE,
    ) -> AsyncGenerator[Page, None]:
        """List consistently page by page; ``GoneError`` when a page token expired (begin again)."""
        params = dict(selectors or {}) | ({"limit": str(page_size)} if page_size else {})
        accept = f"{_PARTIAL_LIST},{_JSON}" if metadata_only else _JSON
        while True:
            answer = decoded(
                await self._read(path_of(resource, namespace), params, accept, f"list {resource.plural}")
            )
            items = answer.get("items") or []
            for item in items:
                # Items of built-in kinds come without, and every reader wants to know.
                item["apiVersion"], item["kind"] = resource.api_version, resource.kind
            metadata = answer.get("metadata") or {}
            yield Page(items, str(metadata.get("resourceVersion", "")))
            if not metadata.get("continue"):
                return
            params["continue"] = metadata["continue"]

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        selectors: dict[str, str] | None = None,
        *,
        resource_version: str,
        metadata_only: bool = False,
        server_seconds: int = 300,
        opened: Callable[[], None] = _unheard,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Watch from a resourceVersion until the server ends it, bookmarks included.

        ``opened`` is called when the server has accepted, which may be long before the first event.
        Raises ``GoneError`` when that version is too old, and the error of any other ERROR event.
        Close the iterator when leaving early.
        """
        params = dict(selectors or {}) | {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(server_seconds),
        }
        accept = f"{_PARTIAL},{_JSON}" if metadata_only else _JSON
        what = f"watch {resource.plural}"
        async with self._transport.stream(
            path_of(resource, namespace), params=params, accept=accept, timeout=server_seconds + 30.0
        ) as stream:
            if stream.status >= 300:  # noqa: PLR2004  anything but success
                raise await _refused_stream(stream, what)
            opened()
            async for line in stream.lines:
                yield watch_event(line, resource, what)

    async def create(self, resource: Resource, body: JSON) -> JSON:
        """Create; ``AlreadyExistsError`` when the name is taken."""
        namespace, name = place(resource, body)
        return await self._write(
            resource, "create", "POST", path_of(resource, namespace), key(namespace, name), body=body
        )

    async def replace(self, resource: Resource, body: JSON) -> JSON:
        """Replace an object (PUT); ``metadata.resourceVersion`` in the body is the precondition."""
        namespace, name = place(resource, body)
        path = object_path(resource, namespace, name)
        return await self._write(resource, "update", "PUT", path, key(namespace, name), body=body)

    async def replace_status(self, resource: Resource, body: JSON) -> str:
        """Write ``/status`` (PUT) and return the new resourceVersion; spec may be absent from the body."""
        namespace, name = place(resource, body)
        answer = await self._write(
            resource,
            "update",
            "PUT",
            object_path(resource, namespace, name, "status"),
            key(namespace, name),
            body=body,
            accept=f"{_PARTIAL},{_JSON}",
            subresource="status",
        )
        return str((answer.get("metadata") or {}).get("resourceVersion", ""))

    async def patch(
        self, resource: Resource, name: str, namespace: str, body: JSON, *, subresource: str = ""
    ) -> JSON:
        """Merge-patch; ``metadata.resourceVersion`` and ``metadata.uid`` in the body are preconditions."""
        return await self._write(
            resource,
            "patch",
            "PATCH",
            object_path(resource, namespace, name, subresource),
            key(namespace, name),
            body=body,
            content_type=_MERGE,
            subresource=subresource,
            typed=False,
        )

    async def apply(self, resource: Resource, body: JSON, *, force: bool = True) -> JSON:
        """Server-side apply as our field manager; ``metadata.uid`` in the body keeps it from re-creating."""
        namespace, name = place(resource, body)
        return await self._write(
            resource,
            "apply",
            "PATCH",
            object_path(resource, namespace, name),
            key(namespace, name),
            body=body,
            content_type=_APPLY,
            params={"fieldManager": FIELD_MANAGER, "force": "true" if force else "false"},
        )

    async def delete(
        self, resource: Resource, name: str, namespace: str = "", *, uid: str, resource_version: str = ""
    ) -> None:
        """Delete with preconditions; ``NotFoundError`` when gone, ``ConflictError`` when stale."""
        preconditions = {"uid": uid} | ({"resourceVersion": resource_version} if resource_version else {})
        await self._write(
            resource,
            "delete",
            "DELETE",
            object_path(resource, namespace, name),
            key(namespace, name),
            body={"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions},
            typed=False,
        )

    async def token(
        self, account: str, namespace: str, *, seconds: int, audiences: Sequence[str] = ()
    ) -> JSON:
        """Make a token of a ServiceAccount for ``seconds`` (at least 600; the server may shorten it).

        Returns the status of the TokenRequest: ``token`` and ``expirationTimestamp``. The API server's own
        audience unless ``audiences`` says otherwise.
        """
        spec = {"expirationSeconds": seconds} | ({"audiences": [*audiences]} if audiences else {})
        answer = await self._write(
            TOKEN_REQUEST,
            "create",
            "POST",
            object_path(SERVICE_ACCOUNT, namespace, account, "token"),
            key(namespace, account),
            body={"spec": spec},
        )
        found = answer.get("status")
        if not isinstance(found, dict) or not found.get("token"):
            raise UnknownOutcomeError("the API server's answer holds no token", reason="BadAnswer")
        return found

    async def _read(self, path: str, params: dict[str, str], accept: str, what: str) -> Response:
        try:
            response = await self._transport.request(
                "GET", path, params=params, accept=accept, timeout=READ_SECONDS
            )
        except UnknownOutcomeError as error:
            raise TransientError(error.message, reason=error.reason) from error
        return self._checked(response, what, write=False)

    async def _write(
        self,
        resource: Resource,
        verb: str,
        method: str,
        path: str,
        target: str,
        *,
        body: JSON,
        params: dict[str, str] | None = None,
        content_type: str = _JSON,
        accept: str = _JSON,
        subresource: str = "",
        typed: bool = True,
    ) -> JSON:
        kind = f"{resource.kind}/{subresource}" if subresource else resource.kind
        what = f"{verb} {kind} {target}"
        if self._fence() < WRITE_SECONDS:
            raise LeaseExpiringError(f"{what}: the Lease may be lost before the write ends")
        if typed:
            body = body | {"apiVersion": resource.api_version, "kind": resource.kind}
        self._on_write(kind, verb)
        response = await self._transport.request(
            method,
            path,
            # The server gives up when we do: a write must not happen long after we stopped waiting.
            params={"timeout": f"{WRITE_SECONDS:.0f}s"} | (params or {}),
            body=_encode(body).encode(),
            content_type=content_type,
            accept=accept,
            timeout=WRITE_SECONDS,
        )
        return decoded(self._checked(response, what, write=True), write=True)

    def _checked(self, response: Response, what: str, *, write: bool) -> Response:
        if self._server_time is not None:
            self._server_time.observe(response.headers.get("date", ""))
        if response.status >= 300:  # noqa: PLR2004  anything but success
            raise failure(response, what, write=write)
        return response


def _selectors(label_selector: str, field_selector: str) -> dict[str, str]:
    wanted = {"labelSelector": label_selector, "fieldSelector": field_selector}
    return {name: text for name, text in wanted.items() if text}


async def _refused_stream(stream: Stream, what: str) -> MeshCAError:
    body = b"\n".join([line async for line in stream.lines])
    return failure(Response(stream.status, stream.headers, body), what, write=False)
