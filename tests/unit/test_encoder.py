"""What comes out of the encoder is what went in, or an error that names the culprit."""

from __future__ import annotations

import datetime
import decimal
import json
import time
import uuid
from typing import Any

import pytest

from django_tasks_q import DecodeError, EncodeError, JSONEncoder, MessageTooLarge, PickleEncoder
from django_tasks_q.encoder import MAX_DEPTH
from tests.support.waiting import within

ENCODER = JSONEncoder()


class Model:
    pk = 7
    _meta = object()


def nested(depth: int, value: Any = 1) -> Any:
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "path", "hint"),
    [
        (float("nan"), r"kwargs\.user\.id", "nan"),
        (float("inf"), r"kwargs\.user\.id", "inf"),
        (-float("inf"), r"kwargs\.user\.id", "-inf"),
        (b"bytes", r"kwargs\.user\.id is of type bytes", "base64"),
        ({1, 2}, r"kwargs\.user\.id is of type set", "sorted"),
        (uuid.UUID(int=1), r"kwargs\.user\.id is of type UUID", r"str\(value\)"),
        (decimal.Decimal(1), r"kwargs\.user\.id is of type Decimal", r"str\(value\)"),
        (datetime.datetime(2026, 1, 1), r"kwargs\.user\.id is of type datetime", "isoformat"),
        (datetime.date(2026, 1, 1), r"kwargs\.user\.id is of type date", "isoformat"),
        (Model(), r"kwargs\.user\.id is of type Model", r"obj\.pk"),
        (object(), r"kwargs\.user\.id is of type object", ""),
        ({1: 2}, r"kwargs\.user\.id\[1\]: keys must be text", "int"),
        ({None: 2}, r"kwargs\.user\.id\[None\]: keys must be text", "NoneType"),
        ([1, [2, b""]], r"kwargs\.user\.id\[1\]\[1\] is of type bytes", ""),
        ((1, float("nan")), r"kwargs\.user\.id\[1\]", ""),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_path_and_a_hint(value: Any, path: str, hint: str) -> None:
    with pytest.raises(EncodeError, match=path) as caught:
        ENCODER.encode({"args": [], "kwargs": {"user": {"id": value}}})

    assert isinstance(caught.value, ValueError)
    assert __import__("re").search(hint, str(caught.value))


@pytest.mark.parametrize(
    ("value", "path"),
    [({"id": [1, 10**5_000]}, r"a\.id\[1\] has more"), ({10**5_000: 1}, r"a\[…\]: keys must be text")],
)
def test_a_number_that_python_does_not_write_is_refused_with_its_path(value: Any, path: str) -> None:
    for wire in ({"a": value}, {"text": "\ud800", "a": value}):
        with pytest.raises(EncodeError, match=path):
            ENCODER.encode(wire)


def test_subclasses_of_plain_types_are_refused_as_they_would_come_back_different() -> None:
    class Text(str):
        pass

    for value in (Text("x"), True.__class__.__mro__[1], type("Number", (int,), {})(3)):
        with pytest.raises(EncodeError):
            ENCODER.encode({"args": [value]})


@pytest.mark.parametrize(
    "value",
    [
        2**53 + 1, 2**64, -(2**70), 0, -0.0, 1e308, 5e-324, 0.1, True, None, "", "nul \x00", "\x1b[31m", "\u202e", "🦄",
        "lone \ud800 surrogate", "\udfff\ud800", {"": {}}, [], [[[]]], "\\ud800", {"\ud800": "\ud800"},
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_encoded_comes_back_exactly(value: Any) -> None:
    back = ENCODER.decode(ENCODER.encode({"value": value}))["value"]

    assert back == value and repr(back) == repr(value)


def test_a_tuple_comes_back_as_a_list() -> None:
    assert ENCODER.decode(ENCODER.encode({"value": (1, (2,))})) == {"value": [1, [2]]}


@pytest.mark.parametrize("make", [list, dict])
def test_what_contains_itself_is_refused(make: Any) -> None:
    value = make()
    if make is list:
        value.append(value)
    else:
        value["self"] = value

    with pytest.raises(EncodeError, match=r"contains itself|nested deeper"):
        ENCODER.encode({"args": [value]})


def test_nesting_is_accepted_up_to_its_bound_and_refused_beyond() -> None:
    assert ENCODER.decode(ENCODER.encode({"a": nested(MAX_DEPTH - 1)}))["a"] == nested(MAX_DEPTH - 1)

    with pytest.raises(MessageTooLarge, match=r"a\[0\].*nested deeper than 200 levels"):
        ENCODER.encode({"a": nested(MAX_DEPTH + 1)})


def test_a_hundred_thousand_levels_are_refused_on_both_sides() -> None:
    with pytest.raises(MessageTooLarge):
        ENCODER.encode({"a": nested(100_000)})
    with pytest.raises(DecodeError):
        ENCODER.decode(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")


def test_looking_for_a_culprit_takes_no_time_that_grows_with_the_square() -> None:
    began = time.monotonic()

    with pytest.raises(EncodeError, match=r"args\[199999\]"):
        ENCODER.encode({"args": [*range(199_999), float("nan")]})

    assert time.monotonic() - began < within(2)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff\xfe", b"{", b'{"a":1', b"[]", b"1", b'"text"', b"null", b'{"a":NaN}', b'{"a":Infinity}', b"\x00",
        b'{"a":1}{"b":2}', b'{"a":"\xff"}', b"\x80\x04}.",
    ],
)  # fmt: skip
def test_bytes_that_are_no_object_are_a_decode_error_that_keeps_them(data: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        ENCODER.decode(data)

    assert caught.value.data == data


def test_the_escaped_form_of_a_surrogate_is_plain_json() -> None:
    assert json.loads(ENCODER.encode({"a": "\ud800"})) == {"a": "\ud800"}


def test_pickle_takes_what_json_cannot() -> None:
    value = {"a": (b"\x00", {1}, uuid.UUID(int=3))}

    assert PickleEncoder().decode(PickleEncoder().encode(value)) == value


def test_what_cannot_be_pickled_or_is_no_pickle_is_a_typed_error() -> None:
    with pytest.raises(EncodeError):
        PickleEncoder().encode({"a": lambda: None})
    for data in (b"", b"not a pickle", PickleEncoder().encode({})[:-1], b"csys\nexit\n(tR."):
        with pytest.raises(DecodeError):
            PickleEncoder().decode(data)
    with pytest.raises(DecodeError, match="list"):
        PickleEncoder().decode(__import__("pickle").dumps([]))
