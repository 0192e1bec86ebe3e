"""Events on their way through a journal outside of the process: as bytes, within a budget, in partitions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_tasks_q import Message
from django_tasks_q.errors import DecodeError
from django_tasks_q.events import Birth, Event, Kind
from django_tasks_q.journal import Gap, decode, encode, without_arguments
from django_tasks_q.outcomes import ErrorInfo
from django_tasks_q.states import State
from tests.support.histories import histories
from tests.support.journal_broker import FileJournal, JournalBroker


def born(name: str, *args: Any, at: int = 1_000) -> Event:
    return Event(Kind.CREATED, name, State.ENQUEUED, at, birth=Birth("q", "work", at, args=list(args)))


@given(histories())
def test_what_happened_to_a_message_survives_the_way_through_bytes(history: list[Event]) -> None:
    again = [decode(encode(event)) for event in history]

    assert msgspec.json.encode(again) == msgspec.json.encode(history)


@given(st.text(st.characters(codec=None)), st.integers())
def test_every_text_and_every_number_survives_the_way_through_bytes(text: str, number: int) -> None:
    error = ErrorInfo("ValueError", text, text)
    event = Event(
        Kind.SETTLED, "m", State.DEAD, 1, error=error, birth=Birth("q", text, 1, args=[text, number, {text: 1}])
    )

    again = decode(encode(event))

    assert again.error == error
    assert again.birth is not None and (again.birth.actor_name, again.birth.args) == (text, [text, number, {text: 1}])


@pytest.mark.parametrize("value", [{1, 2}, object(), b"\xff", {("a",): 1}, {3: 4}, math.nan])
def test_arguments_that_json_cannot_hold_do_not_stop_an_event(value: object) -> None:
    again = decode(encode(born("m", value)))

    assert (again.message_id, again.state) == ("m", State.ENQUEUED)
    assert again.birth is not None and again.birth.args is not None and len(again.birth.args) == 1


def test_arguments_that_contain_themselves_are_not_known() -> None:
    endless: list[Any] = []
    endless.append(endless)

    again = decode(encode(born("m", endless)))

    assert again.birth is not None and again.birth.args is None


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"{", b'{"kind": 99}', b"null", b"[" * 100_000])
def test_bytes_that_are_no_event_are_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(data)


def test_an_event_without_arguments_is_otherwise_the_same() -> None:
    event = born("m", 1, 2)
    settled = Event(Kind.SETTLED, "m", State.SUCCEEDED, 2_000)

    poor = without_arguments(event)

    assert poor.birth is not None and (poor.birth.args, poor.birth.kwargs, poor.birth.options) == (None, None, None)
    assert (poor.birth.actor_name, poor.birth.created_at) == ("work", 1_000)
    assert without_arguments(settled) is settled
    assert decode(encode(poor)) == poor


def test_from_half_of_its_budget_on_a_journal_leaves_arguments_out_and_at_its_end_the_oldest_events(
    tmp_path: Path,
) -> None:
    journal = FileJournal(tmp_path / "journal", budget=2_000)
    for number in range(20):
        journal.append("q", born(f"m{number:02}", "x" * 100, at=1_000 + number))

    stretch = journal.read("q", 100)

    kept = [event.message_id for event in stretch.events]
    assert kept == [f"m{number:02}" for number in range(20 - len(kept), 20)] and len(kept) < 20
    assert stretch.gap == Gap(20 - len(kept), 1_000, 1_000 + 19 - len(kept), ("q",))
    assert [event.birth.args for event in stretch.events if event.birth][-1] is None
    assert 0.5 < journal.backlog("q").fill <= 1


def test_bytes_in_the_journal_that_are_no_event_are_a_gap(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "journal")
    journal.append("q", born("before"))
    journal.append_bytes("q", b"garbage")
    journal.append("q", born("after"))

    first = journal.read("q", 10)
    journal.trim("q", first)
    second = journal.read("q", 10)

    assert ([event.message_id for event in first.events], first.gap) == (["before"], None)
    assert [event.message_id for event in second.events] == ["after"]
    assert second.gap is not None and second.gap.dropped == 1


def test_every_queue_has_a_partition_of_its_own(tmp_path: Path) -> None:
    broker = JournalBroker(tmp_path / "journal")
    for name in ("a", "b"):
        broker.declare_queue(name)
        broker.enqueue(Message(name, "work", message_id=f"in {name}"))

    journal = broker.journal
    assert journal.partitions() == ["a", "b"]
    assert [event.message_id for event in journal.read("b", 10).events] == ["in b"]
    journal.trim("a", journal.read("a", 10))
    assert (journal.backlog("a").events, journal.backlog("b").events) == (0, 1)
    assert 0 <= journal.backlog("b").lag_ms < 60_000
