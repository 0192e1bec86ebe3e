"""The consuming end: what RabbitMQ pushes to one worker, on a connection that never publishes."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import count
from math import ceil
from typing import TYPE_CHECKING, Any

from ... import clock
from ...deliveries import WorkerInfo
from ...errors import BrokerError, ConnectionClosed
from ...waker import Waker
from . import headers
from .connection import ChannelClosed
from .holding import Held, Holding
from .notes import NoteOfLoss, Search

if TYPE_CHECKING:
    from .broker import RabbitmqBroker

AHEAD = 16
"""Messages to hold beyond what the threads run."""

LEAST_AHEAD = 4
"""Messages that each queue may send ahead, however many queues there are."""

GRACE = 0.3
"""Seconds that a message which was given out before waits, so that a note about its loss can be there in time."""

_generations = count(1)

SUSPECTS = ""
"""The name of the line in which suspects wait."""


class Found:
    """A message that was lost with its worker, and the notes that say so."""

    __slots__ = ("held", "notes")

    def __init__(self, held: Held, notes: list[NoteOfLoss]) -> None:
        self.held = held
        self.notes = notes


class Intake:
    """One connection and one channel, with a consumer for each queue. The end of either is the end of the intake.

    Parameters:
        waker: woken when something arrives.

    Raises:
        BrokerConnectionError: RabbitMQ cannot be reached.
        QueueMismatch: a queue exists with other arguments.
    """

    def __init__(self, broker: RabbitmqBroker, worker: WorkerInfo, waker: Waker) -> None:
        self._broker = broker
        self._worker = worker
        self._waker = waker
        self.generation = next(_generations)
        self.holding = Holding()
        self.found: list[Found] = []
        self.has_news = False
        self._suspended: deque[tuple[float, Held]] = deque()
        self._familiar: dict[str, int] = {}
        self._consumed: dict[str, str] = {}
        self._searches = 0
        self._began_at = clock.monotonic()
        self._connection = broker.connect(f"worker {worker.worker_id}", holds=True)
        try:
            self._connection.start_pulse()
            self._channel = self._connection.open_channel()
            self._channel.add_on_cancel_callback(self._on_cancel)
            self.consume()
        except ChannelClosed as error:
            self._connection.abort()
            raise ConnectionClosed(f"RabbitMQ closed the channel: {error}") from error
        except BaseException:
            self._connection.abort()
            raise
        self._watched = self._connection.fileno()
        waker.watch(self._watched)

    # Queues

    @property
    def weights(self) -> Mapping[str, int]:
        if self._worker.suspects:
            return {SUSPECTS: 1}
        return self._worker.queues or dict.fromkeys(self._broker.queues, 1)

    def consume(self) -> None:
        """Consume from every queue of the worker that is not consumed from yet."""
        weights = self.weights
        if len(weights) == len(self._consumed):
            return
        total = sum(weights.values())
        for line, weight in weights.items():
            if line not in self._consumed:
                ahead = ceil((self._worker.threads + AHEAD) * weight / total)
                self._consume(line, max(LEAST_AHEAD, ahead))

    def _consume(self, line: str, ahead: int) -> None:
        topology = self._broker.topology
        name = topology.suspects if line == SUSPECTS else topology.work(line)
        self._broker.declare_target(self._connection, name, None if line == SUSPECTS else line)
        self._connection.ask(self._channel.basic_qos, prefetch_count=ahead)
        tag = f"{self._worker.worker_id} {self.generation} {line}"
        self._consumed[line] = tag

        def arrive(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self._arrive(line, method, properties, body)

        self._connection.ask(self._channel.basic_consume, name, arrive, consumer_tag=tag)

    def _on_cancel(self, frame: Any) -> None:
        """RabbitMQ stopped a consumer because its queue is gone; the next exchange makes and consumes it anew."""
        tag = frame.method.consumer_tag
        self._consumed = {line: known for line, known in self._consumed.items() if known != tag}
        self._connection.declared.clear()
        self.has_news = True

    # Arrivals

    def _arrive(self, line: str, method: Any, properties: Any, body: bytes) -> None:
        envelope = headers.open_envelope(properties, body, line)
        handle = (self.generation, method.delivery_tag)
        held = Held(method.delivery_tag, handle, envelope, int(method.redelivered), line)
        self.holding.add(held)
        if not method.redelivered:
            self.line_up(held)
        elif envelope.message_id in self._familiar:
            held.place = self._familiar.pop(envelope.message_id)
            self.line_up(held)
        else:
            self._suspended.append((clock.monotonic() + GRACE, held))

    def line_up(self, held: Held) -> None:
        """The message may run."""
        self.holding.line_up(held)
        self.has_news = True

    def _look_for_notes(self) -> None:
        """About messages that have waited for them long enough."""
        now = clock.monotonic()
        while self._suspended and self._suspended[0][0] <= now and self.is_open:
            self._search(self._suspended.popleft()[1])

    def _search(self, held: Held) -> None:
        def answer(notes: list[NoteOfLoss]) -> None:
            fresh = {n.casualty.number: n for n in notes if n.casualty.number > held.envelope.number}
            self._searches -= 1
            if not self.is_open:
                return  # it ended the search; the message comes again
            held.has_notes = bool(notes)
            if fresh:
                self.found.append(Found(held, [fresh[number] for number in sorted(fresh)]))
                self.has_news = True
            else:
                self.line_up(held)

        self._searches += 1
        Search(self._connection, self._broker.topology.notes(held.envelope.message_id), answer)

    @property
    def is_expecting(self) -> bool:
        """Whether it is not known yet what some messages are that arrived, or the first ones may be on their way."""
        is_young = clock.monotonic() - self._began_at < GRACE
        return is_young or bool(self._searches or self._suspended or self.found)

    # Answers

    def held(self, handle: Any) -> Held | None:
        """What the handle stands for; None when it is no message that this intake gave out, or no more."""
        if not isinstance(handle, tuple) or handle[:1] != (self.generation,):
            return None
        held = self.holding.get(handle[1])
        return held if held is not None and held.handle == handle else None

    def acknowledge(self, done: list[Held], back: list[Held]) -> None:
        """Acknowledge messages and put others back; nobody hears until :meth:`flush`."""
        for held in back:
            self._familiar[held.envelope.message_id] = held.place
            self._channel.basic_nack(held.tag, requeue=True)
        self.holding.release([held.tag for held in back])
        prefix, singles = self.holding.release([held.tag for held in done])
        if prefix:
            self._channel.basic_ack(prefix, multiple=True)
        for tag in singles:
            self._channel.basic_ack(tag)
        for held in done:
            if held.has_notes:
                self._channel.queue_delete(self._broker.topology.notes(held.envelope.message_id))

    def flush(self) -> None:
        self._connection.flush()
        self._connection.breathe()

    # The connection

    @property
    def is_open(self) -> bool:
        return bool(self._connection.is_open and self._channel.is_open)

    def breathe(self) -> None:
        """Take in what has arrived."""
        self._connection.breathe()
        if self._suspended and not self.seconds_to_rest:
            self._look_for_notes()
            self._connection.breathe()

    @property
    def seconds_to_rest(self) -> float:
        """Until there is something to do though nothing arrives."""
        return max(0.0, self._suspended[0][0] - clock.monotonic()) if self._suspended else float("inf")

    def give_back(self) -> None:
        """Put everything back where it stood, and leave."""
        try:
            if self.is_open and self.holding.last_tag:
                self._channel.basic_nack(self.holding.last_tag, multiple=True, requeue=True)
            self._unwatch()
            self._connection.leave()
        except BrokerError:
            self._connection.abort()

    def drop(self) -> None:
        """End the connection: RabbitMQ gives everything back, as soon as it notices."""
        self._unwatch()
        self._connection.abort()

    def _unwatch(self) -> None:
        if self._watched >= 0:
            self._waker.unwatch(self._watched)
            self._watched = -1
