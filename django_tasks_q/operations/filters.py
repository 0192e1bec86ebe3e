"""Which records are meant, and how to find them among millions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Self

import msgspec
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from .. import records_database, stamps
from ..broker import get_broker
from ..errors import did_you_mean
from ..mirror.text import storable
from ..models import MessageRecord, Stamp
from ..states import State

WINDOW = 100_000
"""How many of the newest records are looked through for what no index knows."""

FEW = 10_000
"""Messages of one stamp that are looked at one by one, whatever else is wanted of them."""

_NEWEST_FIRST = ("-created_at", "-message_id")
_UNINDEXED = ("app_label", "queue_name", "dead_reason")


def records() -> QuerySet[MessageRecord]:
    """All records, wherever they are kept."""
    return MessageRecord.objects.using(records_database.alias(get_broker()))


def carriers(stamp: str) -> QuerySet[Stamp]:
    """The rows that say which messages carry a stamp, ``name=value``. ValueError for what cannot be one."""
    name, value = stamps.pair(stamp)
    return Stamp.objects.using(records_database.alias(get_broker())).filter(name=name, value=value)


def capped_count(queryset: QuerySet[Any, Any], cap: int = 10_000) -> int:
    """How many there are, counted no further than ``cap``: a full count of millions takes seconds."""
    return int(queryset.order_by()[:cap].count())


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The records that fit everything it says; an empty text says nothing.

    Parameters:
        state: one of the states; a reason of death means dead ones unless this says otherwise.
        actor_name, app_label, queue_name, dead_reason: exact.
        stamp: ``name=value``, which a message carries.
        search: a message id, else a correlation id, else the id of a group or pipeline, exact.
        created_from, created_to: ISO 8601, in the current time zone unless they name one; from is included, to is not,
            unless it is a day, which is meant whole.

    ValueError, naming the field, for a state or a time that does not exist, or what cannot be a stamp.
    """

    state: str = ""
    actor_name: str = ""
    app_label: str = ""
    queue_name: str = ""
    dead_reason: str = ""
    stamp: str = ""
    search: str = ""
    created_from: str = ""
    created_to: str = ""

    def __post_init__(self) -> None:
        if self.state and self.state not in set(State):
            known = [state.value for state in State]
            hint = did_you_mean(self.state, known) or f" Known are: {', '.join(known)}."
            raise ValueError(f"state: no state is called {self.state!r}.{hint}")
        _moment("created_from", self.created_from)
        _moment("created_to", self.created_to, is_end=True)
        try:
            _ = stamps.pair(self.stamp) if self.stamp else None
        except ValueError as error:
            raise ValueError(f"stamp: {error}") from None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The filter that :meth:`as_dict` wrote. ValueError naming the field that is unknown or wrong."""
        for name, value in values.items():
            if name not in cls.__struct_fields__:
                raise ValueError(f"{name}: there is no such filter.{did_you_mean(name, cls.__struct_fields__)}")
            if not isinstance(value, str):
                raise ValueError(f"{name}: a text is wanted, not {value!r:.80}")
        return cls(**values)

    def as_dict(self) -> dict[str, str]:
        """What it says, without what it does not."""
        return dict(msgspec.to_builtins(self))

    @property
    def is_windowed(self) -> bool:
        """Whether only the newest :data:`WINDOW` records of what an index finds are looked through.

        No index knows queues, apps and reasons: every send would pay for it. A common one is found at once; looking
        for a rare one would read millions of records. A time, an actor or a state moves or narrows the window. Stamps
        have an index of their own; :meth:`queryset` goes by it, a walk through :meth:`indexed` does not.
        """
        return bool(self.stamp) or any(getattr(self, name) for name in _UNINDEXED)

    @property
    def _state(self) -> str:
        return self.state or (State.DEAD.value if self.dead_reason else "")

    def queryset(self) -> QuerySet[MessageRecord]:
        """What fits, newest first; see :attr:`is_windowed`. With a stamp, those with the highest ids come first."""
        if self.stamp and not self.search:
            return self._stamped()
        return self._windowed()

    def _windowed(self) -> QuerySet[MessageRecord]:
        found = self.indexed()
        if self.is_windowed:
            # By the time alone, which the indexes have: with the id it would have to be read from each row.
            edge = found.order_by("-created_at").values_list("created_at", flat=True)[WINDOW : WINDOW + 1].first()
            found = found if edge is None else found.filter(created_at__gt=edge)
        return found.filter(self.unindexed())

    def _stamped(self) -> QuerySet[MessageRecord]:
        """By the stamp's own index, which knows ids and nothing else; ids tell when a message was made.

        Of few messages all are looked at. Of many, a state is found by its own index, and anything else among the
        newest.
        """
        name, value = stamps.pair(self.stamp)
        of_stamp = {"stamps__name": name, "stamps__value": value}
        line = carriers(self.stamp).order_by("-message_id").values_list("message_id", flat=True)
        if capped_count(line, FEW) == FEW:
            if self._state not in ("", State.SUCCEEDED):
                return self._windowed()
            edge = None if self == Filter(stamp=self.stamp) else line[WINDOW : WINDOW + 1].first()
            of_stamp |= {} if edge is None else {"stamps__message_id__gt": edge}
        found = records().filter(**of_stamp).order_by("-stamps__message_id")
        if self._state:
            found = found.filter(state=self._state)  # not the condition of that index: this one is shorter
        return self._narrowed(found).filter(self._plain())

    def indexed(self) -> QuerySet[MessageRecord]:
        """What fits as far as indexes of records know, newest first: a walk through it costs what it yields."""
        found = self._searched(records().order_by(*_NEWEST_FIRST))
        if self._state:
            found = found.filter(state=self._state)
        if self._state and self._state != State.SUCCEEDED:
            found = found.exclude(state=State.SUCCEEDED.value)  # the condition of the index, word for word
        return self._narrowed(found)

    def _narrowed(self, found: QuerySet[MessageRecord]) -> QuerySet[MessageRecord]:
        if self.actor_name:
            found = found.filter(actor_name=storable(self.actor_name))
        if self.created_from:
            found = found.filter(created_at__gte=_moment("created_from", self.created_from))
        if self.created_to:
            found = found.filter(created_at__lt=_moment("created_to", self.created_to, is_end=True))
        return found

    def unindexed(self) -> Q:
        """What is left to compare, record by record."""
        if not self.stamp:
            return self._plain()
        return self._plain() & Q(Exists(carriers(self.stamp).filter(message=OuterRef("pk"))))

    def _plain(self) -> Q:
        return Q(**{name: storable(value) for name in _UNINDEXED if (value := getattr(self, name))})

    def _searched(self, found: QuerySet[MessageRecord]) -> QuerySet[MessageRecord]:
        if not self.search:
            return found
        # As records hold it: some characters are refused by databases, and people type anything.
        id = storable(self.search)
        if found.filter(message_id=id).exists():
            return found.filter(message_id=id)
        correlated = found.filter(correlation_id=id).exclude(correlation_id="")
        return correlated if correlated.exists() else found.filter(group_id=id).exclude(group_id="")


def _moment(name: str, text: str, *, is_end: bool = False) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name}: a time like 2026-01-31 or 2026-01-31T18:30 is wanted, not {text!r:.80}") from None
    try:
        if is_end and _is_day(text):
            moment = datetime.combine(moment.date() + timedelta(days=1), time.min)
        aware = moment if timezone.is_aware(moment) else timezone.make_aware(moment)
        return aware.astimezone(UTC)  # at the ends of the calendar there is no such moment
    except OverflowError:
        raise ValueError(f"{name}: no calendar has {text!r:.80}") from None


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
