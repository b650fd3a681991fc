"""The workers: take an item from the queue, run the reconciler of its kind, end it one way or another.

Decides what an error means for the item: observe again, try later, or report a defect. Nothing is
swallowed: an error that nobody expected is logged with its trace, and the item is retried.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from meshca.engine import federation, intake
from meshca.engine.work import Urgency
from meshca.errors import ConflictError, MeshCAError, NotFoundError, TransientError

if TYPE_CHECKING:
    from datetime import datetime

    from meshca.engine.admissions import AdmissionReconciler
    from meshca.engine.configurations import ConfigurationReconciler
    from meshca.engine.intermediates import IntermediateReconciler
    from meshca.engine.leaves import LeafReconciler
    from meshca.engine.outcome import Outcome
    from meshca.engine.publisher import Publisher
    from meshca.engine.queue import WorkQueue
    from meshca.engine.registrations import RegistrationReconciler
    from meshca.engine.timers import Timers
    from meshca.engine.work import Item, Key

_log = logging.getLogger(__name__)
CONFLICT_DELAY = 0.05
PATIENCE = 5
"""Failures in a row after which a conflict is tried again with back-off."""
SAFETY_NET = 600.0
"""Seconds after which a CA object is looked at again although nothing was heard of it."""


class Workers:
    """Runs items until the queue is closed."""

    def __init__(
        self,
        *,
        queue: WorkQueue,
        timers: Timers,
        configurations: ConfigurationReconciler,
        leaves: LeafReconciler,
        publisher: Publisher,
        admissions: AdmissionReconciler,
        registrations: RegistrationReconciler,
        intermediates: IntermediateReconciler,
    ) -> None:
        self._queue = queue
        self._timers = timers
        self._configurations = configurations
        self._leaves = leaves
        self._publisher = publisher
        self._admissions = admissions
        self._registrations = registrations
        self._intermediates = intermediates
        self._throttled: deque[Key] = deque()
        self._teller: asyncio.Task[None] | None = None

    async def run(self, count: int) -> None:
        """Run ``count`` workers; returns when the queue is closed and all items have ended."""
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(self._work(), name=f"worker-{number}")

    async def _work(self) -> None:
        while (item := await self._queue.get()) is not None:
            await self._run(item)
            # A full queue never waits, nor does an item that asks nobody: thousands in a row after a start.
            await asyncio.sleep(0)

    async def _run(self, item: Item) -> None:
        key = item.key
        try:
            outcome = await self._dispatch(item)
        except ConflictError:
            # At once the first times; what conflicts on and on is not worth the calls.
            self._queue.retry(key, CONFLICT_DELAY if item.attempt < PATIENCE else None, spent=False)
        except NotFoundError as error:
            # Gone, and the watch says so in a moment; or something beside it is, and may come back.
            _log.info("observing again", extra={"key": str(key), "why": error.message})
            self._queue.retry(key, spent=False)
        except TransientError as error:
            _log.warning("try again later", extra={"key": str(key), "why": error.message})
            self._queue.retry(key, error.retry_after or None, spent=False)
        except MeshCAError as error:
            _log.error("refused", extra={"key": str(key), "why": error.message})
            self._queue.retry(key, spent=False)
        except Exception:  # noqa: BLE001  a defect met by one item must not stop the others
            _log.exception("defect while reconciling", extra={"key": str(key)})
            self._queue.retry(key, spent=False)
        else:
            if outcome.retry:
                self._queue.retry(key, spent=outcome.signed)
            else:
                self._queue.done(key, spent=outcome.signed)

    async def _dispatch(self, item: Item) -> Outcome:
        key = item.key
        match key.kind:
            case intake.LEAF:
                turn = item.urgency is Urgency.REISSUE
                return await self._leaves.reconcile(key.namespace, key.name, turn=turn)
            case intake.CONFIGURATION:
                outcome, due = await self._configurations.reconcile(key.name)
                self._look_again(key, due)
                return outcome
            case federation.FEDERATED:
                outcome, due = await self._registrations.reconcile(key.name)
                self._look_again(key, due)
                return outcome
            case federation.INTERMEDIATE:
                outcome, due = await self._intermediates.reconcile(key.namespace, key.name)
                self._look_again(key, due, federation.REQUESTED)
                return outcome
            case intake.BUNDLE:
                return await self._publisher.reconcile(key.namespace, key.name)
            case _:
                return await self._admissions.reconcile()

    def _look_again(self, key: Key, due: datetime | None, urgency: Urgency = Urgency.CONTROL) -> None:
        if due is not None:
            self._timers.set(key, due, urgency)

    def throttled(self, key: Key, _urgency: Urgency) -> None:
        """Have it said, once, that a request waits behind a limit; called by the queue."""
        self._throttled.append(key)
        if self._teller is None or self._teller.done():
            self._teller = asyncio.get_running_loop().create_task(self._tell_all(), name="throttled")

    async def _tell_all(self) -> None:
        # One after another: a fleet that is held back must not become a burst of writes.
        while self._throttled:
            await self._tell(self._throttled.popleft())

    async def _tell(self, key: Key) -> None:
        try:
            await self._leaves.report_rate_limited(key.namespace, key.name)
        except (ConflictError, NotFoundError):
            return
        except MeshCAError as error:
            _log.info("rate limit not reported", extra={"key": str(key), "why": error.message})
