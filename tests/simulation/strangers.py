"""What strangers do: they delete, spoil, wipe and refuse what is not theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from meshca.api import admission, names
from tests.fakes.apiserver.status import forbidden
from tests.fakes.engine import NAMESPACE, OPERATOR
from tests.simulation.cluster import BUNDLE, CONFIGURATION, NAMESPACES
from tests.simulation.events import RARE, Events

if TYPE_CHECKING:
    from tests.fakes.apiserver.writes import Admission

JSON = dict[str, Any]
GIVEN_UP_AFTER = 500
"""Seconds of a refusal after which the operator, whose next try may be minutes away, may go on without."""


class Strangers(Events):
    """Events of ``Chaos``."""

    refusing = ""
    """The namespace in which a policy of somebody else says no."""

    def _admit(self, asked: Admission) -> None:
        """Refuse as a policy of somebody else would, while it lasts."""
        if not self.refusing or asked.user != OPERATOR or asked.new is None:
            return
        meta = asked.new["metadata"]
        if meta.get("namespace") == self.refusing and asked.kind.resource in {names.CONFIG_MAP, names.SECRET}:
            raise forbidden(asked.kind.resource, meta.get("name", ""), "a policy of somebody else says no")

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
        self._later(self.rng.choice((1, 30, 300)), self.cluster.policy)
        return "for a while"

    do_policy_gone.weight = RARE  # type: ignore[attr-defined]

    def do_refuse(self) -> str:
        place = self.refusing = self.rng.choice(NAMESPACES)
        self._later(self.rng.choice((10, 120, 1200)), self._refuse_no_more)
        self._later(GIVEN_UP_AFTER, lambda: self._give_up(place))
        return place

    def _give_up(self, place: str) -> None:
        if self.refusing == place:
            self.cluster.judge.given_up.add(place)

    def _refuse_no_more(self) -> None:
        self.refusing = ""
