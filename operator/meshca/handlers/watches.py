"""Kopf as the watcher of CAConfigurations and CARoots: a private registry, thin handlers, settings.

Decides which kinds are watched and how Kopf is kept from writing anything. Handlers hand each event to
the engine and return; they never wait, return a value or touch a patch. Level-triggered handlers
(``on.event``) only: the others persist their progress in the objects. Leaves come in another way, by
``runtime.sources``: an event through Kopf costs more than everything else that a leaf needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kopf

from meshca.api import names
from meshca.handlers.storages import NullDiffBaseStorage, NullProgressStorage

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping

    from meshca.engine.intake import Intake

PAGE = 500
SERVER_SECONDS = 300
CLIENT_SECONDS = 330


def registry_for(intake: Intake, login: Callable[[], kopf.ConnectionInfo]) -> kopf.OperatorRegistry:
    """Return a registry that hands events of CA kinds to ``intake``."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def _login(**_: Any) -> kopf.ConnectionInfo:
        return login()

    for resource, take in (
        (names.CA_CONFIGURATION, intake.configuration),
        (names.CA_ROOT, intake.root),
        (names.FEDERATED_CLUSTER, intake.federation.cluster),
        (names.INTERMEDIATE, intake.federation.request),
    ):
        _hand_over(registry, resource, take)
    return registry


def _hand_over(
    registry: kopf.OperatorRegistry,
    resource: names.Resource,
    take: Callable[[str, Mapping[str, Any]], None],
) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)
    async def _event(event: Mapping[str, Any], **_: Any) -> None:
        # The raw object: Kopf's body is a view that costs a lookup for each field.
        take(event["type"] or "", event["object"])


def settings() -> kopf.OperatorSettings:
    """Return settings under which Kopf watches and does nothing else."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.persistence.diffbase_storage = NullDiffBaseStorage()
    chosen.persistence.progress_storage = NullProgressStorage()
    chosen.queueing.idle_timeout = 1.0
    chosen.watching.chunk_size = PAGE
    chosen.watching.server_timeout = SERVER_SECONDS
    chosen.watching.client_timeout = CLIENT_SECONDS
    chosen.watching.connect_timeout = 10
    chosen.networking.request_timeout = 30
    chosen.networking.error_backoffs = (1, 2, 4)
    chosen.process.ultimate_exiting_timeout = 20
    return chosen


async def watch(registry: kopf.OperatorRegistry, stop: threading.Event) -> None:
    """Watch until ``stop`` is set; returns early only when a watch broke for good."""
    await kopf.operator(
        registry=registry, settings=settings(), standalone=True, clusterwide=True, stop_flag=stop
    )
