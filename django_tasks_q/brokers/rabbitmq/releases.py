"""Keys on their way out, in a thread of their own: the thread that talks to RabbitMQ never waits for a database."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from threading import Condition, Thread

from ...errors import BrokerError
from ...logging import get_logger
from ...unique_holders import UniqueHolders, get_unique_holders

logger = get_logger(__name__)

_IDLE = 2.0
"""Seconds without anything to do after which the thread ends."""

_MOST = 10_000
"""Calls that wait for a database that is away; the keeper does the rest, by what is recorded."""

Step = Callable[[UniqueHolders], None]


class Releases:
    """Carries out what is asked for, in order. What the database does not take is left to the keeper."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._steps: deque[Step] = deque(maxlen=_MOST)
        self._thread: Thread | None = None
        self._pid = os.getpid()
        self._is_ending = False

    def release(self, held: Sequence[tuple[str, str]]) -> None:
        self._add(partial(_release, held))

    def sent(self, message_ids: Sequence[str]) -> None:
        if message_ids:
            self._add(partial(_sent, message_ids))

    def close(self, timeout: float = 2.0) -> None:
        """Give what is left so many seconds, and end."""
        with self._changed:
            thread, self._is_ending = self._thread, True
            self._changed.notify_all()
        if thread is not None and self._pid == os.getpid():
            thread.join(timeout)

    def _add(self, step: Step) -> None:
        if self._pid != os.getpid():  # a child of the process that made this; threads do not cross a fork
            self._pid, self._changed, self._thread = os.getpid(), Condition(), None
            self._steps.clear()
        with self._changed:
            self._steps.append(step)
            self._is_ending = False
            if self._thread is None:
                self._thread = Thread(target=self._run, name="Releases", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _run(self) -> None:
        while (steps := self._next()) is not None:
            for step in steps:
                self._carry_out(step)

    def _next(self) -> list[Step] | None:
        """What there is to do; None when this thread has ended."""
        with self._changed:
            if not self._steps and not self._is_ending:
                self._changed.wait(_IDLE)
            if not self._steps:
                self._thread = None
                return None
            steps = list(self._steps)
            self._steps.clear()
            return steps

    @staticmethod
    def _carry_out(step: Step) -> None:
        holders = get_unique_holders()
        if holders is None:
            return
        try:
            step(holders)
        except BrokerError as error:
            logger.warning("Keys of messages that have ended stay taken until the keeper looks: %s", error)
        except Exception:
            logger.exception("Keys of messages that have ended stay taken until the keeper looks.")


def _release(held: Sequence[tuple[str, str]], holders: UniqueHolders) -> None:
    holders.release(held)


def _sent(message_ids: Sequence[str], holders: UniqueHolders) -> None:
    holders.sent(message_ids)
