"""Whatever is added, taken and ended in whatever order: nothing is lost, limits hold, shares hold."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from meshca.engine.dispatch import Dispatcher
from meshca.engine.limits import SLACK, Limits
from meshca.engine.work import Key, Urgency

LANES = ("", "default", "other")
MAX = 4
keys = st.builds(Key, st.just("Leaf"), st.sampled_from("abc"), st.sampled_from("12345"))


class QueueMachine(RuleBasedStateMachine):
    """The dispatcher beside a model that is a dict."""

    in_flight = Bundle("in_flight")

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.core = Dispatcher(MAX)
        self.waiting: dict[Key, Urgency] = {}
        self.running: dict[Key, bool] = {}
        self.starts: dict[tuple[str, bool], list[float]] = defaultdict(list)
        self.limits = dict.fromkeys(LANES, Limits())

    @initialize(
        rate=st.sampled_from([0.0, 0.3, 1.0, 7.0]),
        concurrent=st.integers(0, 3),
        reissue=st.sampled_from([0.5, 50.0, 500.0]),
    )
    def limit(self, rate: float, concurrent: int, reissue: float) -> None:
        self.limits["default"] = Limits(rate, concurrent, reissue)
        self.core.set_limits("default", self.limits["default"], self.now)

    @rule(key=keys, urgency=st.sampled_from(Urgency), lane=st.sampled_from(LANES))
    def add(self, key: Key, urgency: Urgency, lane: str) -> None:
        self.core.add(key, urgency, lane, self.now)
        if key in self.running:
            self.running[key] = True
        else:
            self.waiting[key] = min(urgency, self.waiting.get(key, urgency))

    @rule(key=keys)
    def discard(self, key: Key) -> None:
        self.core.discard(key, self.now)
        self.waiting.pop(key, None)
        if key in self.running:
            self.running[key] = False

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.1, 1.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(target=in_flight)
    def take(self) -> Key | None:
        entry = self.core.take(self.now)
        if entry is None:
            return None
        assert entry.urgency is self.waiting.pop(entry.key)
        assert entry.key not in self.running
        self.running[entry.key] = False
        if entry.urgency > Urgency.SPREAD:
            self.starts[entry.lane, False].append(self.now)
            if entry.urgency is Urgency.REISSUE:
                self.starts[entry.lane, True].append(self.now)
        return entry.key

    @rule(key=in_flight)
    def finish(self, key: Key | None) -> None:
        if key in self.running:
            assert key is not None
            ended, again = self.core.finish(key, self.now, spent=True)
            assert ended.key == key
            if self.running.pop(key):
                assert again is not None
                self.waiting[key] = again.urgency
            else:
                assert again is None

    @invariant()
    def nothing_is_lost_and_places_are_bounded(self) -> None:
        assert self.core.size == len(self.waiting) == sum(self.core.depth().values())
        assert self.core.in_flight == len(self.running) <= MAX
        for urgency, count in self.core.depth().items():
            assert count == list(self.waiting.values()).count(urgency)

    @invariant()
    def rates_hold_over_every_window(self) -> None:
        for (lane, reissue), starts in self.starts.items():
            limits = self.limits[lane]
            rate = limits.reissue_per_second if reissue else limits.per_second
            if rate:
                for first, start in enumerate(starts):
                    for count, end in enumerate(starts[first:]):
                        assert count <= (end - start + SLACK) * rate + 1e-6

    @invariant()
    def what_may_start_now_does(self) -> None:
        """A failed take has a reason that goes away by itself: a place, a token or an ended leaf."""
        spreads = Urgency.SPREAD in self.waiting.values()
        if self.core.in_flight < MAX - 1 and (
            spreads or (self.core.size and self.core.opens_at() <= self.now)
        ):
            entry = self.core.take(self.now)
            assert entry is not None
            self.waiting.pop(entry.key)
            self.core.finish(entry.key, self.now, spent=False)
            self.core.add(entry.key, entry.urgency, entry.lane, self.now)
            self.waiting[entry.key] = entry.urgency

    def teardown(self) -> None:
        for key in list(self.running):
            self.finish(key)
        for _ in range(200):
            opens = self.core.opens_at()
            self.now = max(self.now, opens if math.isfinite(opens) else self.now)
            while (entry := self.core.take(self.now)) is not None:
                del self.waiting[entry.key]
                self.core.finish(entry.key, self.now, spent=True)
        assert not self.waiting


TestQueueMachine = QueueMachine.TestCase


@given(
    st.lists(st.sampled_from([Urgency.FIRST, Urgency.RENEWAL]), max_size=200),
    st.lists(st.sampled_from(["default", "other"]), min_size=200, max_size=200),
)
def test_renewals_keep_their_share_in_every_lane_and_over_all(
    urgencies: list[Urgency], lanes: list[str]
) -> None:
    core = Dispatcher(1)
    for number, (urgency, lane) in enumerate(zip(urgencies, lanes, strict=False)):
        core.add(Key("Leaf", "ns", str(number)), urgency, lane, 0)
    taken: dict[str, list[Urgency]] = defaultdict(list)
    while core.size:
        left = {
            scope: all(
                any(
                    core._lanes[lane].rings[urgency]
                    for lane in (core._lanes if scope == "all" else (scope,))
                    if lane in core._lanes
                )
                for urgency in (Urgency.FIRST, Urgency.RENEWAL)
            )
            for scope in ("all", "default", "other")
        }
        entry = core.take(0)
        assert entry is not None
        for scope in ("all", entry.lane):
            if left[scope]:
                taken[scope].append(entry.urgency)
        core.finish(entry.key, 0, spent=True)
    for choices in taken.values():
        assert choices.count(Urgency.RENEWAL) >= math.floor(0.3 * len(choices))


@given(st.lists(st.integers(1, 30), min_size=2, max_size=6))
def test_namespaces_take_turns_however_loud_one_is(sizes: list[int]) -> None:
    core = Dispatcher(1)
    for namespace, size in enumerate(sizes):
        for number in range(size):
            core.add(Key("Leaf", str(namespace), str(number)), Urgency.FIRST, "", 0)
    order: list[str] = []
    while (entry := core.take(0)) is not None:
        order.append(entry.key.namespace)
        core.finish(entry.key, 0, spent=True)
    for namespace, size in enumerate(sizes):
        turns = [place for place, name in enumerate(order) if name == str(namespace)]
        assert len(turns) == size
        assert turns[0] < len(sizes)
        assert all(later - sooner <= len(sizes) for sooner, later in pairwise(turns))


def test_a_crash_loop_starves_neither_renewals_nor_other_namespaces() -> None:
    """Four new first requests arrive for each leaf signed; 50 renewals and one quiet request wait."""
    core = Dispatcher(1)
    core.set_limits("default", Limits(per_second=1), 0)
    for number in range(50):
        core.add(Key("Leaf", "healthy", str(number)), Urgency.RENEWAL, "default", 0)
    core.add(Key("Leaf", "quiet", "only"), Urgency.FIRST, "default", 0)
    served = []
    for second in range(170):
        for pod in range(4):
            core.add(Key("Leaf", "crashing", f"{second}-{pod}"), Urgency.FIRST, "default", second)
        entry = core.take(second)
        assert entry is not None
        served.append(entry.key)
        core.finish(entry.key, second, spent=True)
    assert served.index(Key("Leaf", "quiet", "only")) <= 3
    assert sum(key.namespace == "healthy" for key in served) == 50
