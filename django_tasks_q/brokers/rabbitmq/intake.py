"""The consuming end: what RabbitMQ pushes to one worker, on a connection that never publishes."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping
from itertools import count
from math import ceil
from typing import TYPE_CHECKING, Any

from pika import spec

from ... import clock
from ...deliveries import WorkerInfo
from ...errors import BrokerError, ConnectionClosed
from ...fairness import without
from ...waker import Waker
from . import headers
from .connection import ChannelClosed, closed_reason
from .holding import Held, Holding
from .notes import NoteOfLoss, Search
from .reach import Reach, shares

if TYPE_CHECKING:
    from .broker import RabbitmqBroker

AHEAD = 16
"""Messages to hold beyond what the threads run, however slow they are."""

LEAST_AHEAD = 4
"""Messages that each queue may send ahead, however many queues there are."""

STALE = 0.2
"""Seconds that a message may wait behind others here before what is more than the least goes back to the queue."""

GRACE = 0.3
"""Seconds that a message which was given out before waits, so that a note about its loss can be there in time."""

MOST_RETURNS = 2
"""What a quorum queue got back so often is not put back again for having been sent too far ahead. It counts each time,
and a policy (``delivery-limit``) may take what was given back too often out of the queue, though it never ran."""

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
    """One connection and one channel, with consumers for each queue. The end of either is the end of the intake.

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
        self._familiar: dict[str, tuple[int, float]] = {}
        self._reaches: dict[str, Reach] = {}
        self._full: list[Reach] = []
        self._further = count(1)
        self._drawn_in: dict[str, str] = {}
        self._searches = 0
        self._paused: Collection[str] = frozenset()
        self._began_at = clock.monotonic()
        self._connection = broker.connect(f"worker {worker.worker_id}", holds=True)
        try:
            self._connection.start_pulse()
            self._channel = self._connection.open_channel()
            self._channel.add_on_cancel_callback(self._on_cancel)
            self._channel.add_callback(self._on_cancelled, [spec.Basic.CancelOk], one_shot=False)
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
        weights = without(self.weights, self._paused)
        if len(weights) == len(self._reaches):
            return
        total = sum(weights.values())
        for line, weight in weights.items():
            if line not in self._reaches:
                ahead = ceil((self._worker.threads + AHEAD) * weight / total)
                self._consume(line, max(LEAST_AHEAD, ahead))

    def _consume(self, line: str, least: int) -> None:
        name = self._name_of(line)
        self._broker.declare_target(self._connection, name, None if line == SUSPECTS else line)
        self._connection.ask(self._channel.basic_qos, prefetch_count=least)
        tag = f"{self._worker.worker_id} {self.generation} {line}"
        self._reaches[line] = Reach(line, tag, least)

        def arrive(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self._arrive(line, method, properties, body)

        self._connection.ask(self._channel.basic_consume, name, arrive, consumer_tag=tag)

    def _name_of(self, line: str) -> str:
        topology = self._broker.topology
        return topology.suspects if line == SUSPECTS else topology.work(line)

    def _on_cancel(self, frame: Any) -> None:
        """RabbitMQ stopped a consumer because its queue is gone; the next exchange makes and consumes it anew."""
        tag = frame.method.consumer_tag
        for reach in self._reaches.values():
            reach.further.pop(tag, None)
        self._reaches = {line: reach for line, reach in self._reaches.items() if reach.tag != tag}
        self._full = [reach for reach in self._full if reach.tag != tag]
        self._connection.declared.clear()
        self.has_news = True

    def let_wait(self, paused: Collection[str]) -> None:
        """Consume from these queues no more, and put back what came from them and was not handed out: RabbitMQ wants
        what it gives out to be acknowledged within a time. Said at every exchange."""
        if not (paused or self._paused):
            return
        self._paused = paused
        for line in paused:
            reach = self._reaches.pop(line, None)
            if reach is not None:
                self._cancel(line, [reach.tag, *reach.further])
            self._put_back_further(line)
        self._full = [reach for reach in self._full if reach.line not in paused]
        self.consume()

    # More, and less again

    def look_who_is_full(self, left_out: Collection[str]) -> None:
        """Note which queues have sent as much as they may: only more of these could bring more that is wanted."""
        asked = (reach for reach in self._reaches.values() if reach.line not in left_out)
        self._full = [reach for reach in asked if self.holding.number(reach.line) >= reach.total]

    def extend(self, shortage: int) -> None:
        """The threads would take so many more at once; have more of the queues that were full sent ahead."""
        found = shares(self._full, shortage) if shortage > 0 else []
        for reach, more in found:
            self._extend(reach, more)
        self._full = []
        if found:
            self._connection.breathe()

    def _extend(self, reach: Reach, more: int) -> None:
        """One more consumer of a queue. Nobody waits for the answer."""
        line, tag = reach.line, f"{reach.tag} +{next(self._further)}"
        reach.further[tag] = more

        def arrive(channel: Any, method: Any, properties: Any, body: bytes) -> None:
            self._arrive(line, method, properties, body, is_further=True)

        self._channel.basic_qos(prefetch_count=more)
        self._channel.basic_consume(self._name_of(line), arrive, consumer_tag=tag)

    def _draw_in(self) -> None:
        """Work has turned slow: only the least is sent ahead, and what waits beyond goes to whoever has time."""
        for line, reach in self._reaches.items():
            self._cancel(line, reach.further)
            reach.further.clear()
            self._put_back_further(line)

    def _cancel(self, line: str, tags: Iterable[str]) -> None:
        for tag in tags:
            self._drawn_in[tag] = line
            self._channel.basic_cancel(tag, callback=_heard)

    def _on_cancelled(self, frame: Any) -> None:
        line = self._drawn_in.pop(frame.method.consumer_tag, None)
        if line is not None:
            self._put_back_further(line)

    def _put_back_further(self, line: str) -> None:
        """Once the further consumers are gone: RabbitMQ would send it here again at once."""
        if line not in self._drawn_in.values():
            self._put_back(self.holding.take_all(line) if line in self._paused else self.holding.take_further(line))

    @property
    def _stale_at(self) -> float:
        """When the oldest message that waits in a queue that sent more than the least will have waited too long."""
        lines = [r.line for r in self._reaches.values() if r.further or self._has_late(r.line)]
        return min(map(self.holding.waits_since, lines), default=float("inf")) + STALE

    def _has_late(self, line: str) -> bool:
        """Whether something waits that was still in doubt when work turned slow."""
        return line not in self._drawn_in.values() and self.holding.has_further(line)

    # Arrivals

    def _arrive(self, line: str, method: Any, properties: Any, body: bytes, is_further: bool = False) -> None:
        envelope = headers.open_envelope(properties, body, line)
        handle = (self.generation, method.delivery_tag)
        held = Held(method.delivery_tag, handle, envelope, int(method.redelivered), line)
        held.is_further = is_further and headers.returns(properties) < MOST_RETURNS
        self.holding.add(held)
        if not method.redelivered or self._recognises(held):
            self.line_up(held)
        else:
            self._suspended.append((clock.monotonic() + GRACE, held))

    def _recognises(self, held: Held) -> bool:
        """Whether the message was put back here, so short a time ago that nobody else can have started it since.

        Whoever else gets it lets it wait for a note for as long.
        """
        place, until = self._familiar.pop(held.envelope.message_id, (held.place, 0.0))
        held.place = place  # whatever is found out about it, nobody may overtake it
        return clock.monotonic() < until

    def line_up(self, held: Held) -> None:
        """The message may run."""
        self.holding.line_up(held, clock.monotonic())
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
        if back:
            self._draw_in()
            self._put_back(back)
        prefix, singles = self.holding.release([held.tag for held in done])
        if prefix:
            self._channel.basic_ack(prefix, multiple=True)
        for tag in singles:
            self._channel.basic_ack(tag)
        for held in done:
            if held.has_notes:
                self._channel.queue_delete(self._broker.topology.notes(held.envelope.message_id))

    def _put_back(self, back: list[Held]) -> None:
        """Nobody has started these, so none counts as given out. Of one that was lost before nothing is remembered:
        whoever gets it next finds its notes again, and tells the same of them."""
        now = clock.monotonic()
        for message_id in [i for i, (_, until) in self._familiar.items() if until <= now]:
            del self._familiar[message_id]
        for held in back:
            if not held.lost:
                self._familiar[held.envelope.message_id] = (held.place, now + GRACE)
            self._channel.basic_nack(held.tag, requeue=True)
        self.holding.release([held.tag for held in back])

    def flush(self) -> None:
        self._connection.flush()
        self._connection.breathe()

    # The connection

    @property
    def is_open(self) -> bool:
        return bool(self._connection.is_open and self._channel.is_open)

    @property
    def closing_reason(self) -> ChannelClosed:
        """Why the channel is not open any more, as far as RabbitMQ has said."""
        return closed_reason(self._channel)

    def breathe(self) -> None:
        """Take in what has arrived."""
        self._connection.breathe()
        if self.is_open and not self.seconds_to_rest:
            self._look_for_notes()
            if self._stale_at <= clock.monotonic():
                self._draw_in()
            self._connection.breathe()

    @property
    def seconds_to_rest(self) -> float:
        """Until there is something to do though nothing arrives."""
        until = min(self._stale_at, self._suspended[0][0] if self._suspended else float("inf"))
        return max(0.0, until - clock.monotonic())

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


def _heard(frame: Any) -> None:
    """Without a callback pika would ask for no answer, and remember the consumer for ever."""
