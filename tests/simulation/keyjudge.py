"""Holds I5 against what the operator does with keys: where they are, whose they are, when they may go.

Decides from the Secret as it is written and from the CARoots beside it; what other people do to Secrets is no
finding. Of I9 it has whose Secrets are written to, of I4 the CA certificates that only Secrets hold.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.errors import InvalidError
from meshca.pki import certificates
from tests.fakes.engine import NAMESPACE
from tests.simulation.evidence import entry, pair_ok, state_of, status_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

    from tests.fakes.apiserver.server import ApiServer
    from tests.fakes.apiserver.store import Change

JSON = dict[str, Any]
_SECRET_TEXTS = ("PRIVATE KEY", base64.b64encode(b"-----BEGIN PRIV")[:18].decode())


@dataclass(frozen=True, slots=True)
class KeyJudge:
    """Judges one configuration's keys; ``say`` takes a finding, ``nested`` a certificate and what it is."""

    server: ApiServer
    configuration: str
    say: Callable[[str], None]
    nested: Callable[[x509.Certificate, str], None]

    def secret(self, change: Change) -> None:
        """Judge what the operator did to a Secret."""
        meta = change.item["metadata"]
        place = (meta.get("namespace", ""), meta["name"])
        if place[0] == NAMESPACE:
            self._ca_secret(change)
            return
        if change.type == "DELETED":
            self.say(f"I5: the operator deleted Secret {place}")
            return
        owners = [owner.get("uid") for owner in meta.get("ownerReferences") or ()]
        before = change.before or {}
        was = [o.get("uid") for o in (before.get("metadata") or {}).get("ownerReferences") or ()]
        if before and was != owners:
            self.say(f"I9: Secret {place} of somebody else was written to")
        self._pair_fits(change.item, place)

    def _ca_secret(self, change: Change) -> None:
        meta = change.item["metadata"]
        role, name = (meta.get("labels") or {}).get(names.LABEL_KEY_ROLE, ""), meta["name"]
        if not role:
            return
        if role == names.KEY_ROLE_REQUESTED:
            return  # a key that waits for its certificate, or is thrown away unused
        if change.type == "DELETED":
            self._key_not_needed(change.item, role)
            return
        self._pair_fits(change.item, (NAMESPACE, name))
        if (
            change.before is not None
            and change.before["data"].get("tls.key") != change.item["data"]["tls.key"]
        ):
            self.say(f"I5: the key in Secret {name!r} was replaced")
        for certificate in certificates.load_all(entry(change.item, "tls.crt")):
            self.nested(certificate, f"Secret {name!r}")
        if crosses := entry(change.item, "cross.crt"):
            for certificate in certificates.load_all(crosses):
                self.nested(certificate, f"cross-certificate in {name!r}")

    def _key_not_needed(self, secret: JSON, role: str) -> None:
        name = secret["metadata"]["name"]
        try:
            certificate = certificates.load_all(entry(secret, "tls.crt"))[0]
        except InvalidError:
            return  # somebody spoiled it
        if role == names.KEY_ROLE_ROOT:
            for item in self.server.store.items(names.CA_ROOT):
                if item["spec"]["keySecretName"] == name and state_of(item) != "Pruned":
                    same = certificates.load_one(item["spec"]["certificate"]) == certificate
                    if same and not self._deleting_keys():
                        self.say(f"I5: the key of root {item['metadata']['name']!r} was deleted")
            return
        active = (
            self.server.find(names.CA_ROOT, status_of(self.server, self.configuration).get("activeRoot", ""))
            or {}
        )
        used = ((active.get("status") or {}).get("signer") or {}).get("secretName")
        if used == name and not self._deleting_keys() and pair_ok(secret):
            self.say(f"I5: the signer in use, {name!r}, was deleted")

    def _deleting_keys(self) -> bool:
        found = self.server.find(names.CA_CONFIGURATION, self.configuration)
        notes = ((found or {}).get("metadata") or {}).get("annotations") or {}
        return found is None or names.ANNOTATION_DELETE_KEYS in notes

    def no_key_in(self, item: JSON) -> None:
        """Judge what the operator wrote that is no Secret."""
        text = json.dumps(item)
        if any(word in text for word in _SECRET_TEXTS):
            self.say(f"I5: key material in {item.get('kind')} {item['metadata']['name']!r}")

    def _pair_fits(self, secret: JSON, place: tuple[str, str]) -> None:
        if not pair_ok(secret):
            self.say(f"I5: key and certificate in Secret {place} do not fit")
