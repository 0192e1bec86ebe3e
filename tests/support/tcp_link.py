"""One connection through a proxy."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections import defaultdict, deque
from contextlib import suppress
from enum import Enum
from math import inf

_MOST_PENDING = 64
"""Chunks of a direction that wait for their time; the sender of more has to wait as well."""


class Direction(Enum):
    TO_SERVER = "to server"
    TO_CLIENT = "to client"


class _Flow:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self._source, self._sink = source, sink
        self._pending: deque[tuple[float, bytes]] = deque()
        """What was read, and when it is to arrive; no bytes at all are the end."""
        self._is_read = False
        self.is_over = False

    def want(self, events: defaultdict[int, int]) -> None:
        if not self._is_read and len(self._pending) < _MOST_PENDING:
            events[self._source.fileno()] |= select.POLLIN
        if self._is_due():
            events[self._sink.fileno()] |= select.POLLOUT

    def milliseconds_left(self) -> float:
        """Until the next is due; an infinity when there is nothing, or when the sink has to take it first."""
        if not self._pending or self._is_due():
            return inf
        return max(0.0, self._pending[0][0] - time.monotonic()) * 1_000

    def move(self, delay: float) -> None:
        """Read and write what is possible now; OSError when an end was reset."""
        with suppress(BlockingIOError):
            while not self._is_read and len(self._pending) < _MOST_PENDING:
                data = self._source.recv(65_536)
                self._is_read = not data
                self._pending.append((time.monotonic() + delay, data))
        with suppress(BlockingIOError):
            while self._is_due():
                self._write(*self._pending.popleft())

    def _write(self, due: float, data: bytes) -> None:
        if not data:
            self._sink.shutdown(socket.SHUT_WR)
            self.is_over = True
            return
        try:
            sent = self._sink.send(data)
        except BlockingIOError:
            self._pending.appendleft((due, data))
            raise
        if sent < len(data):
            self._pending.appendleft((due, data[sent:]))

    def _is_due(self) -> bool:
        return bool(self._pending) and self._pending[0][0] <= time.monotonic()


class Link:
    """A client's connection and, once something may pass, ours to the server."""

    def __init__(self, client: socket.socket) -> None:
        self._client = client
        self._server: socket.socket | None = None
        self._flows: dict[Direction, _Flow] = {}
        self.is_over = False

    def flows(self, held: set[Direction]) -> list[_Flow]:
        return [flow for direction, flow in self._flows.items() if direction not in held and not flow.is_over]

    def move(self, target: tuple[str, int], held: set[Direction], delay: float) -> None:
        try:
            if self._server is None and Direction.TO_SERVER not in held:
                self._connect(target)
            for flow in self.flows(held):
                flow.move(delay)
        except OSError:
            self.reset()
        if self._flows and all(flow.is_over for flow in self._flows.values()):
            self._close()

    def reset(self) -> None:
        """Close so that both ends are told of a reset instead of an end."""
        for end in self._ends():
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._close()

    def _connect(self, target: tuple[str, int]) -> None:
        self._server = socket.create_connection(target, timeout=2)
        for end in self._ends():
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._flows = {
            Direction.TO_SERVER: _Flow(self._client, self._server),
            Direction.TO_CLIENT: _Flow(self._server, self._client),
        }

    def _ends(self) -> list[socket.socket]:
        return [end for end in (self._client, self._server) if end is not None]

    def _close(self) -> None:
        for end in self._ends():
            end.close()
        self.is_over = True
