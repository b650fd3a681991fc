"""What a decision about a secondary depends on besides: join Secret, requests, what the link has told.

Decides what is read and which view counts: one of another primary than the join Secret names does not. Keeps
the last view and wish of each configuration; the link itself runs elsewhere, so nothing here ever waits for
the primary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.errors import InvalidError, NotFoundError
from meshca.planning.joining import read_join
from meshca.planning.primary import source_of
from meshca.planning.requested import read_requested
from meshca.planning.views import annotations_of, labels_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from meshca.engine.ports import Cluster
    from meshca.planning.desired import Desired
    from meshca.planning.joining import Join
    from meshca.planning.primary import PrimaryView, PrimaryWish

JSON = dict[str, Any]


def _unheard(_configuration: str, _wish: PrimaryWish | None) -> None:
    return None


class Primaries:
    """The hand-over between the engine and the links; belongs to the engine's event loop.

    ``on_wish(configuration, wish)`` hears of each change of what a link is to do, None when it is to end.
    """

    def __init__(self) -> None:
        self._views: dict[str, PrimaryView] = {}
        self._wishes: dict[str, PrimaryWish] = {}
        self.on_wish: Callable[[str, PrimaryWish | None], None] = _unheard

    def view(self, configuration: str) -> PrimaryView | None:
        """Return what the link of a configuration has told last."""
        return self._views.get(configuration)

    def tell(self, configuration: str, view: PrimaryView) -> None:
        """Keep what a link tells."""
        self._views[configuration] = view

    def wish(self, configuration: str, wish: PrimaryWish | None) -> None:
        """Have a link do something else from now on."""
        if self._wishes.get(configuration) == wish:
            return
        if wish is None:
            del self._wishes[configuration]
        else:
            self._wishes[configuration] = wish
        self.on_wish(configuration, wish)


class SecondaryObserver:
    """Reads what is about secondaries in the API server."""

    def __init__(self, cluster: Cluster, primaries: Primaries, operator_namespace: str) -> None:
        self._cluster = cluster
        self._primaries = primaries
        self._namespace = operator_namespace

    async def observe(
        self, body: Mapping[str, Any], desired: Desired | None, secrets: Iterable[JSON]
    ) -> dict[str, Any]:
        """Return the fields of a snapshot that are about a secondary; ``secrets`` are its CA Secrets."""
        found: dict[str, Any] = {"requested": tuple(map(read_requested, filter(_is_requested, secrets)))}
        if desired is None or desired.primary is None:
            return found
        join, problem = await self._join(desired.primary.secret)
        view = self._primaries.view(desired.configuration)
        if join is not None and view is not None:
            wanted = source_of(join, desired.primary.configuration, desired.cluster_name)
            view = view if view.source == wanted else None
        return found | {
            "join": join,
            "join_problem": problem,
            "view": view,
            "accept_sequence": annotations_of(body).get(names.ANNOTATION_ACCEPT_SEQUENCE, ""),
        }

    async def _join(self, name: str) -> tuple[Join | None, str]:
        try:
            return read_join(await self._cluster.get(names.SECRET, name, self._namespace)), ""
        except NotFoundError:
            return None, f"Secret {name!r} is not in the operator's namespace; apply the join manifest"
        except InvalidError as error:
            return None, f"{error.message}; apply the join manifest again"


def _is_requested(secret: Mapping[str, Any]) -> bool:
    return labels_of(secret).get(names.LABEL_KEY_ROLE) == names.KEY_ROLE_REQUESTED
