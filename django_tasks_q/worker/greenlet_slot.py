"""One greenlet's place: what it runs, until when, and how it is interrupted."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..deliveries import Delivery
from .board import Region
from .slot import Slot

gevent: Any = import_module("gevent")  # which carries no types


class GreenletSlot(Slot):
    """As a thread's, but an interrupt reaches one greenlet of many that share a thread: the hub throws it there.

    The hub runs when the greenlet waits for something, so it sees whether people's code is what waits. A greenlet that
    never waits cannot be interrupted.
    """

    def __init__(self, region: Region, index: int) -> None:
        super().__init__(region, index)
        self._greenlet: Any = None
        self._throwing: Any = None

    def begin(self, delivery: Delivery) -> bool:
        self._greenlet = gevent.getcurrent()
        return super().begin(delivery)

    def _raise(self, exception: type[BaseException]) -> None:
        self._take_back()
        self._throwing = gevent.get_hub().loop.run_callback(self._throw, exception)

    def _throw(self, exception: type[BaseException]) -> None:
        if self._open:
            self._greenlet.throw(exception)

    def _take_back(self) -> None:
        throwing, self._throwing = self._throwing, None
        if throwing is not None:
            throwing.stop()
