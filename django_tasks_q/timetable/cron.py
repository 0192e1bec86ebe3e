"""A crontab expression in a time zone.

What an expression matches is a library's affair (cronsim), which is asked about clocks on the wall alone. When such a
clock shows a time, and how often, is decided here, exactly: the library steps through changes of an offset by whole
hours, and the offset of Lord Howe changes by half of one.

An expression whose minute and hour are both fixed (neither begins with ``*``) means a time of day. It comes once on
each day: where the clock shows it twice, the first time; where the clock skips it, the moment in which it skips. Any
other expression means how often. It comes whenever the clock shows a time that matches: in a repeated hour twice, in
a skipped one never. It is what Debian's cron does, for expressions with seconds as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from .. import clock

_SECOND = timedelta(seconds=1)
_FIELDS = ("second", "minute", "hour", "day of the month", "month", "day of the week")
_BAD = {
    "Bad second": 0,
    "Bad minute": 1,
    "Bad hour": 2,
    "Bad day-of-month": 3,
    "Bad month": 4,
    "Bad day-of-week": 5,
}
"""What the library says of each field that it cannot read."""

_LONGEST = 1_000


class Cron:
    """Slots of a crontab expression: five fields, or six with seconds first.

    Raises:
        ValueError: it is none; the text names the field.
        ImportError: the library that reads it is not installed.
    """

    def __init__(self, text: str, zone: ZoneInfo) -> None:
        self._text = " ".join(text.split())
        self._zone = zone
        fields = _fields(self._text)
        minute, hour = fields[1], fields[2]
        self._is_time_of_day = not minute.startswith("*") and not hour.startswith("*")
        if next(islice(self._walls(_ANY_TIME), 1), None) is None:
            raise ValueError(f"{self._text!r} never comes")

    def after(self, ms: int) -> int:
        """The first slot after that moment; both in epoch milliseconds."""
        moment = clock.as_datetime(ms)
        found = self._time_of_day_after(moment) if self._is_time_of_day else self._time_after(moment)
        return round(found.timestamp() * 1000)

    def __str__(self) -> str:
        return self._text

    def _walls(self, after: datetime) -> Iterator[datetime]:
        """The times after that one, on a clock that nobody ever sets."""
        from cronsim import CronSim

        return CronSim(self._text, after)

    def _time_of_day_after(self, moment: datetime) -> datetime:
        walls = self._walls(_wall(moment, self._zone))
        return next(found for wall in walls if (found := _once(wall, self._zone)) > moment)

    def _time_after(self, moment: datetime) -> datetime:
        here = moment.astimezone(self._zone)
        found = self._shown(_wall(moment, self._zone), moment)
        repeat = _repeat(here)
        if not repeat:
            return found
        # The clock will be set back: it shows again what is behind.
        again = _change(self._zone, moment, moment + repeat)
        return min(found, self._shown(_wall(again, self._zone) - _SECOND, again - _SECOND))

    def _shown(self, wall: datetime, after: datetime) -> datetime:
        """The first moment after ``after`` in which the clock shows a time that matches, of those after ``wall``."""
        return next(found for later in self._walls(wall) for found in _moments(later, self._zone) if found > after)


_ANY_TIME = datetime(2024, 1, 1)


def _fields(text: str) -> list[str]:
    """Six fields. ValueError for what is no expression."""
    try:
        from cronsim import CronSim, CronSimError
    except ImportError as error:
        raise ImportError(
            f'The schedule {text!r:.80} needs cronsim: pip install "django-tasks-q[schedules]"'
        ) from error
    fields = text.split()
    if len(text) > _LONGEST or len(fields) not in (5, 6):
        raise ValueError(
            f"{text!r:.80} is no crontab expression: it has five fields (minute, hour, day of the month, month, day of "
            "the week), or six with seconds first"
        )
    if len(fields) == 5:
        fields.insert(0, "0")
    try:
        CronSim(text, _ANY_TIME)
    except CronSimError as error:
        number = _BAD.get(str(error))
        if number is None:
            raise ValueError(f"{text!r} is no crontab expression: {error}") from error
        raise ValueError(f"the {_FIELDS[number]} of {text!r} cannot be {fields[number]!r}") from error
    return fields


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """What a clock on the wall shows."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _moments(wall: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """When the clock shows that: once, twice where it is set back, never where it is set forward."""
    for fold in (0, 1):
        moment = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
        if _wall(moment, zone) == wall:
            yield moment


def _once(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first time that the clock shows that, or the moment in which it skips it."""
    moment = next(_moments(wall, zone), None)
    if moment is not None:
        return moment
    late, early = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return _change(zone, early, late)


def _repeat(here: datetime) -> timedelta:
    """By how much the clock will be set back, where it is about to show this time once more; else nothing."""
    now, then = here.utcoffset(), here.replace(fold=1).utcoffset()
    assert now is not None and then is not None
    return max(timedelta(0), now - then)


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The moment, to the second, from which on another offset holds than ``before``; at ``after`` it does."""
    offset = before.astimezone(zone).utcoffset()
    low, high = before.replace(microsecond=0), after
    while high - low > _SECOND:
        middle = low + (high - low) // (2 * _SECOND) * _SECOND
        if middle.astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high
