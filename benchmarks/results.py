"""Figures: every repetition, their median and their spread."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass
class Figure:
    """One quantity of one engine on one database.

    Parameters:
        wanted: what it should be: at least, when more is better; else at most.
    """

    case: str
    name: str
    engine: str
    database: str
    unit: str
    more_is_better: bool = False
    wanted: float | None = None
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def spread(self) -> float:
        """The largest of the repetitions over the smallest; 1 when there is nothing to divide by."""
        return max(self.values) / min(self.values) if min(self.values) > 0 else 1.0

    @property
    def is_met(self) -> bool | None:
        if self.wanted is None:
            return None
        return self.median >= self.wanted if self.more_is_better else self.median <= self.wanted

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "median": self.median, "spread": self.spread, "is_met": self.is_met}


class Results:
    """All figures of a run, in the order in which they were first seen."""

    def __init__(self) -> None:
        self._figures: dict[tuple[str, ...], Figure] = {}

    def add(self, figure: Figure, value: float) -> None:
        """Another repetition of ``figure``, told as it comes."""
        key = (figure.case, figure.name, figure.engine, figure.database)
        known = self._figures.setdefault(key, figure)
        known.values.append(value)
        repetition = len(known.values)
        print(f"  #{repetition} {figure.engine:26} {figure.database:21} {figure.name:34} {show(value)} {figure.unit}")

    def __iter__(self) -> Any:
        return iter(self._figures.values())

    def by_case(self) -> dict[str, list[Figure]]:
        cases: dict[str, list[Figure]] = {}
        for figure in self._figures.values():
            cases.setdefault(figure.case, []).append(figure)
        return cases


def show(value: float) -> str:
    """A number with three digits that mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
