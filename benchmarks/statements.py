"""Counts statements as the server answers them: a relay in front of PostgreSQL that reads along.

The server ends every statement with one CommandComplete message, however it was sent: alone, prepared, in a pipeline
or several in one string. BEGIN and COMMIT are statements like any other.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

_HEADER = 5
_CHUNK = 1 << 16


class StatementCounter:
    """Listens on a free port of this machine and passes everything on to the server.

    ``statements`` counts by the first word of the server's answer, ``round_trips`` how often it became ready for more.
    """

    def __init__(self, host: str, port: int) -> None:
        self.statements: Counter[str] = Counter()
        self.round_trips = 0
        self._server = (host, port)
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> StatementCounter:
        self._start(self._accept)
        return self

    def __exit__(self, *details: object) -> None:
        for connection in (self._listener, *self._sockets):
            with suppress(OSError):  # the other side may have gone first
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join()

    def look(self) -> tuple[Counter[str], int]:
        """Both counts at this moment."""
        with self._lock:
            return Counter(self.statements), self.round_trips

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            for connection in (client, server):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sockets += [client, server]
            self._start(partial(_relay, client, server, lambda data: None))
            self._start(partial(_relay, server, client, self._reader()))

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _reader(self) -> Callable[[bytes], None]:
        """Reads one connection's answers; messages may be cut anywhere."""
        buffer = bytearray()

        def read(data: bytes) -> None:
            buffer.extend(data)
            at = 0
            while len(buffer) - at >= _HEADER:
                end = at + 1 + int.from_bytes(buffer[at + 1 : at + _HEADER])
                if end > len(buffer):
                    break
                self._note(buffer[at], buffer, at + _HEADER, end)
                at = end
            del buffer[:at]

        return read

    def _note(self, kind: int, buffer: bytearray, start: int, end: int) -> None:
        if kind == ord("C"):
            tag = buffer[start : end - 1].decode().split(" ")[0]
            with self._lock:
                self.statements[tag] += 1
        elif kind == ord("Z"):
            with self._lock:
                self.round_trips += 1


def _relay(source: socket.socket, target: socket.socket, read: Callable[[bytes], None]) -> None:
    """Until either side ends."""
    try:
        while data := source.recv(_CHUNK):
            read(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return
