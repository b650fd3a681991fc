"""``make bench``: rounds of operator and bare limit in turn, medians and spread, a table and JSON.

Each round has a namespace of its own; the operator is stopped while the bare signer works.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from e2e import flavours, installation
from e2e.controlplane import ControlPlane
from e2e.operator_process import OperatorProcesses

JSON = dict[str, Any]
TICKS = os.sysconf("SC_CLK_TCK")
ROUND_SECONDS = 600


@dataclass
class Figures:
    """The rounds of one side."""

    rounds: list[JSON] = field(default_factory=list)

    def median(self, name: str) -> float:
        """Return the median of a figure."""
        return float(statistics.median(entry[name] for entry in self.rounds))

    def spread(self, name: str) -> str:
        """Return lowest and highest of a figure."""
        values = [entry[name] for entry in self.rounds]
        return f"{min(values):.3g}..{max(values):.3g}"


def cpu_seconds(pid: int) -> float:
    """Return the CPU time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Bench:
    """One cluster with the operator installed."""

    def __init__(self, cluster: ControlPlane, count: int) -> None:
        self._cluster = cluster
        self._count = count
        self._installed = installation.install(cluster, values={"managedKeys.namespaces": "{*}"})
        assert isinstance(self._installed.operator, OperatorProcesses)
        self._operator = self._installed.operator
        self._operator.stop()
        self.sides = {"operator": Figures(), "bare": Figures(), "managed": Figures()}

    def round(self, number: int) -> None:
        """Measure each side once."""
        self._operator.start()
        self._operator.wait_ready()
        installation.configure(self._cluster, installation.DEFAULT)
        self.sides["operator"].rounds.append(self._with_operator(f"csr-{number}", self._count))
        self.sides["managed"].rounds.append(self._with_operator(f"managed-{number}", self._count // 4))
        self._operator.stop()
        self.sides["bare"].rounds.append(self._bare(f"bare-{number}"))

    def _with_operator(self, namespace: str, count: int) -> JSON:
        leader = self._leader()
        mark, before = self._cluster.audit_mark(), cpu_seconds(leader)
        figures = self._load(namespace, count, managed=namespace.startswith("managed"))
        figures["cpu_ms"] = (cpu_seconds(leader) - before) * 1000 / count
        figures["rss"] = rss_mib(leader)
        mine = [event for event in self._cluster.audit(mark) if event.resource != "leases"]
        figures["writes"] = len([event for event in mine if event.namespace == namespace]) / count
        return figures

    def _bare(self, namespace: str) -> JSON:
        # Only the operator and the break-glass group may write a status.
        allowed = self._cluster.identity("bare", ["system:masters", "meshca:break-glass"])
        command = [sys.executable, "-m", "e2e.bench.bare", "--kubeconfig", str(allowed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as signer:
            assert signer.stdout is not None
            signer.stdout.readline()
            try:
                return self._load(namespace, self._count)
            finally:
                signer.terminate()

    def _load(self, namespace: str, count: int, *, managed: bool = False) -> JSON:
        self._cluster.request("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        self._cluster.wait_for(bool, f"/api/v1/namespaces/{namespace}/serviceaccounts/default")
        command = [sys.executable, "-m", "e2e.bench.load", "--kubeconfig", str(self._cluster.kubeconfig())]
        command += ["--namespace", namespace, "--count", str(count), *(["--managed"] if managed else [])]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=ROUND_SECONDS)
        figures: JSON = json.loads(done.stdout)
        return figures

    def _leader(self) -> int:
        path = "/apis/coordination.k8s.io/v1/namespaces/meshca-system/leases/meshca"
        holder = self._cluster.request("GET", path)["spec"]["holderIdentity"].rsplit("_", 1)[0]
        return self._operator.pid(holder)


def table(sides: dict[str, Figures]) -> Table:
    """Return what a person reads."""
    made = Table(title="create to Ready, 16 creates in flight: median (lowest..highest)")
    for column in ("side", "leaves/s", "of bare", "p50 s", "p99 s", "CPU ms/leaf", "RSS MiB", "writes/leaf"):
        made.add_column(column, justify="right")
    bare = sides["bare"].median("rate")
    for name, figures in sides.items():
        own = "cpu_ms" in figures.rounds[0]
        made.add_row(
            name,
            f"{figures.median('rate'):.0f} ({figures.spread('rate')})",
            f"{figures.median('rate') / bare:.2f}",
            f"{figures.median('p50'):.2f}",
            f"{figures.median('p99'):.2f}",
            *(f"{figures.median(key):.2f}" if own else "-" for key in ("cpu_ms", "rss", "writes")),
        )
    return made


def main() -> int:
    """Run the rounds and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with flavours.make("controlplane", "bench") as cluster:
        assert isinstance(cluster, ControlPlane)
        bench = Bench(cluster, arguments.count)
        for number in range(arguments.rounds):
            bench.round(number)
            Console(stderr=True).print(f"round {number + 1} of {arguments.rounds} done")
    Console().print(table(bench.sides))
    if arguments.json:
        arguments.json.write_text(json.dumps({name: side.rounds for name, side in bench.sides.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
