"""An event loop on a virtual clock whose order of ready callbacks is chosen by a seed.

Decides what runs next and who runs at all: each callback belongs to a process (by the context that it was
scheduled in), and a process can be frozen, or killed before its next callback. Never waits, never asks the
machine for the time, the network or anything else that the seed does not decide.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeVarTuple, Unpack

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

Ts = TypeVarTuple("Ts")
MOST_CALLBACKS_AT_ONCE = 200_000
"""Callbacks without any time passing after which a history is a busy loop."""
MOST_CALLBACKS = 3_000_000
"""Callbacks after which a history goes round in circles although its time passes.

Usual ones take 50,000 in one cluster and 700,000 in a mesh.
"""


class Owner(Protocol):
    """A process that callbacks belong to."""

    def step(self) -> None:
        """Hear that a callback of this process is about to run."""
        ...


OWNER: ContextVar[Owner | None] = ContextVar("OWNER", default=None)
"""The process that the present code belongs to; None for the world around."""
_numbers = itertools.count()


class BusyLoopError(AssertionError):
    """Somebody runs on and on without waiting."""


class _Future(asyncio.Future[Any]):
    """Hashed by its number: sets of futures are walked in an order that does not depend on addresses."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.number = next(_numbers)

    def __hash__(self) -> int:
        return self.number


class _Task(asyncio.Task[Any]):
    """As ``_Future``; asyncio keeps tasks in sets, and a task group cancels them in the order of the set."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.number = next(_numbers)
        self.owner: Owner | None = None
        super().__init__(*args, **options)

    def __hash__(self) -> int:
        return self.number


class _NoSelector:
    def select(self, _timeout: float | None = None) -> list[Any]:
        return []

    def close(self) -> None:
        return


class SimLoop(asyncio.BaseEventLoop):
    """Runs ready callbacks in an order of ``rng``: mostly the oldest, with ``disorder`` any other."""

    def __init__(self, rng: random.Random, *, disorder: float) -> None:
        global _numbers  # noqa: PLW0603  from one on in each history, or the order of sets would differ
        _numbers = itertools.count()
        super().__init__()
        self._rng = rng
        self._disorder = disorder
        self._moment = 0.0
        self._at_once = 0
        self._selector = _NoSelector()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._order = itertools.count()
        self.steps = 0
        self.frozen: set[Owner | None] = set()
        """Processes that do not run at present; what they wait for goes on, and waits for them."""
        self.set_task_factory(_task)

    def time(self) -> float:
        return self._moment

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(loop=self)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._order), handle))
        return handle

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._moment + delay, callback, *args, context=context)

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Any = None
    ) -> asyncio.Handle:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(
        self, executor: Any, func: Callable[[Unpack[Ts]], object], *args: *Ts
    ) -> asyncio.Future[Any]:
        """Do it in one go, some time later: what another thread would do meanwhile is for nobody to see."""
        del executor
        done = self.create_future()
        self.call_later(self._rng.uniform(0.01, 0.2), _work, done, func, *args)
        return done

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        """Leave it in the heap: it is dropped when its time comes."""

    def _process_events(self, _events: Any) -> None:
        return

    def _write_to_self(self) -> None:
        return

    def _run_once(self) -> None:
        """Run one callback, or let time pass until the next is due."""
        ready: Any = self._ready  # type: ignore[attr-defined]
        number = self._choose(ready)
        if number is None:
            self._at_once = 0
            self._pass_time(ready)
            return
        handle = ready[number]
        del ready[number]
        if handle._cancelled:
            return
        self.steps += 1
        self._at_once += 1
        if self._at_once > MOST_CALLBACKS_AT_ONCE:
            raise BusyLoopError(f"{self._at_once} callbacks at {self._moment}, the last one {handle!r}")
        if self.steps > MOST_CALLBACKS:
            raise BusyLoopError(f"{self.steps} callbacks in one history, the last one {handle!r}")
        owner = handle._context.get(OWNER)
        if owner is not None:
            owner.step()
        handle._run()

    def _choose(self, ready: Any) -> int | None:
        running: Sequence[int] = range(len(ready))
        if self.frozen:
            running = [number for number in running if ready[number]._context.get(OWNER) not in self.frozen]
        if not running:
            return None
        if len(running) > 1 and self._rng.random() < self._disorder:
            return int(self._rng.choice(running))
        return running[0]

    def _pass_time(self, ready: Any) -> None:
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if self._stopping:  # type: ignore[attr-defined]
            return
        if not timers:
            raise RuntimeError("nothing will ever happen again")
        self._moment = max(self._moment, timers[0][0])
        while timers and timers[0][0] <= self._moment:
            handle = heapq.heappop(timers)[2]
            if not handle._cancelled:
                ready.append(handle)


def _task(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
    task = _Task(coro, loop=loop, **options)
    context = options.get("context")
    task.owner = OWNER.get() if context is None else context.get(OWNER)
    return task


def _work(done: asyncio.Future[Any], func: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
    try:
        result = func(*args)
    except Exception as error:  # noqa: BLE001  as a thread hands on whatever happened in it
        if not done.cancelled():
            done.set_exception(error)
    else:
        if not done.cancelled():
            done.set_result(result)
