"""The test run that this process belongs to, alone or as one of several, and what is made once for all of them."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
"""Whether this is one of several processes, which pytest-xdist has started."""

NAME = f"dtq_run_{os.getppid() if IS_WORKER else os.getpid()}"
"""By the process that began: nobody else has it, so that runs beside each other never meet."""

FOLDER = Path(tempfile.gettempdir()) / NAME


def once(name: str, make: Callable[[], object]) -> None:
    """Have something made by the first process of the run that needs it; the others wait until it is there."""
    FOLDER.mkdir(exist_ok=True)
    with (FOLDER / f"{name}.made").open("a") as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        if not os.fstat(note.fileno()).st_size:
            make()
            note.write("yes\n")


def has(name: str) -> bool:
    """Whether somebody has made it."""
    note = FOLDER / f"{name}.made"
    return note.exists() and bool(note.stat().st_size)


def clear_away() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
