"""Notes about messages that were running when their worker died.

A classic queue only says that a message was given out before. So the keeper leaves a note for each message that ran,
in a queue of its own, and whoever gets the message next looks for it: with notes it was lost, without it was not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from pika import BasicProperties

from ...deliveries import Casualty
from .connection import Connection
from .parcel import Item
from .topology import Topology


class NoteOfLoss(msgspec.Struct, frozen=True):
    """A delivery that was running when ``worker_id`` died; ``at``: when that was heard of, in epoch milliseconds.

    Whoever tells of the loss, and however often, tells of the same moment.
    """

    casualty: Casualty
    worker_id: str
    at: int


_decoder = msgspec.json.Decoder(NoteOfLoss)


def as_item(topology: Topology, note: NoteOfLoss) -> Item:
    """The note as a message."""
    name = topology.notes(note.casualty.message_id)
    return Item(name, BasicProperties(delivery_mode=2), msgspec.json.encode(note))


class Search:
    """Looks for the notes about one message, without holding up anything: the answer comes while others are read.

    The notes stay where they are, until the message is settled.
    """

    def __init__(self, connection: Connection, name: str, answer: Callable[[list[NoteOfLoss]], None]) -> None:
        self._name = name
        self._answer: Callable[[list[NoteOfLoss]], None] | None = answer
        self._expected = 0
        self._notes: list[NoteOfLoss] = []
        connection.channel(on_open_callback=self._look)

    def _look(self, channel: Any) -> None:
        channel.add_on_close_callback(lambda *_: self._finish())
        channel.queue_declare(self._name, passive=True, callback=lambda frame: self._count(channel, frame))

    def _count(self, channel: Any, frame: Any) -> None:
        self._expected = frame.method.message_count
        if self._expected:
            channel.basic_consume(self._name, self._read)
        else:
            channel.close()

    def _read(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._expected -= 1
        try:
            self._notes.append(_decoder.decode(body))
        except msgspec.DecodeError:
            pass  # not a note of ours
        if self._expected <= 0 and channel.is_open:
            channel.close()  # gives them back

    def _finish(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer(self._notes)
