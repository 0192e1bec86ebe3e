"""A generation as its supervisor sees it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable

from .. import clock
from ..logging import get_logger
from .channel import Channel
from .command_line import again
from .liveness import is_alive

logger = get_logger(__name__)

ENVIRONMENT = "DJANGO_TASKS_Q_GENERATION"
"""Names the descriptor of the channel to the supervisor, in a generation that runs in an interpreter of its own."""


class GenerationHandle:
    """The process, the channel to it, and what it has said so far."""

    def __init__(self, pid: int, channel: Channel) -> None:
        self.pid = pid
        self.channel = channel
        self.children: list[int] = []
        self.is_ready = False
        self.is_stopping = False
        self.started = clock.monotonic()
        self.processed = 0
        self.failed = 0

    @classmethod
    def fork(cls, run: Callable[[Channel], int], let_go: Callable[[], None]) -> GenerationHandle:
        """The first generation: Django is set up here already, so a fork is all it takes."""
        ours, theirs = Channel.pair()
        pid = os.fork()
        if pid:
            theirs.close()
            return cls(pid, ours)
        code = 1
        try:
            let_go()
            ours.close()
            code = run(theirs)
        except BaseException:
            logger.critical("The generation could not go on.", exc_info=True)
        finally:
            os._exit(code)

    @classmethod
    def spawn(cls) -> GenerationHandle:
        """A later generation: a fresh interpreter, because one that has imported the old code never sees the new."""
        ours, theirs = Channel.pair()
        descriptor = theirs.fileno()
        process = subprocess.Popen(
            again(), env={**os.environ, ENVIRONMENT: str(descriptor)}, pass_fds=[descriptor], stdin=subprocess.DEVNULL
        )
        theirs.close()
        process.returncode = 0  # reaped by the supervisor itself, not by Popen
        return cls(process.pid, ours)

    def listen(self) -> None:
        for note in self.channel.receive():
            if note["kind"] == "children":
                self.children = note["pids"]
            elif note["kind"] == "ready":
                self.is_ready = True
            elif note["kind"] == "bye":
                self.processed, self.failed = note["processed"], note["failed"]

    def stop(self) -> None:
        self.is_stopping = True
        self.channel.send(kind="stop")

    def kill(self) -> None:
        """At once: the generation ends its workers, and its keeper gives back what they held."""
        self.is_stopping = True
        self.channel.send(kind="kill")

    def end(self) -> None:
        """Not even started yet, and not wanted any more."""
        _signal(self.pid, signal.SIGTERM)

    def living_children(self) -> list[int]:
        """Which of its children still run; asked after its death, when they are nobody's children."""
        return [pid for pid in self.children if is_alive(pid)]

    def kill_children(self) -> None:
        for pid in self.living_children():
            _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True
