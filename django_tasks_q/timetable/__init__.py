"""When something is due again and again: crontab expressions, intervals, and lists of them."""

from __future__ import annotations

from .timetable import Timetable, find_zone, make_timetable

__all__ = ["Timetable", "find_zone", "make_timetable"]
