"""Slots when clocks are set, by examples; tests/properties compares them with a clock that is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from django_tasks_q.timetable import make_timetable


def first(expression: str, zone: str, after: str, count: int) -> list[str]:
    """Slots after that time on the wall, as people there write them, with their offset."""
    timetable, here = make_timetable(expression, zone), ZoneInfo(zone)

    def each() -> Iterator[str]:
        at = round(datetime.fromisoformat(after).replace(tzinfo=here).timestamp() * 1000)
        while True:
            at = timetable.after(at)
            yield f"{datetime.fromtimestamp(at / 1000, UTC).astimezone(here):%d. %H:%M%z}"

    return list(islice(each(), count))


@pytest.mark.parametrize(
    ("expression", "zone", "after", "slots"),
    [
        # The clock skips from 02:00 to 03:00.
        ("30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["29. 03:00+0200", "30. 02:30+0200"]),
        ("0 30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["29. 03:00+0200", "30. 02:30+0200"]),
        ("0,30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["29. 03:00+0200", "30. 02:00+0200"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-28 12:00", ["30. 02:00+0200", "30. 02:30+0200"]),
        ("0 * * * *", "Europe/Berlin", "2026-03-29 00:30", ["29. 01:00+0100", "29. 03:00+0200"]),
        # It goes back from 03:00 to 02:00.
        ("30 2 * * *", "Europe/Berlin", "2026-10-24 12:00", ["25. 02:30+0200", "26. 02:30+0100"]),
        ("*/30 2 * * *", "Europe/Berlin", "2026-10-25 01:00", ["25. 02:00+0200", "25. 02:30+0200", "25. 02:00+0100"]),
        ("0 */2 * * *", "Europe/Berlin", "2026-10-25 01:00", ["25. 02:00+0200", "25. 02:00+0100", "25. 04:00+0100"]),
        # Midnight is skipped in Havana, and half an hour comes twice on Lord Howe.
        ("0 0 * * *", "America/Havana", "2026-03-07 12:00", ["08. 01:00-0400", "09. 00:00-0400"]),
        ("0 2 * * *", "Australia/Lord_Howe", "2026-04-04 12:00", ["05. 02:00+1030", "06. 02:00+1030"]),
        (
            "*/30 1 * * *",
            "Australia/Lord_Howe",
            "2026-04-05 00:00",
            ["05. 01:00+1100", "05. 01:30+1100", "05. 01:30+1030"],
        ),
        # Days that are rare, and days that are missing.
        ("0 0 29 2 *", "UTC", "2026-01-01 00:00", ["29. 00:00+0000"]),
        ("0 0 31 * *", "UTC", "2026-02-01 00:00", ["31. 00:00+0000", "31. 00:00+0000"]),
        ("0 0 L * *", "UTC", "2026-02-01 00:00", ["28. 00:00+0000", "31. 00:00+0000", "30. 00:00+0000"]),
        ("0 12 * * *", "Pacific/Apia", "2011-12-28 13:00", ["29. 12:00-1000", "31. 00:00+1400", "31. 12:00+1400"]),
    ],
)
def test_slots_when_clocks_are_set(expression: str, zone: str, after: str, slots: list[str]) -> None:
    assert first(expression, zone, after, len(slots)) == slots
