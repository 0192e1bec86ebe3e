"""An event loop in a thread of its own, for code that is not async and wants something async done.

The names are Dramatiq's. Workers run their async actors on such a loop, each process on one.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Coroutine
from logging import Logger
from threading import Event, Thread, current_thread
from typing import Any, ParamSpec, TypeVar

from .errors import Interrupt
from .logging import get_logger

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["EventLoopThread", "async_to_sync", "get_event_loop_thread", "set_event_loop_thread"]

_LAST_CALL = 1.0
"""Seconds that a cancelled coroutine has to clean up."""

_REST = 0.1
"""Seconds until a loop that stumbled goes on."""


class EventLoopThread(Thread):
    """Runs coroutines for other threads.

    Parameters:
        logger: where trouble is told.
        interrupt_check_ival: seconds between two looks whether the thread that waits was interrupted.
    """

    def __init__(self, logger: Logger | None = None, interrupt_check_ival: float = 0.1) -> None:
        super().__init__(daemon=True, name="EventLoop")
        self.logger = logger or get_logger(__name__, type(self).__name__)
        self.interrupt_check_ival = interrupt_check_ival
        self.loop = asyncio.new_event_loop()
        self._has_begun = Event()
        self._is_ending = False

    def start(self, *, timeout: float | None = None) -> None:
        """Start the thread and wait until its loop runs. RuntimeError when it does not within ``timeout`` seconds."""
        super().start()
        if not self._has_begun.wait(timeout):
            raise RuntimeError(f"The event loop did not start within {timeout} s.")

    def run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(self._has_begun.set)
        try:
            while not self._is_ending:
                self._run_forever()
        finally:
            self._end()

    def _run_forever(self) -> None:
        """Until :meth:`stop`, or until a coroutine ends the loop: by stopping it, or by ``sys.exit()`` in a task.

        It goes on after everything else as well, for whoever runs on it has nobody else: after a MemoryError, say.
        """
        try:
            self.loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            self.logger.warning("A task wanted to end the event loop (%r), which goes on.", error)
        except Exception:
            self.logger.critical("The event loop stumbled, and goes on.", exc_info=True)
            time.sleep(_REST)

    def _end(self) -> None:
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        if left:
            self.loop.run_until_complete(asyncio.wait(left, timeout=_LAST_CALL))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def stop(self) -> None:
        """Cancel what runs and end the thread. One that a coroutine blocks is left to the end of the process."""
        if self.is_alive():
            self._is_ending = True
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.join(2 * _LAST_CALL)

    def run_coroutine(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine on the loop and wait for its result. An interrupt of this thread cancels it."""
        has_ended = Event()

        async def run() -> R:
            try:
                return await coroutine
            finally:
                has_ended.set()

        future = asyncio.run_coroutine_threadsafe(run(), self.loop)
        try:
            while True:
                try:
                    return future.result(self.interrupt_check_ival)
                except TimeoutError:
                    if future.done():  # it was its own, or it has ended since
                        return future.result()
        except Interrupt:
            future.cancel()
            if not has_ended.wait(_LAST_CALL):
                self.logger.warning("A coroutine went on after it was cancelled.")
            raise


_thread: EventLoopThread | None = None


def get_event_loop_thread() -> EventLoopThread | None:
    """The event loop of this process that :func:`async_to_sync` uses; None when there is none."""
    return _thread


def set_event_loop_thread(thread: EventLoopThread | None) -> None:
    """Say which event loop this process has."""
    global _thread
    _thread = thread


def async_to_sync(function: Callable[P, Awaitable[R]]) -> Callable[P, R]:
    """A coroutine function as one that runs it to its end, on the process's event loop or else on one of its own."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        coroutine = _as_coroutine(function(*args, **kwargs))
        thread = _thread
        if thread is None or thread is current_thread():  # which cannot wait for itself
            return asyncio.run(coroutine)
        return thread.run_coroutine(coroutine)

    return wrapper


async def _as_coroutine(awaitable: Awaitable[R]) -> R:
    return await awaitable
