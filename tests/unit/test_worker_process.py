"""The main thread of a worker process."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import closing
from types import SimpleNamespace
from typing import Any

from django_tasks_q.supervisor.signals import Signals
from django_tasks_q.supervisor.worker_process import Ending
from django_tasks_q.worker.board import Board


def test_a_stop_that_comes_while_a_worker_connects_is_not_forgotten() -> None:
    # Given a worker that has not found its broker yet
    consumer = SimpleNamespace(connected=threading.Event())
    worker: Any = SimpleNamespace(consumer=consumer, forfeit=False, exhausted=False)
    life, generation = os.pipe()
    too_late = threading.Timer(5, os.close, [generation])
    with closing(Signals([signal.SIGUSR1])) as signals:
        ending = Ending(worker, signals, life, leaves_when_exhausted=False)

        # When it is told to stop
        os.kill(os.getpid(), signal.SIGUSR1)
        too_late.start()
        ending.wait_for_connection(Board(1, 1).regions[0])
        ending.wait()

    # Then it stops, and does not wait for the end of its generation
    assert too_late.is_alive()
    too_late.cancel()
    too_late.join()
    os.close(generation)
    os.close(life)
