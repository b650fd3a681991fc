"""Watches every change of an API server and fails on the first that breaks an invariant (I1 to I3, I5).

What is checked with certificates is what a peer would check: each chain that is in use against each bundle
that is published at that moment.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.errors import InvalidError
from meshca.pki import certificates, chain

if TYPE_CHECKING:
    from cryptography import x509

    from tests.fakes.apiserver.server import ApiServer
    from tests.fakes.apiserver.store import Change

JSON = dict[str, Any]


class Witness:
    """Checks of one configuration, from its first activation on; ``broken`` says what went wrong."""

    def __init__(
        self, server: ApiServer, configuration: str = "default", bundle: str = "meshca-trust-bundle"
    ) -> None:
        self._server = server
        self._name = configuration
        self._bundle = bundle
        self._sound: set[tuple[str, str]] = set()
        self.broken: list[str] = []
        self.active: list[str] = []
        """Each root that was active, in order."""
        self.most_live = 0
        server.store.listeners.append(self._heard)

    def _heard(self, change: Change) -> None:
        if change.resource == names.CA_CONFIGURATION:
            self._one_active(change)
        elif change.resource == names.CA_ROOT:
            found = self._server.store.items(names.CA_ROOT)
            live = sum((item.get("status") or {}).get("state") != "Pruned" for item in found)
            self.most_live = max(self.most_live, live)
        elif change.resource == names.CONFIG_MAP and change.item["metadata"]["name"] == self._bundle:
            self._nothing_needed_left(change)
            self._all_verify()
        elif change.resource == names.LEAF:
            self._all_verify()
        elif change.resource == names.SECRET and change.type == "DELETED":
            self._key_not_needed(change.item)

    def _one_active(self, change: Change) -> None:
        before = ((change.before or {}).get("status") or {}).get("activeRoot")
        now = (change.item.get("status") or {}).get("activeRoot")
        if change.type == "DELETED" or before == now:
            return
        if now and self.active[-1:] != [now]:
            self.active.append(now)
        if not now:
            return
        root = self._server.find(names.CA_ROOT, now)
        if root is None or (root.get("status") or {}).get("state") == "Pruned":
            self.broken.append(f"I1: active root {now!r} is gone or pruned")

    def _chains(self) -> list[list[x509.Certificate]]:
        now = self._server.clock.now()
        found = []
        for item in self._server.store.items(names.LEAF):
            text = (item.get("status") or {}).get("certificateChain")
            if text:
                loaded = certificates.load_all(text)
                if loaded[0].not_valid_after_utc > now:
                    found.append(loaded)
        return found

    def _bundles(self) -> list[str]:
        return [
            item["data"][names.BUNDLE_KEY]
            for item in self._server.store.items(names.CONFIG_MAP)
            if item["metadata"]["name"] == self._bundle
        ]

    def _all_verify(self) -> None:
        for presented in self._chains():
            for text in self._bundles():
                pair = (certificates.to_pem(*presented), hashlib.sha256(text.encode()).hexdigest())
                if pair not in self._sound:
                    self._sound.add(pair)
                    self._verify(presented, text)

    def _verify(self, presented: list[x509.Certificate], text: str) -> None:
        try:
            roots = certificates.load_all(text)
            chain.verify(presented[0], presented[1:], roots, at=self._server.clock.now())
        except InvalidError as error:
            self.broken.append(f"I2: {error.message}")

    def _nothing_needed_left(self, change: Change) -> None:
        if change.before is None or change.type == "DELETED":
            return
        before = certificates.load_all(change.before["data"][names.BUNDLE_KEY])
        after = certificates.load_all(change.item["data"][names.BUNDLE_KEY])
        for root in before:
            if root not in after and self._needed(root):
                self.broken.append("I3: a root left a bundle while a live leaf needs it")

    def _needed(self, root: x509.Certificate) -> bool:
        own = certificates.subject_key_id_of(root)
        return any(certificates.authority_key_id_of(found[1]) == own for found in self._chains())

    def _key_not_needed(self, secret: JSON) -> None:
        if secret["metadata"].get("labels", {}).get(names.LABEL_KEY_ROLE) != names.KEY_ROLE_ROOT:
            return
        root = certificates.load_one(base64.b64decode(secret["data"]["tls.crt"]))
        for item in self._server.store.items(names.CA_ROOT):
            same = certificates.load_one(item["spec"]["certificate"]) == root
            if same and (item.get("status") or {}).get("state") != "Pruned":
                self.broken.append(f"I5: the key of {item['metadata']['name']!r} was deleted")
        if self._needed(root):
            self.broken.append("I5: a key was deleted that a live leaf needs")
