"""What processes that tests start make of signals."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.signals import heed_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_child_heeds_a_signal_that_whoever_started_the_tests_has_ignored(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        heed_signals()
        ends = subprocess.run(
            [sys.executable, "-c", f"import os; os.kill(os.getpid(), {number:d})"], stderr=subprocess.DEVNULL
        )
    finally:
        signal.signal(number, before)

    assert ends.returncode == -number
