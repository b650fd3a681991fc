"""``meshca federation invite`` and ``revoke``: registers a secondary with its primary, or takes that away.

Decides what an invitation pins (the digest of the present roots) and which objects are its own: one that
stands in the way under the same name and was not made for this cluster is never touched. Writes no more
than ``registration`` lists, and makes one token. Inviting again repairs what is there and makes a new token.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshca.api import names
from meshca.api.v1alpha1.caroot import CARootStatus
from meshca.api.v1alpha1.castatus import CAConfigurationStatus
from meshca.api.v1alpha1.federation import FederatedClusterStatus
from meshca.api.v1alpha1.scalars import parse_time
from meshca.cli.reading import name_of, roots
from meshca.errors import AlreadyExistsError, InvalidError, NotFoundError, TransientError
from meshca.pki.bundle import Bundle
from meshca.pki.certificates import load_one

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime, timedelta

    from meshca.api.names import Resource
    from meshca.cli.registration import Registration
    from meshca.kube.gateway import Gateway

JSON = dict[str, Any]
CA_CONFIG_MAP: Final = ("kube-root-ca.crt", "kube-system")
"""Where every cluster publishes the CA of its API server's certificate."""
_COMPARED: Final = ("spec", "rules", "roleRef", "subjects")


@dataclass(frozen=True, slots=True)
class Pin:
    """What a secondary must find at its first contact; ``digest`` is hex."""

    trust_domain: str
    digest: str
    rotating: bool


@dataclass(frozen=True, slots=True)
class Invitation:
    """Everything that goes into a join manifest; ``token`` is a secret, times are UTC."""

    registration: Registration
    pin: Pin
    server: str
    authority: str
    token: str
    expires: datetime
    known: bool

    def __repr__(self) -> str:
        """Leave the token out."""
        return f"Invitation({self.registration.cluster!r}, expires={self.expires})"


def pin(configuration: JSON, found: Iterable[JSON]) -> Pin:
    """Return what to pin of a primary's CAConfiguration and its CARoots.

    ``InvalidError`` when it is no primary that one could join, ``TransientError`` while its roots change.
    """
    name = name_of(configuration)
    if ((configuration.get("spec") or {}).get("federation") or {}).get("primary"):
        raise InvalidError(f"CAConfiguration {name!r} is a secondary itself: invite in its primary")
    status = CAConfigurationStatus.read(configuration.get("status"))
    if not (status.active_root and status.bundle.roots):
        raise InvalidError(f"CAConfiguration {name!r} has no root yet: wait until it is Ready")
    published = [
        load_one(str(item["spec"]["certificate"]))
        for item in found
        if CARootStatus.read(item.get("status")).fingerprint in status.bundle.roots
    ]
    if Bundle.of(published).digest != status.bundle.digest:
        raise TransientError(f"the roots of CAConfiguration {name!r} are changing: ask again")
    return Pin(status.trust_domain, status.bundle.digest, rotating=status.is_true("RotationInProgress"))


async def invite(
    gateway: Gateway,
    registration: Registration,
    *,
    server: str,
    authority: str,
    life: timedelta,
    say: Callable[[str], None],
) -> Invitation:
    """Register a secondary and make a token for it; ``authority`` (PEM) is looked up when empty."""
    name = registration.configuration
    configuration = await gateway.get(names.CA_CONFIGURATION, name)
    pinned = pin(configuration, await roots(gateway, name))
    authority = authority or await _authority(gateway)
    known = await _known(gateway, registration)
    for resource, body in registration.objects():
        said = await _ensure(gateway, resource, body, registration.cluster)
        if said:
            say(f"{resource.kind} {name_of(body)}: {said}")
    granted = await gateway.token(
        names.FEDERATION_ACCOUNT, registration.namespace, seconds=int(life.total_seconds())
    )
    expires = parse_time(str(granted["expirationTimestamp"]))
    return Invitation(registration, pinned, server, authority, str(granted["token"]), expires, known)


async def _authority(gateway: Gateway) -> str:
    name, namespace = CA_CONFIG_MAP
    try:
        found = await gateway.get(names.CONFIG_MAP, name, namespace)
    except NotFoundError:
        found = {}
    if text := (found.get("data") or {}).get("ca.crt"):
        return str(text)
    raise InvalidError(
        f"ConfigMap {namespace}/{name} does not tell the CA of this API server: name a file with"
        " --certificate-authority"
    )


