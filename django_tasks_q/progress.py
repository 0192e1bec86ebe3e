"""How far a running message is, as its own code says it.

``set_progress()`` only notes the value: the worker's ticker tells of it now and then, and the settlement takes the last
one with it (see :mod:`worker.ticker`). So it costs nothing to call it for every row.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .context import get_running

LONGEST_TEXT = 2_000
"""Characters of a text that are kept."""

_MOST = 2**63 - 1


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far a message is: ``done`` of ``total``, which is None where nobody knows it, and what it does in words."""

    done: int
    total: int | None = None
    text: str = ""

    @property
    def fraction(self) -> float | None:
        """From 0 to 1, however much more was done than was to be; None without a total."""
        if self.total is None:
            return None
        return min(1.0, self.done / self.total) if self.total else 1.0

    @property
    def percent(self) -> int | None:
        """The same in whole percent; 100 only when all is done."""
        if self.total is None:
            return None
        return min(100, 100 * self.done // self.total) if self.total else 100


def set_progress(done: int, total: int | None = None, text: str = "") -> None:
    """Say how far the message is that runs here; outside of an actor, or after its end, nobody hears it.

    It sends nothing itself, so it may be called as often as one likes, from sync and async code.

    Parameters:
        done: how much is done, a whole number from 0 on.
        total: of how much; None when nobody knows.
        text: what is done now, in words; the first 2,000 characters count.

    Raises:
        ValueError: a number is not whole, is negative, or is more than databases can count (2**63 - 1).
        TypeError: the text is none.
    """
    progress = Progress(_whole("done", done), None if total is None else _whole("total", total), _bounded(text))
    running = get_running()
    if running is not None and running.proxy is not None and not running.proxy.has_ended:
        running.proxy.latest_progress = progress


def _whole(name: str, value: Any) -> int:
    """A number as an int, whatever counts here: NumPy's, Decimal, a float without a fraction."""
    try:
        number = int(value)
        is_whole = bool(number == value) and 0 <= number <= _MOST
    except (TypeError, ValueError, OverflowError):
        is_whole = False
    if not is_whole:
        raise ValueError(f"{name} has to be a whole number from 0 to 2**63 - 1, not {value!r:.80}")
    return number


def _bounded(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"text has to be a str, not {type(text).__name__}")
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
