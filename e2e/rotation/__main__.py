"""How long a rotation takes: ``python -m e2e.rotation [--leaves 2000] [--pace 50]`` prints one JSON line.

Decides what is measured, on a control plane of its own; a quarter has managed keys. Wall time is
from the change of the spec to the last leaf under the new root.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from typing import Any

from e2e import installation, scenario
from e2e.controlplane import ControlPlane
from e2e.mesh import rotation
from e2e.rotation import population

JSON = dict[str, Any]
NAMESPACE = "crowd"
SECONDS = 600


def measure(leaves: int, pace: int) -> JSON:
    """Rotate once under so many automatic leaves at so many per second and return figures."""
    with ControlPlane("rotation") as cluster:
        made = installation.install(cluster, values=scenario.VALUES | {"managedKeys.namespaces": "{*}"})
        try:
            return _rotate(cluster, leaves, pace)
        finally:
            made.operator.stop()


def _rotate(cluster: ControlPlane, leaves: int, pace: int) -> JSON:
    scenario.make_namespace(cluster, NAMESPACE)
    authority = "default"
    cluster.request("PATCH", scenario.path(authority), {"spec": {"rotation": {"reissuePerSecond": pace}}})
    managed = leaves // 4
    people = population.make(
        cluster, authority, [NAMESPACE], automatic=leaves - managed, managed=managed, manual=0
    )
    population.wait_all(cluster, people.everybody, population.is_issued, SECONDS)
    old, mark = rotation.active(cluster, authority), cluster.audit_mark()
    began = time.monotonic()
    rotation.begin(cluster, authority)
    new = rotation.wait_active(cluster, authority, old)
    activated = time.monotonic() - began
    found = population.wait_all(
        cluster, people.everybody, lambda item: item["status"]["root"] == new, SECONDS
    )
    moved = time.monotonic() - began
    rotation.follow(cluster, authority, old)
    complete = time.monotonic() - began
    writes = Counter(write[1] for write in scenario.operator_writes(cluster, mark) if write[2] == NAMESPACE)
    csr = writes["leafcertificaterequests/status"] + writes["secrets"]
    chain = max(len(item["status"]["certificateChain"]) for item in found.values())
    return {
        "leaves": leaves,
        "managed": managed,
        "pace": pace,
        "secondsToActivation": round(activated, 1),
        "secondsToLastLeaf": round(moved, 1),
        "secondsToComplete": round(complete, 1),
        "writesPerLeaf": round(csr / leaves, 3),
        "largestChainBytes": chain,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leaves", type=int, default=2000)
    parser.add_argument("--pace", type=int, default=50)
    given = parser.parse_args()
    print(json.dumps(measure(given.leaves, given.pace)))
