"""What people, strangers, networks and machines do to one cluster: each ``do_…`` method is one event.

Decides what happens by the seed alone. An event does one thing and returns at once; what it begins (a
partition, a frozen process) ends by itself or in ``peace``.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshca.api import admission, names
from meshca.pki import certificates, keys
from meshca.planning.secrets import encode
from tests.fakes import pki
from tests.fakes.apiserver.status import ApiError, forbidden
from tests.fakes.engine import NAMESPACE, OPERATOR
from tests.simulation import network
from tests.simulation.cluster import ACCOUNTS, BUNDLE, CONFIGURATION, NAMESPACES
from tests.simulation.judge import TRUST_DOMAIN
from tests.simulation.restores import Restores
from tests.simulation.selection import Selection

if TYPE_CHECKING:
    import random

    from tests.fakes.apiserver.writes import Admission
    from tests.simulation.cluster import SimCluster
    from tests.simulation.replica import Node

JSON = dict[str, Any]
MOST_SKEW = 300
MOST_LEAVES = 12
PATIENT_SECONDS = 1800.0
"""Between two attempts of a person to bring a rotation forward."""
IMPORTED = "mine"
BEGINNINGS: tuple[JSON, ...] = (
    {"root": {"ttl": "20000h"}},
    {"root": {"ttl": "20000h"}, "trustBundle": {"clusterTrustBundle": False}},
    {"root": {"ttl": "20000h"}, "rotation": {"reissuePerSecond": 1}},
    # Renewed by itself within the time of a history.
    {"root": {"ttl": "24h", "renewBefore": "21h"}},
)
KEY_KINDS = ("", "ECDSA 256", "ECDSA 224", "ECDSA 384", "RSA 2048", "RSA 2048", "Ed25519")
USUAL, RARE = 4, 1
"""How often an event is chosen in relation to others."""


class Chaos(Selection, Restores):
    """The events of one cluster; ``tell`` is told what happened, for people who read a history."""

    never: tuple[str, ...] = ()
    """Events that make no sense here."""
    often: tuple[str, ...] = ()
    """Events that come three times as often."""

    def __init__(
        self,
        cluster: SimCluster,
        rng: random.Random,
        tell: Any,
        only: tuple[str, ...] = (),
        key_kinds: tuple[str, ...] = (),
    ) -> None:
        self.key_kinds = key_kinds or KEY_KINDS
        self.cluster = cluster
        self.server = cluster.server
        self.rng = rng
        self.tell = tell
        self.triggers = 0
        self.made = 0
        self.repaired = 0.0
        self.csr = _request(pki.spec("ECDSA 256"))
        self.refusing = ""
        self.gap = False
        self.server.writer.admission.append(self._admit)
        events = [name for name in dir(self) if name.startswith("do_")]
        events = [name for name in events if name.removeprefix("do_") not in self.never]
        self._events = [name for name in events if not only or name.removeprefix("do_") in only]
        self._weights = list(map(self._weight, self._events))

    def _weight(self, name: str) -> int:
        weight = int(getattr(getattr(self, name), "weight", USUAL))
        return 3 * weight if name.removeprefix("do_") in self.often else weight

    def begin(self) -> None:
        """Put in force what every history begins with."""
        spec: JSON = {"trustDomain": TRUST_DOMAIN, "leaf": {"ttl": "1h"}, "intermediate": {"ttl": "6h"}}
        self.cluster.policy()
        if self.key_kinds is not KEY_KINDS:
            spec["privateKey"] = _key(self.key_kinds[0])
        self.cluster.configure(spec | self.rng.choice(BEGINNINGS))
        for node in self.cluster.nodes:
            node.network.weather = self.rng.choice((network.FINE, network.FINE, network.ROUGH))
        self.cluster.up()

    def act(self) -> None:
        """Have one thing happen, if there is anything that may."""
        if not self._events:
            return
        [name] = self.rng.choices(self._events, self._weights)
        try:
            detail = getattr(self, name)()
        except ApiError as error:
            detail = f"refused: {error.reason}"
        self.tell(f"{name.removeprefix('do_')} {detail or ''}".strip())

    def _pick(self, resource: names.Resource, namespace: str = "") -> JSON | None:
        found = self.server.all(resource, namespace)
        return self.rng.choice(found) if found else None

    def _later(self, seconds: float, undo: Any) -> None:
        asyncio.get_running_loop().call_later(seconds, undo, context=Context())

    def _admit(self, asked: Admission) -> None:
        """Refuse as a policy of somebody else would, while it lasts."""
        if not self.refusing or asked.user != OPERATOR or asked.new is None:
            return
        meta = asked.new["metadata"]
        if meta.get("namespace") == self.refusing and asked.kind.resource in {names.CONFIG_MAP, names.SECRET}:
            raise forbidden(asked.kind.resource, meta.get("name", ""), "a policy of somebody else says no")

    # --- workloads -------------------------------------------------------------------------------

    def _leaf(self, stem: str, **spec: Any) -> str:
        if len(self.server.all(names.LEAF)) >= MOST_LEAVES:
            return "no more"
        self.made += 1
        namespace, name = self.rng.choice(NAMESPACES), f"{stem}-{self.made}"
        asks = {"serviceAccountName": self.rng.choice(ACCOUNTS)} | spec
        if "secretName" not in asks:
            asks["request"] = self.csr
        body = {"metadata": {"name": name, "namespace": namespace}, "spec": asks}
        self.server.create(names.LEAF, body)
        return f"{namespace}/{name}"

    def do_csr(self) -> str:
        return self._leaf("csr", renewal="Automatic")

    def do_manual(self) -> str:
        return self._leaf("manual")

    def do_managed(self) -> str:
        return self._leaf("managed", secretName=f"tls-{self.rng.randrange(2)}")

    def do_delete_leaf(self) -> str:
        if not (leaf := self._pick(names.LEAF)):
            return "none"
        meta = leaf["metadata"]
        self.server.delete(names.LEAF, meta["name"], meta["namespace"])
        return f"{meta['namespace']}/{meta['name']}"

    def do_replace_leaf(self) -> str:
        if not (leaf := self._pick(names.LEAF)):
            return "none"
        meta = leaf["metadata"]
        self.server.delete(names.LEAF, meta["name"], meta["namespace"])
        again = {"metadata": {"name": meta["name"], "namespace": meta["namespace"]}, "spec": leaf["spec"]}
        self.server.create(names.LEAF, again)
        return f"{meta['namespace']}/{meta['name']}"

    def do_account_gone(self) -> str:
        namespace, name = self.rng.choice(NAMESPACES), self.rng.choice(ACCOUNTS)
        self.server.delete(names.SERVICE_ACCOUNT, name, namespace)
        self._later(self.rng.choice((1, 60, 900)), lambda: self.cluster.account(namespace, name))
        return f"{namespace}/{name}"

    def do_namespace(self) -> str:
        """Make one, or delete it again."""
        if self.server.find(names.NAMESPACE, "guest") is None:
            self.server.create(names.NAMESPACE, {"metadata": {"name": "guest"}})
            return "guest comes"
        self.server.delete(names.NAMESPACE, "guest")
        return "guest goes"

    # --- wishes ----------------------------------------------------------------------------------

    def wish(self, **spec: Any) -> None:
        self.server.merge(names.CA_CONFIGURATION, CONFIGURATION, "", {"spec": spec})

    def do_trigger(self) -> str:
        self.triggers += 1
        self.wish(rotation={"trigger": f"t{self.triggers}"})
        return f"t{self.triggers}"

    def do_trigger_back(self) -> str:
        back = max(0, self.triggers - self.rng.choice((1, 1, 2)))
        self.wish(rotation={"trigger": f"t{back}" if back else None})
        return f"t{back}"

    def do_key(self) -> str:
        key = self.rng.choice(self.key_kinds)
        self.wish(privateKey=_key(key))
        return key or "default"

    def do_leaf_ttl(self) -> str:
        ttl = self.rng.choice(("1h", "90m", "2h"))
        self.wish(leaf={"ttl": ttl})
        return ttl

    def do_intermediate_ttl(self) -> str:
        ttl = self.rng.choice(("6h", "12h"))
        self.wish(intermediate={"ttl": ttl})
        return ttl

    def do_limits(self) -> str:
        limits = self.rng.choice((None, {"csrMaxPerSecond": 0.5}, {"csrMaxConcurrent": 1}))
        self.wish(limits=limits)
        return str(limits)

    def do_pace(self) -> str:
        pace = self.rng.choice((1, 5, 50))
        self.wish(rotation={"reissuePerSecond": pace})
        return str(pace)

    def do_force(self) -> str:
        """Permit the next rotation to go on where no older root can vouch for the new one."""
        self.triggers += 1
        text = f"t{self.triggers}"
        self.wish(rotation={"trigger": text, "forceWithoutCrossSigning": text})
        return text

    def do_import(self) -> str:
        """Bring a root along, or another one in its place, or do without again."""
        if self.rng.random() < 0.3:
            self.wish(provider=None)
            return "no more"
        root = self._imported()
        found = self.server.find(names.SECRET, IMPORTED, NAMESPACE)
        if found is None:
            self.server.create(names.SECRET, root)
        else:
            self.server.merge(names.SECRET, IMPORTED, NAMESPACE, {"data": root["data"]})
        self.wish(provider={"type": "Builtin", "builtin": {"rootSecretName": IMPORTED}})
        return "another" if found else "one"

    do_import.weight = RARE  # type: ignore[attr-defined]

    def _imported(self) -> JSON:
        key = keys.generate(pki.spec("Ed25519"))
        now = self.cluster.true.now().replace(microsecond=0)
        made = pki.imported_root(key, not_before=now - pki.HOUR, not_after=now + 900 * pki.DAY)
        data = {"tls.crt": encode(certificates.to_pem(made)), "tls.key": encode(keys.to_pem(key))}
        metadata = {"name": IMPORTED, "namespace": NAMESPACE}
        return {"metadata": metadata, "type": "kubernetes.io/tls", "data": data}

    def do_lose_root_key(self) -> str:
        if not (meta := self._ca_secret(names.KEY_ROLE_ROOT)):
            return "none"
        self.server.delete(names.SECRET, meta["name"], NAMESPACE)
        return str(meta["name"])

    do_lose_root_key.weight = RARE  # type: ignore[attr-defined]

    def do_prune_now(self) -> str:
        if not (root := self._pick(names.CA_ROOT)):
            return "none"
        certificate = certificates.load_one(root["spec"]["certificate"])
        notes = {names.ANNOTATION_PRUNE_NOW: certificates.fingerprint(certificate)}
        name = root["metadata"]["name"]
        self.server.merge(names.CA_ROOT, name, "", {"metadata": {"annotations": notes}})
        return str(name)

    do_prune_now.weight = RARE  # type: ignore[attr-defined]

    def repair(self) -> None:
        """Do what the condition tells people to do when a rotation cannot go on by itself."""
        blocked = self.cluster.condition("RotationInProgress")[1] == "RotationBlocked"
        lost = self.cluster.condition("Ready")[1] == "RootKeyMissing"
        now = self.cluster.true.monotonic()
        if (blocked or lost) and now > self.repaired + PATIENT_SECONDS:
            self.repaired = now
            self.tell(f"repair {self.do_force()}")

    def do_delete_root(self) -> str:
        if not (root := self._pick(names.CA_ROOT)):
            return "none"
        notes = root["metadata"].get("annotations") or {}
        active = names.ANNOTATION_ACTIVATED_AT in notes and names.ANNOTATION_ROTATED_OUT_AT not in notes
        if active or not notes:
            return "refused: the policy protects what is active"
        self.server.delete(names.CA_ROOT, root["metadata"]["name"])
        return str(root["metadata"]["name"])

    def do_configuration_gone(self) -> str:
        """Delete the configuration and apply it again: the roots are adopted."""
        found = self.cluster.configuration
        if not found:
            return "none"
        self.server.delete(names.CA_CONFIGURATION, CONFIGURATION)
        self._later(self.rng.choice((0.1, 5, 120)), lambda: self._put_back(found["spec"]))
        return "for a while"

    def _put_back(self, spec: JSON) -> None:
        if not self.cluster.configuration:
            self.cluster.configure(spec)

    do_configuration_gone.weight = RARE  # type: ignore[attr-defined]

    # --- strangers -------------------------------------------------------------------------------

    def do_delete_secret(self) -> str:
        found = [s for s in self.server.all(names.SECRET) if s["metadata"]["namespace"] != NAMESPACE]
        if not found:
            return "none"
        meta = self.rng.choice(found)["metadata"]
        self.server.delete(names.SECRET, meta["name"], meta["namespace"])
        return f"{meta['namespace']}/{meta['name']}"

    def do_edit_secret(self) -> str:
        found = [s for s in self.server.all(names.SECRET) if s["metadata"]["namespace"] != NAMESPACE]
        if not found:
            return "none"
        meta, entry = self.rng.choice(found)["metadata"], self.rng.choice(("tls.crt", "tls.key", "ca.crt"))
        self.server.merge(names.SECRET, meta["name"], meta["namespace"], {"data": {entry: "QQ=="}})
        return f"{meta['namespace']}/{meta['name']} {entry}"

    def do_foreign_secret(self) -> str:
        """Somebody has a Secret of his own under a name that a request may ask for, or takes it away."""
        namespace, name = self.rng.choice(NAMESPACES), f"tls-{self.rng.randrange(2)}"
        found = self.server.find(names.SECRET, name, namespace)
        if found is None:
            # Of the kind that the operator's own apply would take over.
            body = {"type": "kubernetes.io/tls", "data": {"tls.crt": "QQ==", "tls.key": "QQ=="}}
            self.server.create(names.SECRET, body | {"metadata": {"name": name, "namespace": namespace}})
        elif not found["metadata"].get("ownerReferences"):
            self.server.delete(names.SECRET, name, namespace)
        return f"{namespace}/{name}"

    def _ca_secret(self, role: str) -> JSON | None:
        found = [
            item
            for item in self.server.all(names.SECRET, NAMESPACE)
            if (item["metadata"].get("labels") or {}).get(names.LABEL_KEY_ROLE) == role
        ]
        return self.rng.choice(found)["metadata"] if found else None

    def do_delete_signer(self) -> str:
        if not (meta := self._ca_secret(names.KEY_ROLE_SIGNER)):
            return "none"
        self.server.delete(names.SECRET, meta["name"], NAMESPACE)
        return str(meta["name"])

    def do_spoil_signer(self) -> str:
        if not (meta := self._ca_secret(names.KEY_ROLE_SIGNER)):
            return "none"
        entry = self.rng.choice(("tls.key", "tls.crt", "chain.crt"))
        self.server.merge(names.SECRET, meta["name"], NAMESPACE, {"data": {entry: "QQ=="}})
        return f"{meta['name']} {entry}"

    do_spoil_signer.weight = RARE  # type: ignore[attr-defined]

    def do_delete_bundle(self) -> str:
        found = [item for item in self.server.all(names.CONFIG_MAP) if item["metadata"]["name"] == BUNDLE]
        if not found:
            return "none"
        namespace = self.rng.choice(found)["metadata"]["namespace"]
        self.server.delete(names.CONFIG_MAP, BUNDLE, namespace)
        return str(namespace)

    def do_edit_bundle(self) -> str:
        found = [item for item in self.server.all(names.CONFIG_MAP) if item["metadata"]["name"] == BUNDLE]
        if not found:
            return "none"
        namespace = self.rng.choice(found)["metadata"]["namespace"]
        self.server.merge(names.CONFIG_MAP, BUNDLE, namespace, {"data": {"ca.crt": "nothing"}})
        return str(namespace)

    def do_delete_record(self) -> str:
        name = self.rng.choice((names.accepted_config_map(CONFIGURATION), names.ADMISSION_CONFIG_MAP))
        self.server.delete(names.CONFIG_MAP, name, NAMESPACE)
        return name

    do_delete_record.weight = RARE  # type: ignore[attr-defined]

    def do_wipe(self) -> str:
        """Lose the status of something."""
        resource = self.rng.choice((names.CA_CONFIGURATION, names.CA_ROOT, names.LEAF))
        item = self._pick(resource)
        if item is None or not item.get("status"):
            return "none"
        meta = item["metadata"]
        wiped = {"status": dict.fromkeys(item["status"])}
        self.server.merge(resource, meta["name"], meta.get("namespace", ""), wiped, subresource="status")
        return f"{resource.kind} {meta['name']}"

    def do_policy_gone(self) -> str:
        self.server.delete(names.VALIDATING_BINDING, admission.REQUESTER)
        self.gap = True
        self._later(self.rng.choice((1, 30, 300)), self._policy_back)
        return "for a while"

    def _policy_back(self) -> None:
        self.cluster.policy()
        self.gap = False

    do_policy_gone.weight = RARE  # type: ignore[attr-defined]

    def do_refuse(self) -> str:
        self.refusing = self.rng.choice(NAMESPACES)
        self._later(self.rng.choice((10, 120, 1200)), self._refuse_no_more)
        return self.refusing

    def _refuse_no_more(self) -> None:
        self.refusing = ""

    # --- machines and networks -------------------------------------------------------------------

    def _node(self) -> Node:
        leaders = [node for node in self.cluster.nodes if node.leads]
        if leaders and self.rng.random() < 0.8:
            return self.rng.choice(leaders)
        return self.rng.choice(self.cluster.nodes)

    def do_crash(self) -> str:
        """Kill a process before one of its next callbacks, whichever that is."""
        node = self._node()
        if node.replica is None:
            return "none"
        node.replica.countdown = self.rng.choice((0, 10, 100, 1000)) + self.rng.randrange(100)
        return f"{node.name} in {node.replica.countdown} callbacks"

    do_crash.weight = 3 * USUAL  # type: ignore[attr-defined]

    def do_crash_loop(self) -> str:
        """Kill each process on a node soon after its start, for a while."""
        node = self._node()
        node.lifetime = self.rng.choice((50, 500, 3000))
        self._later(self.rng.choice((20, 120)), lambda: setattr(node, "lifetime", 0))
        return f"{node.name} within {node.lifetime} callbacks"

    def do_stop(self) -> str:
        node = self._node()
        if node.replica is not None:
            node.replica.stop.set()
        return node.name

    def do_freeze(self) -> str:
        """Stop a process for a while, as SIGSTOP or a slow disk does: it believes that it still leads."""
        node = self._node()
        replica = node.replica
        if replica is None:
            return "none"
        replica.freeze()
        seconds = self.rng.choice((3, 12, 20, 60))

        self._later(seconds, replica.thaw)
        return f"{node.name} {seconds} s"

    do_freeze.weight = 2 * USUAL  # type: ignore[attr-defined]

    def do_partition(self) -> str:
        node = self._node()
        node.network.blocked = True
        seconds = self.rng.choice((2, 8, 20, 120))
        self._later(seconds, lambda: setattr(node.network, "blocked", False))
        return f"{node.name} {seconds} s"

    do_partition.weight = 2 * USUAL  # type: ignore[attr-defined]

    def do_deaf(self) -> str:
        """Let a node's watches hang; calls go on."""
        node = self._node()
        node.network.deaf = True
        seconds = self.rng.choice((5, 60, 300))
        self._later(seconds, lambda: setattr(node.network, "deaf", False))
        return f"{node.name} {seconds} s"

    def do_weather(self) -> str:
        weather = self.rng.choice((network.FINE, network.FAIR, network.ROUGH, network.STORM))
        node = self._node()
        node.network.weather = weather
        return f"{node.name} {weather}"

    def do_clock(self) -> str:
        """Step a wall clock, at most five minutes away from the truth."""
        places = [*((node.name, node.clock) for node in self.cluster.nodes), ("server", self.cluster.clock)]
        name, clock = self.rng.choice(places)
        step = self.rng.choice((0, 0, -MOST_SKEW, -70, 70, MOST_SKEW))
        clock.step(step - clock.offset)
        return f"{name} {step:+} s"

    def right_clocks(self) -> None:
        for clock in (*(node.clock for node in self.cluster.nodes), self.cluster.clock):
            clock.step(-clock.offset)

    def do_server_down(self) -> str:
        self.server.down = True
        seconds = self.rng.choice((1, 10, 60))
        self._later(seconds, lambda: setattr(self.server, "down", self.restoring > 0))
        return f"{seconds} s"

    do_server_down.weight = RARE  # type: ignore[attr-defined]

    def do_cut_watches(self) -> str:
        return str(self.server.cut_watches(half_line=self.rng.random() < 0.5))

    def do_silence(self) -> str:
        resource = self.rng.choice(
            (names.LEAF, names.SECRET, names.CONFIG_MAP, names.CA_ROOT, names.CA_CONFIGURATION)
        )
        return f"{resource.kind} {self.server.silence_watches(resource)}"

    def do_compact(self) -> None:
        self.server.compact()
        self.server.cut_watches()

    def peace(self) -> None:
        """End everything that is wrong, and nothing else: what was broken stays as it is."""
        self.refusing = ""
        self.server.down = self.restoring > 0
        for node in self.cluster.nodes:
            node.network.blocked = node.network.deaf = False
            node.network.weather = network.FINE
            node.lifetime = 0
            if node.replica is not None:
                node.replica.thaw()
                node.replica.countdown = None
        self.right_clocks()
        self.cluster.policy()
        for namespace in NAMESPACES:
            for account in ACCOUNTS:
                self.cluster.account(namespace, account)
        self.tell("peace")


def _key(kind: str) -> JSON | None:
    if not kind:
        return None
    algorithm, _, size = kind.partition(" ")
    return {"algorithm": algorithm, "size": int(size) if size else None}


def _request(spec: keys.KeySpec) -> str:
    """Write a CSR whose signature depends on the seed only."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    private = keys.generate(spec)
    signed = builder.sign(private, pki.hash_of(private), ecdsa_deterministic=True)
    return signed.public_bytes(serialization.Encoding.PEM).decode()
