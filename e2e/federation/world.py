"""A primary and its secondaries: control planes side by side, joined by ``meshca federation invite``.

Decides how clusters are brought up and joined, and over which link each secondary reaches its primary.
Never decides what the operators make of it. A *mesh* is one CA that all its clusters share; the
same clusters carry many, each with a name, a trust domain, bundles and links of its own, so that what one
scenario does to a mesh reaches no other.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from e2e import installation, scenario
from e2e.client import path_of
from e2e.controlplane import ControlPlane
from e2e.errors import HarnessError
from e2e.link import Link
from e2e.witness import Witness
from meshca.api import names

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from e2e.cluster import Cluster
    from e2e.installation import Installation

JSON = dict[str, Any]
BIN = Path(sys.executable).parent
EXAMPLES = Path(__file__).parents[2] / "examples" / "federation"
EXAMPLE_CA: JSON = installation.DEFAULT
PRIMARY, WEST, EAST = "primary", "west", "east"
SECONDS = 120.0
COMMAND_SECONDS = 120.0
VALUES = scenario.VALUES | {"managedKeys.namespaces": "{*}", "replicas": "1", "log.level": "debug"}


def meshca(cluster: Cluster, *arguments: str) -> tuple[int, str, str]:
    """Run the installed command as an administrator of a cluster: exit code, output, complaints."""
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig())}
    done = subprocess.run(
        [str(BIN / "meshca"), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )
    return done.returncode, done.stdout, done.stderr


def invite(primary: Cluster, cluster: str, *options: str) -> str:
    """Invite a cluster and return the join manifest; ``HarnessError`` with what was said when refused."""
    code, manifest, said = meshca(primary, "federation", "invite", cluster, *options)
    if code:
        raise HarnessError(f"meshca federation invite {cluster}: exit {code}\n{said}")
    return manifest


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a join manifest gives to whoever holds it."""

    server: str
    token: str
    namespace: str


def credentials(manifest: str) -> Credentials:
    """Read the credentials of a join manifest."""
    secret = next(item for item in yaml.safe_load_all(manifest) if item and item["kind"] == "Secret")
    config = yaml.safe_load(secret["stringData"]["kubeconfig"])
    return Credentials(
        config["clusters"][0]["cluster"]["server"],
        config["users"][0]["user"]["token"],
        config["contexts"][0]["context"]["namespace"],
    )


@dataclass(frozen=True, slots=True)
class Member:
    """One secondary of a mesh: its cluster, the name it has in the mesh, its link to the primary."""

    site: Installation
    name: str
    link: Link
    manifest: str

    @property
    def cluster(self) -> Cluster:
        """Return the cluster of the secondary."""
        return self.site.cluster


@dataclass(frozen=True, slots=True)
class Mesh:
    """One CA of several clusters; its CAConfiguration and its namespace have the same names in each."""

    primary: Installation
    authority: str
    namespace: str
    members: tuple[Member, ...]

    @property
    def clusters(self) -> list[Cluster]:
        """Return every cluster of the mesh, the primary first."""
        return [self.primary.cluster, *(member.cluster for member in self.members)]

    @property
    def member(self) -> Member:
        """Return the only secondary."""
        (found,) = self.members
        return found

    @property
    def bundle(self) -> str:
        """Return the name of its bundle's ConfigMaps."""
        found = self.primary.cluster.request("GET", scenario.path(self.authority))
        return str(found["spec"]["trustBundle"]["configMapName"])


