"""Which item of work runs next.

Decides the order: CA objects first; then leaves that are about to expire; then first issues and
renewals, of which renewals get at least 30 % while both wait, in each lane and over all; then re-issues.
A bundle that changed for every place at once takes turns with leaves, one by one, so that a thousand
namespaces hold up no leaf, and no namespace that has no bundle yet. So do the requests of secondaries.
A lane is the leaves of one CAConfiguration; lanes take turns, and so do the namespaces within one, except
that re-issues of a lane go by rank. A lane's limits are looked at when an item is taken, never when it is
added, so what waits for a token is overtaken by whatever is more urgent when the token comes.

Coalesces: a key is queued at most once and in flight at most once, and one that is added while it is in
flight is queued again when it ends. Nothing is dropped.

Pure: it is given the time (seconds, monotonic) and never waits; ``engine.queue`` is the part that does.
An operation costs O(number of lanes) at worst, and O(log n) among n re-issues.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from meshca.engine.limits import Gate, Limits
from meshca.engine.ring import FairRing, RankedRing
from meshca.engine.work import LEAF_URGENCIES, UNRANKED, Urgency

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from meshca.engine.work import Key, Rank

_FIRST_COST: Final = 3
_RENEWAL_GAIN: Final = 7
_OWED: Final = 4
"""Each first issue taken from waiting renewals adds 3, each renewal takes 7 off, and from 4 on a renewal
is owed: over any run that is 3 renewals in 10."""


class Entry:
    """One queued or running key."""

    __slots__ = ("again", "key", "lane", "queued_at", "rank", "stamps", "told", "urgency")

    def __init__(self, key: Key, urgency: Urgency, lane: str, queued_at: float, rank: Rank) -> None:
        self.key = key
        self.urgency = urgency
        self.lane = lane
        self.queued_at = queued_at
        self.rank = rank
        self.again: Entry | None = None
        self.told = False
        self.stamps = (math.nan, math.nan)


class _Share:
    """Keeps 30 % of what is taken for renewals while first issues wait too."""

    __slots__ = ("_debt",)

    def __init__(self) -> None:
        self._debt = 0

    @property
    def owes_renewal(self) -> bool:
        return self._debt >= _OWED

    def count(self, urgency: Urgency) -> None:
        self._debt += _FIRST_COST if urgency is Urgency.FIRST else -_RENEWAL_GAIN
        self._debt = max(self._debt, -_RENEWAL_GAIN)


class _Lane:
    """What waits for one CAConfiguration, and its gate."""

    __slots__ = ("fair", "gate", "name", "ranked", "rings", "share")

    def __init__(self, name: str) -> None:
        self.name = name
        self.gate = Gate()
        self.share = _Share()
        self.fair = {urgency: FairRing() for urgency in LEAF_URGENCIES[:-1]}
        self.ranked = RankedRing()
        self.rings: dict[Urgency, FairRing | RankedRing] = {**self.fair, Urgency.REISSUE: self.ranked}

    def __len__(self) -> int:
        return sum(map(len, self.rings.values()))

    def opens_at(self) -> float:
        """Say when the most urgent thing that waits here may start; infinity: only after another ends."""
        if any(self.rings[u] for u in LEAF_URGENCIES[:-1]):
            return self.gate.opens_at(reissue=False)
        return self.gate.opens_at(reissue=True) if self.rings[Urgency.REISSUE] else math.inf


class Dispatcher:
    """The keys that wait and the keys in flight."""

    def __init__(self, max_in_flight: int) -> None:
        self._max = max_in_flight
        self._many_max = max(1, max_in_flight - 1)  # a CA decision finds a free place behind what is slow
        self._many_in_flight = 0
        self._control = FairRing()
        self._spread = FairRing()
        self._spreads_next = True
        self._lanes: OrderedDict[str, _Lane] = OrderedDict()
        self._share = _Share()
        self._waiting: dict[Key, Entry] = {}
        self._paced: dict[Key, Entry] = {}
        self._in_flight: dict[Key, Entry] = {}

    def add(self, key: Key, urgency: Urgency, lane: str, now: float, rank: Rank = UNRANKED) -> Entry | None:
        """Queue a key, or make a queued one more urgent; returns its entry when that changed anything.

        An empty ``lane`` means no limits; a queued key that had a lane keeps it. ``rank`` is its place
        among re-issues, where the latest word holds.
        """
        running = self._in_flight.get(key)
        if running is not None:
            if running.again is None:
                running.again = Entry(key, urgency, lane, now, rank)
            else:
                running.again.urgency = min(running.again.urgency, urgency)
                running.again.lane = lane or running.again.lane
                running.again.rank = rank if urgency is Urgency.REISSUE else running.again.rank
            return None
        entry = self.queued(key)
        if entry is None:
            entry = Entry(key, urgency, lane, now, rank)
        elif (
            urgency < entry.urgency
            or (lane and lane != entry.lane)
            or _gets_another_place(entry, urgency, rank)
        ):
            self._remove(entry, now)
            if entry.urgency is Urgency.REISSUE:
                entry.queued_at = now  # until now it waited on purpose
            entry.rank = rank if urgency is Urgency.REISSUE else entry.rank
            entry.urgency = min(entry.urgency, urgency)
            entry.lane = lane or entry.lane
        else:
            return None
        self._insert(entry)
        return entry

    def queued(self, key: Key) -> Entry | None:
        """Return the entry of a key that waits, or None."""
        return self._waiting.get(key) or self._paced.get(key)

    def discard(self, key: Key, now: float) -> None:
        """Take a key out of the queue; one in flight is not queued again."""
        entry = self.queued(key)
        if entry is not None:
            self._remove(entry, now)
        elif key in self._in_flight:
            self._in_flight[key].again = None

    def take(self, now: float) -> Entry | None:
        """Hand out the next entry, or None when nothing may start at ``now``."""
        if len(self._in_flight) >= self._max:
            return None
        if self._control:
            entry = self._waiting.pop(self._control.pop())
        else:
            found = self._one_of_many(now) if self._many_in_flight < self._many_max else None
            if found is None:
                return None
            entry = found
            self._many_in_flight += 1
        self._in_flight[entry.key] = entry
        return entry

    def finish(self, key: Key, now: float, *, spent: bool) -> tuple[Entry, Entry | None]:
        """End a key in flight; returns its entry, and a new one when it was added meanwhile.

        ``spent=False`` says that nothing was signed, so the lane gets its token back.
        """
        entry = self._in_flight.pop(key)
        if entry.urgency is not Urgency.CONTROL:
            self._many_in_flight -= 1
        if self._ring(entry.urgency) is None:
            lane = self._lanes[entry.lane]
            lane.gate.leave(entry.stamps, spent=spent)
            self._tidy(lane, now)
        again = entry.again
        return entry, None if again is None else self.add(key, again.urgency, again.lane, now, again.rank)

    def set_limits(self, name: str, limits: Limits, now: float) -> list[Entry]:
        """Change a lane's limits; returns what waits there, re-issues left out."""
        lane = self._lane(name)
        lane.gate.change(limits)
        rings = (lane.rings[urgency] for urgency in LEAF_URGENCIES[:-1])
        waiting = [self._waiting[key] for ring in rings for key in ring.keys()]  # noqa: SIM118  no mapping
        self._tidy(lane, now)
        return waiting

    def limits(self, lane: str) -> Limits:
        """Return the limits in force for a lane."""
        known = self._lanes.get(lane)
        return Limits() if known is None else known.gate.limits

    def opens_at(self) -> float:
        """Say when a closed lane lets something through by itself; infinity: never."""
        return min((lane.opens_at() for lane in self._lanes.values()), default=math.inf)

    @property
    def size(self) -> int:
        """Return how many keys wait."""
        return len(self._waiting) + len(self._paced)

    @property
    def in_flight(self) -> int:
        """Return how many keys are running."""
        return len(self._in_flight)

    def depth(self) -> Mapping[Urgency, int]:
        """Count what waits by urgency."""
        count = dict.fromkeys(Urgency, 0)
        count[Urgency.CONTROL] = len(self._control)
        count[Urgency.SPREAD] = len(self._spread)
        for lane in self._lanes.values():
            for urgency, ring in lane.rings.items():
                count[urgency] += len(ring)
        return count

    def oldest(self) -> float | None:
        """Return when the oldest waiting key was queued; re-issues, which wait on purpose, left out."""
        entry = next(iter(self._waiting.values()), None)
        return None if entry is None else entry.queued_at

    def _one_of_many(self, now: float) -> Entry | None:
        """Take out a leaf or what is spread, by turns while both wait; None when nothing may start."""
        choice = None if self._spread and self._spreads_next else self._choose(now)
        if choice is None and self._spread:
            self._spreads_next = False
            return self._waiting.pop(self._spread.pop())
        self._spreads_next = True
        if choice is None:
            return None
        lane, urgency = choice
        entry = self._index(urgency).pop(lane.rings[urgency].pop())
        entry.stamps = lane.gate.enter(now, reissue=urgency is Urgency.REISSUE)
        self._lanes.move_to_end(lane.name)
        return entry

    def _choose(self, now: float) -> tuple[_Lane, Urgency] | None:
        ready = [ln for ln in self._lanes.values() if len(ln) and ln.gate.opens_at(reissue=False) <= now]
        if not ready:
            return None
        if (lane := _first(ready, lambda ln: ln.rings[Urgency.EXPIRING])) is not None:
            return lane, Urgency.EXPIRING
        if (choice := self._share_out(ready)) is not None:
            return choice
        lane = _first(ready, lambda ln: ln.rings[Urgency.REISSUE] and ln.gate.opens_at(reissue=True) <= now)
        return None if lane is None else (lane, Urgency.REISSUE)

    def _share_out(self, ready: list[_Lane]) -> tuple[_Lane, Urgency] | None:
        """Choose between first issues and renewals, over all lanes and then within the chosen one."""
        renewing = _first(ready, lambda ln: ln.rings[Urgency.RENEWAL])
        lane = _first(ready, lambda ln: ln.rings[Urgency.FIRST])
        if lane is None:
            return None if renewing is None else (renewing, Urgency.RENEWAL)
        if renewing is None:
            return lane, Urgency.FIRST
        urgency = Urgency.RENEWAL if self._share.owes_renewal else Urgency.FIRST
        if urgency is Urgency.RENEWAL:
            lane = renewing
        both = bool(lane.rings[Urgency.FIRST]) and bool(lane.rings[Urgency.RENEWAL])
        if both:
            if lane.share.owes_renewal:
                urgency = Urgency.RENEWAL
            lane.share.count(urgency)
        self._share.count(urgency)
        return lane, urgency

    def _index(self, urgency: Urgency) -> dict[Key, Entry]:
        return self._paced if urgency is Urgency.REISSUE else self._waiting

    def _ring(self, urgency: Urgency) -> FairRing | None:
        """Return the ring of what has no lane; None for leaves."""
        if urgency is Urgency.CONTROL:
            return self._control
        return self._spread if urgency is Urgency.SPREAD else None

    def _lane(self, name: str) -> _Lane:
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(name)
        return lane

    def _insert(self, entry: Entry) -> None:
        if (ring := self._ring(entry.urgency)) is not None:
            ring.add(entry.key)
        elif entry.urgency is Urgency.REISSUE:
            self._lane(entry.lane).ranked.add(entry.key, entry.rank)
        else:
            self._lane(entry.lane).fair[entry.urgency].add(entry.key)
        self._index(entry.urgency)[entry.key] = entry

    def _remove(self, entry: Entry, now: float) -> None:
        del self._index(entry.urgency)[entry.key]
        if (ring := self._ring(entry.urgency)) is not None:
            ring.remove(entry.key)
            return
        lane = self._lanes[entry.lane]
        lane.rings[entry.urgency].remove(entry.key)
        self._tidy(lane, now)

    def _tidy(self, lane: _Lane, now: float) -> None:
        """Forget a lane that holds nothing: lane names come from requests, which anybody may write."""
        if not len(lane) and lane.gate.untouched(now):
            del self._lanes[lane.name]


def _gets_another_place(entry: Entry, urgency: Urgency, rank: Rank) -> bool:
    """Tell whether a queued re-issue gets another place among its like."""
    return urgency is entry.urgency is Urgency.REISSUE and rank != entry.rank


def _first(lanes: list[_Lane], fits: Callable[[_Lane], object]) -> _Lane | None:
    return next((lane for lane in lanes if fits(lane)), None)
