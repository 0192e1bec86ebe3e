"""Messages that RabbitMQ took back because they ran longer than its ``consumer_timeout``.

Their worker lives, so nobody buries it: it leaves the notes itself, and whoever gets such a message next counts a loss.
Otherwise a task that always takes longer would run again and again, for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ... import clock
from ...deliveries import Casualty, Started
from ...errors import BrokerError
from .connection import ChannelClosed
from .intake import GRACE
from .notes import NoteOfLoss, as_item

if TYPE_CHECKING:
    from .broker import RabbitmqBroker

_SAID = re.compile(r"timed out.*?(\d+) ms")

_SHARE = 0.9
"""Of the time-out: who ran for less had waited here before, and others may have waited for too long instead of it."""

_PATIENCE = 1.0
"""Seconds to wait until the notes are confirmed. Whoever gets the message waits a third of one for them."""


class Overdue:
    """What one worker has been running for longer than a moment, and since when."""

    def __init__(self, broker: RabbitmqBroker, worker_id: str) -> None:
        self._broker = broker
        self._worker_id = worker_id
        self._running: dict[Any, Started] = {}

    def note(self, started: Iterable[Started]) -> None:
        self._running |= {report.delivery.handle: report for report in started}

    def forget(self, handles: Iterable[Any]) -> None:
        for handle in handles:
            self._running.pop(handle, None)

    def blame(self, reason: ChannelClosed) -> None:
        """The channel was closed, and all that was held goes to others: leave notes about what took too long."""
        running, self._running = self._running, {}
        said = _SAID.search(reason.text)
        if said is None:
            return
        timeout = int(said[1])
        now = clock.wall_ms()
        least = _SHARE * timeout - 1000 * GRACE  # for which it waited when it had been given out before
        overdue = [report for report in running.values() if now - report.started_at >= least]
        for report in overdue:
            self._broker.logger.error(
                "Message %s runs for longer than RabbitMQ's consumer_timeout of %d ms: it was taken back and is "
                "counted as lost. Raise the timeout of the server, or cut the task into pieces.",
                *(report.delivery.message_id, timeout),
            )
        items = [as_item(self._broker.topology, self._note(one, timeout, len(overdue), now)) for one in overdue]
        if items:
            self._send(items)

    def _note(self, report: Started, timeout: int, number: int, now: int) -> NoteOfLoss:
        detail = f"It ran for longer than RabbitMQ's consumer_timeout of {timeout} ms."
        delivery = report.delivery
        casualty = Casualty(delivery.message_id, delivery.number, "lost", report.started_at, detail, number == 1)
        return NoteOfLoss(casualty, self._worker_id, now)

    def _send(self, items: list[Any]) -> None:
        try:
            self._broker.publisher.send(items, (), _PATIENCE)
        except BrokerError as error:
            self._broker.logger.warning("That they were lost is not counted: %s", error)
