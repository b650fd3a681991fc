"""One secondary's link to its primary: what is read there, what is written there, and what is wrong.

Decides how often something is tried and how a failure is told: unreachable, refused, or silent. Never what
is asked for or believed: that is planned. Runs in a loop of its own, so that a primary that is dead, slow or
lying costs the engine nothing; whatever happens here ends in a view, never in a crash.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from meshca.api import names
from meshca.api.v1alpha1.conditions import Reason
from meshca.errors import ForbiddenError, GoneError, MeshCAError, MisconfiguredError
from meshca.kube.backoff import Backoff
from meshca.kube.credentials import FixedToken
from meshca.kube.gateway import Gateway
from meshca.kube.watch import Reflector
from meshca.planning.primary import PrimaryView
from meshca.planning.primaryfacts import read_answer, read_facts
from meshca.planning.situation import Problem
from meshca.planning.views import Meta
from meshca.runtime.reporter import UNAUTHORIZED, Reporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshca.clock import Clock
    from meshca.engine.telemetry import Telemetry
    from meshca.kube.answers import WatchEvent
    from meshca.kube.transport import Transport
    from meshca.planning.joining import Join
    from meshca.planning.primary import PrimaryFacts, PrimaryWish

    Connect = Callable[[Join, FixedToken], Transport]

_log = logging.getLogger(__name__)
JSON = dict[str, Any]
PATIENCE: Final = 10.0
"""Seconds for which a connection that broke may be tried again before anybody hears of it."""
TICK: Final = 1.0
"""Seconds between two looks at what time alone changes."""
IDLE: Final = 15.0
"""The same while nothing is wrong."""


class LinkToken(FixedToken):
    """The token of a join Secret, which is renewed while the link stands."""

    def set(self, token: str) -> None:
        """Use another token from now on."""
        self._token = token


class PrimaryLink:
    """The link of one configuration; everything but the constructor belongs to the links' loop."""

    def __init__(
        self,
        name: str,
        *,
        connect: Connect,
        deliver: Callable[[str, PrimaryView], None],
        fence: Callable[[], float],
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._name = name
        self._connect = connect
        self._deliver = deliver
        self._fence = fence
        self._clock = clock
        self._telemetry = telemetry
        self._changed = asyncio.Event()
        self._wish: PrimaryWish | None = None
        self._talk: _Talk | None = None
        self._told: PrimaryView | None = None

    def wish(self, wish: PrimaryWish) -> None:
        """Do this from now on."""
        before, self._wish = self._wish, wish
        if self._talk is not None and before is not None and before.source == wish.source:
            self._talk.wish(wish)
        else:
            self._changed.set()

    async def run(self) -> None:
        """Keep the link up until cancelled."""
        backoff = Backoff(initial=1.0, cap=60.0)
        while True:
            self._changed.clear()
            if self._wish is None:
                await self._changed.wait()
                continue
            try:
                await self._speak(self._wish)
                backoff.reset()
            except Exception as error:  # noqa: BLE001  what a primary answers must not end anything here
                _log.exception("link broke", extra={"configuration": self._name})
                self._tell(PrimaryView(self._wish.source, _problem(error)))
                await asyncio.sleep(backoff.next())

    async def _speak(self, wish: PrimaryWish) -> None:
        """Talk to one primary until the wish names another."""
        token = LinkToken(wish.join.token)
        transport = self._connect(wish.join, token)
        gateway = Gateway(transport, self._fence, clock=self._clock)
        self._talk = _Talk(wish, gateway, token, clock=self._clock, tell=self._tell, contact=self._contact)
        talking = asyncio.create_task(self._talk.run(), name=f"talk-{self._name}")
        changed = asyncio.create_task(self._changed.wait(), name=f"changed-{self._name}")
        try:
            await asyncio.wait([talking, changed], return_when=asyncio.FIRST_COMPLETED)
            if talking.done():
                talking.result()
        finally:
            self._talk = None
            for task in (talking, changed):
                task.cancel()
            await asyncio.gather(talking, changed, return_exceptions=True)
            await transport.aclose()

    def _tell(self, view: PrimaryView) -> None:
        if view != self._told:
            self._told = view
            self._deliver(self._name, view)

    def _contact(self, age: float | None) -> None:
        moment = None if age is None else self._clock.now().timestamp() - age
        answers = self._told is not None and self._told.trouble is None and self._told.facts is not None
        self._telemetry.primary(self._name, reachable=answers, last_contact=moment)


class _Talk:
    """What is said between this cluster and one primary, from connecting on."""

    def __init__(
        self,
        wish: PrimaryWish,
        gateway: Gateway,
        token: LinkToken,
        *,
        clock: Clock,
        tell: Callable[[PrimaryView], None],
        contact: Callable[[float | None], None],
    ) -> None:
        self._wish = wish
        self._token = token
        self._clock = clock
        self._tell = tell
        self._contact = contact
        self._news = asyncio.Event()
        self._configuration: JSON | None = None
        self._roots: dict[str, JSON] = {}
        self._requests: dict[str, JSON] = {}
        self._failing: dict[str, tuple[float, MeshCAError]] = {}
        self._facts: PrimaryFacts | None = None
        self._unsettled: float | None = None
        self._unread = True
        self._waits = ""
        self._reporter = Reporter(gateway, wish, clock, self._news.set, self._asked)
        self._watches = self._reflectors(gateway)

    def wish(self, wish: PrimaryWish) -> None:
        """Take in another wish about the same primary."""
        self._wish = wish
        self._token.set(wish.join.token)
        self._reporter.wish(wish)
        self._news.set()

    async def run(self) -> None:
        """Read and write until cancelled, or until a part breaks."""
        async with asyncio.TaskGroup() as group:
            for name, watch in self._watches.items():
                group.create_task(watch.run(), name=f"primary-{name}")
            group.create_task(self._reporter.run(), name="primary-reporter")
            while True:
                self._look()
                try:
                    async with asyncio.timeout(TICK if self._failing or self._unsettled else IDLE):
                        await self._news.wait()
                except TimeoutError:
                    continue

    def _reflectors(self, gateway: Gateway) -> dict[str, Reflector]:
        wanted = self._wish.configuration

        def reflect(name: str, resource: names.Resource, namespace: str = "", **more: Any) -> Reflector:
            def take(event: WatchEvent) -> None:
                self._take(name, event)

            def heard(error: MeshCAError | None) -> None:
                self._heard(name, error)

            clock = self._clock
            # A primary may be restored or replaced, and its versions with it.
            return Reflector(
                gateway,
                resource,
                namespace,
                handler=take,
                heard=heard,
                lists_anew=True,
                clock=clock,
                **more,
            )

        by_name = f"metadata.name={wanted}"
        return {
            "configuration": reflect("configuration", names.CA_CONFIGURATION, field_selector=by_name),
            # All of them: their labels are not the operator's to guard, and restores may drop them.
            "roots": reflect("roots", names.CA_ROOT),
            "requests": reflect("requests", names.INTERMEDIATE, self._wish.join.namespace),
        }

    def _take(self, name: str, event: WatchEvent) -> None:
        gone, key = event.type == "DELETED", Meta.of(event.object).name
        if name == "configuration":
            self._configuration = None if gone else event.object
        else:
            held = self._roots if name == "roots" else self._requests
            held.pop(key, None)
            if not gone:
                held[key] = event.object
        self._unread = True
        self._reporter.kick()
        self._news.set()

    def _heard(self, name: str, error: MeshCAError | None) -> None:
        if error is None:
            if self._failing.pop(name, None) is not None:
                self._news.set()
        elif not isinstance(error, GoneError):
            since = self._failing.get(name, (self._clock.monotonic(), error))[0]
            self._failing[name] = (since, error)
            self._news.set()

    def _asked(self, request: str) -> bool | None:
        """Tell whether a request is in the primary; None while nobody knows."""
        return request in self._requests if self._watches["requests"].synced.is_set() else None

    def _look(self) -> None:
        self._news.clear()
        waits = self._read()
        signer = self._wish.signer
        answers = [self._requests[signer.name]] if signer and signer.name in self._requests else []
        view = PrimaryView(
            source=self._wish.source,
            trouble=self._trouble(waits),
            facts=self._facts,
            waits=waits,
            answers=tuple(map(read_answer, answers)),
        )
        self._tell(replace(view, **self._reporter.facts()))
        self._contact(self._age())

    def _read(self) -> str:
        """Read the facts anew, and return what is missing; what was read before stays until then."""
        if not all(watch.synced.is_set() for watch in self._watches.values()) or not self._unread:
            return self._waits
        self._unread = False
        self._waits = self._take_facts()
        return self._waits

    def _take_facts(self) -> str:
        found = read_facts(self._configuration, self._roots.values())
        if isinstance(found, str):
            self._unsettled = self._unsettled or self._clock.monotonic()
            return found
        self._facts, self._unsettled = found, None
        return ""

    def _trouble(self, waits: str) -> Problem | None:
        now = self._clock.monotonic()
        if self._reporter.unauthorized is not None:
            return _problem(self._reporter.unauthorized)
        failures = sorted(self._failing.values(), key=lambda item: not _refuses(item[1]))
        if failures:
            since, error = failures[0]
            # A connection that breaks now and then is no news; a refusal, or no contact at all, is.
            if _refuses(error) or self._facts is None or now - since >= PATIENCE:
                return _problem(error)
        if waits and self._facts is not None and now - (self._unsettled or now) >= PATIENCE:
            return Problem(Reason.PRIMARY_UNREACHABLE, waits)
        return None

    def _age(self) -> float | None:
        if not all(watch.synced.is_set() for watch in self._watches.values()):
            return None
        return max(self._clock.monotonic() - watch.last_activity for watch in self._watches.values())


def _refuses(error: MeshCAError) -> bool:
    return isinstance(error, ForbiddenError | MisconfiguredError) or error.reason == UNAUTHORIZED


def _problem(error: Exception) -> Problem:
    """Say in the words of a condition what an error of the primary means."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, MeshCAError):
        return Problem(
            Reason.PRIMARY_UNREACHABLE, f"the primary's answer makes no sense ({type(error).__name__})"
        )
    if error.reason == UNAUTHORIZED:
        told = "the primary does not accept the token of the join Secret: it has expired, or was revoked"
        return Problem(Reason.PRIMARY_REFUSES, told)
    if _refuses(error):
        return Problem(Reason.PRIMARY_REFUSES, f"the primary refuses: {error.message}")
    return Problem(Reason.PRIMARY_UNREACHABLE, f"the primary cannot be reached: {error.message}")
