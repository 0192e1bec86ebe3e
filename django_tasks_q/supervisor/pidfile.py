"""One supervisor for one pid file."""

from __future__ import annotations

import fcntl
import os
from types import TracebackType

from ..errors import ProcessesFailed

EXIT_CODE = 4


class PidFile:
    """Holds a lock on the file for as long as it is open, so a stale number never keeps anybody out.

    ProcessesFailed (exit code 4) when somebody else holds it or it cannot be written.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = None

    def __enter__(self) -> PidFile:
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise ProcessesFailed(f"Pid file {self._path}: {error.strerror}", EXIT_CODE) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(descriptor, 20).decode(errors="replace").strip() or "?"
            os.close(descriptor)
            raise ProcessesFailed(f"Pid file {self._path} belongs to running process {owner}.", EXIT_CODE) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._file = descriptor
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        try:
            os.unlink(self._path)
        except OSError:
            pass  # somebody tidied up already; the lock ends with the descriptor
        os.close(self._file)

    def fileno(self) -> int:
        """Children must close it, or the lock would outlive the supervisor."""
        return -1 if self._file is None else self._file