class World:
    """A primary and two secondaries with meshca installed; a context manager."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.sites: dict[str, Installation] = {}

    def __enter__(self) -> Self:
        """Bring all clusters up at once."""
        with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
            made = {name: pool.submit(_site, stack, name) for name in (PRIMARY, WEST, EAST)}
            self.sites = {name: future.result() for name, future in made.items()}
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def mesh(self, *secondaries: str, **spec: Any) -> Mesh:
        """Make a CA in the primary and let secondaries join it; returns when all are Ready.

        ``spec`` are fields of the primary's CAConfiguration.
        """
        primary = self.sites[PRIMARY]
        body = scenario.configuration("", federated=True, **spec)
        authority = str(body["metadata"]["name"])
        namespace = f"mesh-{authority}"
        body["spec"]["trustBundle"]["namespaceSelector"] = {
            "matchLabels": {"kubernetes.io/metadata.name": namespace}
        }
        for name in (PRIMARY, *secondaries):
            scenario.make_namespace(self.sites[name].cluster, namespace)
        installation.configure(primary.cluster, body, SECONDS)
        members = []
        for name in secondaries:
            called = f"{name}-{authority}"
            link = self.link()
            manifest = invite(primary.cluster, called, "--configuration", authority, "--server", link.url)
            join(self.sites[name].cluster, manifest, trustBundle=body["spec"]["trustBundle"])
            members.append(Member(self.sites[name], called, link, manifest))
        made = Mesh(primary, authority, namespace, tuple(members))
        for member in made.members:
            member.cluster.wait(scenario.path(authority), timeout=SECONDS)
        return made

    def by_the_book(self) -> Mesh:
        """Join both secondaries to CAConfiguration ``default``, exactly as docs/federation.md says.

        One by the two commands, the other by the plain manifests of examples/federation.
        """
        primary = self.sites[PRIMARY]
        for site in self.sites.values():
            scenario.make_namespace(site.cluster, "shop")
        installation.configure(primary.cluster, EXAMPLE_CA, SECONDS)
        west, east = self.link(), self.link()
        manifest = invite(primary.cluster, WEST, "--server", west.url)
        self.sites[WEST].cluster.kubectl("apply", "-f", "-", input=manifest)
        written = by_hand(primary.cluster, EAST, east.url)
        self.sites[EAST].cluster.kubectl("apply", "-f", "-", input=written)
        made = Mesh(
            primary,
            "default",
            "shop",
            (Member(self.sites[WEST], WEST, west, manifest), Member(self.sites[EAST], EAST, east, written)),
        )
        for member in made.members:
            member.cluster.kubectl(
                "wait", "--for=condition=Ready", "cac/default", f"--timeout={SECONDS:.0f}s"
            )
        return made

    def link(self) -> Link:
        """Open one more link to the primary."""
        return self._stack.enter_context(Link(self.sites[PRIMARY].cluster.server))


def _site(stack: ExitStack, name: str) -> Installation:
    cluster = stack.enter_context(ControlPlane(name))
    witness = stack.enter_context(Witness(cluster))
    made = installation.install(cluster, values=VALUES, configuration=None, timeout=SECONDS)
    stack.callback(made.operator.stop)
    stack.callback(witness.hear_out, made.operator)
    return made


def by_hand(primary: Cluster, cluster: str, server: str) -> str:
    """Register a cluster by the plain manifests and return what to apply to it, filled in as they say."""
    primary.apply((EXAMPLES / "primary.yaml").read_text().replace(WEST, cluster))
    where = ("get", "configmap", "kube-root-ca.crt", "--output", "jsonpath={.data.ca\\.crt}")
    account = ("--namespace", f"meshca-fed-{cluster}", "create", "token", "meshca", "--duration", "168h")
    status = ("get", "cac", "default", "--output", "jsonpath={.status.bundle.digest}")
    known = {
        "https://SERVER": server,
        "data: CA": f"data: {base64.b64encode(primary.kubectl(*where).stdout.encode()).decode()}",
        "TOKEN": primary.kubectl(*account).stdout.strip(),
        "DIGEST": primary.kubectl(*status).stdout.strip(),
        "mesh.example.org": str(EXAMPLE_CA["spec"]["trustDomain"]),
    }
    text = (EXAMPLES / "secondary.yaml").read_text().replace(WEST, cluster)
    told = "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))
    for word, value in known.items():
        told = told.replace(word, value)
    return told


def join(cluster: Cluster, manifest: str, **spec: Any) -> None:
    """Apply a join manifest; ``spec`` are more fields of its CAConfiguration."""
    documents = [item for item in yaml.safe_load_all(manifest) if item]
    for item in documents:
        if item["kind"] == names.CA_CONFIGURATION.kind:
            item["spec"] |= spec
    cluster.apply(documents)


def fingerprint(cluster: Cluster, root: str) -> str:
    """Return the fingerprint of a CARoot."""
    found = cluster.request("GET", path_of(names.CA_ROOT, name=root))
    return str(found["status"]["fingerprint"])


def wait_follows(mesh: Mesh, members: Iterable[Member] = (), timeout: float = SECONDS) -> str:
    """Wait until secondaries (all by default) issue under the primary's active root; return its name."""
    primary = mesh.primary.cluster
    root = str(primary.request("GET", scenario.path(mesh.authority))["status"]["activeRoot"])
    for member in members or mesh.members:
        scenario.wait_other(
            member.cluster,
            scenario.path(mesh.authority),
            lambda item: item.get("status", {}).get("activeRoot") == root,
            timeout,
        )
    return root


def registration(mesh: Mesh, member: Member) -> JSON:
    """Return the FederatedCluster of a member."""
    return mesh.primary.cluster.request("GET", path_of(names.FEDERATED_CLUSTER, name=member.name))


def wait_converged(mesh: Mesh, member: Member, timeout: float = SECONDS) -> JSON:
    """Wait until the primary says that a member has all roots and issues under the active one."""
    where = path_of(names.FEDERATED_CLUSTER, name=member.name)
    return mesh.primary.cluster.wait(where, "Converged", timeout=timeout)
