"""The end of the demonstration: the root is replaced under live mutual TLS, and a person can watch.

Decides what is shown and in which order; one line for each change. Says in its last line how many
handshakes failed, and ends the process with an error if any did.
"""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from e2e import workload
from e2e.client import path_of
from e2e.mesh import rotation
from e2e.mesh.local import LocalPair
from e2e.mesh.pods import PodPair
from e2e.node.cluster import NodeCluster
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.cluster import Cluster
    from e2e.mesh.pair import Pair
    from e2e.mesh.rotation import Progress
    from e2e.mesh.traffic import Stream

JSON = dict[str, Any]
AUTHORITY = "default"
MORE, PACE = 20, 5
"""Further leaves, and how many move in a second: so that there is something to watch."""
ROTATION = {"trigger": "demo", "reissuePerSecond": PACE}
PATCH = json.dumps({"spec": {"rotation": ROTATION}})
SECONDS = 120.0
HOLDER = "cart"
MEANING = {
    "Prepare": "new root, signer and cross-certificate are made",
    "Publish": "both roots go into every bundle",
    "Activate": "the new root is checked and put in charge",
    "Reissue": "leaves move to the new root",
    "Complete": "no leaf is left under the old root",
}
MANUAL = Path(__file__).parents[2] / "examples" / "10-csr-leaf.yaml"


def pair(cluster: Cluster, namespace: str) -> Pair[Any]:
    """Return two workloads, not yet started: Pods where the node is ours, else processes."""
    authority = cluster.request("GET", path_of(names.CA_CONFIGURATION, name=AUTHORITY))
    if isinstance(cluster, NodeCluster):
        return PodPair(cluster, namespace, authority)
    return LocalPair(cluster, namespace, authority)


def crowd(cluster: Cluster, namespace: str) -> None:
    """Ask for leaves of further workloads and wait until they are issued."""
    numbers = range(1, MORE + 1)
    cluster.apply(
        workload.leaf(namespace, f"web-{number}", secretName=f"web-{number}-tls") for number in numbers
    )
    for number in numbers:
        workload.wait_reason(cluster, namespace, f"web-{number}", "Issued")


class Board:
    """Writes one line for each change: time, phase, percent, handshakes so far, what happened."""

    def __init__(self, stream: Stream, say: Callable[[str], None]) -> None:
        self._stream = stream
        self._say = say
        self._started = time.monotonic()
        self._now = rotation.Progress("", 0, "", "")

    def progress(self, now: Progress) -> None:
        """Write that the rotation is further."""
        before, self._now = self._now, now
        if now.phase != before.phase:
            self.line(MEANING.get(now.phase, ""))
        elif now.percent != before.percent:
            self.line("")

    def line(self, text: str) -> None:
        """Write what happened."""
        phase = f"{self._now.phase or '-':<9}{self._now.percent:>3} %"
        counts = f"{self._stream.ok:>5} ok, {self._stream.failed} failed"
        self._say(f"{time.monotonic() - self._started:6.1f} s  {phase}  {counts}  {text}".rstrip())


def run(cluster: Cluster, namespace: str, live: Pair[Any], say: Callable[[str], None]) -> None:
    """Rotate under the traffic of a started pair, prune early, and say what happens."""
    old = rotation.active(cluster, AUTHORITY)
    with live.stream(rate=40) as stream, ThreadPoolExecutor(1) as holder:
        stream.wait(20)
        board = Board(stream, say)
        board.line(f"traffic under {old}")
        rotation.begin(cluster, AUTHORITY, rotation=ROTATION)
        asking = holder.submit(_ask_again, cluster, namespace, board)
        rotated = rotation.follow(cluster, AUTHORITY, old, board.progress, SECONDS)
        asking.result()
        new = rotated["status"]["activeRoot"]
        live.wait_moved(stream, SECONDS)
        board.line("both Envoys show their new certificates")
        rotation.prune_now(cluster, old)
        board.line(f"{old} pruned by annotation meshca.dev/prune-now")
        live.wait_trust(rotation.certificate(cluster, new), SECONDS)
        board.line(f"both Envoys trust {new} alone")
        stream.wait(40)
    say(f"\n{stream.ok} handshakes during the rotation, each a new connection: {stream.failed} failed")
    if stream.failed:
        raise SystemExit("\n".join([str(stream), *live.complaints()]))
    live.assert_no_failure(stream)


def _ask_again(cluster: Cluster, namespace: str, board: Board) -> None:
    """Do what the holder of a key of its own does when its request reads Rotate: ask again."""

    def told(items: list[JSON]) -> bool:
        return any(item.get("status", {}).get("state") == "Rotate" for item in items)

    cluster.wait_for(told, workload.path(namespace, HOLDER), SECONDS)
    cluster.kubectl("replace", "--force", "-f", str(MANUAL))
    board.line(f"{HOLDER} keeps its own key, reads Rotate and asks again")
