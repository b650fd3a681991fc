"""What a cluster owes once everything that was wrong has ended (I8, I7, I6), read from its API server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.api.v1alpha1.caconfiguration import CAConfigurationSpec
from meshca.api.v1alpha1.scalars import parse_time
from meshca.pki import certificates, keys
from meshca.planning.desired import resolve
from tests.fakes.engine import NAMESPACE
from tests.simulation.cluster import BUNDLE, CONFIGURATION
from tests.simulation.evidence import entry, pair_ok
from tests.simulation.places import owes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.cluster import SimCluster

JSON = dict[str, Any]
FINISHED = {"None", "Completed", "Aborted"}


def owed(cluster: SimCluster) -> str:
    """Say the first thing that is not yet as it was asked for, or ""."""
    return next(_owed(cluster), "")


def _owed(cluster: SimCluster) -> Iterator[str]:
    body = cluster.configuration
    ready, turning = cluster.condition("Ready"), cluster.condition("RotationInProgress")
    if ready[0] != "True":
        yield f"the CA is not ready: {ready}"
    if turning[0] != "False" or turning[1] not in FINISHED:
        yield f"a rotation is not over: {turning}"
    for told in cluster.status.get("conditions") or ():
        if told.get("observedGeneration") != body["metadata"]["generation"]:
            yield f"condition {told['type']} is of another generation"
    yield from _owed_root(cluster)
    yield from _owed_bundles(cluster)
    for leaf in cluster.server.all(names.LEAF):
        yield from _owed_leaf(cluster, leaf)
    degraded = cluster.condition("Degraded")
    if degraded[0] == "True":
        yield f"degraded: {degraded}"


def _owed_root(cluster: SimCluster) -> Iterator[str]:
    active = cluster.server.find(names.CA_ROOT, cluster.status.get("activeRoot", ""))
    if active is None:
        yield "there is no active root"
        return
    states = [_state(root) for root in cluster.server.all(names.CA_ROOT)]
    if states.count("Active") != 1 or _state(active) != "Active":
        yield f"states of roots: {states}"
    if cluster.follows is not None:
        if (there := cluster.follows.status.get("activeRoot")) != active["metadata"]["name"]:
            yield f"the active root is {active['metadata']['name']}, the primary's {there}"
        return
    spec = CAConfigurationSpec.read(cluster.configuration.get("spec"), at="spec")
    wish = resolve(CONFIGURATION, spec)
    certificate = certificates.load_one(active["spec"]["certificate"])
    key = certificates.public_key_of(certificate)
    notes = active["metadata"].get("annotations") or {}
    if wish.imported_secret:
        wanted = cluster.server.find(names.SECRET, wish.imported_secret, NAMESPACE) or {}
        if certificates.load_one(entry(wanted, "tls.crt")) != certificate:
            yield "the active root is not the one that was brought along"
    elif keys.spec_of(key) != wish.key:
        yield f"the active root has a key {keys.spec_of(key)}, wanted {wish.key}"
    elif notes.get(names.ANNOTATION_TRIGGER, "") != wish.trigger:
        yield f"the active root is of trigger {notes.get(names.ANNOTATION_TRIGGER)!r}, not {wish.trigger!r}"


def _owed_bundles(cluster: SimCluster) -> Iterator[str]:
    roots = cluster.server.all(names.CA_ROOT)
    trusted = {
        certificates.fingerprint(certificates.load_one(root["spec"]["certificate"]))
        for root in roots
        if _state(root) != "Pruned"
    }
    for namespace in cluster.server.all(names.NAMESPACE):
        name = namespace["metadata"]["name"]
        if not owes(cluster.server, cluster.configuration, name, BUNDLE):
            continue
        found = cluster.server.find(names.CONFIG_MAP, BUNDLE, name)
        held = _fingerprints((found or {}).get("data", {}).get(names.BUNDLE_KEY, ""))
        if held != trusted:
            yield f"the bundle of namespace {name!r} holds {len(held)} of {len(trusted)} roots, or others"
    told = cluster.status.get("bundle", {}).get("targets", {})
    if told.get("total") != told.get("current"):
        yield f"bundle targets: {told}"


def _fingerprints(text: str) -> set[str]:
    if "BEGIN CERTIFICATE" not in text:
        return set()
    return {certificates.fingerprint(found) for found in certificates.load_all(text)}


def _owed_leaf(cluster: SimCluster, leaf: JSON) -> Iterator[str]:
    meta, status = leaf["metadata"], leaf.get("status") or {}
    name = f"{meta['namespace']}/{meta['name']}"
    reason = next((c["reason"] for c in status.get("conditions") or ()), "")
    if reason == "SecretConflict" and _rivals(cluster, leaf):
        return
    if (status.get("state"), reason) != ("Issued", "Issued"):
        yield f"leaf {name} is {status.get('state')}, {reason}"
        return
    if parse_time(status["notAfter"]) <= cluster.true.now():
        yield f"leaf {name} has expired"
    if status.get("root") != cluster.status.get("activeRoot"):
        yield f"leaf {name} is under {status.get('root')}"
    if secret_name := leaf["spec"].get("secretName"):
        yield from _owed_secret(cluster, leaf, secret_name)


def _rivals(cluster: SimCluster, leaf: JSON) -> bool:
    meta, wanted = leaf["metadata"], leaf["spec"].get("secretName")
    secret = cluster.server.find(names.SECRET, wanted, meta["namespace"])
    if secret is not None and not secret["metadata"].get("ownerReferences"):
        return True
    return any(
        other["metadata"]["uid"] != meta["uid"] and other["spec"].get("secretName") == wanted
        for other in cluster.server.all(names.LEAF, meta["namespace"])
    )


def _owed_secret(cluster: SimCluster, leaf: JSON, name: str) -> Iterator[str]:
    secret = cluster.server.find(names.SECRET, name, leaf["metadata"]["namespace"])
    if secret is None:
        yield f"Secret {name!r} of {leaf['metadata']['name']!r} is missing"
    elif entry(secret, "tls.crt") != leaf["status"]["certificateChain"]:
        yield f"Secret {name!r} holds another certificate than {leaf['metadata']['name']!r}"
    elif not pair_ok(secret):
        yield f"Secret {name!r} holds a pair that does not fit"


def overdue(cluster: SimCluster) -> list[str]:
    """Return which leaves that are renewed by the operator have expired."""
    now = cluster.true.now()
    return [
        f"leaf {leaf['metadata']['name']} expired"
        for leaf in cluster.server.all(names.LEAF)
        if leaf["spec"].get("renewal") == "Automatic" or "secretName" in leaf["spec"]
        if (end := (leaf.get("status") or {}).get("notAfter")) and parse_time(end) < now
    ]


def left_over(cluster: SimCluster) -> str:
    """Say what should be gone by now: roots that nobody needs, and keys that belong to nothing."""
    roots = cluster.server.all(names.CA_ROOT)
    secrets = [
        (item["metadata"].get("labels") or {}).get(names.LABEL_KEY_ROLE, "")
        for item in cluster.server.all(names.SECRET, NAMESPACE)
    ]
    roles = (names.KEY_ROLE_ROOT, names.KEY_ROLE_SIGNER, names.KEY_ROLE_REQUESTED)
    counts = (len(roots), *map(secrets.count, roles))
    wanted = (1, 1, 1, 0) if cluster.follows is None else (1, 0, 1, 0)
    return "" if counts == wanted else f"{cluster.name}: CARoots, root, signer and requested keys: {counts}"


def _state(root: JSON) -> str:
    return str((root.get("status") or {}).get("state", ""))
