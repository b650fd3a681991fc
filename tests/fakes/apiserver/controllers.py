"""The garbage collector and the namespace controller, a moment after each change that concerns them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from meshca.api import names
from tests.fakes.apiserver.status import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from meshca.api.names import Resource
    from tests.fakes.apiserver.kinds import Kind
    from tests.fakes.apiserver.store import Change
    from tests.fakes.apiserver.writes import Writer

JSON = dict[str, Any]
GARBAGE_COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
NAMESPACE_CONTROLLER = "system:serviceaccount:kube-system:namespace-controller"


class Controllers:
    """Runs ``settle`` some seconds after a change; ``delay`` None means only when a test says so."""

    def __init__(self, writer: Writer, kinds: dict[Resource, Kind], delay: float | None = 0.05) -> None:
        self._writer = writer
        self._kinds = kinds
        self.delay = delay
        self._due = False
        writer.store.listeners.append(self._heard)

    def settle(self) -> None:
        """Remove what nobody owns any more and finish terminating namespaces, until nothing changes."""
        self._due = False
        while self._collect() or self._finish_namespaces():
            pass

    def _heard(self, change: Change) -> None:
        concerns = change.type == "DELETED" or bool(
            change.item["metadata"].get("ownerReferences") or change.item["metadata"].get("deletionTimestamp")
        )
        if not concerns or self._due or self.delay is None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._due = True
        loop.call_later(self.delay, self.settle)

    def _all(self) -> Iterator[tuple[Kind, JSON]]:
        for resource, kind in self._kinds.items():
            for item in self._writer.store.items(resource):
                yield kind, item

    def _collect(self) -> bool:
        present = {item["metadata"]["uid"]: item for _, item in self._all()}
        changed = False
        for kind, item in list(self._all()):
            metadata = item["metadata"]
            owners = metadata.get("ownerReferences") or []
            living = [owner for owner in owners if _counts(present.get(owner["uid"]), owner, metadata)]
            if owners and not living and not metadata.get("deletionTimestamp"):
                changed = self._delete(kind, item, GARBAGE_COLLECTOR) or changed
            elif len(living) < len(owners) and living:
                self._patch(kind, item, {"ownerReferences": living})
                changed = True
            elif "foregroundDeletion" in (metadata.get("finalizers") or ()):
                changed = self._foreground(kind, item) or changed
        return changed

    def _foreground(self, kind: Kind, item: JSON) -> bool:
        metadata = item["metadata"]
        dependents = [
            (other_kind, other)
            for other_kind, other in self._all()
            if any(o["uid"] == metadata["uid"] for o in other["metadata"].get("ownerReferences") or ())
        ]
        if not metadata.get("deletionTimestamp"):
            return False
        if not dependents:
            rest = [name for name in metadata["finalizers"] if name != "foregroundDeletion"]
            self._patch(kind, item, {"finalizers": rest})
            return True
        fresh = [pair for pair in dependents if not pair[1]["metadata"].get("deletionTimestamp")]
        deleted = [self._delete(other_kind, other, GARBAGE_COLLECTOR) for other_kind, other in fresh]
        return any(deleted)

    def _finish_namespaces(self) -> bool:
        kind = self._kinds[names.NAMESPACE]
        changed = False
        for namespace in self._writer.store.items(names.NAMESPACE):
            if not namespace["metadata"].get("deletionTimestamp"):
                continue
            name = namespace["metadata"]["name"]
            content = [pair for pair in self._all() if pair[1]["metadata"].get("namespace") == name]
            for other_kind, item in content:
                if not item["metadata"].get("deletionTimestamp"):
                    changed = self._delete(other_kind, item, NAMESPACE_CONTROLLER) or changed
            if not content:
                self._writer.store.commit(kind.resource, "DELETED", namespace, namespace)
                changed = True
        return changed

    def _delete(self, kind: Kind, item: JSON, user: str) -> bool:
        metadata = item["metadata"]
        try:
            self._writer.delete(
                kind,
                metadata.get("namespace", ""),
                metadata["name"],
                {"preconditions": {"uid": metadata["uid"]}},
                user=user,
            )
        except ApiError:
            return False  # refused by admission: the real controllers try again later, too
        return True

    def _patch(self, kind: Kind, item: JSON, metadata: JSON) -> None:
        self._writer.merge_patch(
            kind,
            item["metadata"].get("namespace", ""),
            item["metadata"]["name"],
            {"metadata": metadata},
            subresource="",
            user=GARBAGE_COLLECTOR,
            manager="kube-controller-manager",
        )


def _counts(owner: JSON | None, reference: JSON, dependent: JSON) -> bool:
    """Tell whether the owner exists, under that name, where the dependent may refer to it."""
    if owner is None or owner["metadata"]["name"] != reference["name"]:
        return False
    return owner["metadata"].get("namespace", "") in {"", dependent.get("namespace", "")}
