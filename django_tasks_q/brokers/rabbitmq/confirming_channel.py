"""A channel on which every message is confirmed, or comes back."""

from __future__ import annotations

from typing import Any

from pika import exceptions, spec

from ...errors import BrokerConnectionError, ConnectionClosed
from .connection import Connection, closed_reason
from .parcel import Item


class ConfirmingChannel:
    """Publishes to queues by name, through the default exchange, and keeps book of what was confirmed.

    Everything is mandatory, so that a message to a missing queue comes back instead of being confirmed and lost.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._channel = connection.open_channel()
        connection.ask(self._channel.confirm_delivery, self._on_answer)
        self._channel.add_on_return_callback(self._on_return)
        self._published = 0
        self._unconfirmed: dict[int, Item] = {}
        self._returned: list[Item] = []
        self.has_answered = False
        """Whether RabbitMQ has confirmed anything since this was last set to False."""
        self.has_refused = False
        """Whether it refused anything. It may go on doing so on this channel: one that was opened while the leader of
        a quorum queue was lost asks for it where it was."""

    @property
    def is_open(self) -> bool:
        return bool(self._connection.is_open and self._channel.is_open)

    def check_open(self) -> None:
        """Raise ConnectionClosed unless it can be used."""
        self._connection.check_open()
        if not self._channel.is_open:
            raise ConnectionClosed(f"RabbitMQ closed the channel: {closed_reason(self._channel)}")

    def publish(self, item: Item) -> None:
        item.is_returned = False
        self._published += 1
        self._unconfirmed[self._published] = item
        try:
            self._channel.basic_publish("", item.routing_key, item.body, item.properties, mandatory=True)
        except exceptions.AMQPError as error:
            raise ConnectionClosed(f"RabbitMQ closed the channel: {error}") from error

    def is_quiet(self) -> bool:
        """Whether everything was answered, or nothing will be."""
        return not self._unconfirmed or not self.is_open

    def owes_an_item(self) -> bool:
        """Whether an item was published of which nobody knows, and whose sender waits."""
        return any(item.is_awaited and not item.is_resolved for item in self._unconfirmed.values())

    def take_returned(self) -> list[Item]:
        """What came back since the last call."""
        returned, self._returned = self._returned, []
        return returned

    def _on_answer(self, frame: Any) -> None:
        method = frame.method
        is_refused = isinstance(method, spec.Basic.Nack)
        self.has_answered = True
        self.has_refused |= is_refused
        if method.multiple:
            tags = [tag for tag in self._unconfirmed if tag <= method.delivery_tag]
        else:
            tags = [method.delivery_tag]
        for tag in tags:
            item = self._unconfirmed.pop(tag, None)
            if item is not None:
                self._resolve(item, is_refused)

    def _resolve(self, item: Item, is_refused: bool) -> None:
        if is_refused:
            item.error = BrokerConnectionError(f"RabbitMQ could not take a message for {item.routing_key}.")
        elif item.is_returned:
            self._returned.append(item)
        else:
            item.is_confirmed = True

    def _on_return(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        """A message comes back before it is confirmed, and messages come back in the order they were published."""
        for item in self._unconfirmed.values():
            if item.is_returned or item.routing_key != method.routing_key:
                continue
            if item.properties.message_id == properties.message_id:
                item.is_returned = True
                item.returns += 1
                return
