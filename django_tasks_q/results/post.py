"""The way of results to a store that does not settle them itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from threading import Condition, Event, Thread

from .. import clock
from ..broker import Broker
from ..deliveries import Result
from ..errors import BrokerConnectionError, BrokerNotReady
from ..logging import get_logger
from ..outcomes import ErrorInfo
from .backend import ResultBackend

logger = get_logger(__name__)

PATIENCE = 1.0
"""Seconds that a settlement waits for its result to be stored."""

MOST_BYTES = 16_777_216
"""What is kept for a store that is away."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
_IDLE = 2.0
"""Seconds without results after which the thread ends."""


class _Parcel:
    """Results that are stored together, or not yet. ``given_up``: by key, why one will not be."""

    def __init__(self, results: Sequence[Result], replaces: bool, whole: _Parcel | None = None) -> None:
        self.results = results
        self.replaces = replaces
        self.size = sum(len(result.payload) for result in results)
        self.is_done = Event()
        self.given_up: dict[str, str] = {} if whole is None else whole.given_up
        self._whole = whole
        self._left = 0

    def split(self) -> list[_Parcel]:
        """One for each result; it is done when they are."""
        self._left = len(self.results)
        return [_Parcel([result], self.replaces, self) for result in self.results]

    def finish(self) -> None:
        self.is_done.set()
        if self._whole is not None:
            self._whole._left -= 1
            if not self._whole._left:
                self._whole.finish()


class ResultPost:
    """Stores results from a thread of its own, which whoever brings them waits for no longer than a second.

    Where that was not enough, nobody waits any more until the store has answered again: what is brought is kept, up to
    16 MiB of it, and stored when the store is back, unless a newer result of the message is there by then. A process
    that ends before that loses it, as it loses what had to be dropped: the messages have ended all the same.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._changed = Condition()
        self._parcels: deque[_Parcel] = deque()
        self._size = 0
        self._thread: Thread | None = None
        self._is_well = True
        self._why = ""
        self._is_ending = False
        self._dropped = 0

    def bring(self, results: Sequence[Result]) -> Mapping[str, str]:
        """Store these, and return when they are there, or when it takes too long. By key: why one is not there."""
        parcel = self._leave(results, replaces=True)
        if self._is_well and not parcel.is_done.wait(PATIENCE):
            self._fall_ill("there was no answer within a second")
        if parcel.is_done.is_set():
            return parcel.given_up
        return dict.fromkeys((result.key for result in results), f"{self._why}. It is stored when that works again.")

    def leave(self, results: Sequence[Result]) -> None:
        """Store these soon, where there is no result yet."""
        self._leave(results, replaces=False)

    def close(self, timeout: float = PATIENCE) -> None:
        """Give what is left ``timeout`` seconds to be stored, and end."""
        with self._changed:
            thread, self._is_ending = self._thread, True
            self._changed.notify_all()
        if thread is not None:
            thread.join(timeout)
        if self._parcels:
            logger.error("%d results are lost: their store is away.", sum(len(p.results) for p in self._parcels))

    def _leave(self, results: Sequence[Result], *, replaces: bool) -> _Parcel:
        parcel = _Parcel(results, replaces)
        with self._changed:
            self._parcels.append(parcel)
            self._size += parcel.size
            while self._size > MOST_BYTES and len(self._parcels) > 1 and not self._is_well:
                self._dropped += len(self._parcels[0].results)
                self._forget(self._parcels[0])
            if self._thread is None:
                self._thread = Thread(target=self._run, name="ResultPost", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        return parcel

    def _forget(self, parcel: _Parcel) -> None:
        self._take_off(parcel)
        parcel.finish()

    def _take_off(self, parcel: _Parcel) -> None:
        if parcel in self._parcels:
            self._parcels.remove(parcel)
            self._size -= parcel.size

    # The thread

    def _run(self) -> None:
        pause = _SHORTEST_PAUSE
        backend: ResultBackend | None = None
        while (parcel := self._next()) is not None:
            try:
                backend = self._broker.get_results_backend()
                backend.store(parcel.results, replace=parcel.replaces and self._is_well)
            except (BrokerConnectionError, BrokerNotReady) as error:
                self._fall_ill(str(error))
                if self._is_ending:
                    break
                self._rest(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
            except Exception as error:
                self._split(parcel, error)
            else:
                pause = _SHORTEST_PAUSE
                self._deliver(parcel)
        if backend is not None:
            backend.release_thread()

    def _next(self) -> _Parcel | None:
        """What to store next; None, and there is no thread any more, when nothing has come for a while."""
        with self._changed:
            self._changed.wait_for(lambda: self._parcels or self._is_ending, _IDLE)
            if self._parcels:
                return self._parcels[0]
            self._thread = None
            return None

    def _deliver(self, parcel: _Parcel) -> None:
        with self._changed:
            self._forget(parcel)
            if self._is_well or self._parcels:
                return
            self._is_well, dropped, self._dropped = True, self._dropped, 0
        logger.warning("Results are stored again; %d had to be dropped.", dropped)

    def _split(self, parcel: _Parcel, error: Exception) -> None:
        """The store takes part of it, or nothing; what it does not take by itself is given up."""
        with self._changed:
            self._take_off(parcel)
            if len(parcel.results) > 1:
                self._parcels.extendleft(reversed(parcel.split()))
                self._size += parcel.size
                return
            key = parcel.results[0].key
            parcel.given_up[key] = ErrorInfo.of(error).message
            parcel.finish()
        logger.error("The result %s cannot be stored.", key, exc_info=error)

    def _fall_ill(self, why: str) -> None:
        if self._is_well:
            self._why = why.rstrip(".")
            self._is_well = False
            logger.error("Results cannot be stored (%s). Tasks go on; their results follow when it works again.", why)

    def _rest(self, seconds: float) -> None:
        until = clock.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: self._is_ending or clock.monotonic() >= until, seconds)


def store_now(broker: Broker, results: Sequence[Result]) -> None:
    """Store on the calling thread, where nobody else waits for it; what goes wrong is logged."""
    try:
        broker.get_results_backend().store(results)
    except Exception:
        logger.exception("%d results cannot be stored.", len(results))
