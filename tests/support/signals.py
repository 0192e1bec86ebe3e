"""Signals mean to processes that tests start what they mean to a shell's, however the tests themselves were started."""

from __future__ import annotations

import signal
from types import FrameType

_HANDLED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def heed_signals() -> None:
    """Under ``nohup``, or in the background of a script, some are ignored, and every child inherits that.

    This process still lets them pass; a program that it starts does with them what it does by default.
    """
    for number in _HANDLED:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, _let_pass)


def _let_pass(number: int, frame: FrameType | None) -> None: ...
