"""A thread that runs people's code."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from .. import clock
from ..broker import Broker
from ..deliveries import Delivery, Settlement
from ..logging import get_logger
from ..outcomes import ErrorInfo, Parked
from .executor import Executor, Finished
from .slot import Slot

if TYPE_CHECKING:
    from .io_loop import ConsumerThread

logger = get_logger(__name__)

_ENGINE_ERROR_PAUSE = 5_000
"""Milliseconds that a message waits after the engine itself stumbled over it: not lost, and no hot loop."""


class WorkerThread(Thread):
    """Takes deliveries, has the executor run them, hands the settlements to the I/O thread; until it takes None."""

    def __init__(
        self, broker: Broker, executor: Executor, slot: Slot, work: SimpleQueue[Delivery | None], io: ConsumerThread
    ) -> None:
        super().__init__(daemon=True)
        self._broker = broker
        self._executor = executor
        self._slot = slot
        self._work = work
        self._io = io

    def run(self) -> None:
        self._broker.emit_after("worker_thread_boot", self)
        work, slot, executor, io = self._work, self._slot, self._executor, self._io
        while (delivery := work.get()) is not None:
            slot.begin(delivery)
            try:
                finished = executor.process(delivery, slot)
            except BaseException as error:
                finished = _stumbled(delivery, error)
            slot.end()
            io.finish(finished)
        self._broker.emit_before("worker_thread_shutdown", self)


def _stumbled(delivery: Delivery, error: BaseException) -> Finished:
    logger.critical("The engine failed on message %s.", delivery.message_id, exc_info=error)
    outcome = Parked("engine_error", _ENGINE_ERROR_PAUSE)
    return Finished(Settlement(delivery, outcome, ErrorInfo.of(error), finished_at=clock.wall_ms()), None)
