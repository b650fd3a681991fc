"""Words for tests that rotate a root on the in-process API server."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.pki import certificates
from tests.fakes.engine import Cluster, ready
from tests.fakes.witness import Witness

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cryptography import x509

JSON = dict[str, Any]
SHORT: JSON = {"leaf": {"ttl": "1h"}, "trustBundle": {"clusterTrustBundle": False}}
"""Leaves of an hour, so that a whole rotation with its prune is soon over."""


def wish(cluster: Cluster, name: str = "default", **spec: Any) -> None:
    """Change fields of a configuration's spec."""
    cluster.server.merge(names.CA_CONFIGURATION, name, "", {"spec": spec})


def trigger(cluster: Cluster, text: str | None, **rotation: Any) -> None:
    """Ask for a rotation."""
    wish(cluster, rotation={"trigger": text} | rotation)


def configuration(cluster: Cluster, name: str = "default") -> JSON:
    """Return a configuration as it is."""
    return cluster.server.find(names.CA_CONFIGURATION, name) or {}


def status(cluster: Cluster) -> JSON:
    """Return the status of the configuration."""
    return dict(configuration(cluster).get("status") or {})


def active(cluster: Cluster) -> str:
    """Name the active root."""
    return str(status(cluster).get("activeRoot", ""))


def turning(cluster: Cluster) -> tuple[str, str]:
    """Return status and reason of the condition RotationInProgress."""
    state, reason, _ = cluster.condition("RotationInProgress")
    return state, reason


def states(cluster: Cluster) -> dict[str, str]:
    """Return the state of each CARoot."""
    return {
        item["metadata"]["name"]: str((item.get("status") or {}).get("state", ""))
        for item in cluster.server.all(names.CA_ROOT)
    }


def bundle(cluster: Cluster, namespace: str = "shop") -> list[x509.Certificate]:
    """Return the roots that a namespace trusts."""
    found = cluster.server.find(names.CONFIG_MAP, "meshca-trust-bundle", namespace)
    return certificates.load_all(found["data"][names.BUNDLE_KEY]) if found else []


def entry(secret: JSON, name: str) -> str:
    """Return an entry of a Secret as text."""
    return base64.b64decode(secret["data"].get(name, "")).decode()


def events(cluster: Cluster) -> list[str]:
    """Return the reasons of the Events about the configuration, oldest first."""
    found = [
        item for item in cluster.server.all(names.EVENT) if item["regarding"]["kind"] == "CAConfiguration"
    ]
    return [str(item["reason"]) for item in sorted(found, key=lambda item: str(item.get("eventTime")))]


async def until_completed(cluster: Cluster, seconds: float = 120.0, *, after: str = "") -> str:
    """Wait until a rotation, away from a root if one is named, is over; returns the new active root."""
    await cluster.until(
        lambda: turning(cluster) == ("False", "Completed") and active(cluster) != after, seconds
    )
    return active(cluster)


@asynccontextmanager
async def turned(cluster: Cluster) -> AsyncIterator[Witness]:
    """Hold the invariants over what happens inside."""
    witness = Witness(cluster.server)
    yield witness
    assert witness.broken == []


@asynccontextmanager
async def with_leaves(**spec: Any) -> AsyncIterator[tuple[Cluster, Witness]]:
    """Run an operator that has issued an Automatic, a managed and a Manual leaf."""
    async with ready(**(SHORT | spec)) as cluster, turned(cluster) as witness:
        cluster.leaf("csr", renewal="Automatic")
        cluster.leaf("managed", secretName="managed-tls")
        cluster.leaf("manual")
        await cluster.until(
            lambda: all(cluster.ready(name)[0] == "Issued" for name in ("csr", "managed", "manual"))
        )
        await asyncio.sleep(2)
        cluster.written()
        yield cluster, witness
