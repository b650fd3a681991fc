"""The load: create requests with a fixed number of creates in flight, and see when each becomes Ready.

Runs in a process of its own (``python -m e2e.bench.load``) and prints one JSON line, so that neither
side of the comparison pays for it differently.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from e2e import workload
from e2e.bench.api import GROUP, Api

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = dict[str, Any]
IN_FLIGHT = 16


class Load:
    """One round of ``count`` requests in one namespace; times in seconds."""

    def __init__(self, api: Api, namespace: str, count: int, *, managed: bool) -> None:
        self._api = api
        self._path = f"{GROUP}/namespaces/{namespace}/leafcertificaterequests"
        self._namespace = namespace
        self._managed = managed
        self._csr = workload.csr().pem
        self._waiting = {f"leaf-{number:06d}" for number in range(count)}
        self._created: dict[str, float] = {}
        self._ready: dict[str, float] = {}
        self._done = asyncio.Event()

    async def run(self) -> JSON:
        """Create everything, wait until everything is Ready, and report."""
        version = (await self._api.call("GET", f"{self._path}?limit=1"))["metadata"]["resourceVersion"]
        watching = asyncio.create_task(self._watch(version))
        names = iter(sorted(self._waiting))
        started = time.perf_counter()
        await asyncio.gather(*(self._create(names) for _ in range(IN_FLIGHT)))
        await self._done.wait()
        seconds = time.perf_counter() - started
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        waits = sorted(self._ready[name] - self._created[name] for name in self._created)
        return {
            "count": len(waits),
            "seconds": seconds,
            "rate": len(waits) / seconds,
            "p50": waits[len(waits) // 2],
            "p99": waits[int(len(waits) * 0.99)],
        }

    async def _create(self, names: Iterator[str]) -> None:
        for name in names:
            spec = {"secretName": f"{name}-tls"} if self._managed else {"request": self._csr}
            self._created[name] = time.perf_counter()
            await self._api.call("POST", self._path, workload.leaf(self._namespace, name, **spec))

    async def _watch(self, version: str) -> None:
        async for event in self._api.watch(self._path, version):
            body = event["object"]
            name = body["metadata"]["name"]
            if name in self._waiting and body.get("status", {}).get("state") == "Issued":
                self._ready[name] = time.perf_counter()
                self._waiting.discard(name)
                if not self._waiting:
                    self._done.set()


async def _main(arguments: argparse.Namespace) -> None:
    async with Api(arguments.kubeconfig) as api:
        load = Load(api, arguments.namespace, arguments.count, managed=arguments.managed)
        print(json.dumps(await load.run()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--managed", action="store_true")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(parser.parse_args()))
