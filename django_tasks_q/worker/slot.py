"""One thread's place: what it runs, until when, and whether an exception may be raised in it."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock, get_ident

from .. import clock
from ..deliveries import Delivery, MessageProxy, Started
from ..errors import Interrupt
from ..threading import clear_thread_exception, raise_thread_exception
from .board import Region


class Slot:
    """Belongs to one worker thread; the ticker and the worker look at it from theirs.

    An exception is raised in the thread only between :meth:`open` and :meth:`close`, which people's code runs between:
    both sides hold the lock, so one that comes too late is never sent, and one that was sent but not yet raised is
    taken back. The engine's own code is never hit.
    """

    def __init__(self, region: Region, index: int) -> None:
        self._region = region
        self._index = index
        self._lock = Lock()
        self._thread_id = 0
        self._open = False
        self._sent = False
        self.delivery: Delivery | None = None
        self.started_at = 0
        self.deadline: float | None = None
        self.notify_shutdown = False
        self.interrupted = False
        self.judged: tuple[object, Delivery] | None = None
        """By which rules which delivery was last looked at here, whether it is called off."""
        self.proxy: MessageProxy | None = None
        self.told: Started | None = None

    @property
    def busy(self) -> bool:
        return self.delivery is not None

    def begin(self, delivery: Delivery) -> bool:
        """The thread has taken a delivery, which from now on counts as started.

        False, and it does not, once the lease of this worker may be over: others may have been given it meanwhile.
        """
        now = clock.monotonic()
        if self._region.is_lease_over(now):
            return False
        self._thread_id = get_ident()
        self.started_at = clock.wall_ms()
        self.interrupted = False
        self._region.begin(
            self._index,
            delivery.message_id.encode("utf-8", "replace")[:256],
            delivery.queue_name.encode(),
            delivery.number,
            self.started_at,
            now,
        )
        self.delivery = delivery
        return True

    def end(self) -> None:
        self._region.end(self._index)
        self.delivery = self.proxy = self.told = None
        self.deadline = None
        self.notify_shutdown = False

    def open(self, time_limit: int | None, grace: int, notify_shutdown: bool) -> None:
        """People's code starts. ``time_limit`` and ``grace`` are milliseconds; after both the process is forfeit."""
        if time_limit is not None:
            now = clock.monotonic()
            self.deadline = now + time_limit / 1000
            self._region.set_deadline(self._index, self.deadline + grace / 1000)
        self.notify_shutdown = notify_shutdown
        self._sent = False
        with self._lock:
            self._open = True

    def close(self) -> None:
        """People's code has ended; whatever was on its way to interrupt it is discarded."""
        while self._open:
            try:
                with self._lock:
                    self._open = False
            except Interrupt:
                continue
        if self._sent:
            try:
                self._take_back()
            except Interrupt:
                return

    def interrupt(self, exception: type[BaseException]) -> bool:
        """Raise ``exception`` in the thread if people's code runs there and has not been interrupted yet."""
        with self._lock:
            return self._interrupt(exception)

    def _interrupt(self, exception: type[BaseException]) -> bool:
        if not self._open or self._sent:
            return False
        self._sent = True
        self.interrupted = True
        self._raise(exception)
        return True

    def _raise(self, exception: type[BaseException]) -> None:
        raise_thread_exception(self._thread_id, exception)

    def _take_back(self) -> None:
        clear_thread_exception(self._thread_id)

    def interrupt_overdue(self, exception: type[BaseException]) -> bool:
        """The same if the time is up for what runs there now, which may be another message than a moment ago."""
        with self._lock:
            deadline = self.deadline
            if deadline is None or clock.monotonic() < deadline:
                return False
            return self._interrupt(exception)

    def revoke(self, delivery: Delivery, grace: float, exception: type[BaseException]) -> bool:
        """End a delivery that was called off: by the exception, and if that does not help by the end of the process
        ``grace`` seconds later. False while its code does not run here, before it begins for example."""
        with self._lock:
            if self.delivery is not delivery or not self._open:
                return False
            if not self._sent:
                self._region.set_deadline(self._index, clock.monotonic() + grace, is_revoked=True)
                self._interrupt(exception)
            return True

    def interrupt_again(self, exception: type[BaseException]) -> bool:
        """The same for code that was interrupted before and went on."""
        self._sent = False
        return self.interrupt(exception)

    def running_since(self) -> tuple[Delivery, int] | None:
        """The delivery and its start, unless the thread is idle."""
        delivery = self.delivery
        return None if delivery is None else (delivery, self.started_at)

    def news(self, delivery: Delivery, started_at: int, *, of_progress: bool) -> Started | None:
        """What is to be reported of what runs here: once that it does; ``of_progress``: again, how far it is now.

        None when that has been told, or when nobody would write it down.
        """
        told, proxy = self.told, self.proxy
        progress = None if proxy is None or proxy.delivery is not delivery else proxy.latest_progress
        if told is None or told.delivery is not delivery:
            report = Started(delivery, started_at, progress)
        elif of_progress and progress is not told.progress and (delivery.record or delivery.life):
            report = Started(delivery, started_at, progress, told.number + 1)
        else:
            return None
        self.told = report
        return report


def any_busy(slots: Sequence[Slot]) -> bool:
    return any(slot.busy for slot in slots)
