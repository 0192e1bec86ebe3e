"""Schedules: what the code declares, the rows that tell of it, and the run of a slot."""

from __future__ import annotations

from .entries import Entry, declared, problems
from .rows import ScheduleRows
from .runs import run_now, run_slot

__all__ = ["Entry", "ScheduleRows", "declared", "problems", "run_now", "run_slot"]
