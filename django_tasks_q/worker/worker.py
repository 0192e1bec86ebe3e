"""A worker: one process's threads. In ``runworkers`` each child has one; tests and scripts start their own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from queue import SimpleQueue
from socket import gethostname
from typing import TYPE_CHECKING, Any

from .. import clock
from ..broker import Broker
from ..deliveries import Delivery, WorkerInfo
from ..errors import Shutdown
from ..logging import get_logger
from ..rules import control_store
from ..threading import is_gevent_active
from .attempt import Returned
from .board import Board, Region
from .control_watch import ControlWatch
from .duties import Duties
from .executor import Executor
from .io_loop import ConsumerThread
from .slot import Slot, any_busy
from .ticker import Ticker
from .worker_thread import WorkerThread

if TYPE_CHECKING:
    from collections.abc import Callable

    from .async_runner import AsyncRunner

logger = get_logger(__name__)

_LAST_CALL = 0.2
"""The part of the shutdown time-out, at most a second of it, that interrupted actors get to end."""


def new_worker_id() -> str:
    """Unique over hosts and restarts: the host's name alone is neither."""
    return f"{gethostname()[:48]}-{os.getpid()}-{os.urandom(4).hex()}"


class Worker:
    """Runs the messages of a broker.

    Parameters:
        queues: names, or names with weights; all queues of the broker when not given.
        worker_timeout: the longest wait for work between two looks, in milliseconds.
        worker_threads: how many messages run at a time, async actors not counted.
        async_concurrency: how many messages of async actors run at a time; they take no thread.
        worker_id, region, suspects, duties, maintenance, most: for ``runworkers``, where other processes renew the
            lease (``duties=False``) and watch the board. A worker of your own does both itself and shares the
            interpreter's lock with the actors: code that holds it for longer than the lease is then taken for dead.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        queues: Iterable[str] | Mapping[str, int] | None = None,
        worker_timeout: int = 1_000,
        worker_threads: int = 8,
        worker_id: str | None = None,
        region: Region | None = None,
        suspects: bool = False,
        duties: bool = True,
        maintenance: bool = True,
        most: int | None = None,
        time_limit_grace: int = 10_000,
        unknown_actor_grace: int = 600_000,
        async_concurrency: int = 1_000,
        on_forfeit: Callable[[], None] | None = None,
    ) -> None:
        if worker_threads < 1:
            raise ValueError(f"A worker has at least one thread: {worker_threads!r}")
        self.broker = broker
        self.worker_id = worker_id or new_worker_id()
        self.worker_timeout = worker_timeout
        self.worker_threads = worker_threads
        self.forfeit = False
        self._on_forfeit = on_forfeit
        self._weights = _weights(broker, queues)
        self._region = region or Board(1, places(broker, worker_threads, async_concurrency)).regions[0]
        if region is None:
            self._region.assign(self.worker_id, os.getpid())
        self.work_queue: SimpleQueue[Delivery | Returned | None] = SimpleQueue()
        # A suspect runs alone, which a loop cannot promise.
        self._loop = None if suspects else _loop(self._region, worker_threads, self.work_queue)
        slot = _slot_class()
        self._thread_slots = [slot(self._region, index) for index in range(worker_threads)]
        self.slots: list[Slot] = [*self._thread_slots, *(self._loop.slots if self._loop else ())]
        self.executor = Executor(
            broker,
            time_limit_grace=time_limit_grace,
            unknown_actor_grace=unknown_actor_grace,
            worker_id=self.worker_id,
        )
        info = WorkerInfo(self.worker_id, self._weights, worker_threads, suspects)
        self.consumer = ConsumerThread(
            broker,
            info,
            self.work_queue,
            self._region,
            poll=worker_timeout / 1000,
            most=most,
            is_kept=duties or region is not None,
            on_fenced=self._be_forfeit,
            loop=self._loop,
        )
        self.workers = [
            WorkerThread(broker, self.executor, slot, self.work_queue, self.consumer, self._loop)
            for slot in self._thread_slots
        ]
        self._control = ControlWatch(
            control_store(broker),
            self._region,
            self.slots,
            self.executor,
            self.consumer,
            time_limit_grace / 1000,
        )
        self._ticker = Ticker(
            self.slots,
            self._region,
            self.consumer,
            control=self._control,
            on_condemned=self.consumer.drain,
            wants_retirement=lambda: self.executor.out_of_memory,
        )
        self._keeping = Duties(broker, self._region, maintenance=maintenance) if duties else None

    def start(self) -> None:
        """Boot the threads."""
        self.broker.emit_before("worker_boot", self)
        if self._loop is not None:
            self._loop.start()
        for thread in self.workers:
            thread.start()
        self._control.start()
        self.consumer.start()
        self._ticker.start()
        if self._keeping is not None:
            self._keeping.start()
        self.broker.emit_after("worker_boot", self)

    def pause(self) -> None:
        """Fetch nothing until :meth:`resume`; what is here is finished."""
        self.consumer.pause()

    def resume(self) -> None:
        self.consumer.resume()

    def stop(self, timeout: int = 600_000) -> None:
        """Stop: fetch no more, give back what has not started, finish what runs within ``timeout`` milliseconds.

        What still runs shortly before the end is interrupted and goes back to its queue uncounted; what cannot be
        interrupted is left to burial, because nobody may give back what may still be running.
        """
        end = time.monotonic() + timeout / 1000
        self.broker.emit_before("worker_shutdown", self)
        self.consumer.drain()
        for slot in self.slots:
            if slot.notify_shutdown:
                slot.interrupt(Shutdown)
        if not self._wait_until_idle(end - min(1.0, timeout / 1000 * _LAST_CALL)):
            for slot in self.slots:
                slot.interrupt_again(Shutdown)
            self._wait_until_idle(end)
        self._ticker.end()
        idle = self._is_idle()
        for _ in self.workers:
            self.work_queue.put(None)
        for thread, slot in zip(self.workers, self._thread_slots, strict=True):
            # One that is not busy may still be in the last hooks of an async actor.
            thread.join(0 if slot.busy else max(1.0, end - time.monotonic()))
        self.consumer.end(give_back=idle)
        self.consumer.join(max(1.0, end - time.monotonic()))
        self._ticker.report()
        self._control.stop()
        if self._loop is not None:
            self._loop.stop()
        if self._keeping is not None:
            self._keeping.stop()
        self.broker.emit_after("worker_shutdown", self)

    def join(self) -> None:
        """Wait until nothing is waiting in this worker, running or unsettled."""
        while not (self.work_queue.empty() and not any_busy(self.slots) and self.consumer.idle):
            time.sleep(0.01)

    @property
    def exhausted(self) -> bool:
        """The broker had nothing for this worker when last asked, nor on its way, and nothing is running here."""
        has_nothing = self.consumer.dry and not self.consumer.is_expecting
        return has_nothing and self.work_queue.empty() and not any_busy(self.slots) and self.consumer.idle

    def _be_forfeit(self) -> None:
        self.forfeit = True
        if self._on_forfeit is not None:
            self._on_forfeit()

    def _is_idle(self) -> bool:
        """Nothing runs, and nothing can begin to: an exchange may be under way whose deliveries are not here yet."""
        return self.consumer.drained.is_set() and self.consumer.has_nothing_running and not any_busy(self.slots)

    def _wait_until_idle(self, end: float) -> bool:
        while not self._is_idle():
            if clock.monotonic() >= end:
                return False
            time.sleep(0.01)
        return True


def places(broker: Broker, threads: int, async_concurrency: int) -> int:
    """How many messages a worker may run at a time, each of which has a place on the board."""
    has_async_actors = any(actor.is_async for actor in broker.actors.values())
    return threads + async_concurrency if has_async_actors else threads


def _slot_class() -> type[Slot]:
    if not is_gevent_active():
        return Slot
    from .greenlet_slot import GreenletSlot  # gevent is an extra

    return GreenletSlot


def _loop(region: Region, threads: int, work: SimpleQueue[Any]) -> AsyncRunner | None:
    """A loop on the places that the threads leave free."""
    if region.slots <= threads:
        return None
    from .async_runner import AsyncRunner  # asyncio costs 50 ms at boot: only those pay that have async actors

    return AsyncRunner(region, range(threads, region.slots), work)


def _weights(broker: Broker, queues: Iterable[str] | Mapping[str, int] | None) -> Mapping[str, int]:
    if queues is None:
        return {}
    weights = dict(queues) if isinstance(queues, Mapping) else dict.fromkeys(queues, 1)
    for name, weight in weights.items():
        if weight < 1:
            raise ValueError(f"The weight of a queue is at least 1: {name}={weight}")
    return weights
