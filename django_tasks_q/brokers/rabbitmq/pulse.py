"""A little process that beats for a worker: the worker's own threads cannot while one of them holds the GIL."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import subprocess
import sys
import tempfile
import termios
from contextlib import ExitStack
from pathlib import Path

from .heartbeats import FRAME

_PROGRAM = Path(__file__).with_name("pulse_program.py")

_SURE = 4096
"""Bytes under way that the kernel takes whole in any case."""

_SEND_BUFFER = 524_288


class Pulse:
    """Sends a heartbeat every ``interval`` seconds on a connected socket, while this process lives and is not stopped.

    Two processes write to one socket, so none may write into the middle of the other's frame. The beat is a frame of
    its own, and held back while the rest of one of ours may be waiting to be sent (``hold``, ``release``).
    """

    def __init__(self, connected: socket.socket, interval: float) -> None:
        self._socket = connected
        self._interval = interval
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
        with ExitStack() as held:
            self._file = held.enter_context(tempfile.TemporaryFile())
            self._file.truncate(mmap.PAGESIZE)
            self._page = held.enter_context(mmap.mmap(self._file.fileno(), mmap.PAGESIZE))
            self._process = self._start()
            self._held = held.pop_all()

    def _start(self) -> subprocess.Popen[bytes]:
        shared = (self._socket.fileno(), self._file.fileno())
        words = [os.getpid(), *shared, self._interval, FRAME.hex()]
        command = [sys.executable, "-I", "-S", str(_PROGRAM), *map(str, words)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=shared)

    def ensure(self) -> None:
        """Start it again when somebody has killed it."""
        if self._process.poll() is not None:
            self._close_process()
            self._process = self._start()

    def hold(self, length: int) -> None:
        """So many bytes are about to be sent: no beat until :meth:`release`, unless they surely go out in one piece."""
        if length + self._underway() > _SURE:
            self._page[0] = 1

    def release(self) -> None:
        """Everything is out."""
        self._page[0] = 0

    def _underway(self) -> int:
        if sys.platform != "linux":
            return _SURE
        return int.from_bytes(fcntl.ioctl(self._socket, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def end(self) -> None:
        """Before the socket is closed, which would have no effect while another process has it."""
        self._process.kill()
        self._close_process()
        self._held.close()

    def _close_process(self) -> None:
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
