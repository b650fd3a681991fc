"""The kinds that the server knows: what is special about each."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.names import Resource
from tests.fakes.apiserver import schema
from tests.fakes.apiserver.status import bad_request, invalid

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = dict[str, Any]

CRD = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
_DNS1123 = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind; ``check(new, old)`` raises what the real validation would answer."""

    resource: Resource
    status: bool = False
    generation: bool = False
    custom: bool = False
    unconditional_update: bool = True
    create_on_update: bool = False
    selectable: tuple[str, ...] = ()
    schema: JSON = field(default_factory=dict, hash=False, compare=False)
    prepare: Callable[[JSON], JSON] | None = None
    check: Callable[[Resource, JSON, JSON | None], None] | None = None
    any_name: bool = False

    def list_type(self, path: tuple[str, ...]) -> str | tuple[str, ...]:
        if path == ("metadata", "ownerReferences"):
            return ("uid",)
        if path == ("metadata", "finalizers"):
            return "set"
        node = self.schema
        for part in path:
            node = node.get("items", node)
            node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
            if not isinstance(node, dict):
                return ""
        declared = node.get("x-kubernetes-list-type", "atomic")
        if declared == "map":
            return tuple(node["x-kubernetes-list-map-keys"])
        return "set" if declared == "set" else ""

    def shaped(self, item: JSON) -> JSON:
        """Prune, default, convert, as decoding does."""
        if self.schema:
            kept = {key: item[key] for key in ("apiVersion", "kind", "metadata") if key in item}
            item = schema.shape(item, self.schema) | kept
        return self.prepare(item) if self.prepare else item

    def validate(self, new: JSON, old: JSON | None) -> None:
        name = new["metadata"].get("name", "")
        if not self.any_name and not _DNS1123.match(name):
            raise invalid(
                self.resource, name, "metadata.name", "Invalid value: a lowercase RFC 1123 subdomain"
            )
        body = {key: value for key, value in new.items() if key not in {"apiVersion", "kind", "metadata"}}
        for path, text in schema.complaints(body, self.schema):
            raise invalid(self.resource, name, path, text)
        if self.check:
            self.check(self.resource, new, old)


