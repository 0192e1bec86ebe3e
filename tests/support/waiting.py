"""Waiting on conditions: a test never sleeps and hopes."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest


def until(condition: Callable[[], object], seconds: float = 10, otherwise: str | Callable[[], str] = "") -> None:
    """Wait until ``condition`` holds; the test fails when it still does not after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(otherwise() if callable(otherwise) else otherwise or f"not within {seconds} s: {condition}")
        time.sleep(0.005)
