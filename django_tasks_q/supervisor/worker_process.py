"""The main thread of a worker process: signals, the end of its parents, the end of its work."""

from __future__ import annotations

import os
import random
import selectors
import signal
import sys

from ..broker import get_broker
from ..logging import get_logger
from ..worker import Worker
from ..worker.board import Region
from .options import Options
from .signals import Signals

logger = get_logger(__name__)

UNFINISHED = 75
"""Exit code of a worker that left something running, or could not tell the broker: the keeper will do it."""

FENCED = 76
"""Exit code of a worker that was declared dead while it was not."""

_LOOK = 0.1
_LAST_MOMENT = 0.3
"""Seconds before the shutdown time-out at which a worker ends itself, so that nobody has to do it."""


def run_worker_process(options: Options, region: Region, worker_id: str, life: int, *, quarantine: bool) -> int:
    """Run one worker until it is told to stop or the pipe ``life`` ends with its generation. Returns an exit code."""
    random.seed()
    sys.setswitchinterval(options.switch_interval)
    signals = Signals([signal.SIGTERM], ignored=[signal.SIGINT, signal.SIGHUP])
    broker = get_broker()
    broker.emit_after("process_boot")
    worker = Worker(
        broker,
        queues=options.queues or None,
        worker_threads=1 if quarantine else options.threads,
        worker_id=worker_id,
        region=region,
        suspects=quarantine,
        duties=not options.maintenance,  # else the keeper has them
        maintenance=False,
        most=None if quarantine else options.max_messages,
        time_limit_grace=options.time_limit_grace,
        unknown_actor_grace=options.unknown_actor_grace,
        async_concurrency=options.async_concurrency,
    )
    worker.start()
    ending = Ending(worker, signals, life, leaves_when_exhausted=options.burst or quarantine)
    ending.wait_for_connection(region)
    ending.wait()
    if worker.forfeit:
        os._exit(FENCED)
    worker.stop(max(0, options.shutdown_timeout - int(_LAST_MOMENT * 1000)))
    broker.close()
    return 0 if worker.consumer.has_left else UNFINISHED


class Ending:
    """Everything that can end a worker, waited for in one place."""

    def __init__(self, worker: Worker, signals: Signals, life: int, *, leaves_when_exhausted: bool) -> None:
        self._worker = worker
        self._signals = signals
        self._life = life
        self._leaves_when_exhausted = leaves_when_exhausted
        self._exhausted_looks = 0
        self._is_told = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals, selectors.EVENT_READ)
        self._selector.register(life, selectors.EVENT_READ)

    def wait_for_connection(self, region: Region) -> None:
        while not self._worker.consumer.connected.wait(0.02):
            if self._has_come(0):
                return
        region.mark_ready()

    def wait(self) -> None:
        while not self._has_come(_LOOK):
            pass

    def _has_come(self, timeout: float) -> bool:
        for key, _ in self._selector.select(timeout):
            if key.fileobj == self._life:
                logger.warning("The generation is gone; this worker stops.")
                return True
            if self._signals.arrived():
                self._is_told = True  # for good: it may come while the worker connects, and is heard of once
        return self._is_told or self._worker.forfeit or (self._leaves_when_exhausted and self._is_exhausted())

    def _is_exhausted(self) -> bool:
        """Twice in a row: between two looks a message may be on its way from the broker to a thread."""
        self._exhausted_looks = self._exhausted_looks + 1 if self._worker.exhausted else 0
        return self._exhausted_looks > 1
