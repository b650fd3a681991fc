"""A fast asynchronous client for load and for the bare signer; the harness's own is for convenience."""

from __future__ import annotations

import json
import ssl
from typing import TYPE_CHECKING, Any, Self

import aiohttp
import yaml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

JSON = dict[str, Any]
GROUP = "/apis/meshca.dev/v1alpha1"
OK = 300


class Api:
    """One admin session; used as an async context manager."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        folder = kubeconfig.parent
        self._server = cluster["server"]
        self._context = ssl.create_default_context(cafile=str(folder / cluster["certificate-authority"]))
        self._context.load_cert_chain(
            str(folder / user["client-certificate"]), str(folder / user["client-key"])
        )

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._context, limit=0)
        self._session = aiohttp.ClientSession(self._server, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: JSON | None = None) -> JSON:
        """Send one request; an answer that is no success raises with the API server's words."""
        async with self._session.request(method, path, json=body) as answer:
            found: JSON = await answer.json()
            if answer.status >= OK:
                raise RuntimeError(f"{method} {path}: {answer.status} {found.get('message')}")
            return found

    async def watch(self, path: str, version: str) -> AsyncIterator[JSON]:
        """Yield the events of a watch from a resourceVersion on, for ever.

        An API server under load closes the watch of a reader that lags behind; the next one resumes.
        """
        timeout = aiohttp.ClientTimeout(total=None)
        while True:
            query = f"{path}?watch=1&resourceVersion={version}&timeoutSeconds=600"
            async with self._session.get(query, timeout=timeout) as answer:
                async for line in answer.content:
                    event: JSON = json.loads(line)
                    if event["type"] == "ERROR":
                        raise RuntimeError(f"watch {path}: {event['object'].get('message')}")
                    version = event["object"]["metadata"]["resourceVersion"]
                    yield event
