"""The figures against each budget that this project has set itself.

Decides how a budget is read off the measurements, and whether it is met; medians of rounds, and for a ratio
the median of the ratios of each round, since both sides of a round saw the same machine.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from e2e.bench.names import BARE, OPERATOR

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

JSON = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Summarise at least one value."""
        found = sorted(values)
        return cls(float(statistics.median(found)), found[0], found[-1])


@dataclass(frozen=True, slots=True)
class Budget:
    """One line: what was promised, what was found; ``most`` tells which side of the bound is good."""

    what: str
    bound: float
    found: Spread
    unit: str = ""
    most: bool = True

    @property
    def met(self) -> bool:
        """Tell whether the median keeps the bound."""
        return self.found.median <= self.bound if self.most else self.found.median >= self.bound


def spread(rounds: Sequence[JSON], figure: Callable[[JSON], float]) -> Spread:
    """Summarise one figure over rounds."""
    return Spread.of(figure(each) for each in rounds)


def ratios(one: Sequence[JSON], other: Sequence[JSON], figure: Callable[[JSON], float]) -> Spread:
    """Summarise the ratio of one side to the other, round by round."""
    return Spread.of(figure(mine) / figure(theirs) for mine, theirs in zip(one, other, strict=True))


def rate(figures: JSON) -> float:
    """Return leaves per second."""
    return float(figures["rate"])


def p99(figures: JSON) -> float:
    """Return the 99th percentile from create to Ready, in seconds."""
    return float(figures["p99"])


def operator_cpu(figures: JSON) -> float:
    """Return the operator's CPU in ms per leaf."""
    return float(figures["cpu"][OPERATOR])


def budgets(results: JSON) -> list[Budget]:
    """Return every budget with what was found."""
    return [*_speed(results), *_cost(results), *_restart(results["restart"]), *_scale(results)]


def _speed(results: JSON) -> list[Budget]:
    small, large = results["small"], results["large"]
    found = []
    for sizes, place in ((results["sizes"]["count"], small), (results["sizes"]["large"], large)):
        csr, managed = (ratios(place[side], place[BARE], rate) for side in ("csr", "managed"))
        found.append(Budget(f"rate of CSR leaves, of the bare limit, N = {sizes:,}", 0.8, csr, most=False))
        found.append(
            Budget(f"rate of managed leaves, of the bare limit, N = {sizes:,}", 0.3, managed, most=False)
        )
    half = spread(small["half"], p99)
    return [*found, Budget("p99 from create to Ready at half of that load", 1.0, half, "s")]


def _cost(results: JSON) -> list[Budget]:
    small, large = results["small"], results["large"]
    return [
        Budget("operator's CPU for a CSR leaf", 2.0, spread(small["csr"], operator_cpu), "ms"),
        Budget("API writes for a CSR leaf", 2.0, spread(small["csr"], _writes)),
        Budget("API writes for a managed leaf", 3.0, spread(small["managed"], _writes)),
        Budget(
            f"operator's memory, highest with {results['sizes']['large']:,} leaves",
            220.0,
            Spread.of(each["peak_mib"] for side in ("csr", "managed") for each in large[side]),
            "MiB",
        ),
    ]


def _writes(figures: JSON) -> float:
    return round(float(figures["writes"]), 2)


def _restart(found: JSON) -> list[Budget]:
    leaves = f"restart with {found['leaves']:,} ready leaves"
    return [
        Budget(f"{leaves}: writes", 0.0, Spread.of([found["writes"]])),
        Budget(f"{leaves}: until ready", 15.0, Spread.of([found["ready_seconds"]]), "s"),
    ]


def _scale(results: JSON) -> list[Budget]:
    """Compare the first thousand leaves of a large round with its last: what grows with the number shows."""
    growth = Spread.of(
        last["cpu"][OPERATOR] / first["cpu"][OPERATOR]
        for first, last in (_ends(each["course"]) for each in results["large"]["csr"])
    )
    sizes = results["sizes"]
    return [
        Budget(f"operator's CPU per leaf, {sizes['large']:,} leaves against the first thousand", 1.2, growth)
    ]


def _ends(course: Sequence[JSON]) -> tuple[JSON, JSON]:
    return course[0], course[-1]
