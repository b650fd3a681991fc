"""What a configuration asks for: in its spec, in the record of what was accepted, in an imported pair.

Decides whether each can be read and used; whether a wish is granted is decided in ``planning``. Keys are
checked here and never returned.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from meshca.api import names
from meshca.api.v1alpha1.caconfiguration import CAConfigurationSpec
from meshca.errors import InvalidError, NotFoundError
from meshca.pki import chain
from meshca.planning.ca import ImportedPair
from meshca.planning.desired import resolve
from meshca.planning.secrets import CERTIFICATE, KEY, data_of
from meshca.planning.views import annotations_of

if TYPE_CHECKING:
    from meshca.clock import Clock
    from meshca.engine.ports import Cluster
    from meshca.planning.desired import Desired


def read_wish(name: str, spec: object) -> tuple[Desired | None, str]:
    """Return what a spec, written by a user, asks for; or ``None`` and in words what is wrong with it."""
    try:
        return resolve(name, CAConfigurationSpec.read(spec, at="spec")), ""
    except InvalidError as error:
        return None, error.message


class Wishes:
    """Reads wishes from the API server; ``namespace`` is the operator's, where records and pairs are."""

    def __init__(self, cluster: Cluster, clock: Clock, namespace: str) -> None:
        self._cluster = cluster
        self._clock = clock
        self._namespace = namespace

    async def accepted(self, name: str, spec: object) -> tuple[Desired | None, bool, bool]:
        """Return what was accepted last, whether it is still asked for, and whether keys go with it.

        ``None`` when nothing was, or the record cannot be read.
        """
        try:
            body = await self._cluster.get(names.CONFIG_MAP, names.accepted_config_map(name), self._namespace)
        except NotFoundError:
            return None, False, False
        held = annotations_of(body).get(names.ANNOTATION_DELETE_KEYS) == name
        try:
            kept = json.loads((body.get("data") or {}).get("spec.json", ""))
        except ValueError:
            return None, False, held
        desired, _ = read_wish(name, kept)
        return desired, kept == spec, held

    async def imported(self, desired: Desired | None) -> ImportedPair | None:
        """Return what the Secret that ``desired`` names holds, or in words why it cannot be a root."""
        if desired is None or not desired.imported_secret:
            return None
        secret = desired.imported_secret
        try:
            body = await self._cluster.get(names.SECRET, secret, self._namespace)
            certificate, _ = chain.check_imported_root(
                data_of(body, CERTIFICATE),
                data_of(body, KEY),
                now=self._clock.now(),
                trust_domain=desired.trust_domain,
            )
        except NotFoundError:
            return ImportedPair("", "", f"Secret {secret!r} is not in the operator's namespace; create it")
        except InvalidError as error:
            return ImportedPair("", "", f"Secret {secret!r}: {error.message}")
        facts = chain.facts(certificate)
        uri = facts.uris[0] if facts.uris else ""
        return ImportedPair(facts.fingerprint, uri, "", facts.public_key_sha256, facts.subject_key_id)
