"""The keeper: one process in each generation, beside the workers."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Sequence
from typing import Any

import msgspec

from .. import clock
from ..broker import Broker
from ..deliveries import Casualty
from ..errors import BrokerError
from ..judge import make_judge
from ..logging import get_logger
from ..supervisor.channel import Channel
from ..supervisor.liveness import is_alive
from ..worker.board import EMPTY, Board
from .leases import Leases
from .rescuer import Rescuer
from .service import Service
from .services import ServiceThreads, make_services

logger = get_logger(__name__)

_LONGEST_WAIT = 1.0
_LAST_ROUND = 2.0
"""Seconds that the services get at the end to finish what they are at."""


class Keeper:
    """Renews leases, buries the dead that the generation reports, rescues those of other hosts.

    When the generation dies it stays until the last worker has ended (they finish within the shutdown time-out), ends
    those that do not, buries them, and goes.

    What needs a database besides the broker runs in threads: nobody's lease waits for that.

    Parameters:
        name: under which it leads the services. Its successor has the same, and so goes on at once where it was killed.
        shutdown_timeout: seconds.
        queues: what the workers were told to work on; empty for everything.
    """

    def __init__(
        self,
        broker: Broker,
        board: Board,
        channel: Channel,
        name: str = "",
        *,
        shutdown_timeout: float,
        queues: Sequence[str] = (),
    ) -> None:
        self._broker = broker
        self._board = board
        self._channel = channel
        self._shutdown_timeout = shutdown_timeout
        self._judge = make_judge(broker)
        self._rescuer = Rescuer(broker, self._judge, lambda: channel.send(kind="suspects"), self._announce_burial)
        self._services: list[Service] = [Leases(broker, board, self._rescuer.be_patient), self._rescuer]
        self._others = ServiceThreads(make_services(broker, board, queues, name))
        self._graves: list[dict[str, Any]] = []
        self._stopping = False

    def run(self) -> int:
        """Keep until told to stop; returns an exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        selector = selectors.DefaultSelector()
        selector.register(self._channel, selectors.EVENT_READ)
        self._others.start()
        while not (self._stopping and not self._graves):
            if selector.select(self._patience()):
                self._listen()
            if self._channel.closed:
                self._outlive_the_generation()
                break
            self._round()
        self._others.stop(_LAST_ROUND)
        self._broker.close()
        return 0

    def _listen(self) -> None:
        for note in self._channel.receive():
            if note["kind"] == "dead":
                self._graves.append(note)
            elif note["kind"] == "stop":
                self._stopping = True

    def _round(self) -> None:
        self._bury()
        for service in self._services:
            service.run_if_due()

    def _patience(self) -> float:
        if self._graves:
            return 0.2
        return min(_LONGEST_WAIT, *(service.seconds_left for service in self._services))

    def _bury(self) -> None:
        """Bury who was reported dead; who cannot be buried now (the broker is gone) is tried again.

        Whatever else goes wrong with one burial must not keep the keeper from the leases of the living: it is given up
        here and made when the lease of the dead has run out.
        """
        graves, self._graves = self._graves, []
        for index, note in enumerate(graves):
            try:
                self._bury_one(note)
            except BrokerError as error:
                logger.warning("Worker %s cannot be buried yet: %s", note["worker_id"], error)
                self._graves = graves[index:]
                return
            except Exception:
                logger.exception("Worker %s cannot be buried; its lease will run out.", note["worker_id"])
            self._channel.send(kind="buried", worker_id=note["worker_id"])

    def _bury_one(self, note: dict[str, Any]) -> None:
        casualties = msgspec.convert(note["casualties"], list[Casualty])
        held = self._broker.bury(note["worker_id"], casualties, self._judge, note["reason"])
        self._announce_burial(note["worker_id"])
        if held:
            logger.warning("Worker %s %s; %d messages went back.", note["worker_id"], note["reason"], held)
        if casualties:
            # Before the generation forgets the grave: it may end when there is none, suspects or not.
            self._rescuer.hurry()
            self._rescuer.run_if_due()

    def _announce_burial(self, worker_id: str) -> None:
        self._others.buried(worker_id)

    # The generation is dead

    def _outlive_the_generation(self) -> None:
        logger.error("The generation is gone; its workers have %.1f s to finish.", self._shutdown_timeout)
        end = clock.monotonic() + self._shutdown_timeout
        while self._living() and clock.monotonic() < end:
            for service in self._services:
                service.run_if_due()
            time.sleep(0.05)
        while living := self._living():
            # Nobody may give back what may still be running, so the burial waits for the last of them.
            for pid in living:
                _kill(pid)
            time.sleep(0.02)
        for region in self._board:
            if region.presence != EMPTY:
                self._graves.append(_grave(region))
        self._bury()

    def _living(self) -> list[int]:
        return [
            region.pid for region in self._board if region.presence != EMPTY and region.pid and is_alive(region.pid)
        ]


def _grave(region: Any) -> dict[str, Any]:
    """A burial without a witness: the generation is gone, so what was running was interrupted with it."""
    casualties = [
        Casualty(task.message_id, task.number, "interrupted", task.started_at, "its generation died")
        for task in region.running()
    ]
    return {
        "kind": "dead",
        "worker_id": region.worker_id,
        "casualties": msgspec.to_builtins(casualties),
        "reason": "ended with its generation",
    }


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # it ended by itself meanwhile
