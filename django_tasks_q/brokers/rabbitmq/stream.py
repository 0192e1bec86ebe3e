"""pika's protocol over a plain socket, driven by whoever uses it.

pika's own adapters bring a loop, timers and a thread that resolves names. Here the caller's thread writes, waits and
reads, which needs no other thread (a web server may have none), costs less, and lets several publishes share one wait.
The kernel's keepalive watches all connections. Those that hold messages are watched by both sides, by heartbeats.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import struct
from collections.abc import Callable
from typing import Any

from pika import connection as amqp
from pika import exceptions

from ... import clock
from ...errors import ConnectionClosed, ConnectionFailed
from . import heartbeats
from .pulse import Pulse
from .sockets import open_socket, wants_patience

_CHUNK = 65_536

_pika_logger = logging.getLogger("pika")
if _pika_logger.level == logging.NOTSET:
    _pika_logger.setLevel(logging.CRITICAL)  # what goes wrong is raised, and told where it matters


class Stream(amqp.Connection):  # type: ignore[misc]
    """Open when it is made. One thread at a time may use it.

    ``blocked``: RabbitMQ takes no messages at present.

    Parameters:
        parameters: of pika.
        timeout: seconds for connecting.
        name: what people who look at RabbitMQ's connections see.

    Raises:
        ConnectionFailed: it cannot be opened.
    """

    def __init__(self, parameters: amqp.Parameters, timeout: float, name: str = "") -> None:
        self.timeout = timeout
        self.blocked = False
        self._socket: socket.socket | None = None
        self._pulse: Pulse | None = None
        self._beat_at = self._silent_at = float("inf")
        self._unsent: list[bytes] = []
        self._is_ending = False
        self._failure: BaseException | None = None
        super().__init__(
            parameters,
            on_open_error_callback=self._note_failure,
            on_close_callback=self._note_failure,
            internal_connection_workflow=False,
        )
        self.params.client_properties = {**(self.params.client_properties or {}), "connection_name": name}
        self.add_on_connection_blocked_callback(lambda *_: setattr(self, "blocked", True))
        self.add_on_connection_unblocked_callback(lambda *_: setattr(self, "blocked", False))
        self._connect()

    def _connect(self) -> None:
        try:
            self._socket = open_socket(self.params, self.timeout)
        except OSError as error:
            raise ConnectionFailed(f"RabbitMQ at {_where(self.params)} cannot be reached: {error}") from error
        self._poller = select.poll()
        self._poller.register(self._socket, select.POLLIN)
        self._on_stream_connected()
        if not self._is_welcomed() or self._failure is not None:
            reason = self._failure or f"no answer within {self.timeout:.3g} s"
            self.abort()
            raise ConnectionFailed(f"RabbitMQ at {_where(self.params)} refused the connection: {reason}")

    def _is_welcomed(self) -> bool:
        """Whether RabbitMQ opened the connection in time."""
        try:
            return self.drive(lambda: self.is_open or self._failure, clock.monotonic() + self.timeout)
        except (struct.error, LookupError, ValueError) as error:  # pika believes every byte
            self._failure = exceptions.StreamLostError(f"what answers there is no RabbitMQ ({error!r:.200})")
            return False

    # What pika asks of an adapter

    def _adapter_connect_stream(self) -> None:
        raise NotImplementedError

    def _adapter_call_later(self, delay: float, callback: Callable[[], Any]) -> object:
        raise NotImplementedError("Nothing here needs a timer of pika's: heartbeats and time-outs are our own.")

    def _adapter_remove_timeout(self, timeout_id: object) -> None:
        raise NotImplementedError

    def _adapter_add_callback_threadsafe(self, callback: Callable[[], Any]) -> None:
        raise NotImplementedError

    def _adapter_emit_data(self, data: bytes) -> None:
        self._unsent.append(data)

    def _adapter_disconnect_stream(self) -> None:
        self._is_ending = True

    def _create_heartbeat_checker(self) -> Any:
        self._beat_at = clock.monotonic()
        return heartbeats.Unchecked()

    # Signs of life

    def start_pulse(self) -> None:
        """From now on another process beats too, whatever the threads of this one do. It cannot with TLS."""
        if self._socket is not None and self.params.ssl_options is None:
            self._pulse = Pulse(self._socket, self.params.heartbeat / 2)

    def _beat(self) -> None:
        """If nothing else was said for so long that RabbitMQ may wonder."""
        if self._pulse is not None:
            self._pulse.ensure()
        now = clock.monotonic()
        if self.params.heartbeat and now >= self._beat_at:
            self._beat_at = now + self.params.heartbeat / 2
            self._unsent.append(heartbeats.FRAME)

    # Driving

    def fileno(self) -> int:
        """The descriptor that becomes readable when something arrives."""
        assert self._socket is not None
        return self._socket.fileno()

    def drive(self, done: Callable[[], object], deadline: float) -> bool:
        """Write and read until ``done()``; False when ``deadline`` (monotonic) came first, or the connection's end."""
        while True:
            self._write()
            if done():
                return True
            if self._socket is None:
                return False
            left = deadline - clock.monotonic()
            if not self._await(max(0.0, left)) and left <= 0:
                return bool(done())

    def breathe(self) -> None:
        """Write what is to be written and take in what has arrived, without waiting."""
        if self._socket is not None:
            self._beat()
        self._write()
        if self._socket is not None:
            self._await(0)
            self._write()
        if clock.monotonic() > self._silent_at:
            # RabbitMQ has given up as well, or soon will: who went on would run what others have got by now.
            self._lose(exceptions.StreamLostError("nothing was heard for two heartbeats"))

    def flush(self) -> None:
        """Write everything that is to be written."""
        deadline = clock.monotonic() + self.timeout
        if not self.drive(lambda: not self._unsent, deadline):
            self.abort()
        self.check_open()

    def _await(self, seconds: float) -> bool:
        """Wait until the socket can be used, and read from it; False when there was nothing."""
        wanted = select.POLLIN | select.POLLOUT if self._unsent else select.POLLIN
        self._poller.modify(self.fileno(), wanted)
        if not self._has_decrypted() and not self._poller.poll(seconds * 1000):
            return False
        self._read()
        return True

    def _has_decrypted(self) -> bool:
        pending = getattr(self._socket, "pending", None)
        return pending is not None and pending() > 0

    def _write(self) -> None:
        while self._unsent and self._socket is not None:
            data = b"".join(self._unsent)
            if self._pulse is not None:
                self._pulse.hold(len(data))
            try:
                sent = self._socket.send(data)
            except (BlockingIOError, InterruptedError):
                self._unsent = [data]
                return
            except OSError as error:
                if wants_patience(error):
                    self._unsent = [data]
                    return
                self._lose(error)
                return
            self._unsent = [data[sent:]] if sent < len(data) else []
        if self._pulse is not None:
            self._pulse.release()

    def _read(self) -> None:
        while self._socket is not None:
            try:
                data = self._socket.recv(_CHUNK)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if not wants_patience(error):
                    self._lose(error)
                return
            if not data:
                self._lose(exceptions.StreamLostError("the other side closed the connection"))
                return
            self._take_in(data)
            if len(data) < _CHUNK:
                return

    def _take_in(self, data: bytes) -> None:
        if self.params.heartbeat:
            self._silent_at = clock.monotonic() + 2 * self.params.heartbeat
        try:
            self._on_data_available(data)
        except exceptions.AMQPError as error:
            self._lose(error)
            return
        if self._is_ending:
            self._write()
            self._end(None)

    def _lose(self, error: BaseException) -> None:
        self._end(exceptions.StreamLostError(f"{type(error).__name__}: {error}"))

    def _end(self, error: Exception | None) -> None:
        if self._socket is None:
            return
        if self._pulse is not None:
            self._pulse.end()
            self._pulse = None
        self._socket.close()
        self._socket = None
        self._unsent = []
        self._on_stream_terminated(error)

    def _note_failure(self, connection: Any, error: BaseException) -> None:
        self._failure = error

    # Ending

    def check_open(self) -> None:
        """Raise ConnectionClosed unless the connection can be used."""
        if self._socket is None or not self.is_open:
            raise ConnectionClosed(f"The connection to RabbitMQ was closed: {self._failure or 'by this process'}")

    def leave(self, seconds: float = 2.0) -> None:
        """Say good-bye, so that all that was written is heard; who does not answer is left without."""
        if self._socket is not None and self.is_open:
            self.close()
            self.drive(lambda: False, clock.monotonic() + seconds)
        self.abort()

    def forget(self) -> None:
        """Let go of a connection that belongs to the parent process, without a word to the other side."""
        if self._socket is not None:
            os.close(self._socket.detach())
            self._socket = None

    def abort(self) -> None:
        """Drop the connection at once. What the other side has not read yet is not read any more."""
        if self._socket is not None:
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass  # it is closed on the other side already
            self._end(exceptions.StreamLostError("dropped"))


def _where(parameters: amqp.Parameters) -> str:
    return f"{parameters.host}:{parameters.port}"
