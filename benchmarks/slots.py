"""The ledger of a measurement: one slot for each message in a memory-mapped file, marked by the task itself.

A mark costs about half a microsecond, for every engine alike. The number of marked slots must equal the number of
sends, and no slot may be marked twice.
"""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

from . import variables

_WORD = 8


class Slots:
    """Start times in nanoseconds of the monotonic clock, which all processes of a machine share."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        words = memoryview(self._memory).cast("Q")
        self.size = len(words) // 2
        self._starts, self._runs = words[: self.size], words[self.size :]

    @classmethod
    def create(cls, path: Path, size: int) -> Slots:
        path.write_bytes(bytes(size * 2 * _WORD))
        return cls(str(path))

    @classmethod
    def from_environment(cls) -> Slots:
        """The file that the environment names; what the tasks open."""
        return cls(os.environ[variables.SLOTS])

    def mark(self, index: int) -> None:
        """The task ``index`` starts now."""
        self._starts[index] = time.monotonic_ns()
        self._runs[index] += 1

    @property
    def starts(self) -> list[int]:
        return self._starts.tolist()

    @property
    def marked(self) -> int:
        """How many different tasks have started."""
        return self.size - self._starts.tolist().count(0)

    @property
    def repeated(self) -> int:
        """How many tasks have started more than once."""
        return sum(runs > 1 for runs in self._runs.tolist())
