"""The bare limit: the least that any signer in Python must do for a request, and nothing else.

Watches, signs with a real P-256 key what the CSR asks for, writes the status. No policy, no checks, no
queue, no Lease: an operator cannot be faster than this on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from e2e.bench.api import GROUP, Api

JSON = dict[str, Any]
WORKERS = 16


class BareSigner:
    """Signs every request that it hears of, once."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bare")])
        self._queue: asyncio.Queue[JSON] = asyncio.Queue()

    async def run(self) -> None:
        """Work until cancelled."""
        path = f"{GROUP}/leafcertificaterequests"
        version = (await self._api.call("GET", f"{path}?limit=1"))["metadata"]["resourceVersion"]
        print("ready", flush=True)
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())
            async for event in self._api.watch(path, version):
                if event["type"] == "ADDED":
                    self._queue.put_nowait(event["object"])

    async def _work(self) -> None:
        while True:
            body = await self._queue.get()
            meta = body["metadata"]
            place = f"{GROUP}/namespaces/{meta['namespace']}/leafcertificaterequests/{meta['name']}/status"
            kept = {key: meta[key] for key in ("name", "namespace", "resourceVersion")}
            status = {"state": "Issued", "certificateChain": self._sign(body["spec"]["request"])}
            update = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": kept}
            await self._api.call("PUT", place, update | {"status": status})

    def _sign(self, request: str) -> str:
        csr = x509.load_pem_x509_csr(request.encode())
        now = datetime.now(UTC)
        uri = x509.UniformResourceIdentifier("spiffe://bare/ns/bench/sa/default")
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self._name)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(hours=72))
            .add_extension(x509.SubjectAlternativeName([uri]), critical=True)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


async def _main(kubeconfig: Path) -> None:
    async with Api(kubeconfig) as api:
        await BareSigner(api).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_main(parser.parse_args().kubeconfig))
