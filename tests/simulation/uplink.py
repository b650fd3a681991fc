"""Links to primaries in the simulation: the product's own, without the thread and the loop of their own.

Decides who a token names and what that account may do, as an API server would: from the objects that
``meshca federation invite`` made there and that somebody may have taken away since.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from meshca.api import names
from meshca.planning.joining import claims_of
from meshca.runtime import links
from tests.fakes.apiserver import status
from tests.simulation.network import SimTransport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from meshca.kube.credentials import FixedToken
    from meshca.planning.primary import PrimaryWish
    from tests.fakes.apiserver.faults import RequestInfo
    from tests.fakes.apiserver.server import ApiServer
    from tests.fakes.apiserver.wire import Answer, Request
    from tests.simulation.network import Network

JSON = dict[str, Any]
_READS = ["get", "list", "watch"]
SECONDARY_ROLE: JSON = {
    "metadata": {"name": names.SECONDARY_ROLE},
    "rules": [
        {
            "apiGroups": [names.GROUP],
            "resources": [names.CA_CONFIGURATION.plural, names.CA_ROOT.plural],
            "verbs": _READS,
        }
    ],
}
"""What the chart puts into a primary for its secondaries."""


class LinksHere(links.LinkThread):
    """What the thread would run belongs to the one loop, from the first wish on; the thread never starts."""

    def start(self) -> None:
        return

    def wish(self, configuration: str, wish: PrimaryWish | None) -> None:
        if self._links is None:
            self._links = links.Links(
                deliver=self._hand_over, fence=self._fence, clock=self._clock, telemetry=self._telemetry
            )
        super().wish(configuration, wish)

    async def stopped(self) -> None:
        if self._links is not None:
            await self._links.aclose()


class Mail:
    """Messages between loops, in the order in which they were sent, whichever callback runs first."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()

    def send(self, act: Callable[..., object], *what: object) -> None:
        self._waiting.append((act, what))
        asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        act, what = self._waiting.popleft()
        act(*what)


class LinkTransport(SimTransport):
    """A connection to a primary, as whoever the token names when a request arrives."""

    def __init__(self, server: ApiServer, network: Network, token: FixedToken, process: str) -> None:
        super().__init__(server, network, "", process)
        self._token = token

    async def _serve(self, request: Request) -> Answer:
        user = user_of(self._server, self._token.current())
        if not user:
            return self._server._refusal(status.unauthorized())
        return await super()._serve(replace(request, user=user))


def user_of(server: ApiServer, token: str) -> str:
    """Return whom a token names, or "" when it has expired or its account is gone."""
    claims = claims_of(token)
    place = claims.get("kubernetes.io") or {}
    wanted = place.get("serviceaccount") or {}
    account = server.find(names.SERVICE_ACCOUNT, str(wanted.get("name")), str(place.get("namespace")))
    expired = claims.get("exp", 0) <= server.clock.now().timestamp()
    if expired or account is None or account["metadata"]["uid"] != wanted.get("uid"):
        return ""
    return str(claims["sub"])


def may(server: ApiServer, info: RequestInfo) -> str | None:
    """Say why a secondary's account may not do something, by the roles that are bound to it; or None."""
    if not info.user.startswith("system:serviceaccount:meshca-fed-"):
        return None
    if any(_permits(rule, info) for rule in _rules(server, info)):
        return None
    return f"User {info.user!r} cannot {info.verb} resource {info.resource.plural!r}"


def _rules(server: ApiServer, info: RequestInfo) -> Iterator[JSON]:
    bindings = server.all(names.CLUSTER_ROLE_BINDING)
    if info.namespace:
        bindings += server.all(names.ROLE_BINDING, info.namespace)
    for binding in bindings:
        if any(_is(subject, info.user) for subject in binding.get("subjects") or ()):
            named, namespace = binding["roleRef"], binding["metadata"].get("namespace", "")
            local = named["kind"] == names.ROLE.kind
            resource = names.ROLE if local else names.CLUSTER_ROLE
            role = server.find(resource, named["name"], namespace if local else "")
            yield from (role or {}).get("rules") or ()


def _is(subject: JSON, user: str) -> bool:
    return user == f"system:serviceaccount:{subject.get('namespace')}:{subject['name']}"


def _permits(rule: JSON, info: RequestInfo) -> bool:
    what = f"{info.resource.plural}/{info.subresource}" if info.subresource else info.resource.plural
    named = rule.get("resourceNames")
    return (
        info.resource.group in rule["apiGroups"]
        and what in rule["resources"]
        and info.verb in rule["verbs"]
        and (not named or info.name in named)
    )
