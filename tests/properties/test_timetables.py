"""Slots of crontab expressions, compared with a clock on a wall that is looked at again and again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim
from hypothesis import given
from hypothesis import strategies as st

from django_tasks_q.timetable import make_timetable

MINUTE = 60_000
DAY = 24 * 60 * MINUTE

CHANGES = {
    "Europe/Berlin": [datetime(2026, 3, 29), datetime(2026, 10, 25)],
    "America/New_York": [datetime(2026, 3, 8), datetime(2026, 11, 1)],
    "America/Havana": [datetime(2026, 3, 8), datetime(2026, 11, 1)],
    "America/Santiago": [datetime(2026, 9, 6), datetime(2026, 4, 4)],
    "Africa/Cairo": [datetime(2026, 4, 24), datetime(2026, 10, 29)],
    "Australia/Lord_Howe": [datetime(2026, 10, 4), datetime(2026, 4, 5)],
    "Asia/Kathmandu": [datetime(2026, 6, 1)],
    "America/St_Johns": [datetime(2026, 3, 8), datetime(2026, 11, 1)],
}
"""Zones whose clocks are set at midnight, at night, by an hour and by half of one, or never, and days of that."""

FIELD = st.sampled_from(["*", "*/7", "*/30", "0", "15", "30", "45", "0,30", "5-50/15"])
HOUR = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "23", "0-3", "1,2,3", "22-23"])
PLACES = st.sampled_from([(zone, day) for zone, days in CHANGES.items() for day in days])


def epoch_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def wall(ms: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(zone).replace(tzinfo=None)


def matches(expression: str, shown: datetime) -> bool:
    return next(CronSim(expression, shown - timedelta(seconds=1))) == shown


def slots(expression: str, zone: str, begin: int, end: int) -> list[int]:
    timetable, found, at = make_timetable(expression, zone), [], begin
    while (at := timetable.after(at)) <= end:
        found.append(at)
    return found


@given(place=PLACES, minute=FIELD, hour=HOUR, offset=st.integers(0, 60 * MINUTE))
def test_each_minute_whose_time_matches_is_a_slot_where_it_means_how_often(
    place: tuple[str, datetime], minute: str, hour: str, offset: int
) -> None:
    name, day = place
    zone, expression = ZoneInfo(name), f"{minute} {hour} * * *"
    if not minute.startswith("*") and not hour.startswith("*"):
        expression = f"*/5 {hour} * * *"
    begin = epoch_ms(day.replace(tzinfo=zone)) - DAY // 2 + offset

    shown = [at for at in range(begin - begin % MINUTE, begin + DAY + 1, MINUTE) if at > begin]

    assert slots(expression, name, begin, begin + DAY) == [at for at in shown if matches(expression, wall(at, zone))]


@given(place=PLACES, minute=st.sampled_from(["0", "15", "30", "59"]), hour=st.sampled_from(["0", "1", "2", "3", "23"]))
def test_a_time_of_day_comes_once_on_each_day_the_first_time_or_when_the_clock_skips_it(
    place: tuple[str, datetime], minute: str, hour: str
) -> None:
    name, day = place
    zone = ZoneInfo(name)
    begin = epoch_ms((day - timedelta(days=2)).replace(tzinfo=zone))
    found = slots(f"{minute} {hour} * * *", name, begin - 1, begin + 5 * DAY)

    shown = {}
    before = wall(begin - MINUTE, zone)
    for at in range(begin, begin + 5 * DAY + 1, MINUTE):
        now = wall(at, zone)
        skipped_or_now = [
            wanted
            for wanted in (
                datetime(now.year, now.month, now.day, int(hour), int(minute)) - timedelta(days=back) for back in (0, 1)
            )
            if before < wanted <= now
        ]
        for wanted in skipped_or_now:
            shown.setdefault(wanted, at)
        before = max(before, now)

    assert found == sorted(set(shown.values()))


@given(
    place=PLACES,
    expression=st.sampled_from(["30 2 * * *", "*/10 2 * * *", "*/15 * * * * *", "0 0 * * *", "0 */2 * * *"]),
    ahead=st.integers(0, 3 * DAY),
)
def test_the_latest_slot_is_the_last_of_all_that_there_are(
    place: tuple[str, datetime], expression: str, ahead: int
) -> None:
    name, day = place
    timetable = make_timetable(expression, name)
    first = timetable.after(epoch_ms(day.replace(tzinfo=ZoneInfo(name))) - DAY)
    now = first + min(ahead, DAY // 4 if expression.count(" ") == 5 else ahead)

    assert timetable.latest(first, now) == slots(expression, name, first - 1, now)[-1]


@given(step=st.integers(1_000, DAY), begin=st.integers(0, 2**41), count=st.integers(1, 50))
def test_an_interval_has_the_same_slots_for_everybody(step: int, begin: int, count: int) -> None:
    timetable = make_timetable(timedelta(milliseconds=step))
    first = timetable.after(begin)

    assert begin < first <= begin + step and first % step == 0
    assert timetable.latest(first, first + count * step) == first + count * step
    assert timetable.after(first - 1) == first and timetable.after(first) == first + step


WORDS = st.text(alphabet="0123456789*/,-#LWMONAF²ß@", min_size=1, max_size=6)


@given(text=st.lists(WORDS | FIELD, max_size=7).map(" ".join))
def test_whatever_is_written_there_is_a_timetable_or_a_ValueError(text: str) -> None:
    try:
        timetable = make_timetable(text)
    except ValueError:
        return
    assert timetable.after(0) > 0
