"""Waiting in one place for everything that may wake an I/O thread."""

from __future__ import annotations

import selectors
import socket


class Waker:
    """A selector that other threads can wake. One thread waits, any thread wakes, nothing is ever missed."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reader, selectors.EVENT_READ)
        self._alone = selectors.DefaultSelector()
        self._alone.register(self._reader, selectors.EVENT_READ)
        self._awake = False

    def watch(self, descriptor: int) -> None:
        """Wake up for this descriptor too."""
        self._selector.register(descriptor, selectors.EVENT_READ)

    def unwatch(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)

    def wake(self) -> None:
        if self._awake:
            return
        self._awake = True
        try:
            self._writer.send(b"w")
        except OSError:
            return  # the buffer is full, so the waiter is awake already; or it is closed, so nobody waits

    def wait(self, timeout: float) -> bool:
        """Wait for a wake-up, a watched descriptor, or the time-out in seconds. True when woken by :meth:`wake`."""
        ready = self._selector.select(timeout)
        if any(key.fileobj is self._reader for key, _ in ready):
            try:
                self._reader.recv(4096)
            except BlockingIOError:
                pass
            # Cleared after the drain: a wake-up in between is not written, but this waiter is about to look anyway.
            # The other way round its byte would be drained and every later wake-up be taken for already written.
            self._awake = False
            return True
        return False

    def sleep(self, seconds: float) -> bool:
        """Wait for nothing but :meth:`wake`; True when it came."""
        return bool(self._alone.select(seconds)) and self.wait(0)

    def close(self) -> None:
        self._selector.close()
        self._alone.close()
        self._reader.close()
        self._writer.close()
