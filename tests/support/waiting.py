"""Waiting on conditions: a test never sleeps and hopes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

_IS_CROWDED = "PYTEST_XDIST_WORKER" in os.environ
_FACTOR, _MOST = 5, 30

SHORTEST_REST = 0.005
SHARE = 4
"""Resting so many times as long as a look takes: what is waited for needs the processor more."""


def within(seconds: float) -> float:
    """An upper bound for what takes at most so many seconds on a machine that has nothing else to do.

    Beside other tests it is longer: then it tells only who hangs from who is late. Run alone, a test is as strict as
    it says.
    """
    return max(seconds, min(seconds * _FACTOR, _MOST)) if _IS_CROWDED else seconds


def until(condition: Callable[[], object], seconds: float = 10, otherwise: str | Callable[[], str] = "") -> None:
    """Wait until ``condition`` holds; the test fails when it still does not ``within`` so many seconds."""
    deadline = time.monotonic() + within(seconds)
    began = time.thread_time()
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(otherwise() if callable(otherwise) else otherwise or f"not within {seconds} s: {condition}")
        looked = time.thread_time()
        time.sleep(max(SHORTEST_REST, SHARE * (looked - began)))
        began = looked
