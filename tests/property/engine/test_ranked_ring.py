"""The ranked ring beside a model that sorts a dict."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from meshca.engine.ring import RankedRing
from meshca.engine.work import Key

keys = st.builds(Key, st.just("leaf"), st.sampled_from("ab"), st.sampled_from("1234"))
ranks = st.tuples(st.sampled_from([0.0, 1.5, 2.0]), st.integers(0, 2))


class RankedRingMachine(RuleBasedStateMachine):
    """Whatever is added and taken out: the lowest rank comes first, and nothing twice."""

    def __init__(self) -> None:
        super().__init__()
        self.ring = RankedRing()
        self.model: dict[Key, tuple[float, int]] = {}

    @rule(key=keys, rank=ranks)
    def add(self, key: Key, rank: tuple[float, int]) -> None:
        if key in self.model:
            self.ring.remove(key)
        self.ring.add(key, rank)
        self.model[key] = rank

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model)))
        self.ring.remove(key)
        del self.model[key]

    @precondition(lambda self: self.model)
    @rule()
    def pop(self) -> None:
        key = min(self.model, key=lambda item: (self.model[item], item))
        assert self.ring.pop() == key
        del self.model[key]

    @rule(key=keys, rank=ranks)
    def litter(self, key: Key, rank: tuple[float, int]) -> None:
        """Enough of what comes and goes for the heap to be cleaned."""
        if key not in self.model:
            for _ in range(150):
                self.ring.add(key, rank)
                self.ring.remove(key)

    @invariant()
    def holds_the_same(self) -> None:
        assert len(self.ring) == len(self.model)
        assert sorted(self.ring.keys()) == sorted(self.model)


TestRankedRing = RankedRingMachine.TestCase
