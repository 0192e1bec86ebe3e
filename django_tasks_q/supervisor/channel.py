"""Messages between two processes of the tree: JSON lines over a socket, read when there is something to read."""

from __future__ import annotations

import socket
from typing import Any

import msgspec

Note = dict[str, Any]


class Channel:
    """One end of a conversation. Nothing blocks: what cannot be written now is written with the next note."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._socket.setblocking(False)
        self._incoming = b""
        self._outgoing = b""
        self.closed = False

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        first, second = socket.socketpair()
        return cls(first), cls(second)

    @classmethod
    def from_descriptor(cls, descriptor: int) -> Channel:
        return cls(socket.socket(fileno=descriptor))

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, **note: Any) -> None:
        """Tell the other side something; if it is gone, nobody needs to know."""
        self._outgoing += msgspec.json.encode(note) + b"\n"
        self.flush()

    def flush(self) -> None:
        while self._outgoing and not self.closed:
            try:
                written = self._socket.send(self._outgoing)
            except BlockingIOError:
                return
            except OSError:
                self.closed = True
                return
            self._outgoing = self._outgoing[written:]

    def receive(self) -> list[Note]:
        """The notes that have arrived. ``closed`` is True afterwards when the other side is gone."""
        while not self.closed:
            try:
                data = self._socket.recv(65_536)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.closed = True
                break
            self._incoming += data
        *lines, self._incoming = self._incoming.split(b"\n")
        return [msgspec.json.decode(line) for line in lines]

    def close(self) -> None:
        self.closed = True
        self._socket.close()
