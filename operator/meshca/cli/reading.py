"""Reads lists page by page, so that memory does not grow with the number of leaves.

Decides only what an expired page means: begin again. Never keeps a page.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from meshca.api import names
from meshca.errors import GoneError

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.api.names import Resource
    from meshca.kube.gateway import Gateway

JSON = dict[str, Any]
PAGE = 250
TRIES = 3
_Sum = TypeVar("_Sum")


async def fold(
    gateway: Gateway,
    resource: Resource,
    begin: Callable[[], _Sum],
    add: Callable[[_Sum, JSON], None],
    selectors: dict[str, str] | None = None,
) -> _Sum:
    """Add up every object of a kind; a list that outlived the server's history begins anew, three times."""
    for attempt in range(TRIES):
        total = begin()
        try:
            async with aclosing(
                gateway.pages(resource, selectors=selectors, page_size=PAGE << (2 * attempt))
            ) as pages:
                async for page in pages:
                    for item in page.items:
                        add(total, item)
        except GoneError:
            if attempt == TRIES - 1:
                raise
        else:
            return total
    raise AssertionError("not reached")


async def configurations(gateway: Gateway, name: str = "") -> list[JSON]:
    """Read one CAConfiguration (``NotFoundError``), or all by name."""
    if name:
        return [await gateway.get(names.CA_CONFIGURATION, name)]
    return sorted(await gateway.list(names.CA_CONFIGURATION), key=name_of)


async def roots(gateway: Gateway, name: str = "") -> list[JSON]:
    """Read the CARoots of one configuration, or all; by configuration, then name."""
    found = await gateway.list(names.CA_ROOT)
    chosen = [item for item in found if name in {"", configuration_of(item)}]
    return sorted(chosen, key=lambda item: (configuration_of(item), name_of(item)))


def leaf_selector(name: str) -> dict[str, str]:
    """Select the leaves of one configuration, on the server."""
    return {"fieldSelector": f"spec.caConfigurationName={name}"}


def name_of(item: JSON) -> str:
    """Return an object's name."""
    return str(item["metadata"]["name"])


def namespace_of(item: JSON) -> str:
    """Return an object's namespace, empty for cluster-scoped ones."""
    return str(item["metadata"].get("namespace", ""))


def configuration_of(item: JSON) -> str:
    """Return the CAConfiguration that a CARoot or a leaf belongs to."""
    return str((item.get("spec") or {}).get("caConfigurationName", ""))
