"""How slow this machine is now, beside the one that bounds in seconds were written on."""

from __future__ import annotations

import time
from collections.abc import Callable

_CALM_S = 0.2
"""Seconds that the work below takes on the machine of the bounds, with nothing beside it."""


def slowness() -> float:
    """At least 1: a bound in seconds times this is as strict here as it is there."""
    return max(1.0, min(_work() for _ in range(3)) / _CALM_S)


def evenly(act: Callable[[], float]) -> float:
    """Seconds that something took, as the machine of the bounds would have counted: its speed just before and after.

    For comparing what is far apart in time on a machine whose speed changes.
    """
    before = _work()
    took = act()
    return took / ((before + _work()) / 2 / _CALM_S)


def _work() -> float:
    began = time.perf_counter()
    sum(number * number for number in range(3_000_000))
    return time.perf_counter() - began
