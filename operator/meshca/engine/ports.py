"""What the engine needs of the world outside, as protocols.

``kube/`` implements ``Cluster`` over HTTP, tests implement it in memory; both pass the same contract
suite. Nothing here decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from meshca.api.names import Resource

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Some objects of a list and the resourceVersion at which the whole list was read."""

    items: list[JSON]
    resource_version: str


class Cluster(Protocol):
    """Typed-error access to one API server.

    Every write is fenced: it is refused with ``LeaseExpiringError`` when less of the Lease is left than
    the write may take. Errors: ``NotFoundError``, ``AlreadyExistsError``, ``ConflictError``,
    ``ForbiddenError``, ``InvalidError`` (422), ``ThrottledError`` (429), ``UnknownOutcomeError`` (a
    write without an answer), ``TransientError`` (everything else that passes).
    """

    async def get(self, resource: Resource, name: str, namespace: str = "") -> JSON:
        """Read one object, consistently."""
        ...

    async def list(
        self, resource: Resource, namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> list[JSON]:
        """List objects consistently (quorum read), all pages; ``namespace=""`` means everywhere."""
        ...

    def pages(self, resource: Resource) -> AsyncGenerator[Page, None]:
        """List consistently, everywhere, page by page: no more than one page needs to be in memory.

        All pages are of one moment. ``GoneError`` when the server's history no longer reaches back to it:
        what was read so far is a part, so begin again.
        """
        ...

    async def create(self, resource: Resource, body: JSON) -> JSON:
        """Create; ``AlreadyExistsError`` when the name is taken."""
        ...

    async def replace(self, resource: Resource, body: JSON) -> JSON:
        """Replace an object (PUT); ``metadata.resourceVersion`` in the body is the precondition."""
        ...

    async def replace_status(self, resource: Resource, body: JSON) -> str:
        """Write ``/status`` (PUT) and return the new resourceVersion.

        Metadata needs name, namespace and resourceVersion; spec may be absent.
        """
        ...

    async def patch(
        self, resource: Resource, name: str, namespace: str, body: JSON, *, subresource: str = ""
    ) -> JSON:
        """Merge-patch; ``metadata.resourceVersion`` and ``metadata.uid`` in the body are preconditions."""
        ...

    async def apply(self, resource: Resource, body: JSON, *, force: bool = True) -> JSON:
        """Server-side apply as our field manager; ``metadata.uid`` in the body keeps it from re-creating."""
        ...

    async def delete(
        self, resource: Resource, name: str, namespace: str = "", *, uid: str, resource_version: str = ""
    ) -> None:
        """Delete with preconditions; ``NotFoundError`` when gone, ``ConflictError`` when stale."""
        ...


class Recorder(Protocol):
    """Kubernetes Events, de-duplicated; never for successes of single leaves."""

    def record(self, regarding: Mapping[str, Any], *, kind: str, reason: str, note: str) -> None:
        """Queue one Event; ``kind`` is Normal or Warning, ``regarding`` an object with metadata."""
        ...
