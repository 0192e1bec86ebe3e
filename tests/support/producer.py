"""Somebody who sends all the time, whatever happens to the broker, and remembers what was acknowledged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from django_tasks_q import Broker, Message
from django_tasks_q.errors import BrokerError


class Refusal(NamedTuple):
    """A send that failed: how many seconds it took, and why."""

    seconds: float
    error: BrokerError


class Producer:
    """Sends one message after another in a thread of its own, as long as ``with`` lasts.

    A send that fails with a :class:`BrokerError` is noted and not repeated; the next message is another one.

    Parameters:
        make: makes each message.
        pause: seconds between two sends.
    """

    def __init__(self, broker: Broker, make: Callable[[], Message[Any]], pause: float = 0.003) -> None:
        self._broker = broker
        self._make = make
        self._pause = pause
        self._thread = threading.Thread(target=self._run, name="producer")
        self._stopping = threading.Event()
        self.acknowledged: list[str] = []
        self.refusals: list[Refusal] = []

    @property
    def longest_refusal(self) -> float:
        return max((refusal.seconds for refusal in self.refusals), default=0.0)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._pause):
            began = time.monotonic()
            try:
                self.acknowledged.append(self._broker.enqueue(self._make()).message_id)
            except BrokerError as error:
                self.refusals.append(Refusal(time.monotonic() - began, error))
