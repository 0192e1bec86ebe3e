"""Many processes that add items to be gathered.

Run as a program on the test project. With ``die`` it is one that is killed when its items are committed and nobody has
been sent for them.
"""

from __future__ import annotations

import os
import signal
import sys

import django

django.setup()

from django_tasks_q import get_broker  # noqa: E402 - actors need Django
from testproject.gathering import collect  # noqa: E402
from tests.support.forked import forked  # noqa: E402


def send_all(items: int, sender: int) -> None:
    """Some by themselves, some together."""
    numbers = [sender * items + number for number in range(items)]
    for start in range(0, items, 10):
        first, *others = numbers[start : start + 10]
        collect.gather(first)
        collect.gather_many(others)


def die_before_sending() -> None:
    broker = get_broker()
    broker.prepare = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment,method-assign]
    collect.gather_many([1, 2, 3])


if __name__ == "__main__":
    if sys.argv[1] == "die":
        die_before_sending()
    items, senders = map(int, sys.argv[1:])
    sys.exit(forked(senders, lambda sender: send_all(items, sender)))
