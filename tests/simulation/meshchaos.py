"""What happens to a mesh besides what happens to each of its clusters: lines, rights, registrations.

Decides nothing that ``chaos`` decides already. A person who is told of a refusal invites again, as the
manual says, by the command line's own code.
"""

from __future__ import annotations

import asyncio
import re
from contextvars import Context
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.cli import invitation, manifest
from meshca.cli.registration import Registration
from meshca.errors import MeshCAError
from meshca.kube.gateway import Gateway
from meshca.pki import certificates, keys
from tests.fakes import pki
from tests.fakes.apiserver.transport import FakeTransport
from tests.fakes.engine import NAMESPACE
from tests.simulation import network
from tests.simulation.chaos import Chaos
from tests.simulation.cluster import CONFIGURATION
from tests.simulation.events import RARE
from tests.simulation.uplink import SECONDARY_ROLE, may

if TYPE_CHECKING:
    import random

    from tests.simulation.cluster import SimCluster

JSON = dict[str, Any]
ADDRESS = "https://primary.example.org:6443"
ALONE = ("backup", "restore", "selector", "label")
"""Events of a cluster that is on its own. A primary that was restored waits for a person."""
TOKEN_LIVES = (7 * 86400, 8 * 3600)
PERSON_SECONDS = 240.0
"""Between two attempts of a person to have a cluster join again."""
LONG = (30, 300, 1500, 4500)
"""Seconds for which a line is cut: less and more than a rotation waits for a cluster."""
INVITE_AGAIN = frozenset(
    {"PrimaryRefuses", "NotRegistered", "PrimaryMismatch", "JoinSecretInvalid", "ConfigurationNotFound"}
)
_SEQUENCE = re.compile(r'accept-sequence: "(\d+)"')


class PrimaryChaos(Chaos):
    """The cluster that owns the roots."""

    never = ALONE
    often = ("trigger", "csr", "managed")

    def begin(self) -> None:
        super().begin()
        self.server.authorize = lambda info: may(self.server, info)
        self.server.create(names.CLUSTER_ROLE, SECONDARY_ROLE)

    def do_long_down(self) -> str:
        """Have the API server away for longer than anybody waits."""
        self.server.down = True
        seconds = self.rng.choice((120, 900, 2400))
        self._later(seconds, lambda: setattr(self.server, "down", False))
        return f"{seconds} s"

    do_long_down.weight = RARE  # type: ignore[attr-defined]

    def do_wipe_federation(self) -> str:
        """Lose the status of what secondaries write."""
        item = self._pick(self.rng.choice((names.FEDERATED_CLUSTER, names.INTERMEDIATE)))
        if item is None or not item.get("status"):
            return "none"
        meta, resource = item["metadata"], names.FEDERATED_CLUSTER
        if meta.get("namespace"):
            resource = names.INTERMEDIATE
        wiped = {"status": dict.fromkeys(item["status"])}
        self.server.merge(resource, meta["name"], meta.get("namespace", ""), wiped, subresource="status")
        return str(meta["name"])

    def do_request_gone(self) -> str:
        if not (item := self._pick(names.INTERMEDIATE)):
            return "none"
        self.server.delete(names.INTERMEDIATE, item["metadata"]["name"], item["metadata"]["namespace"])
        return str(item["metadata"]["name"])


