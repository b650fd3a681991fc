"""What scenarios share beyond a workload's own steps: the break-glass user, more CAs, who wrote what.

Decides nothing about meshca; stands where an administrator, a restore tool or an auditor would stand.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2e import installation, workload
from e2e.client import path_of
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.audit import AuditEvent
    from e2e.cluster import Cluster
    from meshca.api.names import Resource

JSON = dict[str, Any]

SYSTEM = installation.NAMESPACE
OPERATOR = f"system:serviceaccount:{SYSTEM}:meshca"
MEDIC = "medic"
"""An administrator who is in the break-glass group."""
SPARE_BUNDLES = tuple(f"spare-{number}" for number in range(40))
"""Bundle names that the installations allow besides the default."""
TRUST_BUNDLE = "meshca-trust-bundle"
VALUES = {"trustBundle.configMapNames": f"{{{','.join([TRUST_BUNDLE, *SPARE_BUNDLES])}}}"}
STRICT_VALUES = VALUES | {"managedKeys.namespaces": "{keys}", "log.level": "debug"}
"""Chart values of the installation that scenarios may disturb."""

_numbers = itertools.count()
_bundles = {False: itertools.count(), True: itertools.count()}


def medic(cluster: Cluster) -> str:
    """Return the identity of an administrator in the break-glass group."""
    cluster.identity(MEDIC, ["system:masters", "meshca:break-glass"])
    return MEDIC


def make_namespace(cluster: Cluster, name: str, labels: dict[str, str] | None = None) -> None:
    """Make a namespace and return once it has its default account."""
    metadata = {"name": name, "labels": labels or {}}
    cluster.request("POST", path_of(names.NAMESPACE), {"metadata": metadata})
    cluster.wait_for(bool, path_of(names.SERVICE_ACCOUNT, name, "default"))


def wait_emptied(cluster: Cluster) -> None:
    """Wait until every namespace is gone whose deletion was begun.

    They are emptied seconds later, and until then the operator repairs what goes.
    """

    def all_stay(items: list[JSON]) -> bool:
        return all("deletionTimestamp" not in item["metadata"] for item in items)

    cluster.wait_for(all_stay, path_of(names.NAMESPACE))


def serves(cluster: Cluster, resource: Resource) -> bool:
    """Tell whether the API server has a kind in the version that is used here."""
    return cluster.exchange("GET", path_of(resource)).status != 404


# --- certificate authorities --------------------------------------------------------------------


def configuration(namespace: str, *, federated: bool = False, **spec: Any) -> JSON:
    """Return a CAConfiguration with a name, trust domain and bundle of its own, published in one namespace.

    ``federated``: for the clusters of a federation, where CAs stay; the few bundle names are dealt out there
    by themselves, so that what other scenarios take brings no name round again. ``spec`` adds or replaces
    fields; None leaves one out.
    """
    number = next(_numbers)
    own = {
        "trustDomain": f"ca-{number}.example",
        "trustBundle": {
            "configMapName": SPARE_BUNDLES[next(_bundles[federated]) % len(SPARE_BUNDLES)],
            "namespaceSelector": _only(namespace),
            "clusterTrustBundle": False,
        },
    }
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.CA_CONFIGURATION.kind,
        "metadata": {"name": f"ca-{number}"},
        "spec": {key: value for key, value in (own | spec).items() if value is not None},
    }


def _only(namespace: str) -> JSON:
    return {"matchLabels": {"kubernetes.io/metadata.name": namespace}}


def remove_cas(cluster: Cluster, namespace: str) -> None:
    """Delete the CAs that ``configuration`` made for a namespace: others can have their bundle names."""
    mine = _only(namespace)
    for item in cluster.request("GET", path_of(names.CA_CONFIGURATION))["items"]:
        if item["spec"].get("trustBundle", {}).get("namespaceSelector") == mine:
            cluster.exchange("DELETE", path(item["metadata"]["name"]))


def path(configuration_name: str) -> str:
    """Return the URL path of a CAConfiguration."""
    return path_of(names.CA_CONFIGURATION, name=configuration_name)


def ready(body: JSON, kind: str = "Ready") -> JSON:
    """Return one condition of an object, Ready by default; empty while it has none."""
    conditions = body.get("status", {}).get("conditions") or []
    return next((entry for entry in conditions if entry["type"] == kind), {})


def wait_ca(
    cluster: Cluster,
    name: str,
    reason: str,
    *,
    says: str = "",
    kind: str = "Ready",
    status: str = "",
    timeout: float = 60.0,
) -> JSON:
    """Wait until a condition of a CAConfiguration has a reason, a status, and a message that says so."""

    def met(objects: list[JSON]) -> JSON | None:
        for item in objects:
            found = ready(item, kind)
            if found.get("reason") == reason and says in found["message"] and status in {"", found["status"]}:
                return item
        return None

    return cluster.wait_for(met, path(name), timeout)


def wait_published(cluster: Cluster, name: str) -> JSON:
    """Wait until a CAConfiguration is Ready and says that its bundle is everywhere."""

    def everywhere(item: JSON) -> bool:
        targets = item.get("status", {}).get("bundle", {}).get("targets", {})
        done = bool(targets) and targets["total"] == targets["current"]
        return done and ready(item).get("status") == "True"

    return wait_other(cluster, path(name), everywhere)


def wait_gone(cluster: Cluster, where: str, timeout: float = 60.0) -> None:
    """Wait until an object is no more."""
    cluster.wait_for(lambda items: not items, where, timeout)


def wait_other(cluster: Cluster, where: str, differs: Callable[[JSON], bool], timeout: float = 60.0) -> JSON:
    """Wait until an object is there and ``differs`` holds for it; return it."""
    return cluster.wait_for(lambda items: next(filter(differs, items), None), where, timeout)


def wait_event(cluster: Cluster, name: str, reason: str, timeout: float = 60.0) -> JSON:
    """Wait until an Event with a reason is there about an object of that name; return it."""

    def about(item: JSON) -> bool:
        return bool(item["regarding"]["name"] == name and item["reason"] == reason)

    return wait_other(cluster, path_of(names.EVENT), about, timeout)


@dataclass(frozen=True, slots=True)
class Authority:
    """What a CA is made of: CARoots and CA Secrets with the uid and the certificate of each."""

    roots: dict[str, tuple[str, str]]
    secrets: dict[str, tuple[str, str]]


def authority(cluster: Cluster, name: str) -> Authority:
    """Read what a configuration's CA is made of now."""
    selector = {"labelSelector": f"{names.LABEL_CONFIGURATION}={name}"}
    roots = cluster.request("GET", path_of(names.CA_ROOT), query=selector)["items"]
    secrets = cluster.request("GET", path_of(names.SECRET, SYSTEM), query=selector)["items"]
    return Authority(
        {r["metadata"]["name"]: (r["metadata"]["uid"], r["spec"]["certificate"]) for r in roots},
        {s["metadata"]["name"]: (s["metadata"]["uid"], s["data"]["tls.crt"]) for s in secrets},
    )


