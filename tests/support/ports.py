"""Free ports that stay free: for servers that a test starts, stops and starts again at the same place."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

RANGE = range(20_000, 30_000)
"""Below the ports that systems give to outgoing connections, so none of those ever takes one from a stopped server."""


def free_port() -> int:
    """A port of this machine that nobody listens on, and that no other test process gets while this one lives."""
    for port in random.Random().sample(RANGE, len(RANGE)):
        if _take(port):
            return port
    raise AssertionError(f"every port from {RANGE.start} to {RANGE.stop - 1} is taken")


def _take(port: int) -> bool:
    """Lock the port's file, until this process ends, however it ends: nobody closes the file before."""
    folder = Path(tempfile.gettempdir()) / f"django-tasks-q-ports-{os.geteuid()}"
    folder.mkdir(exist_ok=True)
    lock = os.open(folder / str(port), os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _bind(port)
    except OSError:
        os.close(lock)
        return False
    return True


def _bind(port: int) -> None:
    """OSError when somebody listens there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("", port))
