"""What happens to one cluster: each ``do_…`` method is one event. Those of people are here, others beside.

Decides what happens by the seed alone. An event does one thing and returns at once; what it begins (a
partition, a frozen process) ends by itself or in ``peace``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from meshca.api import names
from meshca.pki import certificates, keys
from meshca.planning.secrets import encode
from tests.fakes import pki
from tests.fakes.apiserver.status import ApiError
from tests.fakes.engine import NAMESPACE
from tests.simulation import network
from tests.simulation.cluster import ACCOUNTS, CONFIGURATION, NAMESPACES
from tests.simulation.events import RARE, USUAL
from tests.simulation.judge import TRUST_DOMAIN
from tests.simulation.machines import Machines
from tests.simulation.restores import Restores
from tests.simulation.selection import Selection
from tests.simulation.strangers import Strangers

if TYPE_CHECKING:
    import random

    from tests.simulation.cluster import SimCluster

JSON = dict[str, Any]
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


class Chaos(Strangers, Machines, Selection, Restores):
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
        self.applied = found["spec"]
        self._later(self.rng.choice((0.1, 5, 120)), self._apply_again)
        return "for a while"

    do_configuration_gone.weight = RARE  # type: ignore[attr-defined]

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