def key_secret(cluster: Cluster, name: str, role: str) -> JSON:
    """Return the one CA Secret of a configuration with a role, ``root`` or ``signer``."""
    selector = f"{names.LABEL_CONFIGURATION}={name},{names.LABEL_KEY_ROLE}={role}"
    query = {"labelSelector": selector}
    (found,) = cluster.request("GET", path_of(names.SECRET, SYSTEM), query=query)["items"]
    return dict(found)


def secret_path(name: str, namespace: str = SYSTEM) -> str:
    """Return the URL path of a Secret, the operator's by default."""
    return path_of(names.SECRET, namespace, name)


def restored(body: JSON) -> JSON:
    """Return an object as a restore tool would create it again from what was read: no uid, no status."""
    metadata = {
        key: body["metadata"][key]
        for key in ("name", "namespace", "labels", "annotations", "finalizers")
        if key in body["metadata"]
    }
    kept = {key: value for key, value in body.items() if key not in {"metadata", "status"}}
    return kept | {"metadata": metadata}


# --- publication --------------------------------------------------------------------------------


def bundle(cluster: Cluster, namespace: str, name: str = TRUST_BUNDLE, timeout: float = 60.0) -> str:
    """Return the trust bundle published in a namespace once it is there, PEM."""
    where = path_of(names.CONFIG_MAP, namespace, name)
    found = cluster.wait_for(lambda items: items[0] if items else None, where, timeout)
    return str(found["data"][names.BUNDLE_KEY])


