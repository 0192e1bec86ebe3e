"""An event loop for ordinary actors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .middleware import Middleware

if TYPE_CHECKING:
    from ..asyncio import EventLoopThread
    from ..broker import Broker
    from ..worker import Worker


class AsyncIO(Middleware):
    """Has an event loop run in every worker, for actors that are not async and call ``async_to_sync`` functions.

    Async actors do not need it: where there are some, a worker has a loop already.
    """

    def __init__(self) -> None:
        self._thread: EventLoopThread | None = None

    def before_worker_boot(self, broker: Broker, worker: Worker) -> None:
        from ..asyncio import EventLoopThread, get_event_loop_thread, set_event_loop_thread

        if get_event_loop_thread() is None:
            self._thread = EventLoopThread()
            self._thread.start()
            set_event_loop_thread(self._thread)

    def after_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        from ..asyncio import set_event_loop_thread

        if self._thread is not None:
            set_event_loop_thread(None)
            self._thread.stop()
            self._thread = None
