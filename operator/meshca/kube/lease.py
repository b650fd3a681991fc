"""Leader election by one Lease, with client-go's semantics.

Decides who leads and for how many seconds that is certain; writes nothing but that Lease. The Lease
saves work, it does not fence: preconditions on every write do. Another holder's wall clock is never
believed: its term counts from when *we* saw its record change, on our monotonic clock.

Hand-written: ``kubernetes.aio.leaderelection`` writes local time marked as UTC, has no jitter, does not
release at exit and leaves its cancelled task behind.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from meshca.api.names import LEASE
from meshca.errors import ConflictError, MeshCAError, NotFoundError, TransientError
from meshca.kube.times import micro_time

if TYPE_CHECKING:
    from meshca.clock import Clock
    from meshca.engine.ports import JSON, Cluster

_log = logging.getLogger(__name__)

# As client-go's wait.JitterUntil does it: up to 1.2 times more.
_JITTER = 1.2
_RANDOM = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Terms:
    """Seconds: how long others respect a holder, when it gives up itself, how often it renews."""

    duration: int = 15
    renew_deadline: float = 10.0
    retry_period: float = 2.0


class Elector:
    """One candidate; ``identity`` must be unique for each process (not only for each Pod).

    ``cluster`` must not be fenced by this Lease. ``acquired`` is set once we lead, ``lost`` once we no
    longer do; after that this candidate is spent and the process exits.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        terms: Terms | None = None,
        rng: random.Random = _RANDOM,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._terms = terms or Terms()
        self._rng = rng
        self._lease: JSON = {}
        self._observed_at = 0.0
        self._contact_at: float | None = None
        self._renewed_at: float | None = None
        self._last_error = ""
        self.acquired = asyncio.Event()
        self.lost = asyncio.Event()

    @property
    def is_leader(self) -> bool:
        """Tell whether we lead and our own deadline has not passed; may be called from any thread."""
        renewed = self._renewed_at
        return renewed is not None and self._clock.monotonic() < renewed + self._terms.renew_deadline

    @property
    def holder(self) -> str:
        """Return the identity last seen in the Lease, or an empty string."""
        return str(self._spec().get("holderIdentity") or "")

    def remaining(self) -> float:
        """Return the seconds for which nobody else can lead, 0 if we do not; callable from any thread."""
        renewed, now = self._renewed_at, self._clock.monotonic()
        if renewed is None or now >= renewed + self._terms.renew_deadline:
            return 0.0
        return renewed + self._terms.duration - now

    def age(self) -> float | None:
        """Return the seconds since the Lease was last read or written; None before the first time."""
        return None if self._contact_at is None else self._clock.monotonic() - self._contact_at

    async def run(self) -> None:
        """Acquire, then renew; returns when leadership is lost. Cancelling does not release."""
        await self._acquire()
        _log.info("leading as %s", self._identity)
        self.acquired.set()
        try:
            while (left := self._until_deadline()) > 0:
                await asyncio.sleep(min(self._terms.retry_period, left))
                if not await self._attempt() and self.holder != self._identity:
                    break
        finally:
            if not self.is_leader or self.holder != self._identity:
                self._resign()

    async def _acquire(self) -> None:
        while True:
            if await self._attempt():
                return
            await asyncio.sleep(self._terms.retry_period * (1 + self._rng.random() * _JITTER))

    def _until_deadline(self) -> float:
        if self._renewed_at is None:
            return self._terms.renew_deadline
        return self._renewed_at + self._terms.renew_deadline - self._clock.monotonic()

    async def release(self) -> None:
        """Give the Lease up so that another candidate need not wait; only after all our writes ended."""
        if self._renewed_at is None:
            return
        self._resign()
        try:
            async with asyncio.timeout(self._terms.retry_period):
                await self._write_released()
        except (MeshCAError, TimeoutError) as error:
            _log.info("the Lease was not released, others wait until it expires: %s", error)
        else:
            _log.info("the Lease is released")

    async def _write_released(self) -> None:
        while self.holder == self._identity:
            now = micro_time(self._clock.now())
            spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now}
            try:
                self._observe(await self._cluster.replace(LEASE, self._body(spec)))
            except ConflictError:
                # A renewal that was cancelled in flight had arrived.
                self._observe(await self._cluster.get(LEASE, self._name, self._namespace))

    def _resign(self) -> None:
        if self._renewed_at is not None:
            self._renewed_at = None
            _log.info("no longer leading")
        self.lost.set()

    async def _attempt(self) -> bool:
        """Try once to acquire or renew and tell whether that was certainly achieved."""
        # Half the deadline, as client-go does it, leaves room for a second try.
        limit = min(self._terms.renew_deadline / 2, self._until_deadline())
        if limit <= 0:
            # We slept through our term: whatever is sent now would arrive though nobody waits for it.
            return False
        try:
            async with asyncio.timeout(limit):
                done = await self._acquire_or_renew()
        except ConflictError:
            return False  # another candidate was faster: nothing to complain about
        except TimeoutError:
            self._complain(TransientError("no answer in time"))
            return False
        except MeshCAError as error:
            self._complain(error)
            return False
        self._last_error = ""
        return done

    async def _acquire_or_renew(self) -> bool:
        if self._renewed_at is not None:
            try:
                return await self._write()
            except (ConflictError, NotFoundError):
                self._observe(await self._read_or_create())
        else:
            self._observe(await self._read_or_create())
        if self._held_by_other():
            return False
        return await self._write()

    async def _write(self) -> bool:
        sent_at = self._clock.monotonic()
        self._observe(await self._cluster.replace(LEASE, self._body(self._wanted())))
        # From the sending and not from the answer: others may have seen it that early.
        self._renewed_at = sent_at
        return True

    async def _read_or_create(self) -> JSON:
        try:
            return await self._cluster.get(LEASE, self._name, self._namespace)
        except NotFoundError:
            # RBAC can limit an apply by name, a POST it cannot. Without a holder in it: two
            # candidates that apply at once must not both believe that they lead.
            return await self._cluster.apply(
                LEASE, {"metadata": {"name": self._name, "namespace": self._namespace}}
            )

    def _observe(self, lease: JSON) -> None:
        if (lease.get("spec") or {}) != self._spec() or not self._lease:
            self._observed_at = self._clock.monotonic()
        self._lease = lease
        self._contact_at = self._clock.monotonic()

    def _held_by_other(self) -> bool:
        spec = self._spec()
        if self.holder in {"", self._identity}:
            return False
        term = spec.get("leaseDurationSeconds") or self._terms.duration
        return self._clock.monotonic() < self._observed_at + float(term)

    def _wanted(self) -> JSON:
        before = self._spec()
        now = micro_time(self._clock.now())
        ours = before.get("holderIdentity") == self._identity
        transitions = int(before.get("leaseTransitions") or 0)
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._terms.duration,
            "acquireTime": before.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": transitions if ours else transitions + 1,
        }

    def _spec(self) -> dict[str, Any]:
        return self._lease.get("spec") or {}

    def _body(self, spec: JSON) -> JSON:
        metadata = self._lease["metadata"]
        # All of it goes back, or others' labels would be lost.
        return {
            "metadata": {key: metadata[key] for key in metadata if key != "managedFields"},
            "spec": self._lease.get("spec", {}) | spec,
        }

    def _complain(self, error: MeshCAError) -> None:
        if error.message != self._last_error:
            self._last_error = error.message
            _log.warning("Lease %s/%s: %s", self._namespace, self._name, error.message)
