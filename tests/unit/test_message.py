"""The message: Dramatiq's wire form, and ids that sort by time."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import pytest

from django_tasks_q import DecodeError, Message, MessageTooLarge, UnsupportedVersion
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.message import generate_unique_id


def a_message(**fields: Any) -> Message[Any]:
    return Message("q", "work", (1, "two"), {"three": 3}, {"max_retries": 4}, **fields)


def test_the_wire_form_is_exactly_dramatiqs_seven_fields() -> None:
    wire = json.loads(a_message(message_id="m", message_timestamp=5).encode())

    assert wire == {
        "queue_name": "q",
        "actor_name": "work",
        "args": [1, "two"],
        "kwargs": {"three": 3},
        "options": {"max_retries": 4},
        "message_id": "m",
        "message_timestamp": 5,
    }
    assert list(wire) == list(a_message().asdict())


def test_what_is_encoded_comes_back() -> None:
    message = a_message()

    assert Message.decode(message.encode()) == message


def test_fields_of_a_newer_release_survive() -> None:
    wire = {**a_message().asdict(), "trace": {"id": 1}, "extra": None}
    message = Message.decode(json.dumps(wire).encode())

    assert json.loads(message.copy(options={"retries": 1}).encode()) == {
        **json.loads(json.dumps(wire)),
        "options": {"max_retries": 4, "retries": 1},
    }


def test_a_newer_version_is_left_for_newer_workers() -> None:
    with pytest.raises(UnsupportedVersion, match="99"):
        Message.decode(a_message().copy(options={"message_version": 99}).encode())


@pytest.mark.parametrize("version", ["2", None, [], 1.5])
def test_a_version_that_is_no_number_is_a_decode_error(version: Any) -> None:
    with pytest.raises(DecodeError, match="version"):
        Message.decode(a_message().copy(options={"message_version": version}).encode())


@pytest.mark.parametrize("field", list(Message("q", "a").asdict()))
@pytest.mark.parametrize("value", [None, 1, "text", [], {}, True, 1.5])
def test_a_field_of_a_wrong_type_is_a_decode_error(field: str, value: Any) -> None:
    right = {"queue_name": str, "actor_name": str, "args": list, "kwargs": dict, "options": dict,
             "message_id": str, "message_timestamp": int}  # fmt: skip
    if isinstance(value, right[field]) and value is not True:
        return

    with pytest.raises(DecodeError, match="Not a message"):
        Message.decode(json.dumps({**a_message().asdict(), field: value}).encode())


@pytest.mark.parametrize("field", list(Message("q", "a").asdict()))
def test_a_field_that_is_missing_is_a_decode_error(field: str) -> None:
    wire = a_message().asdict()
    del wire[field]

    with pytest.raises(DecodeError, match=field):
        Message.decode(json.dumps(wire).encode())


def test_a_message_is_frozen_and_its_arguments_are_a_tuple() -> None:
    message = Message("q", "work", [1, 2])  # type: ignore[arg-type]

    assert message.args == (1, 2)
    with pytest.raises(AttributeError):
        message.queue_name = "other"  # type: ignore[misc]


def test_a_copy_merges_options_and_replaces_the_rest() -> None:
    message = a_message()

    copy = message.copy(args=(9,), options={"delay": 1})

    assert (copy.args, copy.options) == ((9,), {"max_retries": 4, "delay": 1})
    assert message.options == {"max_retries": 4}
    assert copy.message_id == message.message_id


def test_no_two_messages_share_their_arguments_or_options() -> None:
    first, second = Message("q", "work"), Message("q", "work")
    first.options["a"] = first.kwargs["a"] = 1

    assert second.options == second.kwargs == Message("q", "work").options == {}


def test_a_message_reads_as_the_call_it_is() -> None:
    assert str(a_message()) == "work(1, 'two', three=3)"


def test_its_time_is_an_aware_datetime() -> None:
    moment = a_message(message_timestamp=1_700_000_000_123).message_datetime

    assert moment.isoformat() == "2023-11-14T22:13:20.123000+00:00"


def test_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    ids = []
    for _ in range(20):
        ids.append(generate_unique_id())
        end = time.time_ns() + 2_000_000
        while time.time_ns() < end:
            pass

    assert ids == sorted(ids)
    assert all(uuid.UUID(one).version == 7 and uuid.UUID(one).variant == uuid.RFC_4122 for one in ids)
    assert abs(int(ids[-1].replace("-", "")[:12], 16) - time.time() * 1000) < 1_000


def test_ids_are_unique() -> None:
    assert len({generate_unique_id() for _ in range(50_000)}) == 50_000


def test_sixty_four_megabytes_are_refused_at_once(stub: StubBroker) -> None:
    with pytest.raises(MessageTooLarge, match="MAX_MESSAGE_BYTES is 1048576"):
        stub.enqueue(Message("default", "work", ("x" * 64_000_000,)))

    assert stub.counts()[0].ready == 0