def _prepare_secret(item: JSON) -> JSON:
    found = dict(item)
    data = dict(found.get("data") or {})
    for key, text in (found.pop("stringData", None) or {}).items():
        data[key] = base64.b64encode(text.encode()).decode()
    for key, text in data.items():
        try:
            base64.b64decode(text, validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise bad_request(
                f"Secret in version v1 cannot be handled: data.{key}: illegal base64"
            ) from error
    if data:
        found["data"] = data
    return {"type": "Opaque"} | found


def _check_secret(resource: Resource, new: JSON, old: JSON | None) -> None:
    name = new["metadata"]["name"]
    if old is not None and old["type"] != new["type"]:
        raise invalid(resource, name, "type", "Invalid value: field is immutable")
    if old is not None and old.get("immutable") and old.get("data") != new.get("data"):
        raise invalid(resource, name, "data", "Forbidden: field is immutable when `immutable` is set")
    if new["type"] == "kubernetes.io/tls":
        for key in ("tls.crt", "tls.key"):
            if key not in (new.get("data") or {}):
                raise invalid(resource, name, f"data[{key}]", "Required value", "FieldValueRequired")


def _prepare_config_map(item: JSON) -> JSON:
    for key, text in (item.get("data") or {}).items():
        if not isinstance(text, str):
            raise bad_request(f"ConfigMap in version v1 cannot be handled: data.{key}: not a string")
    return item


def _prepare_namespace(item: JSON) -> JSON:
    found = dict(item)
    metadata = dict(found["metadata"])
    labels = dict(metadata.get("labels") or {})
    if metadata.get("name"):
        labels["kubernetes.io/metadata.name"] = metadata["name"]
    found["metadata"] = metadata | {"labels": labels}
    found.setdefault("spec", {"finalizers": ["kubernetes"]})
    found.setdefault("status", {"phase": "Active"})
    return found


def _check_lease(resource: Resource, new: JSON, _old: JSON | None) -> None:
    spec = new.get("spec") or {}
    seconds = spec.get("leaseDurationSeconds")
    if seconds is not None and seconds <= 0:
        raise invalid(
            resource,
            new["metadata"]["name"],
            "spec.leaseDurationSeconds",
            "Invalid value: must be greater than 0",
        )


def _check_event(resource: Resource, new: JSON, old: JSON | None) -> None:
    name = new["metadata"]["name"]
    for key in ("eventTime", "reportingController", "reportingInstance", "action", "reason", "type"):
        if not new.get(key):
            raise invalid(resource, name, key, "Required value", "FieldValueRequired")
    if len(new.get("note", "").encode()) > 1024:
        raise invalid(resource, name, "note", "Invalid value: can have at most 1024 characters")
    if new["type"] not in {"Normal", "Warning"}:
        raise invalid(resource, name, "type", "Invalid value: has to be Normal or Warning")
    regarding = new.get("regarding") or {}
    if (regarding.get("namespace") or "default") != new["metadata"]["namespace"]:
        raise invalid(resource, name, "regarding.namespace", "Invalid value: does not match event.namespace")
    if old is not None and {**old, "series": 0, "metadata": 0} != {**new, "series": 0, "metadata": 0}:
        raise invalid(resource, name, "", "Invalid value: field is immutable")


def _check_bundle(resource: Resource, new: JSON, old: JSON | None) -> None:
    name, spec = new["metadata"]["name"], new.get("spec") or {}
    signer = spec.get("signerName", "")
    if signer and not name.startswith(signer.replace("/", ":") + ":"):
        raise invalid(
            resource, name, "metadata.name", "Invalid value: must be prefixed with the signer's name"
        )
    if not signer and ":" in name:
        raise invalid(resource, name, "metadata.name", "Invalid value: must not contain a colon")
    if "BEGIN CERTIFICATE" not in spec.get("trustBundle", ""):
        raise invalid(
            resource, name, "spec.trustBundle", "Invalid value: at least one trust anchor must be provided"
        )
    if old is not None and old["spec"].get("signerName", "") != signer:
        raise invalid(resource, name, "spec.signerName", "Invalid value: field is immutable")


def _check_binding(resource: Resource, new: JSON, old: JSON | None) -> None:
    name = new["metadata"]["name"]
    if old is not None and new.get("roleRef") != old.get("roleRef"):
        raise invalid(resource, name, "roleRef", "Invalid value: cannot change roleRef")


def built_in() -> list[Kind]:
    return [
        Kind(
            names.SECRET,
            prepare=_prepare_secret,
            check=_check_secret,
            selectable=("type",),
        ),
        Kind(names.CONFIG_MAP, prepare=_prepare_config_map),
        Kind(names.NAMESPACE, status=True, prepare=_prepare_namespace, selectable=("status.phase",)),
        Kind(names.SERVICE_ACCOUNT),
        Kind(names.ROLE, any_name=True),
        Kind(names.ROLE_BINDING, any_name=True, check=_check_binding),
        Kind(names.CLUSTER_ROLE, any_name=True),
        Kind(names.CLUSTER_ROLE_BINDING, any_name=True, check=_check_binding),
        Kind(names.LEASE, unconditional_update=False, create_on_update=True, check=_check_lease),
        Kind(names.EVENT, check=_check_event, create_on_update=True),
        Kind(
            names.CLUSTER_TRUST_BUNDLE,
            check=_check_bundle,
            unconditional_update=False,
            any_name=True,
            selectable=("spec.signerName",),
        ),
        Kind(names.VALIDATING_POLICY, status=True, generation=True, unconditional_update=False),
        Kind(names.VALIDATING_BINDING, generation=True, unconditional_update=False),
    ]


def custom(resource: Resource, *, selectable: tuple[str, ...] = (), schema: JSON | None = None) -> Kind:
    """Make a custom kind with a status subresource."""
    return Kind(
        resource,
        status=True,
        generation=True,
        custom=True,
        unconditional_update=False,
        selectable=selectable,
        schema=schema or {},
    )


def from_crd(document: JSON) -> Kind:
    """Read the storage version of a CustomResourceDefinition."""
    spec = document["spec"]
    version = next(entry for entry in spec["versions"] if entry["storage"])
    return Kind(
        Resource(
            spec["group"],
            version["name"],
            spec["names"]["plural"],
            spec["names"]["kind"],
            namespaced=spec["scope"] == "Namespaced",
        ),
        status="status" in version.get("subresources", {}),
        generation=True,
        custom=True,
        unconditional_update=False,
        selectable=tuple(entry["jsonPath"].lstrip(".") for entry in version.get("selectableFields", ())),
        schema=version["schema"]["openAPIV3Schema"],
    )
