"""A steady stream of leaves while something goes wrong, and what is true of them all afterwards.

Decides how leaves are asked for, by callers as patient as a kubelet, and judges by the audit log and the
objects: none lost, none issued twice, none left waiting. Never decides what goes wrong.
"""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from e2e import scenario, workload
from e2e.rotation import population

if TYPE_CHECKING:
    from types import TracebackType

    from e2e.audit import AuditEvent
    from e2e.cluster import Cluster

JSON = dict[str, Any]
Place = tuple[str, str]

TOTAL = 200
MANAGED_EACH = 4
"""One leaf of so many has its key made by the operator."""
KEYS = "keys"
"""The namespace of ``disturbed`` in which that is allowed."""
CALLERS = 4
CALL_SECONDS = 10.0
PATIENCE = 300.0
"""Seconds after which a caller gives up; no scenario comes near."""
RETRY = 0.2
REFUSED_FOR_NOW = frozenset({403, 404, 429, 500, 502, 503, 504})
"""What a server says that is starting, or whose store is away."""
SAMPLE = 20
"""One leaf of so many is shown to OpenSSL."""


class Stream:
    """Asks for ``total`` leaves of CAConfiguration default, over ``seconds`` at least, from ``with`` on.

    Each caller pauses after each of its leaves, so that a time in which nothing can be created is followed by
    no flood.
    """

    def __init__(self, cluster: Cluster, room: str, seconds: float, *, total: int = TOTAL) -> None:
        self._cluster = cluster
        self._room = room
        self._pause = seconds / total * CALLERS
        self._requests = [workload.csr().pem for _ in range(10)]
        self.places = [self._place(number) for number in range(total)]
        self._next = itertools.count()
        self._created: list[Place] = []
        self._problems: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(CALLERS)]

    def __enter__(self) -> Self:
        self._mark = self._cluster.audit_mark()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_created(self, count: int) -> None:
        """Return once so many leaves were asked for."""
        deadline = time.monotonic() + PATIENCE
        while len(self._created) < count:
            assert not self._problems, self._problems
            assert time.monotonic() < deadline, f"{len(self._created)} of {count} could be created"
            time.sleep(0.02)  # threads of ours, which nothing announces

    def judge(self, *, audited: bool = True) -> dict[Place, JSON]:
        """Wait until every leaf is issued, see that each was exactly once, and return them.

        ``audited`` is False where the API server was killed, so that it may have written what it did not
        log: then each was issued once at most as far as the log knows.
        """
        assert self._problems == []
        assert sorted(self._created) == sorted(self.places)
        found = population.wait_all(self._cluster, self.places, population.is_issued, timeout=120)
        issues = Counter((event.namespace, event.name) for event in self.issues())
        secrets = Counter((event.namespace, event.name) for event in self._secret_writes())
        least = 1 if audited else 0
        odd = {place: issues[place] for place in self.places if not least <= issues[place] <= 1}
        odd |= {
            place: secrets[self._secret(place)]
            for place in self.places
            if place[0] == KEYS and not least <= secrets[self._secret(place)] <= 1
        }
        assert odd == {}, "issued twice, or a Secret written twice"
        self._verify(found)
        return found

    def issues(self) -> list[AuditEvent]:
        """Return the writes by which the operator issued these leaves, in the order they came."""
        ours = set(self.places)
        found = [
            event
            for event in self._cluster.audit(self._mark)
            if event.user == scenario.OPERATOR
            and (event.verb, event.resource, event.subresource)
            == ("update", "leafcertificaterequests", "status")
            and (event.namespace, event.name) in ours
            and event.succeeded
        ]
        return sorted(found, key=lambda event: event.received)

    def recovery(self, since: datetime) -> float:
        """Return after how many seconds the first leaf was issued since a moment."""
        later = [event.time for event in self.issues() if event.received > since]
        assert later, f"nothing was issued after {since}"
        return (later[0] - since).total_seconds()

    # --- callers --------------------------------------------------------------------------------

    def _place(self, number: int) -> Place:
        if number % MANAGED_EACH == 0:
            return KEYS, f"{self._room}-{number:03}"
        return self._room, f"leaf-{number:03}"

    @staticmethod
    def _secret(place: Place) -> Place:
        return place[0], f"{place[1]}-tls"

    def _body(self, number: int) -> JSON:
        place = self.places[number]
        if place[0] == KEYS:
            return workload.leaf(*place, secretName=self._secret(place)[1])
        # Both ways of renewal, since they are kept differently.
        more = {"renewal": "Automatic"} if number % 2 else {}
        return workload.leaf(*place, request=self._requests[number % len(self._requests)], **more)

    def _call(self) -> None:
        while (number := next(self._next)) < len(self.places) and not self._over.wait(self._pause):
            if problem := self._insist(self._body(number)):
                self._problems.append(problem)
                return
            self._created.append(self.places[number])

    def _insist(self, body: JSON) -> str:
        """Create an object whatever it takes; return why it is impossible, or nothing."""
        path, deadline = workload.path(body["metadata"]["namespace"]), time.monotonic() + PATIENCE
        said = ""
        while time.monotonic() < deadline and not self._over.is_set():
            try:
                answer = self._cluster.client().exchange("POST", path, body, timeout=CALL_SECONDS)
            except (OSError, http.client.HTTPException) as error:
                said = repr(error)
            else:
                # An attempt whose answer was lost may have succeeded.
                if answer.status in {201, 409}:
                    return ""
                said = answer.text
                if answer.status not in REFUSED_FOR_NOW:
                    return said
            self._over.wait(RETRY)
        return f"given up: {said}"

    # --- judges ---------------------------------------------------------------------------------

    def _secret_writes(self) -> list[AuditEvent]:
        return [
            event
            for event in self._cluster.audit(self._mark)
            if event.user == scenario.OPERATOR and event.resource == "secrets" and event.succeeded
        ]

    def _verify(self, found: dict[Place, JSON]) -> None:
        roots = scenario.bundle(self._cluster, self._room)
        for place in self.places[::SAMPLE]:
            assert workload.openssl_verify(found[place]["status"]["certificateChain"], roots) == ""
        for place in self.places:
            if place[0] != KEYS:
                continue
            secret = self._cluster.request("GET", scenario.secret_path(*reversed(self._secret(place))))
            text = workload.secret_entry(secret, "tls.crt").decode()
            key = load_pem_private_key(workload.secret_entry(secret, "tls.key"), None)
            assert text == found[place]["status"]["certificateChain"]
            assert workload.certificates(text)[0].public_key() == key.public_key()


def now() -> datetime:
    """Return this moment on the clock that the audit log tells, too."""
    return datetime.now(UTC)
