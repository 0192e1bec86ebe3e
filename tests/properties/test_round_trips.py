"""What is sent is what arrives, or it is refused: whatever people send."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from django_tasks_q import DecodeError, EncodeError, JSONEncoder, Message, PickleEncoder
from django_tasks_q.mirror.text import original, storable

ENCODER = JSONEncoder()
TEXT = st.text(st.characters(codec=None, exclude_categories=[]))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
PLAIN = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=20)
ANYTHING = st.recursive(
    LEAVES
    | st.floats()
    | st.binary()
    | st.dates()
    | st.uuids()
    | st.builds(Decimal, st.integers())
    | st.sets(st.integers()),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(TEXT | st.integers() | st.none(), inner),
    max_leaves=15,
)


def same(first: Any, second: Any) -> bool:
    """Equal, with types and signs: ``1``, ``1.0`` and ``True`` differ, tuples are lists."""
    if isinstance(first, list | tuple) and isinstance(second, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, dict) and isinstance(second, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, float) and isinstance(second, float):
        return first == second and math.copysign(1, first) == math.copysign(1, second)
    return type(first) is type(second) and bool(first == second)


@given(PLAIN)
def test_plain_values_come_back_exactly(value: Any) -> None:
    assert same(value, ENCODER.decode(ENCODER.encode({"value": value}))["value"])


@given(ANYTHING)
def test_any_value_comes_back_or_is_refused_with_its_path(value: Any) -> None:
    try:
        data = ENCODER.encode({"value": value})
    except EncodeError as error:
        assert str(error).startswith("value")
    else:
        assert same(value, ENCODER.decode(data)["value"])


@given(st.binary())
def test_any_bytes_are_an_object_or_a_decode_error(data: bytes) -> None:
    for decode in (ENCODER.decode, Message.decode):
        try:
            decode(data)
        except DecodeError as error:
            assert error.data == data


@given(st.dictionaries(st.sampled_from(list(Message("q", "a").asdict())), PLAIN))
def test_any_object_is_a_message_or_a_decode_error(wire: dict[str, Any]) -> None:
    try:
        message = Message.decode(ENCODER.encode(wire))
    except DecodeError:
        return
    assert Message.decode(message.encode()) == message


@given(
    st.lists(PLAIN), st.dictionaries(TEXT, PLAIN), st.dictionaries(TEXT.filter(lambda t: t != "message_version"), PLAIN)
)
def test_messages_come_back_exactly(args: list[Any], kwargs: dict[str, Any], options: dict[str, Any]) -> None:
    message: Message[Any] = Message("q", "work", tuple(args), kwargs, options)

    back = Message.decode(message.encode())

    assert same(back.args, args) and same(back.kwargs, kwargs) and same(back.options, options)
    assert (back.message_id, back.message_timestamp) == (message.message_id, message.message_timestamp)


@given(st.recursive(LEAVES | st.binary() | st.sets(st.integers()), lambda inner: st.tuples(inner) | st.lists(inner)))
def test_pickle_brings_back_everything(value: Any) -> None:
    assert PickleEncoder().decode(PickleEncoder().encode({"value": value}))["value"] == value


@given(TEXT)
def test_text_made_storable_has_nothing_that_databases_refuse_and_can_be_restored(text: str) -> None:
    stored = storable(text)

    stored.encode()
    assert "\x00" not in stored
    assert original(stored) == text or text.startswith("\ufdd0")
