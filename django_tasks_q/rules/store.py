"""Where revocations and pauses are kept: what that means, and no storage."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from .conditions import Conditions
from .rules import Rule, Rules

if TYPE_CHECKING:
    from ..broker import Broker


class ControlStore(ABC):
    """Keeps what operators want, durably, for every worker of a broker.

    Each change raises the version. Workers that know another version read the rules again. All methods raise
    BrokerConnectionError when the store cannot be reached.
    """

    is_at_hand: bool = False
    """Whether :meth:`version` costs nothing, so that workers ask for it themselves."""

    @abstractmethod
    def version(self) -> int:
        """How often anything has changed."""

    @abstractmethod
    def rules(self) -> Rules:
        """All that holds now."""

    @abstractmethod
    def add(self, rule: Rule, expires_in: int | None, counts: Mapping[str, int]) -> Rule:
        """Keep a revocation from now on, for so many milliseconds; it is returned with its id and its times.

        ``counts`` is what it found, for people.
        """

    @abstractmethod
    def lift(self, rule_id: int) -> bool:
        """End a revocation; False when it does not hold any more."""

    @abstractmethod
    def pause(self, *, queue: str = "", actor: str = "") -> bool:
        """Pause a queue or an actor; False when it is paused already."""

    @abstractmethod
    def resume(self, *, queue: str = "", actor: str = "") -> bool:
        """End a pause; False when there was none."""

    @abstractmethod
    def count(self, conditions: Conditions) -> dict[str, int]:
        """How many messages these conditions are about that have not ended, by state."""

    @abstractmethod
    def sweep(self, rule: Rule, until: float, remove: Callable[[Sequence[str]], int]) -> int:
        """Find what waits and ``remove`` it, wherever that can be done, until it is done or ``until`` (monotonic
        seconds) has come; how many there were."""

    def forget(self, ttl: int) -> int:
        """Drop what has been over for so many milliseconds, a batch of it; how many there were."""
        return 0

    @abstractmethod
    def unreached(self, version: int) -> Sequence[str]:
        """The live workers that do not obey that version yet, by id."""

    def note_obeyed(self, versions: Mapping[str, int]) -> None:
        """The workers of these ids obey these versions."""

    def note_gone(self, worker_id: str) -> None:
        """A worker has ended. Said where :attr:`is_at_hand`; elsewhere its row tells."""

    def close(self) -> None:
        """Let go of this thread's connection."""

    @property
    def waits_for_commit(self) -> bool:
        """Whether what is said now holds only when the caller's transaction has committed."""
        return False

    def when_committed(self, then: Callable[[], object]) -> None:
        """Call ``then`` once what was said holds."""
        then()


_factory: Callable[[Broker], ControlStore | None] = lambda broker: None  # noqa: E731 - a seam


def control_store(broker: Broker) -> ControlStore | None:
    """Where revocations and pauses of a broker's messages are kept; None where there is no place for them."""
    return broker.own_control or _factory(broker)


def set_control_store_factory(factory: Callable[[Broker], ControlStore | None]) -> None:
    """Say where they are kept; the Django floor does."""
    global _factory
    _factory = factory
