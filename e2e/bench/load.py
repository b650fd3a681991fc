"""The load: create requests, and see when each becomes Ready.

Runs in a process of its own (``python -m e2e.bench.load``), so that neither side of a comparison pays for
it differently. Either a fixed number of creates is in flight (closed loop), or creates start at a fixed
rate whatever becomes of the earlier ones (open loop). Prints a line of JSON for each thousand that became
Ready, and the figures as the last one; times in seconds.
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
STEP = 1000


class Load:
    """One round of ``count`` requests in one namespace; ``rate`` 0 means the closed loop."""

    def __init__(self, api: Api, namespace: str, count: int, spec: JSON, *, managed: bool) -> None:
        self._api = api
        self._path = f"{GROUP}/namespaces/{namespace}/leafcertificaterequests"
        self._namespace = namespace
        self._managed = managed
        self._spec = spec
        self._csr = workload.csr().pem
        self._waiting = {f"leaf-{number:06d}" for number in range(count)}
        self._created: dict[str, float] = {}
        self._ready: dict[str, float] = {}
        self._done = asyncio.Event()

    async def run(self, rate: float) -> JSON:
        """Create everything, wait until everything is Ready, and report."""
        version = (await self._api.call("GET", f"{self._path}?limit=1"))["metadata"]["resourceVersion"]
        watching = asyncio.create_task(self._watch(version))
        names = iter(sorted(self._waiting))
        started = time.perf_counter()
        await (self._at_rate(names, rate) if rate else self._in_flight(names))
        await self._done.wait()
        seconds = time.perf_counter() - started
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        return self._figures(seconds)

    def _figures(self, seconds: float) -> JSON:
        waits = sorted(self._ready[name] - self._created[name] for name in self._created)
        return {
            "count": len(waits),
            "seconds": seconds,
            "rate": len(waits) / seconds,
            "p50": waits[len(waits) // 2],
            "p99": waits[int(len(waits) * 0.99)],
        }

    async def _in_flight(self, names: Iterator[str]) -> None:
        async def each() -> None:
            for name in names:
                await self._create(name)

        await asyncio.gather(*(each() for _ in range(IN_FLIGHT)))

    async def _at_rate(self, names: Iterator[str], rate: float) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with asyncio.TaskGroup() as group:
            for number, name in enumerate(names):
                await asyncio.sleep(max(0.0, started + number / rate - loop.time()))
                group.create_task(self._create(name))

    async def _create(self, name: str) -> None:
        asks = {"secretName": f"{name}-tls"} if self._managed else {"request": self._csr}
        self._created[name] = time.perf_counter()
        body = workload.leaf(self._namespace, name, **self._spec, **asks)
        await self._api.call("POST", self._path, body)

    async def _watch(self, version: str) -> None:
        async for event in self._api.watch(self._path, version):
            body = event["object"]
            name = body["metadata"]["name"]
            if name in self._waiting and body.get("status", {}).get("state") == "Issued":
                self._ready[name] = time.perf_counter()
                self._waiting.discard(name)
                if len(self._ready) % STEP == 0:
                    print(json.dumps({"ready": len(self._ready)}), flush=True)
                if not self._waiting:
                    self._done.set()


async def _main(arguments: argparse.Namespace) -> None:
    spec = json.loads(arguments.spec)
    async with Api(arguments.kubeconfig) as api:
        load = Load(api, arguments.namespace, arguments.count, spec, managed=arguments.managed)
        print(json.dumps(await load.run(arguments.rate)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="creates a second; 0: 16 in flight")
    parser.add_argument("--managed", action="store_true")
    parser.add_argument("--spec", default="{}", help="more fields of each request, JSON")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(parser.parse_args()))