def issue(cluster: Cluster, namespace: str, name: str, authority_name: str, **spec: Any) -> JSON:
    """Ask for a leaf of a CA, wait until it is issued, have OpenSSL verify it under what is published.

    A leaf over a CSR unless ``spec`` names a Secret; returns the request.
    """
    asked = {"caConfigurationName": authority_name} | spec
    if not {"secretName", "request"} & spec.keys():
        asked |= {"request": workload.csr().pem}
    workload.create(cluster, workload.leaf(namespace, name, **asked))
    issued = workload.wait_reason(cluster, namespace, name, "Issued")
    published = cluster.request("GET", path(authority_name))["spec"]["trustBundle"]["configMapName"]
    verdict = workload.openssl_verify(
        issued["status"]["certificateChain"], bundle(cluster, namespace, published)
    )
    assert verdict == "", verdict
    return issued


# --- who wrote what -----------------------------------------------------------------------------


def operator_writes(cluster: Cluster, mark: int) -> list[tuple[str, str, str, str]]:
    """Return the operator's writes since a mark, the Lease left out: verb, resource, namespace, name."""
    return [
        (event.verb, "/".join(filter(None, [event.resource, event.subresource])), event.namespace, event.name)
        for event in cluster.audit(mark)
        if event.user == OPERATOR and event.resource != "leases"
    ]


def writes_for(cluster: Cluster, mark: int, ca: str, namespace: str = "") -> list[tuple[str, str]]:
    """Return verb and resource of the operator's writes for a CA and, if given, in a namespace.

    A CA's objects have its name in theirs; what others' leavings made the operator write is left out, and
    so is the default CA's bundle.
    """
    named = re.compile(rf"(.*-)?{ca}(-.*)?")
    return [
        (verb, kind)
        for verb, kind, where, name in operator_writes(cluster, mark)
        if named.fullmatch(name) or (where == namespace and name != TRUST_BUNDLE)
    ]


def bundle_writes(cluster: Cluster, mark: int) -> list[AuditEvent]:
    """Return the operator's writes of bundles in namespaces since a mark, in the order they came."""
    found = [
        event
        for event in cluster.audit(mark)
        if event.user == OPERATOR
        and event.resource == "configmaps"
        and event.name == TRUST_BUNDLE
        and event.succeeded
    ]
    return sorted(found, key=lambda event: event.received)


def bundle_delay(cluster: Cluster, mark: int, namespace: str) -> float:
    """Return the seconds from a namespace's creation to its bundle, as the audit log has them."""
    (born,) = [
        e.time
        for e in cluster.audit(mark)
        if (e.resource, e.verb, e.name) == ("namespaces", "create", namespace)
    ]
    (first, *_) = [event.time for event in bundle_writes(cluster, mark) if event.namespace == namespace]
    return (first - born).total_seconds()


def made_since(cluster: Cluster, mark: int, authority: str) -> Counter[str]:
    """Count what the operator created for a CA since a mark: CARoots, root keys, signer keys."""
    created = Counter[str]()
    for event in cluster.audit(mark):
        ours = event.user == OPERATOR and event.verb == "create" and event.succeeded
        for kind in ("root", "signer"):
            if ours and event.resource == "secrets" and event.name.startswith(f"meshca-{kind}-{authority}-"):
                created[kind] += 1
        if ours and event.resource == "caroots" and event.name.startswith(f"{authority}-"):
            created["CARoot"] += 1
    return created
