"""What a case of the contract needs of an API server, whichever it is."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.names import Resource
from meshca.errors import MeshCAError
from meshca.kube.gateway import Gateway

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from meshca.kube.answers import WatchEvent
    from meshca.kube.transport import Response, Transport

JSON = dict[str, Any]

CRD = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
WIDGET = Resource("contract.test", "v1", "widgets", "Widget", namespaced=True)
GADGET = Resource("contract.test", "v1", "gadgets", "Gadget", namespaced=False)
NOBODY = Resource("contract.test", "v1", "nobodies", "Nobody", namespaced=True)
NO_GROUP = Resource("nogroup.test", "v1", "widgets", "Widget", namespaced=True)
NO_CORE = Resource("", "v1", "nobodies", "Nobody", namespaced=True)

_STATUS = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_PARTS = {
    "type": "array",
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
    "items": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
    },
}
_SPEC = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1},
        "color": {"type": "string", "maxLength": 20},
        "shape": {"type": "string", "default": "round", "enum": ["round", "square"]},
        "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
        "parts": _PARTS,
    },
}


def crd(resource: Resource) -> JSON:
    schema = {"type": "object", "required": ["spec"], "properties": {"spec": _SPEC, "status": _STATUS}}
    return {
        "apiVersion": CRD.api_version,
        "kind": CRD.kind,
        "metadata": {"name": f"{resource.plural}.{resource.group}"},
        "spec": {
            "group": resource.group,
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "names": {"plural": resource.plural, "singular": resource.kind.lower(), "kind": resource.kind},
            "versions": [
                {
                    "name": resource.version,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "selectableFields": [{"jsonPath": ".spec.color"}],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


@dataclass
class Contract:
    """One API server and a namespace of its own for one case."""

    transport: Transport
    namespace: str
    # Forgets history so that older versions answer 410; None where that cannot be done.
    compact: Callable[[], Awaitable[None]] | None = None
    # Makes of a page token one of long ago, where forgetting history does not reach it.
    age_token: Callable[[str], str] = str
    # Does what a policy says where nobody evaluates CEL: name of policy and binding, words, reason.
    enforce: Callable[[str, str, str], None] | None = None
    # Within, a user who has asked for more already than they may at once, and gets 429.
    crowded: Callable[[], AbstractAsyncContextManager[Transport]] | None = None
    # Within, what the API server keeps its objects in does not answer; None where that cannot be done.
    hung: Callable[[], AbstractAsyncContextManager[None]] | None = None
    # Opens a connection on which nothing was sent; None where there are no sockets.
    dial: Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] | None = None
    gateway: Gateway = field(init=False)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.gateway = Gateway(self.transport)

    def name(self, stem: str = "x") -> str:
        """Return a name that no other case uses, for cluster-scoped objects too."""
        return f"{stem}-{next(self._numbers)}-{uuid.uuid4().hex[:6]}"

    def body(self, name: str, **spec: Any) -> JSON:
        return {
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"size": 1} | spec,
        }

    async def widget(self, name: str = "w", **spec: Any) -> JSON:
        return await self.gateway.create(WIDGET, self.body(name, **spec))

    async def secret(self, name: str = "s", **more: Any) -> JSON:
        body = {"metadata": {"name": name, "namespace": self.namespace}, "data": {"a": "QQ=="}} | more
        return await self.gateway.create(names.SECRET, body)

    async def get(self, name: str = "w", resource: Resource = WIDGET) -> JSON:
        return await self.gateway.get(resource, name, self.namespace if resource.namespaced else "")

    async def delete(self, item: JSON, resource: Resource = WIDGET) -> None:
        metadata = item["metadata"]
        await self.gateway.delete(
            resource, metadata["name"], metadata.get("namespace", ""), uid=metadata["uid"]
        )

    async def apply_as(
        self, manager: str, resource: Resource, body: JSON, *, force: bool = False
    ) -> Response:
        """Server-side apply as another field manager than ours."""
        metadata = body["metadata"]
        return await self.transport.request(
            "PATCH",
            f"{self.path(resource)}/{metadata['name']}",
            params={"fieldManager": manager, "force": "true" if force else "false"},
            body=json.dumps({"apiVersion": resource.api_version, "kind": resource.kind} | body).encode(),
            content_type="application/apply-patch+yaml",
            timeout=5,
        )

    def path(self, resource: Resource) -> str:
        root = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"
        return f"{root}/namespaces/{self.namespace}/{resource.plural}"

    async def events(
        self, count: int, resource: Resource = WIDGET, *, since: str, seconds: int = 10, **more: Any
    ) -> list[WatchEvent]:
        """Watch our namespace until ``count`` events other than bookmarks came."""
        found: list[WatchEvent] = []
        async with aclosing(
            self.gateway.watch(
                resource, self.namespace, resource_version=since, server_seconds=seconds, **more
            )
        ) as stream:
            async for event in stream:
                if event.type != "BOOKMARK":
                    found.append(event)
                if len(found) >= count:
                    break
        return found

    async def version(self, resource: Resource = WIDGET) -> str:
        """Return the resourceVersion of a list now."""
        async with aclosing(self.gateway.pages(resource, self.namespace)) as pages:
            async for page in pages:
                return page.resource_version
        raise AssertionError("no page")

    async def eventually(
        self, holds: Callable[[], Awaitable[bool]], seconds: float = 60.0, every: float = 0.1
    ) -> None:
        """Wait for what a controller does in its own time."""
        async with asyncio.timeout(seconds):
            while not await holds():  # noqa: ASYNC110  no event to wait for
                await asyncio.sleep(every)

    async def gone(self, resource: Resource, name: str) -> bool:
        try:
            await self.get(name, resource)
        except MeshCAError as error:
            if error.reason == "NotFound":
                return True
            raise
        return False


CASES: dict[str, Callable[[Contract], Awaitable[None]]] = {}


def case(function: Callable[[Contract], Awaitable[None]]) -> Callable[[Contract], Awaitable[None]]:
    """Make a function part of the contract, under its name."""
    assert function.__name__ not in CASES
    CASES[function.__name__] = function
    return function
