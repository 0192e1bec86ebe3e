"""One coroutine's place: what it runs, until when, and how it is interrupted."""

from __future__ import annotations

from asyncio import AbstractEventLoop, Task
from typing import Any

from .board import Region
from .slot import Slot


class AsyncSlot(Slot):
    """As a thread's, but an interrupt cancels the coroutine, which then ends with the exception in :attr:`cause`."""

    def __init__(self, region: Region, index: int, loop: AbstractEventLoop) -> None:
        super().__init__(region, index)
        self._loop = loop
        self.task: Task[Any] | None = None
        self.cause: BaseException | None = None

    def _raise(self, exception: type[BaseException]) -> None:
        self.cause = exception()
        task = self.task
        if task is not None:
            self._loop.call_soon_threadsafe(task.cancel)

    def _take_back(self) -> None:
        """Nothing to do: cancelling a coroutine that has ended is ignored."""

    def end(self) -> None:
        self.task = self.cause = None
        super().end()
