"""A worker process as its generation sees it."""

from __future__ import annotations

import os
import signal
from typing import Any

import msgspec

from .. import clock
from ..deliveries import Casualty
from ..worker.board import EMPTY, Region, Task
from .signals import describe
from .worker_process import FENCED

_TOLERANCE = 0.05
"""Seconds by which a deadline may lie ahead of the moment at which its process was condemned for it."""


class Child:
    """One worker process and its region of the board."""

    def __init__(self, pid: int, region: Region, worker_id: str, *, quarantine: bool) -> None:
        self.pid = pid
        self.region = region
        self.worker_id = worker_id
        self.quarantine = quarantine
        self.born = clock.monotonic()
        self.kill_at: float | None = None
        self.stopping = False

    @property
    def age(self) -> float:
        return clock.monotonic() - self.born

    def stop(self, timeout: float) -> None:
        """Ask it to end; it is ended after ``timeout`` seconds."""
        if not self.stopping:
            self.stopping = True
            self.kill_at = clock.monotonic() + timeout
            self._signal(signal.SIGTERM)
            # A stopped process cannot obey; when it goes on it finds its lease gone.
            self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def enforce(self, grace: float, timeout: float) -> None:
        """End it when its time is up: after a stop, or when a task has outlived its limit and the grace.

        Its other tasks get as long again to finish, and it fetches nothing new meanwhile; so even when the late task
        ends by itself after all, the process must go, but like one that is stopped with ``timeout``.
        """
        now = clock.monotonic()
        if self.kill_at is not None and now >= self.kill_at:
            self.kill()
            return
        late, others = self._overdue(now)
        condemned_at = self.region.condemned_at
        if not late:
            if condemned_at:
                self.stop(timeout)
            return
        if not condemned_at:
            self.region.condemn(now)
        elif not others or now >= condemned_at + grace:
            self.kill()

    def _overdue(self, now: float) -> tuple[int, int]:
        """How many of its tasks are past their hard deadline, and how many are not."""
        running = self.region.running()
        late = sum(0 < task.deadline <= now for task in running)
        return late, len(running) - late

    def grave(self, status: int) -> dict[str, Any] | None:
        """What the keeper must know of its end; None when it left nothing behind."""
        code = os.waitstatus_to_exitcode(status)
        if code == FENCED:
            return None
        if code == 0 and not self.region.running():
            return None
        reason = describe(status)
        casualties = self._casualties(f"worker {reason}")
        return {
            "kind": "dead",
            "worker_id": self.worker_id,
            "casualties": msgspec.to_builtins(casualties),
            "reason": reason,
        }

    def _casualties(self, detail: str) -> list[Casualty]:
        condemned_at = self.region.condemned_at
        found = []
        running = self.region.running()
        for task in running:
            if condemned_at and 0 < task.deadline <= condemned_at + _TOLERANCE:
                found.append(_overdue(task))
            elif condemned_at or self.stopping:
                found.append(Casualty(task.message_id, task.number, "interrupted", task.started_at, detail))
            else:
                alone = len(running) == 1
                found.append(Casualty(task.message_id, task.number, "lost", task.started_at, detail, alone))
        return found

    def forget(self) -> None:
        self.region.mark(EMPTY)

    def _signal(self, number: int) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass  # it ended by itself; the generation is about to reap it


def _overdue(task: Task) -> Casualty:
    """The one for which a process was ended."""
    if task.is_revoked:
        detail = "it did not end when it was revoked, so its process was ended"
        return Casualty(task.message_id, task.number, "revoked", task.started_at, detail)
    detail = "it did not end at its time limit, so its process was ended"
    return Casualty(task.message_id, task.number, "time_limit", task.started_at, detail)
