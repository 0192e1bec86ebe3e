"""Hearing of writes to files at once, where the system says so (Linux: inotify); elsewhere somebody has to look."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable

_IN_MODIFY = 0x2
_IN_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)


class FileChanges:
    """Readable, as a descriptor, once one of the files has been written to. Files that do not exist are left out."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def open(cls) -> FileChanges | None:
        """None where the system has no such thing, or no more of it to give."""
        if sys.platform != "linux":
            return None
        descriptor = _libc().inotify_init1(_IN_NONBLOCK_CLOEXEC)
        return None if descriptor < 0 else cls(descriptor)

    def watch(self, paths: Iterable[str]) -> int:
        """Hear of writes to these files; to ask again for one that is watched is harmless. How many are watched."""
        libc = _libc()
        return sum(libc.inotify_add_watch(self._descriptor, os.fsencode(path), _IN_MODIFY) >= 0 for path in paths)

    def fileno(self) -> int:
        return self._descriptor

    def heard(self) -> bool:
        """Whether something was written since the last call."""
        heard = False
        while True:
            try:
                heard = bool(os.read(self._descriptor, 65_536)) or heard
            except BlockingIOError:
                return heard

    def close(self) -> None:
        os.close(self._descriptor)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