async def _known(gateway: Gateway, registration: Registration) -> bool:
    """Tell whether the cluster has reported before; ``InvalidError`` when the name is that of another."""
    try:
        found = await gateway.get(names.FEDERATED_CLUSTER, registration.cluster)
    except NotFoundError:
        return False
    other = str(found["spec"].get("caConfigurationName", "default"))
    if other != registration.configuration:
        raise InvalidError(
            f"cluster {registration.cluster!r} is registered for CAConfiguration {other!r} already: revoke"
            " that first, or choose another name"
        )
    return FederatedClusterStatus.read(found.get("status")).last_seen is not None


async def _ensure(gateway: Gateway, resource: Resource, body: JSON, cluster: str) -> str:
    """Make an object as it is to be and return what was done, empty for nothing."""
    name, namespace = name_of(body), str(body["metadata"].get("namespace", ""))
    try:
        await gateway.create(resource, body)
    except AlreadyExistsError:
        found = await gateway.get(resource, name, namespace)
    else:
        return "made"
    if not _made_for(found, cluster):
        raise InvalidError(
            f"{resource.kind} {name!r} exists and was not made for cluster {cluster!r}: remove it, or label"
            f" it {names.LABEL_FEDERATED_CLUSTER}={cluster} if it was"
        )
    if "deletionTimestamp" in found["metadata"]:
        raise InvalidError(f"{resource.kind} {name!r} is being deleted: invite again once it is gone")
    wrong = {key: body[key] for key in _COMPARED if key in body and not _within(body[key], found.get(key))}
    if not wrong:
        return ""
    await gateway.patch(resource, name, namespace, {"metadata": {"uid": found["metadata"]["uid"]}} | wrong)
    return "repaired"


def _within(wanted: Any, found: Any) -> bool:
    """Tell whether an object says what is wanted; what an API server adds by itself does not count."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(_within(value, found.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list) and isinstance(found, list):
        return len(wanted) == len(found) and all(map(_within, wanted, found))
    return bool(wanted == found)


def _made_for(found: JSON, cluster: str) -> bool:
    return (found["metadata"].get("labels") or {}).get(names.LABEL_FEDERATED_CLUSTER) == cluster


@dataclass(frozen=True, slots=True)
class Member:
    """A registered secondary, as ``revoke`` finds it."""

    registration: Registration
    signer_not_after: datetime | None


async def find(gateway: Gateway, registration: Registration) -> Member | None:
    """Find what there is of a secondary; None when nothing is left."""
    cluster = registration.cluster
    try:
        found = await gateway.get(names.FEDERATED_CLUSTER, cluster)
    except NotFoundError:
        rest = [await _present(gateway, resource, body) for resource, body in registration.objects()]
        return Member(registration, None) if any(one and _made_for(one, cluster) for one in rest) else None
    status = FederatedClusterStatus.read(found.get("status"))
    return Member(registration, status.signer_not_after)


async def _present(gateway: Gateway, resource: Resource, body: JSON) -> JSON | None:
    try:
        found = await gateway.get(resource, name_of(body), str(body["metadata"].get("namespace", "")))
    except NotFoundError:
        return None
    return None if "deletionTimestamp" in found["metadata"] else found


async def revoke(gateway: Gateway, registration: Registration, say: Callable[[str], None]) -> None:
    """Delete all that was made for a secondary: first its registration, last its account and namespace."""
    objects = registration.objects()
    # The namespace takes what is in it along, and only after that would an invitation find room again.
    for resource, body in [*objects[1:], objects[0]]:
        found = await _present(gateway, resource, body)
        if found is None:
            continue
        if not _made_for(found, registration.cluster) and resource is not names.FEDERATED_CLUSTER:
            say(f"{resource.kind} {name_of(body)}: left alone, it was not made for this cluster")
            continue
        uid, namespace = str(found["metadata"]["uid"]), str(found["metadata"].get("namespace", ""))
        # Somebody who revokes at the same time wants the same.
        with suppress(NotFoundError):
            await gateway.delete(resource, name_of(body), namespace, uid=uid)
            say(f"{resource.kind} {name_of(body)}: deleted")
