"""A middleware for tests that wants two functions to run beside the workers: one that ends, and one that does not."""

import signal
import threading
from collections.abc import Callable

from django_tasks_q import Middleware
from testproject.ledger import write


class Beside(Middleware):
    @property
    def forks(self) -> list[Callable[[], None]]:
        return [ends, stays]


class Deaf(Middleware):
    @property
    def forks(self) -> list[Callable[[], None]]:
        return [hears_nothing]


def hears_nothing() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    write("start", "hears_nothing")
    threading.Event().wait()


def ends() -> None:
    write("start", "ends")


def stays() -> None:
    write("start", "stays")
    threading.Event().wait()
