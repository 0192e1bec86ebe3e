"""A server that a test starts, hurts and starts again, and that never outlives the test run."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

STOP_SECONDS = 20

_all: weakref.WeakSet[ServerProcess] = weakref.WeakSet()


class ServerProcess:
    """One program that serves, writing what it prints to ``log``.

    The kernel kills it when the thread that started it ends, so that nothing is left even of a test run that was
    killed. Start it from a thread that stays as long as the server should. Where setpriv is missing (macOS) it is
    only killed when Python ends in an orderly way.
    """

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        program = shutil.which(command[0])
        assert program, f"There is no {command[0]}. `make services` (as root, on Debian) installs what the tests need."
        self._command = [*with_its_parent(), program, *command[1:]]
        self._log = log
        self._env = None if env is None else {**os.environ, **env}
        self._process: subprocess.Popen[bytes] | None = None
        _all.add(self)

    @property
    def pid(self) -> int:
        """Of the program that runs, or that ran last."""
        assert self._process is not None, "it was never started"
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Also when it is suspended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Only start it: whether it answers already is for the caller to find out."""
        assert not self.is_running, "it runs already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._log.parent,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for pytest, which stops us in its own order
            )

    def stop(self) -> None:
        """Ask it to end, and wait. No matter when it has ended already or is suspended."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        if self._process is not None:
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"it did not end on SIGTERM within {STOP_SECONDS} s:\n{self.said()}") from None

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def suspend(self) -> None:
        """SIGSTOP: its connections stay open and nobody answers on them."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def said(self) -> str:
        """The end of its log, for a test that fails."""
        return self._log.read_text(errors="replace")[-5_000:] if self._log.exists() else "(nothing)"

    def _signal(self, number: signal.Signals) -> None:
        if self.is_running:
            os.kill(self.pid, number)


def with_its_parent() -> list[str]:
    """What makes the kernel kill the program that follows when we end."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


@atexit.register
def _kill_all() -> None:
    for process in list(_all):
        process.kill()