class SecondaryChaos(Chaos):
    """A cluster that follows; ``besieged``: its line stays cut, whatever else ends."""

    never = (
        *("trigger", "trigger_back", "pace", "force", "import", "lose_root_key"),
        *("server_down", "configuration_gone"),
        *ALONE,
    )
    often = ("csr", "managed")

    def __init__(
        self, cluster: SimCluster, primary: SimCluster, rng: random.Random, tell: Any, only: tuple[str, ...]
    ) -> None:
        super().__init__(cluster, rng, tell, only)
        self.primary = primary
        self.registration = Registration(cluster.name)
        self.at_first: JSON = {"leaf": {"ttl": rng.choice(("1h", "90m"))}}
        self.besieged = False
        self._invited = 0.0
        self._inviting: asyncio.Task[None] | None = None
        self._authority = ""

    def begin(self) -> None:
        self.cluster.policy()
        key = keys.generate(pki.spec("Ed25519"))
        self._authority = certificates.to_pem(pki.imported_root(key))
        self.cluster.up()
        for node in self.cluster.nodes:
            node.uplink.weather = self.rng.choice((network.FINE, network.FAIR, network.ROUGH))
            node.reach = {ADDRESS: self.primary.server}

    # --- people ----------------------------------------------------------------------------------

    @property
    def joined(self) -> bool:
        return bool(self.cluster.status.get("activeRoot"))

    def invite(self) -> None:
        """Invite and apply, as a person does; it may be refused, and is tried again by ``repair``."""
        if self._inviting is None or self._inviting.done():
            self._invited = self.cluster.true.monotonic()
            loop = asyncio.get_running_loop()
            self._inviting = loop.create_task(self._invite(), context=Context())

    async def _invite(self) -> None:
        gateway = Gateway(FakeTransport(self.primary.server))
        try:
            made = await invitation.invite(
                gateway,
                self.registration,
                server=ADDRESS,
                authority=self._authority,
                life=timedelta(seconds=self.rng.choice(TOKEN_LIVES)),
                say=lambda _: None,
            )
        except MeshCAError as error:
            self.tell(f"{self.cluster.name} is not invited: {error.message}")
            return
        self._apply(manifest.secret(made, NAMESPACE), manifest.configuration(made)["spec"])
        self.tell(f"{self.cluster.name} is invited")

    def _apply(self, secret: JSON, spec: JSON) -> None:
        name, found = secret["metadata"]["name"], self.cluster.configuration
        if self.server.find(names.SECRET, name, NAMESPACE) is None:
            self.server.create(names.SECRET, secret)
        else:
            self.server.merge(names.SECRET, name, NAMESPACE, {"stringData": secret["stringData"]})
        if not found:
            self.cluster.configure(spec | self.at_first)
        elif self.cluster.condition("Degraded")[1] == "PrimaryMismatch" or not self.joined:
            primary = {"primary": {"bundleDigest": spec["federation"]["primary"]["bundleDigest"]}}
            self.server.merge(names.CA_CONFIGURATION, CONFIGURATION, "", {"spec": {"federation": primary}})

    def repair(self) -> None:
        """Do what the conditions tell people to do."""
        if self.cluster.true.monotonic() < self._invited + PERSON_SECONDS:
            return
        told = [self.cluster.condition(kind) for kind in ("Degraded", "Reachable")]
        reasons = {reason for state, reason, _ in told if (state, reason) != ("True", "Connected")}
        if found := next(filter(None, (_SEQUENCE.search(message) for _, _, message in told)), None):
            self._invited = self.cluster.true.monotonic()
            notes = {"annotations": {names.ANNOTATION_ACCEPT_SEQUENCE: found[1]}}
            self.server.merge(names.CA_CONFIGURATION, CONFIGURATION, "", {"metadata": notes})
            self.tell(f"{self.cluster.name} accepts sequence {found[1]}")
        elif reasons & INVITE_AGAIN or not self.joined or not self._registered:
            self.invite()

    @property
    def _registered(self) -> bool:
        return self.primary.server.find(names.FEDERATED_CLUSTER, self.cluster.name) is not None

    def do_revoke(self) -> str:
        """Take the cluster out of the mesh, and invite it again later."""
        asyncio.get_running_loop().create_task(self._revoke(), context=Context())
        seconds = self.rng.choice((5, 300, 1800))
        self._later(seconds, self.invite)
        return f"{self.cluster.name} for {seconds} s"

    do_revoke.weight = RARE  # type: ignore[attr-defined]

    async def _revoke(self) -> None:
        try:
            await invitation.revoke(
                Gateway(FakeTransport(self.primary.server)), self.registration, lambda _: None
            )
        except MeshCAError as error:
            self.tell(f"{self.cluster.name} is not revoked: {error.message}")

    def do_refused(self) -> str:
        """Take one thing away that an invitation gave, and invite again later."""
        made = self.registration.objects()[1:]
        resource, body = self.rng.choice(made)
        meta = body["metadata"]
        self.primary.server.delete(resource, meta["name"], meta.get("namespace", ""))
        seconds = self.rng.choice((20, 200, 2000))
        self._later(seconds, self.invite)
        return f"{self.cluster.name} {resource.kind} {meta['name']}"

    def do_join_gone(self) -> str:
        self.server.delete(names.SECRET, names.join_secret(CONFIGURATION), NAMESPACE)
        self._later(self.rng.choice((20, 200)), self.invite)
        return self.cluster.name

    do_join_gone.weight = RARE  # type: ignore[attr-defined]

    # --- lines -----------------------------------------------------------------------------------

    def _lines(self, **changes: Any) -> None:
        for node in self.cluster.nodes:
            for name, value in changes.items():
                setattr(node.uplink, name, value)

    def _line_for(self, seconds: float, **changes: bool) -> str:
        self._lines(**changes)
        self._later(seconds, lambda: self._mend(changes))
        return f"{self.cluster.name} {', '.join(changes)} {seconds} s"

    def _mend(self, changes: dict[str, bool]) -> None:
        self._lines(**dict.fromkeys(changes, False))
        self._lines(blocked=self.besieged)

    def do_line_cut(self) -> str:
        return self._line_for(self.rng.choice(LONG), blocked=True)

    def do_line_one_way(self) -> str:
        return self._line_for(
            self.rng.choice(LONG), **{self.rng.choice(("no_way_there", "no_way_back")): True}
        )

    def do_line_deaf(self) -> str:
        return self._line_for(self.rng.choice(LONG), deaf=True)

    def do_line_weather(self) -> str:
        weather = self.rng.choice((network.FINE, network.FAIR, network.ROUGH, network.STORM))
        self._lines(weather=weather)
        return f"{self.cluster.name} {weather}"

    def do_line_watches(self) -> str:
        return str(self.primary.server.cut_watches(names.CA_ROOT, names.CA_CONFIGURATION, names.INTERMEDIATE))

    def do_away(self) -> str:
        """Have no operator in this cluster, for a rotation or more."""
        asyncio.get_running_loop().create_task(
            self._away(self.rng.choice((120, 1200, 4500))), context=Context()
        )
        return self.cluster.name

    do_away.weight = RARE  # type: ignore[attr-defined]

    async def _away(self, seconds: float) -> None:
        await self.cluster.down(graceful=False)
        await asyncio.sleep(seconds)
        self.cluster.up()

    # --- strangers -------------------------------------------------------------------------------

    def do_mirror_edited(self) -> str:
        """Change what is mirrored by hand: its cross-certificates, its state, its labels."""
        if not (root := self._pick(names.CA_ROOT)):
            return "none"
        name = root["metadata"]["name"]
        what = self.rng.choice(("crossCertificates", "state", "labels"))
        if what == "labels":
            gone = dict.fromkeys(root["metadata"].get("labels") or {})
            self.server.merge(names.CA_ROOT, name, "", {"metadata": {"labels": gone}})
        else:
            change = {"status": {what: None}}
            self.server.merge(names.CA_ROOT, name, "", change, subresource="status")
        return f"{self.cluster.name} {name} {what}"

    def do_mirror_deleted(self) -> str:
        """Ask for a mirrored root's end, whichever it is: the operator has to decide."""
        return self.do_delete_root()

    # --- the end ---------------------------------------------------------------------------------

    def peace(self) -> None:
        super().peace()
        self._lines(deaf=False, no_way_there=False, no_way_back=False, weather=network.FINE)
        self._lines(blocked=self.besieged)
        self.cluster.up()

    def siege(self) -> None:
        """End what is wrong in the cluster, while the primary is out of its reach."""
        self.besieged = True
        self.peace()

    def relief(self) -> None:
        self.besieged = False
