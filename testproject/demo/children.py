"""The processes that the demo starts, and their certain end.

Each child leads a process group of its own: a Ctrl-C in the terminal reaches only the demo, which then stops the groups
in order, gently first.
"""

import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from testproject.demo.problem import Problem

GENTLE_SECONDS = 7.0  # the workers are told to take no more than 5
LOG_LINES = 12


class Stop:
    """Ctrl-C, TERM and HUP, as something to wait for: a signal never interrupts a step half-way.

    The handler writes to a pipe. An event of `threading` would not do: it is waited for under a lock, and a handler
    that came while its own thread had that would wait for it for ever. A terminal window that is closed counts as HUP.
    The kernel tells only the first program in it, and `make`, where it is that one, keeps the news to itself.
    """

    def __init__(self) -> None:
        self._heard, self._says = os.pipe()
        self._poll = select.poll()
        self._poll.register(self._heard, select.POLLIN)
        if os.isatty(0):
            self._poll.register(0, 0)  # no events: a hang-up is always reported
        self.signal_number: int | None = None
        signal.signal(signal.SIGINT, self._receive)
        signal.signal(signal.SIGTERM, self._receive)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup wants the demo to live on
            signal.signal(signal.SIGHUP, self._receive)

    def _receive(self, signal_number: int, frame: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number = signal_number
            os.write(self._says, b"!")  # never read, so whoever waits from now on need not

    def wait(self, seconds: float) -> bool:
        """Wait that long, or until somebody wants the demo to end (then true)."""
        if any(where == 0 for where, _ in self._poll.poll(seconds * 1000)):
            self._receive(signal.SIGHUP, None)
        return self.signal_number is not None

    @property
    def exit_code(self) -> int:
        return 128 + self.signal_number if self.signal_number else 0


@dataclass(frozen=True)
class Child:
    """A process, the leader of its group, and where it writes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def signal_group(self, signal_number: int) -> bool:
        """Signal everyone who is left in the group; false when nobody is (signal 0 only asks)."""
        self.process.poll()  # reaps the leader, which would count as a member until then
        try:
            os.killpg(self.process.pid, signal_number)
        except (ProcessLookupError, PermissionError):  # macOS says "permission" of a group of zombies
            return False
        return True

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"  The last lines of {self.log}:", *(f"  | {line}" for line in lines)])


class Children:
    """All of them are gone when the `with` block is left, whatever happened in it."""

    def __init__(self, root: Path, log_directory: Path) -> None:
        self._root = root
        self._log_directory = log_directory
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def start(self, name: str, *command: str) -> Child:
        """Start `manage.py <command>`."""
        log = self._log_directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-u", "manage.py", *command],
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children.append(Child(name, process, log))
        return self._children[-1]

    def forget(self, child: Child) -> None:
        """This one may end; wait until it has."""
        child.process.wait(GENTLE_SECONDS)
        self._children.remove(child)

    def check(self) -> None:
        """None of them ends before the demo does."""
        for child in self._children:
            if child.process.poll() is not None:
                code = child.process.returncode
                raise Problem(f"{child.name} ended by itself (exit code {code}).\n{child.last_words()}")

    def last_words(self) -> str:
        return "\n".join(child.last_words() for child in self._children)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ask the leaders, who know how to end their own; kill whoever is left after that."""
        for child in self._children:
            child.process.terminate()
        self._wait_until_gone()
        for child in self._children:
            child.signal_group(signal.SIGKILL)
        self._wait_until_gone()

    def _wait_until_gone(self) -> None:
        end = time.monotonic() + GENTLE_SECONDS
        while any(child.signal_group(0) for child in self._children) and time.monotonic() < end:
            time.sleep(0.05)
