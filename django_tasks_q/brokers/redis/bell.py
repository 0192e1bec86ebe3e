"""How a worker that waits hears of work and gets it: a subscription of its own, one connection for each server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis.exceptions import RedisError

from ...errors import ConnectionClosed
from ...waker import Waker
from .endpoint import Endpoint
from .link import Link


class Bell:
    """Rings when a script publishes on one of the channels, and keeps what it brought. Only the I/O thread uses it.

    A ring may get lost with its connection, so whoever waits looks for himself now and then; and what was brought with
    it was claimed for him, so he looks for that (``has_missed``).

    Parameters:
        waker: waits for the connections too.
    """

    def __init__(self, link: Link, waker: Waker) -> None:
        self._link = link
        self._waker = waker
        self._connections: dict[Endpoint, Any] = {}
        self._descriptors: dict[Endpoint, int] = {}
        self._channels: set[bytes] = set()
        self._rung: set[bytes] = set()
        self._rings: list[bytes] = []
        self.has_missed = False
        """Whether something may have been brought that nobody heard."""

    def listen(self, channels: Mapping[bytes, bytes]) -> None:
        """Hear these channels as well; each is given with a key of its slot. Raises BrokerConnectionError."""
        for channel, slot_key in channels.items():
            if channel not in self._channels:
                self._subscribe(self._link.endpoint_for(slot_key), channel)

    def _subscribe(self, endpoint: Endpoint, channel: bytes) -> None:
        if endpoint not in self._connections:
            connection = self._connections[endpoint] = endpoint.open()
            self._descriptors[endpoint] = connection._sock.fileno()
            self._waker.watch(self._descriptors[endpoint])
        connection = self._connections[endpoint]
        try:
            connection.send_command(self._link.subscribe, channel)
            while (reply := connection.read_response())[0].lower() != self._link.subscribe.lower().encode():
                self._note(reply)  # a ring on another channel
        except (RedisError, OSError) as error:
            self.close()
            self._link.look_around()  # the channel may belong to another node by now
            raise ConnectionClosed(f"Redis at {endpoint.address} does not let us wait: {error}") from error
        self._channels.add(channel)

    def has_rung(self) -> bool:
        """Whether it has since it was asked last, or may have: then its connection is gone, and so is the bell."""
        return bool(self.rung())

    def rung(self) -> set[bytes]:
        """The channels that rang since this was asked last; all of them when the connection is gone."""
        for connection in list(self._connections.values()):
            try:
                while connection.can_read(0):
                    self._note(connection.read_response())
            except (RedisError, OSError):
                self._rung |= self._channels
                self.close()
        rung, self._rung = self._rung, set()
        return rung

    def _note(self, reply: list[bytes]) -> None:
        kind, channel, data = reply
        if kind not in (b"message", b"smessage"):
            raise ConnectionError("The subscription has ended.")
        self._rung.add(channel)
        self._rings.append(data)

    def take(self) -> list[bytes]:
        """The rings since the last call, each with what it brought, which may be nothing."""
        taken, self._rings = self._rings, []
        return taken

    def close(self) -> None:
        self.has_missed |= bool(self._channels)
        for descriptor in self._descriptors.values():
            self._waker.unwatch(descriptor)
        for connection in self._connections.values():
            connection.disconnect()
        self._connections, self._descriptors, self._channels = {}, {}, set()
