"""Everything that a filter matches, batch by batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from django.db import connections

from django_tasks_q import Message, set_broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.mirror import RecordWriter
from django_tasks_q.models import BulkOperation
from django_tasks_q.operations import bulk
from django_tasks_q.operations.filters import Filter, records
from django_tasks_q.sql import Database
from tests.operations.conftest import declare
from tests.support.dead_letters import bury

DEAD = Filter(state="dead")


def orders(broker: DatabaseBroker | StubBroker, count: int) -> list[Message[None]]:
    return [broker.actors["charge"].message(number) for number in range(count)]


def finish(operation: BulkOperation) -> BulkOperation:
    return bulk.step(operation.pk, 30)


def lives(broker: DatabaseBroker) -> dict[str, int]:
    return {delivery.message_id: delivery.life for delivery in broker.peek("shop", "ready", 10_000)}


def test_everything_that_matches_is_requeued_once(broker: DatabaseBroker) -> None:
    dead = bury(broker, orders(broker, 1_234))

    operation = bulk.begin("requeue", DEAD, "ada")
    assert (operation.total, operation.started_by, operation.finished_at) == (1_234, "ada", None)
    operation = finish(operation)

    assert (operation.done, operation.skipped) == (1_234, 0)
    assert operation.finished_at is not None
    assert lives(broker) == dict.fromkeys(dead, 1)


def test_everything_with_a_stamp_is_requeued_and_nothing_else(
    broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "STRIDE", 7)
    charge = broker.actors["charge"]
    stamped = [charge.message_with_options(args=(number,), stamps={"batch": "a=b"}) for number in range(20)]
    ids = bury(broker, [message for pair in zip(stamped, orders(broker, 20), strict=True) for message in pair])

    operation = finish(bulk.begin("requeue", Filter(stamp="batch=a=b"), "ada"))

    assert (operation.total, operation.done, operation.skipped) == (20, 20, 0)
    assert operation.filters == {"state": "dead", "stamp": "batch=a=b"}
    assert lives(broker) == dict.fromkeys(ids[::2], 1)


def test_a_step_ends_when_its_time_is_up_and_the_next_one_goes_on(broker: DatabaseBroker) -> None:
    dead = bury(broker, orders(broker, 1_500))
    operation = bulk.begin("requeue", DEAD, "ada")

    counts = []
    while operation.finished_at is None:
        operation = bulk.step(operation.pk, 0)
        counts.append(operation.done)

    assert len(counts) > 1 and counts == sorted(counts)
    assert max(later - sooner for sooner, later in zip([0, *counts], counts, strict=False)) <= 1_000
    assert lives(broker) == dict.fromkeys(dead, 1)


def test_a_finished_operation_does_nothing_more(broker: DatabaseBroker) -> None:
    bury(broker, orders(broker, 3))
    operation = finish(bulk.begin("requeue", DEAD, "ada"))
    bury(broker, orders(broker, 3))

    again = bulk.step(operation.pk)

    assert (again.done, again.updated_at) == (operation.done, operation.updated_at)
    assert Filter(state="dead").queryset().count() == 6


def test_what_dies_after_the_beginning_is_left_alone(broker: DatabaseBroker) -> None:
    old = bury(broker, orders(broker, 2))
    operation = bulk.begin("requeue", DEAD, "ada")
    new = bury(broker, orders(broker, 1))
    _finish_later(new)

    operation = finish(operation)

    assert operation.done == 2
    assert set(lives(broker)) == set(old)


def _finish_later(ids: list[str]) -> None:
    """The clock of this test may stand still for a millisecond."""
    records().filter(pk__in=ids).update(finished_at=datetime(2999, 1, 1, tzinfo=UTC))


def test_only_what_fits_the_filter_is_touched(broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "STRIDE", 7)  # several strides without a match
    ids = bury(broker, [*orders(broker, 40), broker.actors["mail"].message("a@b.c")])

    operation = finish(bulk.begin("discard", Filter(queue_name="mails"), "ada"))

    assert (operation.done, operation.skipped) == (1, 0)
    assert records().get(pk=ids[-1]).state == "discarded"
    assert records().filter(state="dead").count() == 40


def test_messages_of_one_millisecond_are_all_met(broker: DatabaseBroker) -> None:
    dead = bury(broker, orders(broker, 900))
    records().update(created_at=datetime(2026, 1, 31, tzinfo=UTC))

    operation = finish(bulk.begin("requeue", DEAD, "ada"))

    assert operation.done == 900
    assert set(lives(broker)) == set(dead)


def test_what_the_broker_has_no_more_is_counted_as_skipped(broker: DatabaseBroker) -> None:
    dead = bury(broker, orders(broker, 5))
    operation = bulk.begin("requeue", DEAD, "ada")
    broker.database.count(f"DELETE FROM django_tasks_q_queuedmessage WHERE message_id = '{dead[2]}'")

    operation = finish(operation)

    assert (operation.done, operation.skipped) == (4, 1)


def test_two_who_step_at_once_do_each_message_once(broker: DatabaseBroker) -> None:
    dead = bury(broker, orders(broker, 2_500))
    operation = bulk.begin("requeue", DEAD, "ada")

    def go_on(_: int) -> None:
        try:
            bulk.step(operation.pk, 30)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(go_on, range(3)))
    operation = bulk.step(operation.pk)

    assert (operation.done, operation.skipped) == (2_500, 0)
    assert lives(broker) == dict.fromkeys(dead, 1)


def test_messages_that_wait_are_discarded_when_the_filter_says_so(broker: DatabaseBroker) -> None:
    dead = bury(broker, orders(broker, 1))
    broker.enqueue_many([broker.actors["charge"].message_with_options(args=(1,), delay=60_000)])

    operation = finish(bulk.begin("discard", Filter(state="delayed"), "ada"))

    assert operation.done == 1
    assert [record.message_id for record in records().exclude(state="discarded")] == dead


@pytest.mark.parametrize(
    ("action", "filter", "text"),
    [
        ("requeue", Filter(state="succeeded"), "state: requeue is for what is dead, unknown; not 'succeeded'"),
        ("requeue", Filter(state="delayed"), "state: requeue is for what is dead, unknown; not 'delayed'"),
        (
            "discard",
            Filter(state="running"),
            "state: discard is for what is dead, unknown, enqueued, delayed, retrying",
        ),
        ("shred", Filter(), "action: requeue or discard is wanted, not 'shred'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_it_begins(action: str, filter: Filter, text: str) -> None:
    with pytest.raises(ValueError) as error:
        bulk.begin(action, filter, "ada")

    assert str(error.value).startswith(text)


def test_a_batch_whose_transaction_is_lost_may_be_repeated_with_a_broker_elsewhere(
    databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a broker that keeps its messages elsewhere, and the mirrored records of its dead letters
    stub = StubBroker()
    set_broker(stub)
    declare(stub)
    dead = bury(stub, orders(stub, 3))
    RecordWriter(Database("default")).write(stub.journal.events)
    operation = bulk.begin("requeue", DEAD, "ada")

    # When the records' database fails after the broker was asked
    requeue = stub.requeue

    def then_crash(ids: list[str]) -> list[str]:
        requeue(ids)
        raise ConnectionResetError

    monkeypatch.setattr(stub, "requeue", then_crash)
    with pytest.raises(ConnectionResetError):
        finish(operation)
    monkeypatch.undo()

    # Then the repetition finds it done
    operation = finish(operation)
    assert (operation.done, operation.skipped) == (0, 3)
    assert {delivery.message_id: delivery.life for delivery in stub.peek("shop")} == dict.fromkeys(dead, 1)
    operation.delete()
