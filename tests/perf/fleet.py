"""A hundred thousand leaves for the real engine, on a disk in the place of etcd.

Everything but leaves lives in the in-process API server. Leaves are lines of a file, served page by page as a
list serves them, and a status that is written is a line of the next file, so that what is measured is the
memory and the CPU of the operator and not of a server.
"""

from __future__ import annotations

import asyncio
import json
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.engine.ports import Page
from meshca.kube.answers import WatchEvent
from meshca.kube.gateway import Gateway
from tests.fakes import pki
from tests.fakes.apiserver.transport import FakeTransport
from tests.fakes.engine import OPERATOR, Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from pathlib import Path

    from meshca.api.names import Resource
    from meshca.engine.ports import Page as _Page

JSON = dict[str, Any]
NAMESPACES = 100
ACCOUNTS = 10
LATENCY = 0.02
"""Seconds of virtual time that a write takes: with 16 in flight, 800 a second."""
BOOKMARK_SECONDS = 60.0
# What the API server notes of two writers, in the size that it really has.
_FIELDS: JSON = {"f:spec": {f"f:field{number}": {} for number in range(12)}}
_MANAGED = [
    {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "meshca.dev/v1alpha1",
        "time": "2026-03-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": _FIELDS,
    }
    for manager in ("workload", "meshca-operator")
]


@dataclass
class Books:
    """Where leaves are read from and where their statuses go; ``issued`` has the moment of each write."""

    count: int
    source: Path
    target: Path | None = None
    written: int = 0
    """How often each status was written before."""
    versions: array[int] = field(init=False)
    issued: array[float] = field(default_factory=lambda: array("d"))
    wrong: int = 0

    def __post_init__(self) -> None:
        begin = 1 + self.written * self.count
        self.versions = array("Q", range(begin, begin + self.count))

    def lines(self) -> Iterator[bytes]:
        """Yield the leaves as JSON."""
        with self.source.open("rb") as file:
            yield from file


class FleetGateway(Gateway):
    """The gateway of a cluster, with leaves out of books."""

    def __init__(self, cluster: Cluster, books: Books) -> None:
        super().__init__(FakeTransport(cluster.server, OPERATOR), clock=cluster.clock)
        self._books = books
        self._clock = cluster.clock
        self._out = books.target.open("ab") if books.target else None

    async def pages(
        self,
        resource: Resource,
        namespace: str = "",
        selectors: dict[str, str] | None = None,
        *,
        metadata_only: bool = False,
        page_size: int = 500,
    ) -> AsyncGenerator[_Page, None]:
        """List leaves out of the books, everything else as always."""
        if resource != names.LEAF:
            async for page in super().pages(
                resource, namespace, selectors, metadata_only=metadata_only, page_size=page_size
            ):
                yield page
            return
        items: list[JSON] = []
        for line in self._books.lines():
            items.append(json.loads(line))
            if len(items) == page_size:
                yield Page(items, "1")
                items = []
                await asyncio.sleep(0)
        yield Page(items, "1")

    async def watch(
        self,
        resource: Resource,
        namespace: str = "",
        selectors: dict[str, str] | None = None,
        *,
        resource_version: str,
        metadata_only: bool = False,
        server_seconds: int = 300,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Watch; of leaves nothing is ever heard but bookmarks."""
        if resource != names.LEAF:
            events = super().watch(
                resource,
                namespace,
                selectors,
                resource_version=resource_version,
                metadata_only=metadata_only,
                server_seconds=server_seconds,
                opened=opened,
            )
            async for event in events:
                yield event
            return
        opened()
        while True:
            await asyncio.sleep(BOOKMARK_SECONDS)
            yield WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": resource_version}})

    async def replace_status(self, resource: Resource, body: JSON) -> str:
        """Take in the status of a leaf if its version is the present one."""
        if resource != names.LEAF:
            return await super().replace_status(resource, body)
        await asyncio.sleep(LATENCY)
        books, number = self._books, int(body["metadata"]["name"].rpartition("-")[2])
        books.wrong += str(books.versions[number]) != body["metadata"]["resourceVersion"]
        books.versions[number] += books.count
        books.issued.append(self._clock.monotonic())
        if self._out is not None:
            self._out.write(json.dumps(leaf(number, books, body["status"])).encode() + b"\n")
        return str(books.versions[number])

    def close(self) -> None:
        """Have everything written on the disk."""
        if self._out is not None:
            self._out.close()


def leaf(number: int, books: Books, status: JSON | None = None) -> JSON:
    """Return a leaf as the API server stores it; its CSR is left to ``write``."""
    namespace, account = place(number)
    metadata = {
        "name": f"leaf-{number}",
        "namespace": namespace,
        "uid": f"{number:08x}-0000-4000-8000-{number:012x}",
        "resourceVersion": str(books.versions[number]),
        "generation": 1,
        "creationTimestamp": "2026-03-01T00:10:00Z",
        "managedFields": _MANAGED,
    }
    spec = {
        "caConfigurationName": "default",
        "serviceAccountName": account,
        "requester": f"system:serviceaccount:{namespace}:{account}",
        "renewal": "Automatic",
        "request": _request(number),
    }
    made: JSON = {"apiVersion": names.LEAF.api_version, "kind": "LeafCertificateRequest"}
    return made | {"metadata": metadata, "spec": spec} | ({"status": status} if status else {})


def place(number: int) -> tuple[str, str]:
    """Return namespace and account of a leaf."""
    return f"team-{number % NAMESPACES}", f"app-{number // NAMESPACES % ACCOUNTS}"


_requests: dict[int, str] = {}


def _request(number: int) -> str:
    """Return one of a thousand CSRs; a fleet of one key each would only take longer to make."""
    which = number % 1000
    if which not in _requests:
        _requests[which] = pki.request(pki.key("ECDSA 256", f"fleet {which}"))
    return _requests[which]


def write(books: Books) -> None:
    """Put leaves that nobody has looked at yet on the disk."""
    with books.source.open("wb") as file:
        for number in range(books.count):
            file.write(json.dumps(leaf(number, books)).encode() + b"\n")


class FleetCluster(Cluster):
    """The in-process cluster with a fleet beside it."""

    books: Books

    def gateway(self) -> Gateway:
        """Return an access to both."""
        return FleetGateway(self, self.books)

    def people(self) -> None:
        """Make the namespaces and accounts that leaves are of."""
        for number in range(NAMESPACES):
            self.server.create(names.NAMESPACE, {"metadata": {"name": f"team-{number}"}})
            for account in range(ACCOUNTS):
                self.account(f"team-{number}", f"app-{account}")
