"""How fast the machine is while something is measured: virtual ones are lent to others, and change within seconds."""

from __future__ import annotations

import time
from statistics import mean
from threading import Event, Thread

_WORK = 20_000
_PAUSE = 0.02
"""Seconds between two looks, each of which takes about a millisecond: a twentieth of one core."""


class Speedometer:
    """Does a little of the same work again and again, and counts the processor's time that it takes."""

    def __init__(self) -> None:
        self._looks: list[float] = []
        self._ending = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Speedometer:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ending.set()
        self._thread.join()

    @property
    def speed(self) -> float:
        """Pieces of work in a second of the processor's time."""
        return 1 / mean(self._looks)

    def _run(self) -> None:
        while not self._ending.wait(_PAUSE):
            began = time.thread_time()
            sum(number * number for number in range(_WORK))
            self._looks.append(time.thread_time() - began)
