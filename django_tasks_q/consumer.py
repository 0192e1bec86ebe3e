"""What a broker gives to one worker process: the seam that its I/O thread speaks through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from .deliveries import Exchange, Settlement, Started

MAX_QUEUES_PER_EXCHANGE = 16


class Consumer(ABC):
    """One worker process's side of the broker. Only its I/O thread calls it, except :meth:`wake`."""

    left_out: Collection[str] = ()
    """Queues that are not to be asked now, because the worker could not start what they hold; all of ``paused`` too."""

    paused: Collection[str] = ()
    """Queues that somebody paused: nothing of them may be held back here, for it may be for long."""

    @abstractmethod
    def exchange(self, settlements: Sequence[Settlement], room: int, started: Sequence[Started] = ()) -> Exchange:
        """Settle what is done, note what is running, promote what is due and claim up to ``room`` new deliveries.

        On brokers that can, all of it is one atomic step. Raises :class:`BrokerConnectionError` when the broker cannot
        be reached; nobody knows then whether it happened. The same settlements may be handed over again, which settles
        nothing twice, and the consumer itself finds the claims whose answer was lost and returns them.
        """

    @property
    def has_arrivals(self) -> bool:
        """Whether deliveries came that nobody had asked for: the next exchange must come, whatever its room.

        What there is no room for then goes back to the front of its queue, uncounted.
        """
        return False

    def has_lost(self, handle: Any) -> bool:
        """Whether a delivery is known to be somebody else's by now, without a question to the broker."""
        return False

    @abstractmethod
    def wait(self, timeout: float) -> None:
        """Block until there may be work, somebody called :meth:`wake`, or ``timeout`` seconds have passed."""

    @abstractmethod
    def wake(self) -> None:
        """End a :meth:`wait`, from any thread."""

    @abstractmethod
    def close(self, *, give_back: bool = True) -> None:
        """Leave. With ``give_back``, what is still owned goes to the front of its queue and this worker is forgotten.

        Without it nothing is given back, because something may still be running here: burial or the end of the lease
        will do it.
        """
