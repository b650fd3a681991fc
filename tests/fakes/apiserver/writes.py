"""What each write does to an object, with the preconditions and separations of the real server."""

from __future__ import annotations

import copy
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshca.api import names
from tests.fakes.apiserver import bodies, fieldsets, status

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.clock import Clock
    from tests.fakes.apiserver.kinds import Kind
    from tests.fakes.apiserver.store import Store

JSON = dict[str, Any]
_NOTHING = object()
_SERVER_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


@dataclass(frozen=True, slots=True)
class Admission:
    """What an admission check sees; ``verb`` is create, update or delete."""

    user: str
    verb: str
    kind: Kind
    subresource: str
    new: JSON | None
    old: JSON | None


class Writer:
    """Create, update, apply and delete on a Store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        # Each may raise ApiError, like an admission policy would.
        self.admission: list[Callable[[Admission], None]] = []

    def create(self, kind: Kind, namespace: str, body: JSON, *, user: str, manager: str) -> JSON:
        body = bodies.decoded(kind, body)
        metadata = dict(body["metadata"])
        if metadata.get("namespace", namespace) != namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if metadata.get("resourceVersion"):
            raise status.internal("resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        if not metadata.get("name"):
            raise status.invalid(
                kind.resource, "", "metadata.name", "Required value: name or generateName is required"
            )
        self._check_namespace(kind, namespace, metadata["name"])
        if self.store.get(kind.resource, (namespace, metadata["name"])) is not None:
            raise status.already_exists(kind.resource, metadata["name"])
        for field in (*_SERVER_FIELDS, "managedFields", "selfLink"):
            metadata.pop(field, None)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": self._now()}
        if namespace:
            metadata["namespace"] = namespace
        if kind.generation:
            metadata["generation"] = 1
        item = body | {"metadata": metadata}
        if kind.status:
            item.pop("status", None)
        item = kind.shaped(item)
        self._admit(Admission(user, "create", kind, "", item, None))
        kind.validate(item, None)
        stored = self.store.commit(kind.resource, "ADDED", item, None)
        self._own(kind, (manager, "Update", ""), {}, stored)
        return stored

    def replace(
        self, kind: Kind, namespace: str, name: str, body: JSON, *, subresource: str, user: str, manager: str
    ) -> JSON:
        body = bodies.decoded(kind, body)
        metadata = body["metadata"]
        if metadata.get("name", name) != name or metadata.get("namespace", namespace) != namespace:
            raise status.bad_request(
                f"the name of the object ({metadata.get('name')}) does not match the name on the URL ({name})"
            )
        old = self.store.get(kind.resource, (namespace, name))
        if old is None:
            if kind.create_on_update and not subresource and not metadata.get("resourceVersion"):
                return self.create(kind, namespace, body, user=user, manager=manager)
            raise status.not_found(kind.resource, name)
        if not metadata.get("resourceVersion") and not kind.unconditional_update:
            raise status.invalid(
                kind.resource,
                name,
                "metadata.resourceVersion",
                "Invalid value: 0: must be specified for an update",
            )
        if metadata.get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            raise status.conflict(
                kind.resource,
                name,
                f"Precondition failed: UID in precondition: {metadata['uid']}, "
                f"UID in object meta: {old['metadata']['uid']}",
            )
        return self._update(kind, old, body, subresource=subresource, user=user, manager=manager)

    def merge_patch(
        self, kind: Kind, namespace: str, name: str, patch: JSON, *, subresource: str, user: str, manager: str
    ) -> JSON:
        old = self.store.get(kind.resource, (namespace, name))
        if old is None:
            raise status.not_found(kind.resource, name)
        new = bodies.merge_patch(copy.deepcopy(old), patch)
        return self._update(kind, old, new, subresource=subresource, user=user, manager=manager)

    def apply(
        self, kind: Kind, namespace: str, name: str, config: JSON, *, manager: str, force: bool, user: str
    ) -> JSON:
        config = bodies.decoded(kind, config)
        if config["metadata"].get("name", name) != name:
            raise status.bad_request("metadata.name does not match the name on the URL")
        if config["metadata"].get("managedFields"):
            raise status.bad_request("metadata.managedFields must be nil")
        old = self.store.get(kind.resource, (namespace, name))
        uid = config["metadata"].get("uid")
        if old is None:
            if uid:
                raise status.conflict(
                    kind.resource,
                    name,
                    f"uid mismatch: the provided object specified uid {uid}, "
                    "and no existing object was found",
                )
            return self._apply_new(kind, namespace, name, config, manager=manager, user=user)
        new, owners = self._applied(kind, old, config, manager, force=force)
        stored = self._update(kind, old, new, subresource="", user=user, manager="")
        if stored["metadata"]["uid"] in self.store.owners:
            self.store.owners[stored["metadata"]["uid"]] = owners
        return stored

    def delete(self, kind: Kind, namespace: str, name: str, options: JSON, *, user: str) -> tuple[JSON, bool]:
        """Delete or mark; tells whether the object is gone."""
        old = self.store.get(kind.resource, (namespace, name))
        if old is None:
            raise status.not_found(kind.resource, name)
        metadata = old["metadata"]
        for field, text in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            wanted = (options.get("preconditions") or {}).get(field)
            if wanted is not None and wanted != metadata[field]:
                raise status.conflict(
                    kind.resource,
                    name,
                    f"the {text} in the precondition ({wanted}) does not match the {text} in record "
                    f"({metadata[field]})",
                )
        self._admit(Admission(user, "delete", kind, "", None, old))
        finalizers = list(metadata.get("finalizers") or ())
        if options.get("propagationPolicy") == "Foreground" and "foregroundDeletion" not in finalizers:
            finalizers.append("foregroundDeletion")
        terminating = kind.resource == names.NAMESPACE
        if not finalizers and not (terminating and (old.get("spec") or {}).get("finalizers")):
            return self.store.commit(kind.resource, "DELETED", old, old), True
        if metadata.get("deletionTimestamp"):
            return old, False
        metadata = metadata | {"deletionTimestamp": self._now(), "deletionGracePeriodSeconds": 0}
        if finalizers:
            metadata["finalizers"] = finalizers
        if "generation" in metadata:
            metadata["generation"] += 1
        marked = old | {"metadata": metadata} | ({"status": {"phase": "Terminating"}} if terminating else {})
        return self.store.commit(kind.resource, "MODIFIED", marked, old), False

    def _update(self, kind: Kind, old: JSON, new: JSON, *, subresource: str, user: str, manager: str) -> JSON:
        before, name = old["metadata"], old["metadata"]["name"]
        version = new["metadata"].get("resourceVersion")
        if version and version != before["resourceVersion"]:
            raise status.conflict(kind.resource, name)
        if new["metadata"].get("uid", before["uid"]) != before["uid"]:
            raise status.invalid(
                kind.resource,
                name,
                "metadata.uid",
                f'Invalid value: "{new["metadata"]["uid"]}": field is immutable',
            )
        if new["metadata"].get("deletionTimestamp") and not before.get("deletionTimestamp"):
            raise status.invalid(
                kind.resource, name, "metadata.deletionTimestamp", "Invalid value: field is immutable"
            )
        if new["metadata"].get("namespace", "") != before.get("namespace", ""):
            raise status.bad_request("the namespace of the object does not match the URL's")
        if new["metadata"].get("name", name) != name:
            raise status.bad_request(
                f"the name of the object ({new['metadata']['name']}) does not match the URL's ({name})"
            )
        new = self._separated(kind, old, new, subresource)
        self._check_finalizers(kind, old, new)
        new = kind.shaped(new)
        self._admit(Admission(user, "update", kind, subresource, new, old))
        kind.validate(new, old)
        if kind.generation and bodies.body(new) != bodies.body(old):
            new = new | {"metadata": new["metadata"] | {"generation": before["generation"] + 1}}
        if new == old:
            return old
        if before.get("deletionTimestamp") and not new["metadata"].get("finalizers") and not bodies.held(new):
            self.store.commit(kind.resource, "DELETED", new, old)
            return new
        stored = self.store.commit(kind.resource, "MODIFIED", new, old)
        if manager:
            self._own(kind, (manager, "Update", subresource), old, stored)
        return stored

    def _separated(self, kind: Kind, old: JSON, new: JSON, subresource: str) -> JSON:
        """Let each endpoint change only its own half, and nobody what belongs to the server."""
        if subresource == "status":
            found = {key: value for key, value in old.items() if key != "status"}
            return found | ({"status": new["status"]} if "status" in new else {})
        metadata = {
            key: value
            for key, value in new["metadata"].items()
            if key not in {*_SERVER_FIELDS, "managedFields", "selfLink"}
        }
        for field in ("name", "namespace", "resourceVersion", *_SERVER_FIELDS):
            if field in old["metadata"]:
                metadata[field] = old["metadata"][field]
        for field in ("labels", "annotations", "finalizers", "ownerReferences"):
            if not metadata.get(field):
                metadata.pop(field, None)
        found = new | {"metadata": metadata}
        if kind.status:
            found.pop("status", None)
            if "status" in old:
                found["status"] = old["status"]
        return found

    def _check_finalizers(self, kind: Kind, old: JSON, new: JSON) -> None:
        added = set(new["metadata"].get("finalizers") or ()) - set(old["metadata"].get("finalizers") or ())
        if old["metadata"].get("deletionTimestamp") and added:
            raise status.invalid(
                kind.resource,
                old["metadata"]["name"],
                "metadata.finalizers",
                "Forbidden: no new finalizers can be added if the object is being deleted, "
                f"found new finalizers {sorted(added)}",
                "FieldValueForbidden",
            )

    def _apply_new(
        self, kind: Kind, namespace: str, name: str, config: JSON, *, manager: str, user: str
    ) -> JSON:
        body = config | {"metadata": config["metadata"] | {"name": name}}
        stored = self.create(kind, namespace, body, user=user, manager="")
        applied = fieldsets.leaves(config, kind.list_type)
        self.store.owners[stored["metadata"]["uid"]] = {(manager, "Apply", ""): set(applied)}
        return stored

    def _applied(
        self, kind: Kind, old: JSON, config: JSON, manager: str, *, force: bool
    ) -> tuple[JSON, fieldsets.Owners]:
        config = {key: value for key, value in config.items() if key != "status"} if kind.status else config
        wanted = fieldsets.leaves(config, kind.list_type)
        live = fieldsets.leaves(old, kind.list_type)
        me = (manager, "Apply", "")
        owners = {who: set(paths) for who, paths in self.store.owners.get(old["metadata"]["uid"], {}).items()}
        differs = {path for path, value in wanted.items() if live.get(path, _NOTHING) != value}
        for who, paths in list(owners.items()):
            if who == me or not (contested := paths & differs):
                continue
            if not force:
                raise status.field_conflict(sorted(map(fieldsets.dotted, contested)), who[0])
            owners[who] = paths - contested
        new = fieldsets.merge(old, config, (), kind.list_type)
        others = {path for who, paths in owners.items() if who != me for path in paths}
        for path in sorted(owners.get(me, set()) - wanted.keys() - others, key=repr):
            new = fieldsets.remove(new, path, (), kind.list_type)
        owners[me] = set(wanted)
        return new, {who: paths for who, paths in owners.items() if paths}

    def _own(self, kind: Kind, owner: fieldsets.Owner, old: JSON, new: JSON) -> None:
        uid = new["metadata"]["uid"]
        before = fieldsets.leaves(old, kind.list_type) if old else {}
        after = fieldsets.leaves(new, kind.list_type)
        self.store.owners[uid] = fieldsets.record_update(self.store.owners.get(uid, {}), owner, before, after)

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        if not kind.resource.namespaced:
            return
        found = self.store.get(names.NAMESPACE, ("", namespace))
        if found is None:
            raise status.not_found(names.NAMESPACE, namespace)
        if found["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            causes = [{"reason": "NamespaceTerminating", "message": why, "field": "metadata.namespace"}]
            raise status.forbidden(kind.resource, name, why, causes)

    def _admit(self, admission: Admission) -> None:
        for check in self.admission:
            check(admission)

    def _now(self) -> str:
        return self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
