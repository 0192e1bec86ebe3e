"""One Redis server as this process talks to it."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from math import inf
from typing import Any

from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

from ...errors import ConnectionClosed, ConnectionFailed
from ...outbox import seconds_left
from ...redis_trouble import refusal, says_replica

_REST = 1.0
"""Seconds after which an idle connection is looked at before it is used: the other side may have closed it."""

_SPARE = 10.0
"""Seconds after which a connection is closed that nobody needed while others were used."""

HURRY = 1.4
"""Seconds that one thing may take that a commit waits for. Nothing begins when there is not so much time left."""

Idle = deque[tuple[Any, float]]
"""Connections that nobody uses, and since when."""


class Endpoint:
    """A server and this process's connections to it. Any thread may use it; each holds a connection while it asks.

    Connections do not cross a fork: the child forgets those of its parent and opens its own. Those that commits wait
    for are kept apart: they wait less for an answer than the others, from the first packet on.

    Parameters:
        connect: makes a connection of the client library, not yet open, that waits no longer than so many seconds.
        address: what to show people.
    """

    def __init__(self, connect: Callable[[float], Any], address: str) -> None:
        self._connect = connect
        self.address = address
        self._idle: Idle = deque()
        self._hurried: Idle = deque()
        self._pid = os.getpid()

    def ask(self, packed: bytes, number: int) -> list[Any]:
        """Send packed commands and return their replies; an error reply stands in the list.

        Raises:
            ConnectionFailed: nothing was sent.
            ConnectionClosed: nobody knows whether it arrived.
        """
        left = seconds_left()
        if left is not None and left < HURRY:
            raise ConnectionFailed(f"Redis at {self.address} was not asked in time.")
        hurries = left is not None
        connection = self._borrow(hurries)
        try:
            connection.send_packed_command([packed], check_health=False)
            replies = _read(connection, number)
        except (ConnectionError, TimeoutError, OSError) as error:
            connection.disconnect()
            raise ConnectionClosed(f"Redis at {self.address} did not answer: {error}") from error
        except BaseException:
            connection.disconnect()  # an answer may still be on its way, to whoever asked next
            raise
        if any(says_replica(reply) for reply in replies):
            # Behind its address there may be another master by now, to which only new connections lead.
            connection.disconnect()
            self.close()
        elif len(replies) == number:
            self._give_back(connection, self._hurried if hurries else self._idle)
        return replies + replies[-1:] * (number - len(replies))

    def _borrow(self, hurries: bool) -> Any:
        if self._pid != os.getpid():
            self._idle, self._hurried, self._pid = deque(), deque(), os.getpid()
        idle = self._hurried if hurries else self._idle
        while idle:
            try:
                connection, since = idle.pop()
            except IndexError:  # another thread was faster
                break
            if time.monotonic() - since < _REST or _is_open(connection):
                return connection
            connection.disconnect()
        return self.open(HURRY if hurries else inf)

    def _give_back(self, connection: Any, idle: Idle) -> None:
        now = time.monotonic()
        idle.append((connection, now))
        try:
            if now - idle[0][1] > _SPARE:  # the others suffice
                idle.popleft()[0].disconnect()
        except IndexError:  # another thread was faster
            pass

    def open(self, seconds: float = inf) -> Any:
        """A new connection, which the caller closes. ConnectionFailed when there is none to be had.

        ``seconds``: the most that it waits for anything, if that is less than is usual.
        """
        connection = self._connect(seconds)
        try:
            connection.connect()
        except (ConnectionError, TimeoutError, OSError) as error:
            raise ConnectionFailed(f"Redis at {self.address} cannot be reached: {error}") from error
        except RedisError as error:
            raise refusal(error, self.address) from error
        return connection

    def close(self) -> None:
        idle, hurried = self._idle, self._hurried
        self._idle, self._hurried = deque(), deque()
        for connection, _ in (*idle, *hurried):
            connection.disconnect()


def _read(connection: Any, number: int) -> list[Any]:
    """The replies; fewer when the last one is a refusal after which the client library closes the connection."""
    replies: list[Any] = []
    while len(replies) < number:
        try:
            replies.append(connection.read_response())
        except ResponseError as error:
            replies.append(error)
        except ConnectionError as error:
            if type(error) is ConnectionError:
                raise
            return [*replies, error]
    return replies


def _is_open(connection: Any) -> bool:
    try:
        return not connection.can_read(0)
    except (RedisError, OSError):
        return False


def is_too_late(pause: float = 0.0) -> bool:
    """Whether a commit waits that may not wait for one more thing, after a pause of so many seconds."""
    left = seconds_left()
    return left is not None and left - pause < HURRY


def ask_one(endpoint: Endpoint, packed: bytes) -> Any:
    """The reply to one packed command. Errors as :meth:`Endpoint.ask`, and BrokerError for what Redis refuses."""
    (reply,) = endpoint.ask(packed, 1)
    if isinstance(reply, Exception):
        raise refusal(reply, endpoint.address)
    return reply
