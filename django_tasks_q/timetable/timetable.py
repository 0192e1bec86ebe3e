"""What ``schedule=`` says, as moments."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .cron import Cron
from .interval import Interval


class Timetable:
    """Slots of one or several rules, in epoch milliseconds. They are the same for whoever computes them.

    ``str()`` is how people read it.
    """

    def __init__(self, rules: list[Cron | Interval]) -> None:
        self._rules = rules

    def after(self, ms: int) -> int:
        """The first slot after that moment."""
        return min(rule.after(ms) for rule in self._rules)

    def latest(self, slot: int, now: int) -> int:
        """The last slot up to ``now``, from a slot on that is not after it; however many are in between."""
        end = now
        while (following := self.after(slot)) <= now:
            middle = (slot + end) // 2
            later = self.after(middle)
            if later <= now:
                slot = max(following, later)
            else:
                slot, end = following, middle
        return slot

    def __str__(self) -> str:
        return "; ".join(map(str, self._rules))


def make_timetable(schedule: Any, time_zone: str = "UTC") -> Timetable:
    """The timetable of a crontab expression, a timedelta, or a list of these.

    Parameters:
        time_zone: where the clock is that expressions speak of; intervals do not depend on it.

    Raises:
        ValueError: there is none like that, or no such time zone.
        ImportError: what reads expressions is not installed.
    """
    zone = find_zone(time_zone)
    parts = schedule if isinstance(schedule, list | tuple) else [schedule]
    if not parts:
        raise ValueError("an empty list never comes")
    return Timetable([_rule(part, zone) for part in parts])


def _rule(part: Any, zone: ZoneInfo) -> Cron | Interval:
    if isinstance(part, timedelta):
        return Interval(part)
    if isinstance(part, str):
        return Cron(part, zone)
    raise ValueError(f"it is a crontab expression, a timedelta, or a list of these, not {part!r:.80}")


def find_zone(name: Any) -> ZoneInfo:
    """The time zone of that name, such as ``Europe/Berlin``; ValueError when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, AttributeError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r:.80}") from error
