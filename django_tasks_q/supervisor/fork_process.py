"""The process of one function that middleware wants to run beside the workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from threading import Thread

from ..broker import Broker, get_broker


def fork_functions(broker: Broker) -> list[Callable[[], object]]:
    """What the middleware of a broker wants to run beside the workers, in the order of the stack."""
    return [function for middleware in broker.middleware for function in middleware.forks]


def run_fork_process(number: int, life: int) -> int:
    """In the child: run the function of that number. Ends with the pipe ``life``, which ends with the generation."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    Thread(target=_end_with, args=(life,), daemon=True).start()
    fork_functions(get_broker())[number]()
    return 0


def _end_with(life: int) -> None:
    os.read(life, 1)
    os._exit(0)
