"""What people and programs read: plain tables and lines, or JSON; progress only where somebody watches."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from django.core.management.base import OutputWrapper
from django.utils import timezone

_NARROWEST = 6
_BAR = 24

_VISIBLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""Control characters as people may see them: what a message says must not steer the terminal of whoever looks."""


class Output:
    """Standard output and error of one subcommand.

    Parameters:
        as_json: whether a program reads it.
    """

    def __init__(self, stdout: OutputWrapper, stderr: OutputWrapper, *, as_json: bool) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self.as_json = as_json
        self.is_watched = not as_json and bool(stderr.isatty())

    def line(self, text: str = "") -> None:
        self._stdout.write(text.translate(_VISIBLE))

    def json(self, value: Any, *, on_one_line: bool = False) -> None:
        """Times in ISO 8601, bytes in base 64."""
        encoded = msgspec.json.encode(value)
        self._stdout.write((encoded if on_one_line else msgspec.json.format(encoded, indent=2)).decode())

    def note(self, text: str) -> None:
        """Something for people only, on standard error."""
        if not self.as_json:
            self._stderr.write(text, style_func=str)

    def ask(self, text: str) -> None:
        """Something that somebody at a terminal is to answer, on standard error, also where a program reads."""
        self._stderr.write(text.translate(_VISIBLE), style_func=str, ending="")
        self._stderr.flush()

    def table(self, names: Sequence[str], rows: Sequence[Sequence[Any]], shrink: Sequence[str] = ()) -> None:
        """Aligned columns, numbers to the right. The columns ``shrink`` give way until it fits the terminal."""
        cells = [[str(cell).translate(_VISIBLE).replace("\n", "\\n") for cell in row] for row in rows]
        widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]
        _fit(widths, [names.index(name) for name in shrink], self._columns)
        right = [bool(rows) and all(isinstance(row[at], int) for row in rows) for at in range(len(names))]
        for row in ([*names], *cells):
            line = "  ".join(_cell(*cell) for cell in zip(row, widths, right, strict=True))
            self.line(line.rstrip())

    def flush(self) -> None:
        self._stdout.flush()

    def clear(self) -> None:
        """Begin again at the top of the screen, where there is one."""
        if self._stdout.isatty():
            self._stdout.write("\033[H\033[2J", ending="")

    def progress(self, done: int, total: int, is_over: bool = False) -> None:
        """A bar that is drawn over and over on one line; nothing where nobody watches."""
        if not self.is_watched:
            return
        percent = min(100, 100 * done // total) if total else 100
        self._stderr.write(f"\r{bar(percent)} {done}", style_func=str, ending="\n" if is_over else "")
        self._stderr.flush()

    def status(self, text: str, is_over: bool = False) -> None:
        """How something stands: written over the last one where somebody watches, else a line of its own."""
        if not self.is_watched:
            self.line(text)
            self.flush()
            return
        line = " ".join(text.translate(_VISIBLE).split())[: self._columns - 1]
        self._stderr.write(f"\r\033[K{line}", style_func=str, ending="\n" if is_over else "")
        self._stderr.flush()

    @property
    def _columns(self) -> int:
        return shutil.get_terminal_size((80, 24)).columns


def bar(percent: int) -> str:
    """A share, drawn and in digits."""
    return f"[{'#' * (percent * _BAR // 100):<{_BAR}}] {percent:3}%"


def _fit(widths: list[int], shrinkable: Sequence[int], columns: int) -> None:
    """Take from the widest that may shrink until all fit, or none can give more."""
    excess = sum(widths) + 2 * (len(widths) - 1) - columns
    while excess > 0 and shrinkable:
        widest = max(shrinkable, key=widths.__getitem__)
        if widths[widest] <= _NARROWEST:
            return
        widths[widest] -= 1
        excess -= 1


def _cell(text: str, width: int, right: bool) -> str:
    text = text if len(text) <= width else text[: width - 1] + "…"
    return text.rjust(width) if right else text.ljust(width)


def age(moment: datetime | None) -> str:
    """How long ago, roughly: ``12s``, ``5m``, ``3h``, ``8d``."""
    return "" if moment is None else duration((timezone.now() - moment).total_seconds() * 1000)


def until(moment: datetime) -> str:
    """For how long yet, roughly, as :func:`age`; empty when it is over."""
    left = (moment - timezone.now()).total_seconds() * 1000
    return duration(left) if left > 0 else ""


def duration(ms: float) -> str:
    """Milliseconds, roughly: ``12s``, ``5m``, ``3h``, ``8d``."""
    seconds = max(0, round(ms / 1000))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
