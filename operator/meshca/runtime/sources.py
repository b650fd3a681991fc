"""What the leader watches by itself, and which method takes it in; Kopf watches the CA kinds.

Decides selectors, so that no more is read than RBAC allows and decisions need: names and labels of
namespaces and accounts, Secrets of the operator's namespace and of those with managed keys, bundles by
their name, the two admission policies that guard requests.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, TypeVar

from meshca.api import admission, names
from meshca.engine.managed import EVERYWHERE
from meshca.errors import ConflictError, ForbiddenError, MisconfiguredError, TransientError
from meshca.kube.answers import KIND_NOT_SERVED
from meshca.kube.watch import Reflector

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from meshca.clock import Clock
    from meshca.config import Settings
    from meshca.engine.intake import Intake
    from meshca.kube.answers import WatchEvent
    from meshca.kube.gateway import Gateway

T = TypeVar("T")
DELETED: Final = "DELETED"
RETRY_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


def reflectors(
    gateway: Gateway, settings: Settings, intake: Intake, clock: Clock, *, cluster_bundles: bool
) -> list[Reflector]:
    """Return the reflectors of one leader, not yet running."""

    def reflect(
        resource: names.Resource,
        take: Callable[[str, Mapping[str, Any]], None],
        namespace: str = "",
        *,
        believes_lists: bool = False,
        **more: Any,
    ) -> Reflector:
        def hand_over(event: WatchEvent) -> None:
            take(_what(event) if believes_lists else event.type, event.object)

        return Reflector(gateway, resource, namespace, handler=hand_over, clock=clock, **more)

    found = [
        reflect(names.NAMESPACE, intake.namespace, metadata_only=True),
        reflect(names.SERVICE_ACCOUNT, intake.account, metadata_only=True),
        reflect(names.SECRET, intake.ca_secret, settings.namespace, metadata_only=True),
    ]
    found += [
        reflect(resource, intake.policy, field_selector=f"metadata.name={name}", metadata_only=True)
        for name in (admission.REQUESTER, admission.INTERMEDIATES)
        for resource in (names.VALIDATING_POLICY, names.VALIDATING_BINDING)
    ]
    found += [
        reflect(names.CONFIG_MAP, intake.bundle, field_selector=f"metadata.name={name}")
        for name in settings.trust_bundle_names
    ]
    managed = settings.managed_key_namespaces
    found += [
        reflect(
            names.SECRET,
            intake.managed_secret,
            "" if namespace == EVERYWHERE else namespace,
            believes_lists=True,
            label_selector=f"{names.LABEL_LEAF}=true",
            # A namespace that was deleted took the right to read it along: the others go on.
            may_be_refused=namespace != EVERYWHERE,
        )
        for namespace in managed
    ]
    if cluster_bundles:
        selector = f"{names.LABEL_MANAGED_BY}={names.MANAGED_BY}"
        found.append(
            reflect(
                names.CLUSTER_TRUST_BUNDLE,
                intake.bundle,
                label_selector=selector,
                # Publishing there is refused as well then, and said: no reason to issue nothing.
                may_be_refused=True,
            )
        )
    return found


def leaf_reflector(gateway: Gateway, intake: Intake, clock: Clock) -> Reflector:
    """Return the reflector of leaves, the one kind of which there are tens of thousands."""

    def hand_over(event: WatchEvent) -> None:
        intake.leaf(_what(event), event.object)

    return Reflector(gateway, names.LEAF, handler=hand_over, listed=intake.leaves_listed, clock=clock)


def _what(event: WatchEvent) -> str:
    """Name an event; what was listed counts whatever its version: they go back when etcd is restored."""
    return "" if event.listed and event.type != DELETED else event.type


async def insist(read: Callable[[], Awaitable[T]]) -> T:
    """Read what nothing can start without, again and again while the failure is one that passes."""
    while True:
        try:
            return await read()
        except (TransientError, ConflictError) as error:
            _log.warning("not read at start, trying again", extra={"why": error.message})
            await asyncio.sleep(RETRY_SECONDS)


async def has_cluster_bundles(gateway: Gateway) -> bool:
    """Tell whether the API server serves ClusterTrustBundles in the version written here.

    Only its word that it does not counts as a no: bundles that are there are then left as they are, without
    the next root. Any other failure that does not pass is raised, and the term ends.
    """
    try:
        await insist(lambda: gateway.list(names.CLUSTER_TRUST_BUNDLE))
    except MisconfiguredError as error:
        if error.reason != KIND_NOT_SERVED:
            raise
        # Kubernetes is older than 1.37.
        return False
    except ForbiddenError as error:
        # Perhaps only the API server's roles are not read yet; who may not write is told by the publisher.
        _log.warning("ClusterTrustBundles cannot be listed at start", extra={"why": error.message})
    return True
