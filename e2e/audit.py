"""The API server's audit log as the judge of who wrote what.

Decides how lines of the log become events; never counts anything in a client.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from e2e.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.client import Client

# One event per finished write of anybody; reads and the server's own health calls are left out.
POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - level: Metadata
    verbs: [create, update, patch, delete, deletecollection]
  - level: None
"""

MARKER = "meshca-audit-marker"
"""User agent of the harness's own calls, left out of what ``Cluster.audit`` returns."""

CREDENTIAL = "authentication.kubernetes.io/credential-id"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One write that the API server answered, as its audit log tells it.

    ``received`` is when it came, ``time`` when it was answered; both in UTC. ``credential`` tells the token
    that the caller used, so which of several processes it was.
    """

    audit_id: str
    user: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    stage: str
    received: datetime
    time: datetime
    user_agent: str
    credential: str = ""

    @property
    def succeeded(self) -> bool:
        """Tell whether the write was let through (it may still have changed nothing)."""
        return 200 <= self.code < 300


def parse(line: str) -> AuditEvent:
    """Read one JSON line of the log."""
    event: dict[str, Any] = json.loads(line)
    ref = event.get("objectRef", {})
    return AuditEvent(
        audit_id=event["auditID"],
        user=event.get("user", {}).get("username", ""),
        verb=event["verb"],
        group=ref.get("apiGroup", ""),
        resource=ref.get("resource", ""),
        subresource=ref.get("subresource", ""),
        namespace=ref.get("namespace", ""),
        name=ref.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        stage=event["stage"],
        received=datetime.fromisoformat(event["requestReceivedTimestamp"]).astimezone(UTC),
        time=datetime.fromisoformat(event["stageTimestamp"]).astimezone(UTC),
        user_agent=event.get("userAgent", ""),
        credential=next(iter(event.get("user", {}).get("extra", {}).get(CREDENTIAL, ())), ""),
    )


def settle(client: Client, locate: Callable[[], Path], timeout: float = 60.0) -> int:
    """Return once the log holds everything that was answered before the call, and where our own write is.

    The API server logs a write after it answered, so a write of our own that changes nothing is made
    and looked for; ``locate`` returns the log's file anew each time; ``HarnessError`` after seconds.
    """
    log = locate()
    start = log.stat().st_size if log.exists() else 0
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = client.exchange(
        "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", review, user_agent=MARKER
    )
    wanted = answer.headers["Audit-Id"]
    deadline = time.monotonic() + timeout
    while True:
        for place, event in _places(locate(), start):
            if event.audit_id == wanted:
                return place
        if time.monotonic() > deadline:
            raise HarnessError(f"{log}: the write {wanted} is not in it after {timeout:g} s")
        # A file has no watch that is the same on every system; this takes one turn as a rule.
        time.sleep(0.005)


def read(log: Path, start: int = 0) -> Iterator[AuditEvent]:
    """Read the whole lines of ``log`` from byte ``start`` on; a missing log has none."""
    return (event for _, event in _places(log, start))


def since(log: Path, mark: int) -> list[AuditEvent]:
    """Return what came after the write of ours that begins at byte ``mark``; at 0 everything.

    What came before it may be logged after it: a watch shows a write before its answer is written down.
    """
    events = list(read(log, mark))
    if mark and events and events[0].user_agent == MARKER:
        events = [event for event in events if event.received >= events[0].received]
    return [event for event in events if event.user_agent != MARKER]


def _places(log: Path, start: int) -> Iterator[tuple[int, AuditEvent]]:
    if not log.exists():
        return
    with log.open("rb") as file:
        place = file.seek(start)
        for line in file:
            if line.endswith(b"\n"):
                yield place, parse(line.decode())
            place += len(line)
