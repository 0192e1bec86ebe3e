"""The leases that actors hold: renewed while they run, freed when they have ended or their worker is dead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .. import clock
from ..broker import Broker
from ..errors import BrokerError
from ..logging import get_logger
from ..middleware.limits import call_next
from ..rate_limits import Held, RateLimiterBackend, get_rate_limiter_backend
from ..rate_limits.backend import known_backends
from ..worker.board import ALIVE, EMPTY, Region
from .service import Service

logger = get_logger(__name__)

_CALM_LOOK = 1.0
"""Seconds between two looks while actors run of which none is known to hold a lease."""

_IDLE_LOOK = 10.0
"""The same while nothing runs."""

_GRAVE = 60.0
"""Seconds for which a dead worker is remembered: the store may still be carrying out the last thing it asked for."""

_FORGET_EVERY = 3600.0
_FORGET_AFTER = 86_400_000
_FORGET_AT_ONCE = 200
"""Keys of each kind in one look: the leases wait for it."""


class Mutexes(Service):
    """Looks at the leases, twice a second while one is held here, and changes those that have to change.

    A holder is a worker and a message. As long as the board of a living worker shows the message, its lease begins
    again when a third of it is over. When the board does not show it any more, the actor has ended without releasing
    (it was interrupted, or the store could not be reached), and so does the lease.

    Parameters:
        board: the workers of this keeper.
        broker: told of what is free again, for the messages that are parked on it.
    """

    interval = 0.5
    thread = "Leases"  # of its own: leases are over soon, and the other services may have to wait for their database

    def __init__(self, board: Iterable[Region], broker: Broker | None = None) -> None:
        super().__init__()
        self._board = board
        self._broker = broker
        self._to_call: deque[str] = deque()
        self._held_here: dict[str, set[str]] = {}
        self._graves: dict[str, float] = {}
        self._present: set[str] = set()
        self._was_busy = False
        self._calm_until = 0.0
        self._idle_until = 0.0
        self._forget_at: dict[str, float] = {}

    def buried(self, worker_id: str) -> None:
        self._graves[worker_id] = clock.monotonic() + _GRAVE
        self.hurry()

    def close(self) -> None:
        """Free what is left of workers that ended since the last look."""
        self._miss_workers()
        if self._graves or self._was_busy:
            self._attend_all()

    def work(self) -> None:
        now = clock.monotonic()
        self._miss_workers()
        busy = any(region.running() for region in self._living())
        is_rested = now >= (self._calm_until if busy or self._was_busy else self._idle_until)
        if not (is_rested or self._graves or self._to_call):
            return
        self._was_busy = True  # also after a look that failed
        held = self._attend_all()
        self._was_busy = busy
        self._calm_until = now if held else now + _CALM_LOOK
        self._idle_until = now + _IDLE_LOOK
        self._graves = {worker_id: until for worker_id, until in self._graves.items() if until > now}

    def _miss_workers(self) -> None:
        """Who is not on the board any more has ended, also where nothing had to be buried."""
        present = {region.worker_id for region in self._living()}
        for worker_id in self._present - present:
            self._graves[worker_id] = clock.monotonic() + _GRAVE
        self._present = present

    def _attend_all(self) -> bool:
        """Whether a worker of this keeper holds a lease."""
        held = False
        get_rate_limiter_backend()  # so that it is known here, whoever uses it
        trouble: BrokerError | None = None
        for backend in known_backends():
            try:
                backend.own_thread()
                held |= self._attend(backend)
                self._forget(backend)
            except BrokerError as error:  # the leases of the other stores do not wait for this one
                trouble = error
        self._call()
        if trouble is not None:
            raise trouble
        return held

    def _attend(self, backend: RateLimiterBackend) -> bool:
        leases = backend.inspect()
        # In this order: who held a lease when it was looked for, and is not on the board by now, has ended.
        running = self._running()
        backend.renew([(held.key, held.holder.token) for held in leases if running.keeps(held)])
        for held in leases:
            if (held.holder.worker in self._graves or running.has_ended(held)) and backend.release(
                held.key, held.holder.token
            ):
                logger.info("%r is free again: message %s has ended.", held.key, held.holder.message_id)
                self._to_call.append(held.key)
        self._watch(backend, leases, running)
        return any(held.holder.worker in running.messages for held in leases)

    def _watch(self, backend: RateLimiterBackend, leases: Sequence[Held], running: _Running) -> None:
        """What was held here at the last look and is free now was given on by who left, or he died before he could.

        Calling in vain is cheap; a line that nobody calls stands still.
        """
        before = self._held_here.get(backend.address, set())
        self._to_call.extend(before - {held.key for held in leases})
        self._held_here[backend.address] = {held.key for held in leases if held.holder.worker in running.messages}

    def _call(self) -> None:
        """Those who are parked on what is free now; who cannot be called is called in the next round."""
        while self._to_call:
            if self._broker is not None:
                call_next(self._broker, self._to_call[0])
            self._to_call.popleft()

    def _forget(self, backend: RateLimiterBackend) -> None:
        if clock.monotonic() < self._forget_at.get(backend.address, 0.0):
            return
        if backend.forget_idle(_FORGET_AFTER, _FORGET_AT_ONCE) < _FORGET_AT_ONCE:
            self._forget_at[backend.address] = clock.monotonic() + _FORGET_EVERY

    def _running(self) -> _Running:
        messages = {region.worker_id: {task.message_id for task in region.running()} for region in self._living()}
        return _Running(messages, {region.worker_id for region in self._board if region.presence == ALIVE})

    def _living(self) -> Iterator[Region]:
        return (region for region in self._board if region.presence != EMPTY)


class _Running(NamedTuple):
    """What the board shows: the messages of each worker, and who is not stopped."""

    messages: dict[str, set[str]]
    awake: set[str]

    def keeps(self, held: Held) -> bool:
        """Whether the lease has to be renewed: its holder runs, and a third of it is over."""
        holder = held.holder
        runs = holder.worker in self.awake and holder.message_id in self.messages.get(holder.worker, ())
        return runs and held.remaining < holder.ttl * 2 / 3

    def has_ended(self, held: Held) -> bool:
        """Whether its worker is one of these and does not run the message any more."""
        holder = held.holder
        return holder.worker in self.messages and holder.message_id not in self.messages[holder.worker]
