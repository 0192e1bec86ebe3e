"""What the exclusive actors wrote down, and whether only one of them was in at any time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.support.ledger import Ledger

_TAIL = 4096
"""Bytes that hold the last lines, more than these of them."""
_LAST = 8


@dataclass
class Interval:
    """One holder's time, by monotonic seconds; ``left`` None: nobody lived to tell, or it is still in."""

    token: int
    message_id: str
    pid: int
    entered: float
    left: float | None = None
    lost: bool = False
    refused: bool = False


class LeaseLedger:
    """The file beside the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._path = Path(f"{ledger.path}.leases")

    def intervals(self) -> list[Interval]:
        """In the order of entering."""
        return self._read(self._lines())

    def _read(self, lines: list[bytes]) -> list[Interval]:
        found: dict[int, Interval] = {}
        for line in lines:
            entry = json.loads(line)
            event, token, at = entry["event"], entry["token"], entry["at"] / 1e9
            if event == "enter":
                assert token not in found, f"two holders have the token {token}"
                found[token] = Interval(token, entry["id"], entry["pid"], at)
            elif token not in found:
                continue  # it entered before what was read
            elif event in ("leave", "refused"):
                found[token].left, found[token].refused = at, event == "refused"
            else:
                found[token].lost = event == "lost"
        return list(found.values())

    def _lines(self, last: int = 0) -> list[bytes]:
        """All lines, or those of the ``last`` bytes; the first of them may be half of one."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - last) if last else 0)
            return file.read().rpartition(b"\n")[0].splitlines()

    def held_by(self, pid: int) -> Interval | None:
        """What a process was in when it was killed or stopped. It may have left, and be in again."""
        its = [interval for interval in self.intervals() if interval.pid == pid]
        return its[-1] if its and its[-1].left is None else None

    def newest(self) -> Interval | None:
        """Who was the last to enter; asked often, so it reads the end of the file only."""
        intervals = self._read(self._lines(_TAIL)[-_LAST:])
        return intervals[-1] if intervals else None

    def inside(self) -> Interval | None:
        """Who is in now, or died there."""
        newest = self.newest()
        return newest if newest and newest.left is None else None


def overlaps(intervals: Iterable[Interval], until: Mapping[int, float]) -> list[tuple[Interval, Interval]]:
    """Neighbours that held live leases together.

    ``until``: by token, how long the leases of those lived at least who were killed, or stopped for longer than that.
    """
    ordered = sorted(intervals, key=lambda interval: interval.entered)
    return [(first, second) for first, second in pairwise(ordered) if _end(first, until) > second.entered]


def _end(interval: Interval, until: Mapping[int, float]) -> float:
    left = float("inf") if interval.left is None else interval.left
    return until.get(interval.token, left)
