"""This machine's network: a browser breaks off what it loads when it changes, so the two take turns in a test run."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from tests.support import run


def unchanged() -> AbstractContextManager[None]:
    """Nobody changes the network meanwhile; who wants to waits, and before those who come later."""
    return _held(fcntl.LOCK_SH)


def changing() -> AbstractContextManager[None]:
    """Wait until nobody minds, and keep away those who would."""
    return _held(fcntl.LOCK_EX)


@contextmanager
def _held(kind: int) -> Iterator[None]:
    run.FOLDER.mkdir(exist_ok=True)
    with (run.FOLDER / "network.lock").open("a") as lock:
        with (run.FOLDER / "network.gate").open("a") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(lock, kind)
        yield
