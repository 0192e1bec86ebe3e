"""Async actors: many at once on one event loop, none of them in a thread of its own."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from functools import partial
from queue import SimpleQueue
from threading import Lock
from typing import Any

from ..asyncio import EventLoopThread, set_event_loop_thread
from ..deliveries import Delivery
from .async_slot import AsyncSlot
from .attempt import Attempt, Returned
from .board import Region


class AsyncRunner:
    """Takes attempts at async actors from the worker threads and brings them back when their coroutines have ended.

    Hooks are ordinary code that may block, so they run in the worker threads; only the actors run here.

    Parameters:
        indexes: the places on the board, one for each coroutine that may run at a time.
        work: where attempts come back to.
    """

    def __init__(self, region: Region, indexes: Sequence[int], work: SimpleQueue[Any]) -> None:
        self._work = work
        self._thread = EventLoopThread()
        self._loop = self._thread.loop
        self.slots = [AsyncSlot(region, index, self._loop) for index in indexes]
        self._free = deque(self.slots)
        self._waiting: deque[Delivery] = deque()
        self._queues: frozenset[str] = frozenset()
        self._lock = Lock()
        self._pid = os.getpid()

    def start(self) -> None:
        self._thread.start()
        set_event_loop_thread(self._thread)

    def stop(self) -> None:
        set_event_loop_thread(None)
        self._thread.stop()

    @property
    def running(self) -> int:
        """How many attempts are here, those that wait for their last hooks included."""
        return len(self.slots) - len(self._free)

    @property
    def left_out(self) -> frozenset[str]:
        """Queues from which nothing should be fetched: those that carry async actors, while all places are taken."""
        return frozenset() if self._free else self._queues

    @property
    def has_waiting(self) -> bool:
        return bool(self._waiting)

    def reserve(self, delivery: Delivery) -> AsyncSlot | None:
        """A place for a delivery. None when all are taken: then it waits, and whoever frees a place goes on with it."""
        with self._lock:
            if self._free:
                return self._free.popleft()
            self._waiting.append(delivery)
            self._queues |= {delivery.queue_name}
            return None

    def launch(self, attempt: Attempt, slot: AsyncSlot) -> bool:
        """Run the actor of an attempt in its place, in the attempt's own context.

        False, and it does not, when the lease may be over by now.
        """
        if not slot.begin(attempt.delivery):
            return False
        attempt.slot = slot
        slot.proxy = attempt.proxy
        self._loop.call_soon_threadsafe(self._start, attempt, slot)
        return True

    def free(self, slot: AsyncSlot) -> None:
        """The place has done its service. What waits for one goes to the worker threads again."""
        if slot.busy:
            slot.end()
        with self._lock:
            self._free.append(slot)
            waiting = self._waiting.popleft() if self._waiting else None
        if waiting is not None:
            self._work.put(waiting)

    def turn_away(self) -> list[Delivery]:
        """What waits for a place, and does so no longer."""
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
        return waiting

    # On the loop

    def _start(self, attempt: Attempt, slot: AsyncSlot) -> None:
        task = self._loop.create_task(self._run(attempt, slot), context=attempt.context)
        task.add_done_callback(partial(self._bring_back, attempt))

    async def _run(self, attempt: Attempt, slot: AsyncSlot) -> Returned:
        result: Any = None
        exception: BaseException | None = None
        proxy = attempt.proxy
        slot.task = asyncio.current_task()
        try:
            slot.open(proxy.time_limit, attempt.grace, proxy.notify_shutdown)
            result = await attempt.actor.acall(*proxy.args, **proxy.kwargs)
        except asyncio.CancelledError as cancelled:
            exception = slot.cause or cancelled
            if exception is slot.cause:
                exception.__cause__ = cancelled
        except BaseException as error:
            exception = error
        finally:
            slot.close()
        if os.getpid() != self._pid:
            # The actor forked and the child came back here: it must not go on with what others run on the loop.
            os._exit(0)
        return Returned(attempt, result, exception)

    def _bring_back(self, attempt: Attempt, task: asyncio.Task[Returned]) -> None:
        """Once the task has left its context, which a worker thread enters for the last hooks."""
        if task.cancelled():  # by a neighbour, before its first step
            self._work.put(Returned(attempt, None, asyncio.CancelledError()))
        else:
            self._work.put(task.result())
