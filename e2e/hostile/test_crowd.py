"""A thousand namespaces: each gets its bundle with one write, at once, and so does the next one."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from e2e import installation, scenario, workload
from e2e.client import path_of
from e2e.mesh import rotation
from e2e.runtime import fleet
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from e2e.cluster import Cluster
    from e2e.installation import Installation

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]
CROWD = 1000
BUNDLES = path_of(names.CONFIG_MAP)
PATIENCE = 180.0


@pytest.fixture
def crowded(make_cluster: Callable[[str], Cluster]) -> Iterator[Installation]:
    """Return meshca in a cluster of its own, where namespaces come while its policy takes effect."""
    cluster = make_cluster("crowd")
    if cluster.has_nodes:
        pytest.skip("a node has enough to do without them")
    made = installation.install(cluster, configuration=None)
    cluster.apply(installation.DEFAULT)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: create(cluster, f"crowd-{number:04}"), range(CROWD)))
    cluster.wait(scenario.path("default"), timeout=PATIENCE)
    yield made
    made.operator.stop()


def create(cluster: Cluster, name: str) -> None:
    cluster.request("POST", path_of(names.NAMESPACE), {"metadata": {"name": name}})


def everywhere(cluster: Cluster, digest: str) -> None:
    """Wait until the status of the configuration says that this bundle was read back everywhere."""

    def met(item: JSON) -> bool:
        bundle = item["status"].get("bundle") or {}
        targets = bundle.get("targets") or {}
        return bool(
            digest in {"", bundle.get("digest")}
            and targets.get("total", 0) >= CROWD
            and targets["total"] == targets.get("current")
        )

    scenario.wait_other(cluster, scenario.path("default"), met, timeout=PATIENCE)


def leaf_issued(cluster: Cluster, mark: int) -> datetime:
    """Return when the operator first wrote the status of a leaf since a mark."""
    return next(e.received for e in cluster.audit(mark) if e.resource == names.LEAF.plural and e.subresource)


def test_a_thousand_namespaces_get_each_bundle_once_and_the_next_one_within_five_seconds(
    crowded: Installation,
) -> None:
    cluster, operator = crowded.cluster, crowded.operator
    everywhere(cluster, "")
    first = scenario.bundle_writes(cluster, 0)
    counts = Counter(event.namespace for event in first)
    total = len(cluster.request("GET", path_of(names.NAMESPACE))["items"])
    assert (len(counts), set(counts.values())) == (total, {1})
    # On a machine on which all take minutes, one may take longer.
    soon = max(5.0, (first[-1].time - first[0].received).total_seconds() / 8)

    mark = cluster.audit_mark()
    create(cluster, "next")
    scenario.bundle(cluster, "next", timeout=60)
    assert scenario.bundle_delay(cluster, mark, "next") < soon
    everywhere(cluster, "")

    # A rotation changes the bundle everywhere; one more namespace comes amid it.
    mark = cluster.audit_mark()
    old = rotation.active(cluster, "default")
    rotation.begin(cluster, "default")
    cluster.wait_for(lambda items: len(items[0]["status"]["bundle"]["roots"]) > 1, scenario.path("default"))
    create(cluster, "amid")
    workload.create(cluster, workload.leaf("default", "amid", request=workload.csr().pem))
    scenario.bundle(cluster, "amid", timeout=60)
    workload.wait_reason(cluster, "default", "amid", "Issued")
    # Or the rotation would wait for its holder to ask again.
    cluster.request("DELETE", workload.path("default", "amid"))
    assert scenario.bundle_delay(cluster, mark, "amid") < soon
    rotation.wait_active(cluster, "default", old, timeout=PATIENCE)
    again = scenario.bundle_writes(cluster, mark)
    counts = Counter(event.namespace for event in again)
    assert len(counts) == total + 2
    assert {place for place, count in counts.items() if count != 1} <= {"amid"}, "one write for each place"
    assert leaf_issued(cluster, mark) < again[-1].received, "leaves wait for nothing"
    took = (again[-1].time - again[0].received).total_seconds()
    print(f"a bundle in {len(counts)} namespaces: {took:.1f} s, {len(again)} writes")

    rotation.follow(cluster, "default", old, timeout=PATIENCE)
    everywhere(cluster, "")
    # A status that was just written may be followed by one more.
    fleet.pass_time(cluster)
    mark = cluster.audit_mark()
    operator.stop()
    operator.start()
    operator.wait_ready()
    create(cluster, "after")
    scenario.bundle(cluster, "after", timeout=60)
    others = {(kind, namespace) for _, kind, namespace, _ in scenario.operator_writes(cluster, mark)}
    assert others <= {("configmaps", "after"), ("caconfigurations/status", "")}, "a restart writes nothing"
