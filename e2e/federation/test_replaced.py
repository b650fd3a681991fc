"""The primary is replaced: another API server, with a CA of its own, where the old one stood."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from e2e import installation, scenario, workload
from e2e.client import path_of
from e2e.federation.turning import DUAL_TRUST, published, published_for
from e2e.federation.world import EAST, PRIMARY, SECONDS, WEST, invite, join
from e2e.mesh import rotation
from meshca.api import names

if TYPE_CHECKING:
    from e2e.cluster import Cluster
    from e2e.federation.world import World
    from e2e.link import Link

pytestmark = pytest.mark.cluster

JSON = dict[str, Any]


class Replaced(NamedTuple):
    """A secondary, the cluster that stands where its primary stood, and the CA that it had from that."""

    second: Cluster
    successor: Cluster
    link: Link
    body: JSON
    roots: dict[str, tuple[str, str]]

    @property
    def authority(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def bundle(self) -> str:
        return str(self.body["spec"]["trustBundle"]["configMapName"])

    def trusts(self, cluster: Cluster, issued: JSON) -> None:
        """Have OpenSSL verify a leaf under what a cluster publishes."""
        published = scenario.bundle(cluster, "default", self.bundle)
        assert workload.openssl_verify(issued["status"]["certificateChain"], published) == ""

    def issues(self, name: str) -> JSON:
        """Have a leaf issued in the secondary, and nothing lost there meanwhile."""
        issued = scenario.issue(
            self.second, "default", f"{self.authority}-{name}", self.authority, renewal="Automatic"
        )
        assert scenario.authority(self.second, self.authority).roots == self.roots
        return issued


@pytest.fixture
def replaced(world: World) -> Replaced:
    """Join a secondary to a primary, and have its link end in another cluster from then on."""
    first, second, successor = (world.sites[name].cluster for name in (PRIMARY, WEST, EAST))
    body = scenario.configuration("default", federated=True)
    authority, link = str(body["metadata"]["name"]), world.link()
    for cluster in (first, successor):
        installation.configure(cluster, body, SECONDS)
    options = ("--configuration", authority, "--server", link.url)
    join(second, invite(first, f"{WEST}-{authority}", *options), trustBundle=body["spec"]["trustBundle"])
    second.wait(scenario.path(authority), timeout=SECONDS)
    found = Replaced(second, successor, link, body, scenario.authority(second, authority).roots)
    link.lead(successor.server)
    return found


def test_a_primary_that_was_replaced_is_followed_once_it_has_invited(replaced: Replaced) -> None:
    """Its API server is no longer the one that the join Secret knows, and its roots are others."""
    second, authority = replaced.second, replaced.authority
    mine = rotation.active(second, authority)
    # A connection that was open may break first, which is told as that.
    scenario.wait_ca(
        second, authority, "PrimaryUnreachable", says="certificate", kind="Reachable", timeout=SECONDS
    )
    scenario.wait_event(second, authority, "PrimaryUnreachable")
    replaced.issues("unreachable")

    options = ("--configuration", authority, "--server", replaced.link.url)
    manifest = invite(replaced.successor, f"{WEST}-{authority}", *options)
    secret, wish = (item for item in yaml.safe_load_all(manifest) if item)
    second.apply(secret)
    scenario.wait_ca(
        second, authority, "PrimaryMismatch", says="was replaced", kind="Degraded", timeout=SECONDS
    )
    scenario.wait_event(second, authority, "PrimaryMismatch")
    scenario.wait_event(second, authority, "PrimaryReachable")
    issued = replaced.issues("in-doubt")
    assert rotation.active(second, authority) == mine
    asked = path_of(names.INTERMEDIATE, f"meshca-fed-{WEST}-{authority}")
    assert replaced.successor.request("GET", asked)["items"] == [], "nothing is asked of a stranger"

    digest = wish["spec"]["federation"]["primary"]["bundleDigest"]
    spec = {"federation": {"primary": {"bundleDigest": digest}}}
    second.request("PATCH", scenario.path(authority), {"spec": spec})
    scenario.wait_ca(second, authority, "AsExpected", kind="Degraded", timeout=SECONDS)
    scenario.wait_event(second, authority, "PrimaryAccepted")
    theirs = rotation.active(replaced.successor, authority)
    assert published(second, authority, set(replaced.roots)) == theirs
    assert rotation.active(second, authority) == mine, "both are trusted before anything is signed under it"
    published_for(second, theirs, DUAL_TRUST)
    rotation.follow(second, authority, mine, timeout=SECONDS)
    assert rotation.active(second, authority) == theirs
    replaced.trusts(second, issued)
    followed = scenario.issue(second, "default", f"{authority}-followed", authority)
    replaced.trusts(replaced.successor, followed)
