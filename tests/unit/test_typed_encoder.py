"""The encoder that carries Python's value types by tag."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_tasks_q import DecodeError, EncodeError, MessageTooLarge
from django_tasks_q.encoder import MAX_DEPTH, TypedJSONEncoder

ENCODER = TypedJSONEncoder()
UTC = datetime.UTC

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.uuids(),
    st.binary(),
    st.decimals(allow_nan=False),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.sets(st.one_of(st.integers(0, 9), st.uuids())),
    st.frozensets(st.binary()),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["a", "__type__", "value", ""]), inner),
    max_leaves=8,
)


def there_and_back(value: Any) -> Any:
    return ENCODER.decode(ENCODER.encode({"args": [value]}))["args"][0]


@given(VALUES)
def test_what_is_sent_comes_back_with_its_type(value: Any) -> None:
    back = there_and_back(value)

    assert back == value
    assert type(back) is type(value)


def test_a_moment_keeps_the_name_of_its_zone_and_which_of_two_equal_hours_it_is() -> None:
    moment = datetime.datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Vienna"), fold=1)

    back = there_and_back(moment)

    assert (back.tzinfo, back.fold, back.utcoffset()) == (moment.tzinfo, 1, datetime.timedelta(hours=1))


@pytest.mark.parametrize("zone", [None, UTC, ZoneInfo("Europe/Vienna")], ids=str)
@pytest.mark.parametrize("fold", [0, 1])
def test_a_time_of_day_keeps_its_zone_too(zone: datetime.tzinfo | None, fold: int) -> None:
    back = there_and_back(datetime.time(2, 30, tzinfo=zone, fold=fold))

    assert (back.replace(tzinfo=None), back.tzinfo, back.fold) == (datetime.time(2, 30), zone, fold)
    assert there_and_back(datetime.datetime(2026, 10, 25, 2, 30, fold=fold)).fold == fold


def test_a_set_may_have_tuples_which_could_not_come_back_as_lists() -> None:
    value = {("a", 1), ("b", frozenset({(UUID(int=2),)}))}

    assert there_and_back(value) == value
    assert there_and_back([("a", 1)]) == [["a", 1]]


def test_plain_messages_are_plain_json() -> None:
    wire = ENCODER.encode({"args": [1, "two"], "kwargs": {"three": [4.5, None]}})

    assert json.loads(wire) == {"args": [1, "two"], "kwargs": {"three": [4.5, None]}}


def test_a_value_is_an_object_of_its_type_and_value() -> None:
    wire = json.loads(ENCODER.encode({"id": UUID(int=1), "price": Decimal("9.90")}))

    assert wire["id"] == {"__type__": "uuid", "value": "00000000-0000-0000-0000-000000000001"}
    assert wire["price"] == {"__type__": "decimal", "value": "9.90"}


class Money(Decimal):
    pass


@pytest.mark.parametrize("value", [object(), Money(1), 1j, {1: 2}, float("nan")], ids=lambda v: type(v).__name__)
def test_everything_else_is_refused_with_its_path(value: Any) -> None:
    with pytest.raises(EncodeError, match=r"args\[0\]\.of"):
        ENCODER.encode({"args": [{"of": value}]})


def test_what_is_nested_too_deep_is_refused() -> None:
    value: Any = UUID(int=1)
    for _ in range(MAX_DEPTH + 1):
        value = [value]

    with pytest.raises(MessageTooLarge):
        ENCODER.encode({"args": value})


@pytest.mark.parametrize(
    "wire",
    [
        b'{"a": {"__type__": "money", "value": "1"}}',
        b'{"a": {"__type__": "uuid", "value": "x"}}',
        b'{"a": {"__type__": "uuid"}}',
        b'{"a": {"__type__": "decimal", "value": "one"}}',
        b'{"a": {"__type__": "datetime", "value": "2026-01-01T00:00:00", "zone": "No/Where", "fold": 0}}',
        b'{"a": {"__type__": "timedelta", "value": [1e300, 0, 0]}}',
        b'{"a": {"__type__": "set", "value": [[]]}}',
        b'{"a": {"__type__": ["set"], "value": []}}',
        b'{"a": {"__type__": "bytes", "value": "\xc3\xa4"}}',
        b'{"a": {"__type__": "dict", "value": [1]}}',
        b'{"__type__": "set", "value": []}',
        b"{" * 5_000,
    ],
)
def test_what_is_no_typed_value_cannot_be_decoded(wire: bytes) -> None:
    with pytest.raises(DecodeError):
        ENCODER.decode(wire)
