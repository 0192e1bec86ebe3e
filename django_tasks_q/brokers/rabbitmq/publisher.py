"""Sending: whoever comes first publishes for everybody who is waiting, and all share one wait for the confirms.

There is no publisher thread: it would die at a fork, and a web server may allow none. The first sender leads: it writes
what all of them want to send, reads the confirms and wakes them; who came meanwhile leads the next round.

Commits hurry, and share their rounds with nobody else: when one gives up on a connection that does not answer, others
have all their time left to open it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from threading import Lock, RLock
from typing import TYPE_CHECKING

from ... import clock
from ...errors import BrokerConnectionError, BrokerError, ConnectionClosed
from ...events import Event
from .confirming_channel import ConfirmingChannel
from .connection import Connection
from .journal_writer import JournalWriter
from .parcel import Item, Parcel
from .round import Round

if TYPE_CHECKING:
    from .store import RabbitmqStore

MOST_AT_ONCE = 1_000
"""Messages that are published before anybody reads a confirm."""

_CATCH_UP_PATIENCE, _LAST_PATIENCE = 0.1, 1.0
"""Seconds for events that RabbitMQ would not take before: when there is nothing else to send, and when all ends."""

_APART = 0.1
"""Seconds between the deadlines of commits that share a round."""

_LEAST = 0.01
"""Seconds to connect in when there is hardly any time left: none at all would mean something else to a socket."""


class Publisher:
    """The publishing connection of a process. Any thread may send."""

    def __init__(self, broker: RabbitmqStore) -> None:
        self._broker = broker
        self._queue: deque[Parcel] = deque()
        self._mutex = Lock()
        self._leader: Parcel | None = None
        self._late: list[Event] = []
        self._use = RLock()
        self._connection: Connection | None = None
        self._channel: ConfirmingChannel | None = None
        self._journal = JournalWriter(broker)

    @property
    def is_blocked(self) -> bool:
        """Whether RabbitMQ takes no messages at present, as far as is known."""
        connection = self._connection
        return connection is not None and connection.blocked

    def catch_up(self, seconds: float = _CATCH_UP_PATIENCE) -> None:
        """Send events that RabbitMQ would not take before, if there are any; wait so long at most."""
        if self._journal.has_untold or self._late:
            self.deliver([], [], seconds, patient=False)

    # Senders

    def send(self, items: Sequence[Item], events: Sequence[Event] = (), seconds: float | None = None) -> None:
        """Publish, and wait until RabbitMQ has taken responsibility for every item.

        Raises the first error among them; BrokerConnectionError when nobody knows within ``send_timeout``.
        """
        error = self.deliver(items, events, seconds)
        for item in items:
            if not item.is_confirmed:
                raise item.error or error or BrokerConnectionError()

    def deliver(
        self,
        items: Sequence[Item],
        events: Sequence[Event] = (),
        seconds: float | None = None,
        *,
        patient: bool = True,
        is_safe: bool = False,
    ) -> BrokerError | None:
        """As :meth:`send`, but the items say themselves what became of them; the error is for the others.

        Who says ``seconds`` of what is safe, or says none, waits no longer for a connection either. Everybody else has
        as long for each step on the way to one as a send may take.
        """
        wait = usual = self._broker.send_timeout / 1000
        hurries = is_safe and seconds is not None
        if seconds is not None:
            wait = min(seconds, usual) if hurries else seconds
        parcel = Parcel(items, events, clock.monotonic() + wait, patient, is_safe, hurries, seconds is None or hurries)
        try:
            if self._join(parcel):
                self._lead(parcel)
        finally:
            self._leave(parcel)
        return parcel.error

    def _join(self, parcel: Parcel) -> bool:
        """Hand the parcel over and wait; True when its sender must lead."""
        with self._mutex:
            self._queue.append(parcel)
            if self._leader is None:
                self._leader = parcel
                return True
        parcel.wait(parcel.deadline - clock.monotonic())
        with self._mutex:
            if not parcel.is_taken and self._leader is not parcel:
                self._withdraw(parcel)
                parcel.finish(BrokerConnectionError("RabbitMQ did not answer in time."))
        while not parcel.is_done and self._leader is not parcel:  # its leader has the same bound
            parcel.wait(1.0)
        return not parcel.is_done

    def _leave(self, parcel: Parcel) -> None:
        """However the sender goes, an interrupt included: nothing of it stays behind, and somebody else leads."""
        with self._mutex:
            parcel.is_left = True
            if not parcel.is_taken:
                self._withdraw(parcel)
            if self._leader is parcel:
                self._leader = self._queue[0] if self._queue else None
                if self._leader is not None:
                    self._leader.tell()

    def _withdraw(self, parcel: Parcel) -> None:
        self._queue.remove(parcel)
        parcel.is_taken = True
        if not parcel.patient:
            self._late += parcel.events  # they tell of what happens all the same

    def _lead(self, mine: Parcel) -> None:
        while not mine.is_done:
            self._lead_once(self._take(), mine)

    def _lead_once(self, batch: Sequence[Parcel], mine: Parcel) -> None:
        try:
            self._take_connection(_end_of(batch))
            try:
                self._publish(batch)
            finally:
                self._use.release()
        except BrokerError as error:
            for parcel in batch:
                if not parcel.is_done:
                    parcel.finish(error)
        except BaseException:
            self._hand_on(batch, mine)
            raise

    def _take(self) -> list[Parcel]:
        batch: list[Parcel] = []
        number = 0
        with self._mutex:
            while self._queue and (not batch or _fits(self._queue[0], batch[0], number)):
                parcel = self._queue.popleft()
                parcel.is_taken = True
                number += len(parcel.items)
                batch.append(parcel)
        return batch

    def _hand_on(self, batch: Sequence[Parcel], mine: Parcel) -> None:
        """The leader was interrupted in the middle, by a time limit or a signal: the others send theirs again.

        Not those who were interrupted as well: a parcel that nobody waits for would come to lead, and nothing be sent.
        """
        self.disconnect()
        with self._mutex:
            mine.finish()
            for parcel in reversed(batch):
                if not parcel.is_done and not parcel.is_left:
                    parcel.is_taken = False
                    self._queue.appendleft(parcel)

    def _publish(self, batch: Sequence[Parcel]) -> None:
        """Send a batch; once more when a connection that had been idle turns out to be none."""
        was_idle = self._connection is not None
        late = self._take_late()
        note = self._journal.pack([*late, *(event for parcel in batch for event in parcel.events)])
        try:
            try:
                self._round(batch).run(note)
            except ConnectionClosed:
                has_answered = self._channel is not None and self._channel.has_answered
                self.disconnect()
                if not was_idle or has_answered:
                    raise
                self._round(batch).run(note)
        finally:
            happened = [*late, *(event for parcel in batch for event in parcel.happened())]
            self._journal.conclude(note, happened, [event for parcel in batch for event in parcel.doubted()])

    def _take_late(self) -> list[Event]:
        with self._mutex:
            late, self._late = self._late, []
        return late

    def _round(self, batch: Sequence[Parcel]) -> Round:
        connection, channel = self._open(_end_of(batch))
        self._journal.look(connection)
        channel.has_answered = False
        return Round(self._broker, connection, channel, self._journal, batch)

    # The connection

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """The connection, for something else than publishing."""
        with self._use:
            yield self._open()[0]

    def _take_connection(self, until: float) -> None:
        """Wait until nobody else uses it; BrokerConnectionError when that takes too long."""
        if not self._use.acquire(timeout=-1 if until == inf else max(0.0, until - clock.monotonic())):
            raise BrokerConnectionError("RabbitMQ did not answer somebody else in time.")

    def _open(self, until: float = inf) -> tuple[Connection, ConfirmingChannel]:
        """The connection, which answers questions until then."""
        if self._connection is not None and self._channel is not None:
            self._connection.breathe()  # what happened while it was idle
            if self._channel.is_open and not self._channel.has_refused:
                self._connection.until = until
                return self._connection, self._channel
            self.disconnect()
        connection = self._broker.connect("sends", within=max(_LEAST, until - clock.monotonic()))
        connection.until = until
        try:
            channel = ConfirmingChannel(connection)
            self._journal.declare(connection)
        except BaseException:
            connection.abort()
            raise
        self._connection, self._channel = connection, channel
        return connection, channel

    def disconnect(self) -> None:
        """Drop the connection; what was not confirmed stays so."""
        connection, self._connection = self._connection, None
        self._channel = None
        if connection is not None:
            connection.abort()

    def forget(self) -> None:
        """This is a child process now, and the connection its parent's."""
        if self._connection is not None:
            self._connection.forget()

    def close(self) -> None:
        self.catch_up(_LAST_PATIENCE)
        with self._use:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.leave()
            self.disconnect()


def _fits(parcel: Parcel, first: Parcel, number: int) -> bool:
    """Whether a parcel may share the round of ``first``, in which there are so many messages already.

    Who leads a round waits until its last parcel has given up.
    """
    if parcel.hurries != first.hurries or number + len(parcel.items) > MOST_AT_ONCE:
        return False
    return not first.hurries or parcel.deadline - first.deadline <= _APART


def _end_of(batch: Sequence[Parcel]) -> float:
    """When whoever publishes a batch stops waiting for a connection, on the monotonic clock.

    Those who hurry end together; of others, one that came later may have it opened for those who have given up.
    """
    if batch[0].hurries:
        return batch[0].deadline
    return max(parcel.deadline if parcel.is_bounded else inf for parcel in batch)
