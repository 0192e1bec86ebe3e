"""The watch child: a process that looks at files and says when one has changed. It runs none of the project's code."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SUFFIXES = (".py",)
_IGNORED = frozenset({"__pycache__", "node_modules", "site-packages", "venv", "env"})
_POLL = 0.4
_SETTLE = 0.1
"""Seconds in which an editor's several writes of one save are taken together."""


def watch(directory: str, tell: int, *, use_polling: bool) -> None:
    """Write a byte to the descriptor ``tell`` for each change of a Python file below ``directory``; never returns.

    With the ``watch`` extra installed the system says what changed, else the files' times are looked at.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    root = Path(directory)
    for _ in _changes(root, use_polling):
        try:
            os.write(tell, b"c")
        except OSError:
            os._exit(0)  # the supervisor is gone


def _changes(root: Path, use_polling: bool) -> Iterator[object]:
    notified = None if use_polling else _notified(root)
    return _polled(root) if notified is None else notified


def _notified(root: Path) -> Iterator[object] | None:
    try:
        from watchfiles import watch as watch_files
    except ImportError:
        return None
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # the supervisor says itself what it reloads for
    is_ours: Callable[[object, str], bool] = lambda change, path: _is_watched(Path(path), root)  # noqa: E731
    parent = os.getppid()

    def changes() -> Iterator[object]:
        # It yields on its own every half second, so that a supervisor that was killed is noticed.
        for found in watch_files(
            root,
            watch_filter=is_ours,
            debounce=int(_SETTLE * 1000),
            step=20,
            rust_timeout=500,
            yield_on_timeout=True,
            raise_interrupt=False,
        ):
            if os.getppid() != parent:
                return
            if found:
                yield found

    return changes()


def _polled(root: Path) -> Iterator[object]:
    parent = os.getppid()
    before = _times(root)
    while os.getppid() == parent:
        time.sleep(_POLL)
        after = _times(root)
        if after != before:
            yield after
        before = after


def _times(root: Path) -> dict[str, float]:
    found = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not _is_ignored(name)]
        for name in files:
            if name.endswith(SUFFIXES):
                path = os.path.join(folder, name)
                try:
                    found[path] = os.stat(path).st_mtime
                except OSError:
                    continue  # removed while we looked
    return found


def _is_watched(path: Path, root: Path) -> bool:
    try:
        parts = path.relative_to(root).parts
    except ValueError:
        parts = path.parts
    return path.suffix in SUFFIXES and not any(_is_ignored(part) for part in parts[:-1])


def _is_ignored(name: str) -> bool:
    return name in _IGNORED or name.startswith(".")
