"""What one secondary writes in its primary: its request for a signer, its report, and a token of its own.

Decides when something is written and when it is tried again; makes the primary look like the wish, at its
own pace. Never writes while somebody else reports under this cluster's name.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

from meshca.api import names
from meshca.api.v1alpha1.scalars import format_time
from meshca.errors import AlreadyExistsError, ForbiddenError, MeshCAError, NotFoundError, RefusedError
from meshca.kube.backoff import Backoff
from meshca.planning.primary import FreshToken
from meshca.planning.primaryfacts import read_report, read_ttl, report_body, rival

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime, timedelta

    from meshca.clock import Clock
    from meshca.kube.gateway import Gateway
    from meshca.planning.primary import PrimaryWish

JSON = dict[str, Any]
UNAUTHORIZED: Final = "Unauthorized"
LOOK_AGAIN: Final = 60.0
"""Seconds between two looks at the registration."""
LOOK_SOON: Final = 10.0
"""The same, while there is none."""
SIGN_OF_LIFE: Final = 300.0
"""Seconds after which a report is repeated although nothing has changed."""
REPORT_EVERY: Final = 1.0
SHORTEST_PAUSE: Final = 0.05
SHORTEST_TOKEN: Final = 600
RENEW_EVERY: Final = 600.0
"""Seconds between two renewals of the token at least."""


class Reporter:
    """Writes for one link; ``news()`` is called when what ``facts`` returns has changed.

    ``asked(name)`` tells whether a request is there already, None while nobody knows.
    """

    def __init__(
        self,
        gateway: Gateway,
        wish: PrimaryWish,
        clock: Clock,
        news: Callable[[], None],
        asked: Callable[[str], bool | None],
    ) -> None:
        self._gateway = gateway
        self._wish = wish
        self._clock = clock
        self._news = news
        self._asked = asked
        self._kicked = asyncio.Event()
        self._facts: dict[str, Any] = {}
        self._refusals: dict[str, str] = {}
        self._due: dict[str, float] = {}
        self._backoffs: dict[str, Backoff] = {}
        self._failing: set[str] = set()
        self._written: dict[str, float] = {}
        self.unauthorized: MeshCAError | None = None
        """Set while the primary does not accept the token."""

    def wish(self, wish: PrimaryWish) -> None:
        """Make the primary look like this from now on."""
        if wish.signer != self._wish.signer:
            # Another request is worth another try at once.
            self._failing.discard("request")
        self._wish = wish
        self.kick()

    def kick(self) -> None:
        """Look soon whether there is something to write."""
        self._kicked.set()

    def facts(self) -> dict[str, Any]:
        """Return the fields of a view that are known here."""
        return self._facts | {"refusal": "; ".join(filter(None, self._refusals.values()))}

    async def run(self) -> None:
        """Write what is missing until cancelled."""
        while True:
            if self._kicked.is_set():
                self._kicked.clear()
                self._look_again()
            await self._try("registration", self._look)
            await self._try("request", self._ask)
            await self._try("report", self._report)
            await self._try("token", self._renew)
            try:
                async with asyncio.timeout(self._pause()):
                    await self._kicked.wait()
            except TimeoutError:
                continue

    def _look_again(self) -> None:
        """Look at what the wish is about at once, unless it failed a moment ago."""
        for what in ("request", "report"):
            if what not in self._failing:
                self._due[what] = min(self._due.get(what, 0.0), self._written.get(what, 0.0) + REPORT_EVERY)

    def _pause(self) -> float:
        soonest = min(self._due.values(), default=math.inf) - self._clock.monotonic()
        return max(soonest, SHORTEST_PAUSE)

    async def _try(self, what: str, act: Callable[[], Awaitable[float]]) -> None:
        """Do one thing when its time has come; it returns the seconds after which it is looked at again."""
        now = self._clock.monotonic()
        if now < self._due.get(what, -math.inf):
            return
        backoff = self._backoffs.setdefault(what, Backoff(initial=1.0, cap=60.0))
        before = (self.facts(), self.unauthorized)
        self._failing.add(what)
        try:
            pause = await act()
            backoff.reset()
            self._failing.discard(what)
            self._refusals.pop(what, None)
        except (ForbiddenError, RefusedError) as error:
            self._refusals[what] = f"the primary refuses this cluster's {what}: {error.message}"
            pause = backoff.next()
        except MeshCAError as error:
            pause = backoff.next()
            if error.reason == UNAUTHORIZED:
                # A watch that was opened before goes on for minutes although its token counts no more.
                self.unauthorized = error
                self._due["registration"] = now + pause
        else:
            if what == "registration":
                self.unauthorized = None
        self._due[what] = self._clock.monotonic() + pause
        if (self.facts(), self.unauthorized) != before:
            self._news()
            self.kick()

    async def _look(self) -> float:
        try:
            body = await self._gateway.get(names.FEDERATED_CLUSTER, self._wish.cluster)
        except NotFoundError:
            self._facts["registered"] = False
            return LOOK_SOON
        self._learn(body)
        return LOOK_AGAIN

    def _learn(self, body: JSON) -> None:
        self._facts |= {
            "registered": True,
            "intermediate_ttl": read_ttl(body),
            "reported": read_report(body),
            "rival": rival(body, self._wish.reporter, self._clock.now()),
        }

    async def _ask(self) -> float:
        signer, join = self._wish.signer, self._wish.join
        if signer is None or self._asked(signer.name) is not False:
            return math.inf
        body = {
            "metadata": {"name": signer.name, "namespace": join.namespace},
            "spec": {
                "clusterName": self._wish.cluster,
                "caConfigurationName": self._wish.configuration,
                "request": signer.request,
                "requester": join.username,
            },
        }
        try:
            await self._gateway.create(names.INTERMEDIATE, body)
        except AlreadyExistsError:
            # The watch is a moment behind.
            return LOOK_SOON
        self._written["request"] = self._clock.monotonic()
        return LOOK_SOON

    async def _report(self) -> float:
        report = self._wish.report
        if report is None or self._facts.get("registered") is not True or self._facts.get("rival"):
            return math.inf
        now, last = self._clock.monotonic(), self._written.get("report", -math.inf)
        if report == self._facts.get("reported") and now - last < SIGN_OF_LIFE:
            return last + SIGN_OF_LIFE - now
        body = report_body(report, self._wish.reporter, format_time(self._clock.now()))
        written = await self._gateway.patch(
            names.FEDERATED_CLUSTER, self._wish.cluster, "", {"status": body}, subresource="status"
        )
        self._written["report"] = now
        self._learn(written)
        return REPORT_EVERY

    async def _renew(self) -> float:
        """Get a fresh token at half of the present one's life; the engine keeps it in the join Secret."""
        join = self._wish.join
        life = _life(join.issued, join.expires)
        fresh = self._facts.get("token")
        if life is None or (isinstance(fresh, FreshToken) and fresh.replaces == join.token_digest):
            return LOOK_AGAIN
        issued, whole = life
        if self._clock.now() < issued + whole / 2:
            return LOOK_AGAIN
        seconds = max(int(whole.total_seconds()), SHORTEST_TOKEN)
        found = await self._gateway.token(join.account, join.namespace, seconds=seconds)
        self._facts["token"] = FreshToken(str(found["token"]), join.token_digest)
        return RENEW_EVERY


def _life(issued: datetime | None, expires: datetime | None) -> tuple[datetime, timedelta] | None:
    if issued is None or expires is None or expires <= issued:
        return None
    return issued, expires - issued
