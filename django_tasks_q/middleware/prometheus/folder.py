"""Where the processes of a generation keep what they count: made by the first who needs it, for them alone."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME = "django_tasks_q-metrics"
_OF_A_GENERATION = re.compile(r"-(?P<pid>\d+)-(?P<born>\d+)-\d+$")


def folder_of(generation: int, port: int) -> str:
    """The folder of the generation with that pid, for the metrics of that port; below ``dramatiq_prom_db`` of the
    environment, or where temporary files are.

    The time at which the generation was born is part of the name: another one that gets its pid begins anew.
    """
    return str(_base() / f"{_NAME}-{os.geteuid()}-{generation}-{_born(generation)}-{port}")


def open_folder(path: str) -> None:
    """Make the folder if it is not there yet. PermissionError when somebody else has taken its name."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not _is_ours(path):
            raise PermissionError(f"{path} belongs to somebody else.") from None


def take(path: str, number: int) -> int | None:
    """The lock of one counting process, as a descriptor, or None when somebody holds it.

    The system frees it when its process is dead, and a child that a task forks has no part in it.
    """
    lock = os.open(os.path.join(path, f"{number}.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


@contextmanager
def abandoned(path: str) -> Iterator[list[int]]:
    """The numbers whose processes are dead; nobody takes one meanwhile."""
    locks = {int(found.stem): take(path, int(found.stem)) for found in Path(path).glob("*.lock")}
    try:
        yield [number for number, lock in locks.items() if lock is not None]
    finally:
        for lock in locks.values():
            if lock is not None:
                os.close(lock)


def remove(path: str) -> None:
    shutil.rmtree(path, ignore_errors=True)


def remove_old() -> None:
    """What generations left that were killed. Those of other containers, whose pids are not known here, hold locks."""
    for path in _base().glob(f"{_NAME}-{os.geteuid()}-*"):
        with suppress(FileNotFoundError):  # another generation removes it as well
            _remove_if_dead(path)


def _remove_if_dead(path: Path) -> None:
    found = _OF_A_GENERATION.search(path.name)
    if found is None or not _is_ours(path) or _lives(int(found["pid"]), found["born"]):
        return
    with abandoned(str(path)) as numbers:
        if len(numbers) == len(list(path.glob("*.lock"))):
            remove(str(path))


def _base() -> Path:
    return Path(os.environ.get("dramatiq_prom_db") or tempfile.gettempdir())  # noqa: SIM112


def _is_ours(path: str | Path) -> bool:
    found = os.lstat(path)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _lives(pid: int, born: str) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _born(pid) == born


def _born(pid: int) -> str:
    """When a process was started, in ticks of the system's clock; 0 where there is no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as status:
            return status.read().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return "0"
