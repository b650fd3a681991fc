"""Everything the operator does, killed after each of its writes, and each write's answer lost (212)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from meshca.api import names
from tests.fakes import crashpoints
from tests.fakes.clock import START
from tests.fakes.crashpoints import Story
from tests.fakes.turning import active, bundle, states, status, trigger, turning, until_completed, wish

if TYPE_CHECKING:
    from tests.fakes.engine import Cluster

pytestmark = pytest.mark.looptime
JSON = dict[str, Any]
MANAGED = {"secretName": "managed-tls"}


def issued(cluster: Cluster, *leaves: str) -> bool:
    return all(cluster.ready(name) == ("Issued", "Issued") for name in leaves)


def serial(cluster: Cluster, name: str) -> str:
    return str(cluster.status(name).get("serialNumber", ""))


async def leaves(cluster: Cluster) -> None:
    """Issue a leaf of each kind."""
    cluster.leaf("csr", renewal="Automatic")
    cluster.leaf("managed", **MANAGED)
    await cluster.until(lambda: issued(cluster, "csr", "managed"))


async def two_roots(cluster: Cluster) -> None:
    """Rotate, so that there is a root that has been used before."""
    await leaves(cluster)
    before = active(cluster)
    trigger(cluster, "one")
    await until_completed(cluster, after=before)


async def old_leaves(cluster: Cluster) -> None:
    """Let leaves come to just before their renewal."""
    await leaves(cluster)
    await asyncio.sleep(1600)


async def old_signer(_: Cluster) -> None:
    """Let a signer come to just before half of its life."""
    await asyncio.sleep(3300)


async def half_way(cluster: Cluster) -> None:
    """Begin a rotation that waits, published, for its minimum time."""
    await leaves(cluster)
    wish(cluster, rotation={"trigger": "one", "minimumPublishTime": "30m"})
    await cluster.until(lambda: turning(cluster)[1] == "Publish")
    await asyncio.sleep(10)


def ask_managed(cluster: Cluster) -> None:
    cluster.leaf("managed", **MANAGED)


def ask_csr(cluster: Cluster) -> None:
    cluster.leaf("csr", renewal="Automatic")


def nothing(_: Cluster) -> None:
    return


def take_back(cluster: Cluster) -> None:
    trigger(cluster, None)


def supersede(cluster: Cluster) -> None:
    trigger(cluster, "two", minimumPublishTime=None)


def delete_retired(cluster: Cluster) -> None:
    [old] = [name for name, state in states(cluster).items() if state == "Retiring"]
    cluster.server.delete(names.CA_ROOT, old)


def prune_retired(cluster: Cluster) -> None:
    [old] = [name for name, state in states(cluster).items() if state == "Retiring"]
    root = cluster.server.find(names.CA_ROOT, old) or {}
    notes = {names.ANNOTATION_PRUNE_NOW: root["status"]["fingerprint"]}
    cluster.server.merge(names.CA_ROOT, old, "", {"metadata": {"annotations": notes}})


def wipe(cluster: Cluster) -> None:
    """Lose every status, as a backup tool does."""
    for resource in (names.CA_CONFIGURATION, names.CA_ROOT, names.LEAF):
        for item in cluster.server.all(resource):
            meta, lost = item["metadata"], {"status": dict.fromkeys(item.get("status") or {})}
            cluster.server.merge(
                resource, meta["name"], meta.get("namespace", ""), lost, subresource="status"
            )


def new_namespace(cluster: Cluster) -> None:
    cluster.server.create(names.NAMESPACE, {"metadata": {"name": "new"}})


def delete_with_keys(cluster: Cluster) -> None:
    notes = {"metadata": {"annotations": {names.ANNOTATION_DELETE_KEYS: "default"}}}
    cluster.server.merge(names.CA_CONFIGURATION, "default", "", notes)


async def marked(cluster: Cluster) -> None:
    delete_with_keys(cluster)
    await asyncio.sleep(5)


def delete_configuration(cluster: Cluster) -> None:
    cluster.server.delete(names.CA_CONFIGURATION, "default")


def one_root(cluster: Cluster) -> bool:
    settled = list(states(cluster).values()) == ["Active"] and len(bundle(cluster)) == 1
    return (
        settled
        and len(status(cluster).get("bundle", {}).get("roots", ())) == 1
        and turning(cluster)[0] == "False"
    )


def rotated(cluster: Cluster) -> bool:
    return turning(cluster) == ("False", "Completed") and issued(cluster, "csr", "managed")


def back_in_use(cluster: Cluster) -> bool:
    found = cluster.server.find(names.CA_ROOT, active(cluster)) or {}
    notes = found.get("metadata", {}).get("annotations", {})
    return rotated(cluster) and notes.get(names.ANNOTATION_TRIGGER) == ""


def superseded(cluster: Cluster) -> bool:
    found = cluster.server.find(names.CA_ROOT, active(cluster)) or {}
    notes = found.get("metadata", {}).get("annotations", {})
    return rotated(cluster) and notes.get(names.ANNOTATION_TRIGGER) == "two"


def restored(cluster: Cluster) -> bool:
    return one_root(cluster) and issued(cluster, "csr", "managed") and cluster.condition()[0] == "True"


def at(minutes: int) -> str:
    """Return a moment of the clock that stories live by, as it stands in a status."""
    return f"{START + timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"


def signer_renewed(cluster: Cluster) -> bool:
    """Tell whether the signer is another one than the first, which ends after three hours."""
    end = status(cluster).get("signer", {}).get("notAfter", "")
    return end > at(210) and len(cluster.secrets("signer")) == 1


def leaves_renewed(cluster: Cluster) -> bool:
    """Tell whether the first certificates, of an hour, were replaced."""
    return all(str(cluster.status(name).get("notAfter", "")) > at(80) for name in ("csr", "managed"))


def no_keys(cluster: Cluster) -> bool:
    return not cluster.secrets() and not states(cluster)


SLACK = 4
"""Crash points that a story may name beyond its last write, so that one write less is no failure."""
SHORT_SIGNER: JSON = {"intermediate": {"ttl": "3h"}}
STORIES = (
    Story("issue of a CSR leaf", ask_csr, lambda c: issued(c, "csr"), 1),
    Story("issue of a managed leaf", ask_managed, lambda c: issued(c, "managed"), 2),
    Story("a namespace more", new_namespace, lambda c: bundle(c, "new"), 2),
    Story("renewal of the signer", nothing, signer_renewed, 4, 600, SHORT_SIGNER, old_signer),
    Story("renewal of leaves", nothing, leaves_renewed, 3, 1600, {}, old_leaves),
    Story("rotation taken back", take_back, one_root, 15, 60, {}, half_way),
    Story("rotation superseded", supersede, superseded, 42, 90, {}, half_way),
    Story("root used again", take_back, back_in_use, 24, 90, {}, two_roots),
    Story("root deleted", delete_retired, one_root, 16, 900, {}, two_roots),
    Story("root pruned by force", prune_retired, one_root, 14, 60, {}, two_roots),
    Story("every status lost", wipe, restored, 8, 60, {}, leaves),
    Story("keys deleted", delete_configuration, no_keys, 6, 60, {}, marked, keys_go=True),
)
POINTS = [
    pytest.param(
        story, count, lost, id=f"{story.name}-{count}-{'unanswered' if lost else 'killed'}".replace(" ", "-")
    )
    for story in STORIES
    for count, lost in story.points()
]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name.replace(" ", "-"))
async def test_212_every_write_of_a_story_is_a_crash_point(story: Story) -> None:
    written = await crashpoints.lived_through(story)
    assert all(code < 300 for *_, code in written)
    assert story.writes - SLACK <= len(written) <= story.writes, f"set writes to {len(written)}: {written}"


@pytest.mark.parametrize(("story", "count", "lost"), POINTS)
async def test_212_story_killed_after_any_write_ends_as_if_nothing_had_been(
    story: Story, count: int, lost: bool
) -> None:
    await crashpoints.killed(story, count, lost=lost)
