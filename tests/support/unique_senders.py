"""Many processes that each send every key, in an order of their own.

Run as a program on the test project. With ``die`` it is one that is killed when it has taken its key and is about to
publish.
"""

from __future__ import annotations

import os
import random
import signal
import sys

import django

django.setup()

from django_tasks_q import get_broker  # noqa: E402 - actors need Django
from testproject.misbehave import echo  # noqa: E402
from tests.support.forked import forked  # noqa: E402


def send_all(keys: int, seed: int) -> None:
    order = list(range(keys))
    random.Random(seed).shuffle(order)
    for key in order:
        echo.send_with_options(args=(key,), unique=True, unique_key=f"key {key}")


def die_before_publishing() -> None:
    broker = get_broker()
    broker._publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[attr-defined]
    echo.send_with_options(args=(0,), unique=True, unique_key="key 0")


if __name__ == "__main__":
    if sys.argv[1] == "die":
        die_before_publishing()
    keys, senders = map(int, sys.argv[1:])
    sys.exit(forked(senders, lambda seed: send_all(keys, seed)))
