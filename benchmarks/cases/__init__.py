"""What is measured. A case gets a bench and yields figures; it raises Failed when they would be worth nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..engines import Bench, Engine


@dataclass(frozen=True)
class Scale:
    """How much of everything: the package's ``messages``, fewer for peers, which would take minutes."""

    messages: int
    peer_messages: int
    latency_sends: int
    idle_seconds: float
    old_records: int = 500_000

    def of(self, engine: Engine) -> int:
        return self.peer_messages if engine.is_peer else self.messages


@dataclass(frozen=True)
class Value:
    """One figure of one repetition; ``wanted`` holds for the package, not for its peers."""

    name: str
    unit: str
    value: float
    more_is_better: bool = False
    wanted: float | None = None


@dataclass(frozen=True)
class Case:
    """``slots``: how many sends a bench of this case must have room for."""

    name: str
    run: Callable[[Bench, Scale], Iterator[Value]]
    slots: Callable[[Scale, Engine], int]
    suits: Callable[[Engine, str], bool] = lambda engine, vendor: True
