"""Signals as something to select on, so that no handler ever does more than write one byte."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from types import FrameType


class Signals:
    """Catches signals of this process until :meth:`close`; :meth:`arrived` lists them in order.

    To be used in the main thread, like everything about signals in Python.
    """

    def __init__(self, caught: Iterable[int], ignored: Iterable[int] = ()) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._caught = frozenset(caught)
        self._before = {number: signal.signal(number, _note) for number in self._caught}
        self._before |= {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._caught)  # what a fork held back arrives now

    def fileno(self) -> int:
        return self._reader

    def arrived(self) -> list[int]:
        """Signals since the last call."""
        try:
            data = os.read(self._reader, 4096)
        except BlockingIOError:
            return []
        return [number for number in data if number in self._caught]

    def ignore(self) -> None:
        """From now on they change nothing: this process ends, and one more Ctrl-C shall not spoil its exit code."""
        self._before = dict.fromkeys(self._before, signal.SIG_IGN)

    def close(self) -> None:
        """Put everything back as it was."""
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)


def _note(number: int, frame: FrameType | None) -> None:
    """The byte in the wake-up descriptor is the whole message."""


def describe(status: int) -> str:
    """The end of a process, from what ``waitpid`` said, in words."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"killed by signal {-code} ({name})"
