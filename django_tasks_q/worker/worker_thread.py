"""A thread that runs people's code."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, cast

from .. import clock
from ..broker import Broker
from ..deliveries import Delivery, Settlement
from ..logging import get_logger
from ..outcomes import ErrorInfo, Parked
from .attempt import Returned
from .executor import Executor, Finished, not_started
from .slot import Slot

if TYPE_CHECKING:
    from .async_runner import AsyncRunner
    from .async_slot import AsyncSlot
    from .io_loop import ConsumerThread

logger = get_logger(__name__)

_ENGINE_ERROR_PAUSE = 5_000
"""Milliseconds that a message waits after the engine itself stumbled over it: not lost, and no hot loop."""


class WorkerThread(Thread):
    """Takes deliveries, has the executor run them, hands the settlements to the I/O thread; until it takes None."""

    def __init__(
        self,
        broker: Broker,
        executor: Executor,
        slot: Slot,
        work: SimpleQueue[Delivery | Returned | None],
        io: ConsumerThread,
        loop: AsyncRunner | None = None,
    ) -> None:
        super().__init__(daemon=True)
        self._broker = broker
        self._executor = executor
        self._slot = slot
        self._work = work
        self._io = io
        self._loop = loop

    def run(self) -> None:
        self._broker.emit_after("worker_thread_boot", self)
        work, slot, executor, io, loop = self._work, self._slot, self._executor, self._io, self._loop
        while (item := work.get()) is not None:
            if type(item) is Returned:
                self._conclude(item)
                continue
            delivery = cast(Delivery, item)
            if not slot.begin(delivery):
                io.finish(not_started(delivery))
                continue
            try:
                finished = executor.begin(delivery, slot, loop)
            except BaseException as error:
                finished = _stumbled(delivery, error)
            slot.end()
            if finished is not None:
                io.finish(finished)
        self._broker.emit_before("worker_thread_shutdown", self)

    def _conclude(self, returned: Returned) -> None:
        """The end of an attempt that another thread has begun, perhaps."""
        assert self._loop is not None
        try:
            finished = self._executor.conclude(returned)
        except BaseException as error:
            finished = _stumbled(returned.attempt.delivery, error)
        # Its place first: the exchange that tells of the one may fetch the next.
        self._loop.free(cast("AsyncSlot", returned.attempt.slot))
        self._io.finish(finished)


def _stumbled(delivery: Delivery, error: BaseException) -> Finished:
    logger.critical("The engine failed on message %s.", delivery.message_id, exc_info=error)
    outcome = Parked("engine_error", _ENGINE_ERROR_PAUSE)
    return Finished(Settlement(delivery, outcome, ErrorInfo.of(error), finished_at=clock.wall_ms()), None)
