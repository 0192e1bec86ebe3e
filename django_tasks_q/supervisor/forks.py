"""What middleware wants to run once beside the workers, each in a process of its own (:attr:`Middleware.forks`)."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass, field

from .. import clock
from ..broker import get_broker
from ..logging import get_logger
from .fork_process import fork_functions
from .launch import Launcher
from .signals import describe

logger = get_logger(__name__)

_PATIENCE = 1.0
"""Seconds that such a process has to end when it is asked to."""

_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.1, 60.0
"""Seconds until one that failed starts again; twice as long each time."""

_STEADY_AFTER = 60.0
"""Seconds after which one that fails is given the shortest pause again."""


@dataclass
class _Fork:
    """One function's process."""

    number: int
    failures: int = 0
    born: float = field(default_factory=clock.monotonic)
    starts_at: float = 0.0


class Forks:
    """The processes of one generation that run them. One that returns has done; one that fails is started again."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._running: dict[int, _Fork] = {}
        self._due: list[_Fork] = []

    @property
    def pids(self) -> list[int]:
        return list(self._running)

    def start(self, life: int) -> None:
        self._due = [_Fork(number) for number in range(len(fork_functions(get_broker())))]
        self.start_due(life)

    def start_due(self, life: int) -> bool:
        """Start those whose time has come; whether there were any."""
        now = clock.monotonic()
        due = [fork for fork in self._due if fork.starts_at <= now]
        for fork in due:
            self._due.remove(fork)
            fork.born = now
            self._running[self._launcher.fork(fork.number, life)] = fork
        return bool(due)

    def reap(self, pid: int, status: int) -> None:
        fork = self._running.pop(pid)
        if not status:
            return
        now = clock.monotonic()
        fork.failures = 0 if now - fork.born > _STEADY_AFTER else fork.failures + 1
        pause = min(_LONGEST_PAUSE, _SHORTEST_PAUSE * 2.0 ** min(fork.failures, 10))
        fork.starts_at = now + pause
        self._due.append(fork)
        how = describe(status)
        logger.error("A process beside the workers (PID %d) %s; it starts again in %.1f s.", pid, how, pause)

    def end(self) -> None:
        """Ask them to end, and see to it."""
        self._signal(signal.SIGTERM)
        deadline = clock.monotonic() + _PATIENCE
        while self._running and clock.monotonic() < deadline:
            self._collect(os.WNOHANG)
            time.sleep(0.01)
        self._signal(signal.SIGKILL)
        self._collect(0)

    def _signal(self, number: signal.Signals) -> None:
        for pid in self._running:
            os.kill(pid, number)

    def _collect(self, how: int) -> None:
        for pid in self.pids:
            if os.waitpid(pid, how)[0]:
                del self._running[pid]
