"""A steady stream of requests through a mesh, each with a TLS handshake of its own, counted.

Decides when a request counts as failed and keeps what the first failures said. Knows nothing of Envoy but
the headers in which both sides tell whom they saw; retries nothing.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote

from cryptography import x509

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from types import TracebackType

KEPT = 10
"""How many failures are kept with their reason."""
SECONDS = 10.0
"""How long one request may take."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Whose certificates met in one handshake: serial numbers, hex without leading zeros."""

    client: str
    server: str


class Stream:
    """Threads that send one request after the other; a context manager.

    ``dial`` opens a TCP connection to the client side's plain HTTP port; ``identities`` are the SPIFFE IDs
    that client and server must be known by; ``rate`` is in requests a second.
    """

    def __init__(
        self,
        dial: Callable[[], socket.socket],
        identities: tuple[str, str],
        *,
        rate: float = 80.0,
        workers: int = 2,
    ) -> None:
        self.ok = 0
        self.failed = 0
        self.failures: list[str] = []
        self.meetings: Counter[Meeting] = Counter()
        self._dial = dial
        self._identities = identities
        self._pause = workers / rate
        self._threads = [
            threading.Thread(target=self._run, name=f"stream {number}", daemon=True)
            for number in range(workers)
        ]
        self._over = threading.Event()
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        """Begin; returns at once."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait(self, more: int, timeout: float = 30.0) -> None:
        """Return once ``more`` further requests were answered or failed; ``TimeoutError`` after seconds."""
        target = self.ok + self.failed + more
        self._until(lambda: self.ok + self.failed >= target, timeout, f"no {more} requests")

    def wait_failed(self, more: int, timeout: float = 30.0) -> None:
        """Return once ``more`` further requests failed; ``TimeoutError`` after seconds."""
        target = self.failed + more
        self._until(lambda: self.failed >= target, timeout, f"no {more} failures")

    def wait_meeting(self, what: Callable[[Meeting], bool], timeout: float = 30.0) -> int:
        """Return how many met like this once any did; ``TimeoutError`` after seconds."""
        self._until(lambda: self.count(what) > 0, timeout, "they never met")
        return self.count(what)

    def count(self, what: Callable[[Meeting], bool]) -> int:
        """Return in how many handshakes so far the certificates were such."""
        return sum(number for meeting, number in self.meetings.copy().items() if what(meeting))

    def _until(self, met: Callable[[], bool], timeout: float, complaint: str) -> None:
        with self._changed:
            if not self._changed.wait_for(met, timeout):
                raise TimeoutError(f"{complaint} in {timeout:g} s; {self}")

    def __str__(self) -> str:
        first = "".join(f"\n  {text}" for text in self.failures)
        return f"handshakes: {self.ok} ok, {self.failed} failed{first}"

    def _run(self) -> None:
        started = time.monotonic()
        while not self._over.wait(self._pause):
            try:
                outcome: Meeting | str = self._ask()
            except (OSError, http.client.HTTPException) as error:
                outcome = f"{type(error).__name__}: {error}"
            self._note(outcome, time.monotonic() - started)

    def _ask(self) -> Meeting | str:
        connection = http.client.HTTPConnection("mesh", timeout=SECONDS)
        connection.sock = self._dial()
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        if answer.status != 200:
            return f"{answer.status} {text}"
        known = (answer.headers["x-client-uri"], answer.headers["x-server-uri"])
        if known != self._identities:
            return f"known as {known}, not {self._identities}"
        return Meeting(_serial(answer.headers["x-client-cert"]), _serial(answer.headers["x-server-cert"]))

    def _note(self, outcome: Meeting | str, seconds: float) -> None:
        with self._changed:
            if isinstance(outcome, Meeting):
                self.ok += 1
                self.meetings[outcome] += 1
            else:
                self.failed += 1
                if len(self.failures) < KEPT:
                    self.failures.append(f"after {seconds:.2f} s: {outcome}")
            self._changed.notify_all()


@lru_cache(maxsize=64)
def _serial(escaped: str) -> str:
    """Return the serial number of a certificate in URL-escaped PEM, as Envoy tells it."""
    return f"{x509.load_pem_x509_certificate(unquote(escaped).encode()).serial_number:x}"


def plain(serial: str) -> str:
    """Return a serial number in hex, with or without colons, in the form that a ``Meeting`` has."""
    return f"{int(serial.replace(':', ''), 16):x}"
