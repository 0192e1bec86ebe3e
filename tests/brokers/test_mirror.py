"""The writer of records on each vendor: events in any order, and values that no database likes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from django_tasks_q import PickleEncoder, Progress, actor, set_encoder
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.events import Birth, Event, Kind
from django_tasks_q.journal import without_arguments
from django_tasks_q.mirror import RecordWriter
from django_tasks_q.mirror.text import json_text, original, storable
from django_tasks_q.models import Attempt, MessageRecord
from django_tasks_q.outcomes import ErrorInfo
from django_tasks_q.sql import Database
from django_tasks_q.states import State
from tests.support.histories import batches, disorders

pytestmark = pytest.mark.parametrize("alias", ["default", "postgresql", "mariadb"])
many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)


def written(alias: str, parts: list[list[Event]]) -> tuple[Any, Any]:
    """The row and the attempts that batches of events amount to; nothing of them stays."""
    writer = RecordWriter(Database(alias))
    with rolled_back(alias):
        for part in parts:
            writer.write(part)
        (row,) = MessageRecord.objects.using(alias).filter(pk="m").values()
        attempts = Attempt.objects.using(alias).order_by("number", "finished_at", "outcome")
        rows = list(attempts.values_list("number", "outcome", "worker", "finished_at"))
    return row, rows


@contextmanager
def rolled_back(alias: str) -> Iterator[None]:
    with transaction.atomic(using=alias):
        yield
        transaction.set_rollback(True, using=alias)


@many
@given(disorder=disorders())
def test_a_record_is_the_same_in_whatever_order_and_however_often_events_come(
    databases: None, alias: str, disorder: Any
) -> None:
    history, parts = disorder

    row, attempts = written(alias, parts)

    expected, all_attempts = written(alias, [history])
    last_birth = [event.birth for event in history if event.birth][-1]
    assert expected["args"] == list(last_birth.args)
    assert row == expected
    assert set(attempts) == set(all_attempts)


@many
@given(cut=batches())
def test_a_record_is_the_same_however_events_are_cut_into_batches(databases: None, alias: str, cut: Any) -> None:
    history, parts = cut

    assert written(alias, parts) == written(alias, [[item] for item in history])


@many
@given(text=st.text(), other=st.text(alphabet=st.characters(codec=None, categories=["Cs", "Cc", "Lu"])))
def test_every_text_is_stored_and_can_be_read_back(databases: None, alias: str, text: str, other: str) -> None:
    name = text[:30]  # escaped it still fits its column
    birth = Birth("q", name, 1, args=[text, {other: text}], kwargs={"k": other}, correlation_id=other[:10])
    error = ErrorInfo(text, other, text + other)
    event = Event(Kind.SETTLED, "m", State.DEAD, 1, 0, 1, 1, attempt_outcome="failed", error=error, birth=birth)
    with rolled_back(alias):
        RecordWriter(Database(alias)).write([event])
        record = MessageRecord.objects.using(alias).get()
        attempt = Attempt.objects.using(alias).get()

    assert original(record.actor_name) == name
    assert original(record.error_message) == original(attempt.error_message) == other
    assert original(attempt.traceback) == text + other
    assert original(record.args[0]) == text


def test_a_value_that_json_cannot_hold_is_shown_by_its_repr(databases: None, alias: str) -> None:
    birth = Birth("q", "a", 1, args=[b"\x00bytes", {1, 2}, object], kwargs={})
    with connections[alias].cursor():
        RecordWriter(Database(alias)).write([Event(Kind.CREATED, "m", State.ENQUEUED, 1, birth=birth)])

    assert "bytes" in str(MessageRecord.objects.using(alias).get().args)


ITSELF: list[object] = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize(
    ("argument", "recorded"),
    [(ITSELF, None), (10**5_000, None), ([object, float("inf")], [["<class 'object'>", None]])],
    ids=["itself", "digits", "infinity"],
)
def test_what_no_json_can_hold_is_no_error_of_who_sends_it(
    databases: None, alias: str, argument: object, recorded: object
) -> None:
    set_encoder(PickleEncoder())
    broker = DatabaseBroker(using=alias)
    message = actor(lambda value: None, actor_name="keep", broker=broker).send(argument)

    assert MessageRecord.objects.using(alias).get(pk=message.message_id).args == recorded
    broker.close()


def test_storable_text_is_left_alone_and_the_rest_is_marked(alias: str) -> None:
    assert storable("plain \\ text") == "plain \\ text"
    assert storable("\x00").isprintable() is False and "\x00" not in storable("\x00")
    assert "\\u0000" not in str(json_text(["\x00"]))


def test_a_message_that_could_not_be_read_in_the_end_keeps_what_is_known_of_it(databases: None, alias: str) -> None:
    born = Event(Kind.CREATED, "m", State.ENQUEUED, 1_000, birth=Birth("q", "work", 1_000, args=[1]))
    raw = Birth("q", "", 5_000, raw=b"\xff")
    unread = Event(Kind.SETTLED, "m", State.DEAD, 5_000, delivery=1, reason="undecodable", birth=raw)

    stories = [written(alias, parts) for parts in ([[born], [unread]], [[unread], [born]], [[unread, born]])]

    assert stories[0] == stories[1] == stories[2]
    row, _ = stories[0]
    assert (row["actor_name"], row["args"], bytes(row["raw"])) == ("work", [1], b"\xff")


def test_arguments_that_the_journal_left_out_are_not_known_until_an_event_has_them(databases: None, alias: str) -> None:
    born = Event(Kind.CREATED, "m", State.ENQUEUED, 1_000, birth=Birth("q", "work", 1_000, args=[1], options={"a": 1}))
    settled = Event(Kind.SETTLED, "m", State.SUCCEEDED, 2_000, delivery=1)

    poor, _ = written(alias, [[without_arguments(born)], [settled]])
    rich, _ = written(alias, [[without_arguments(born)], [settled], [born]])

    assert (poor["actor_name"], poor["args"], poor["kwargs"], poor["options"]) == ("work", None, None, None)
    assert (rich["args"], rich["kwargs"], rich["options"]) == ([1], {}, {"a": 1})


def reports() -> list[Event]:
    """What two deliveries told of their progress, in the order in which it happened."""
    events = [Event(Kind.CREATED, "m", State.ENQUEUED, 0, birth=Birth("q", "work", 0))]
    for delivery in (1, 2):
        running = Event(Kind.STARTED, "m", State.RUNNING, 1, delivery=delivery, attempt=delivery - 1)
        events += [replace(running, progress=Progress(10 - step), report=step) for step in range(1, 4)]
        state = State.RETRYING if delivery == 1 else State.SUCCEEDED
        events.append(Event(Kind.SETTLED, "m", state, 2, delivery=delivery, attempt=1, progress=Progress(delivery)))
    return events


@many
@given(order=st.permutations(reports()), again=st.lists(st.sampled_from(reports()), max_size=5), data=st.data())
def test_progress_never_goes_back_however_late_or_often_it_is_told(
    databases: None, alias: str, order: list[Event], again: list[Event], data: st.DataObject
) -> None:
    told = [*order, *again]
    cut = data.draw(st.integers(0, len(told)))

    row, _ = written(alias, [part for part in (told[:cut], told[cut:]) if part])

    assert (row["state"], row["deliveries"], row["progress_done"]) == ("succeeded", 2, 2)


def test_a_later_report_of_the_same_delivery_takes_the_place_of_an_earlier_one(databases: None, alias: str) -> None:
    born, first, second, *_ = reports()

    assert written(alias, [[born], [first]])[0]["progress_done"] == 9
    assert written(alias, [[born], [first], [second], [first]])[0]["progress_done"] == 8
    assert written(alias, [[second], [born], [first]])[0]["progress_done"] == 8


def test_progress_costs_a_statement_only_where_there_is_some(
    databases: None, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    born, first, *_ = reports()
    statements: list[str] = []
    monkeypatch.setattr(Database, "watch", staticmethod(statements.append))

    written(alias, [[born, replace(first, progress=None)]])
    without = len(statements)
    written(alias, [[born, first]])

    assert [sql for sql in statements if "progress_done =" in sql] == statements[-1:]
    assert len(statements) == 2 * without + 1


def test_an_attempt_that_came_too_late_is_told_of_and_moves_nothing(databases: None, alias: str) -> None:
    running = Event(Kind.STARTED, "m", State.RUNNING, 1_000, delivery=2, worker="owner")
    late = Event(Kind.SETTLED, "m", State.RUNNING, 2_000, delivery=1, worker="former", attempt_outcome="late")

    row, attempts = written(alias, [[running], [late]])

    assert (row["state"], row["worker"], row["deliveries"]) == ("running", "owner", 2)
    assert [(number, outcome, worker) for number, outcome, worker, _ in attempts] == [(1, "late", "former")]
