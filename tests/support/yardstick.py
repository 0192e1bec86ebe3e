"""How slow this machine is now, beside the one that bounds in seconds were written on."""

from __future__ import annotations

import time

_CALM_S = 0.2
"""Seconds that the work below takes on the machine of the bounds, with nothing beside it."""


def slowness() -> float:
    """At least 1: a bound in seconds times this is as strict here as it is there."""
    return max(1.0, min(_work() for _ in range(3)) / _CALM_S)


def _work() -> float:
    began = time.perf_counter()
    sum(number * number for number in range(3_000_000))
    return time.perf_counter() - began
