"""N items, or some milliseconds, are one run."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connections, transaction

from django_tasks_q import actor
from django_tasks_q.keeper.mirror_service import catch_up
from django_tasks_q.models import MessageRecord
from django_tasks_q.recording import Recording
from tests.gathering.place import LONG, Place
from tests.support.waiting import until


def test_as_many_items_as_a_run_may_have_are_one_run_at_once(place: Place) -> None:
    index = place.declare(size=3)

    for number in range(3):
        index.gather(number)
    place.work(1)

    assert place.runs == [[0, 1, 2]]
    until(place.is_empty, 10)


def test_fewer_items_are_one_run_when_the_first_has_waited(place: Place) -> None:
    index = place.declare(size=100, wait=300)
    began = time.monotonic()

    index.gather({"pk": 1})
    index.gather({"pk": 2})
    place.work(1)

    assert time.monotonic() - began >= 0.25
    assert place.runs == [[{"pk": 1}, {"pk": 2}]]
    until(place.is_empty, 10)


def test_items_of_two_keys_never_share_a_run(place: Place) -> None:
    index = place.declare(size=2)

    for number in range(4):
        index.gather(number, key=f"tenant {number % 2}")
    place.work(2)

    assert sorted(place.runs) == [[0, 2], [1, 3]]


def test_what_is_too_much_for_a_run_is_for_the_next_at_once(place: Place) -> None:
    index = place.declare(size=4)

    index.gather_many(range(10))
    place.work(3)

    assert sorted(len(items) for items in place.runs) == [2, 4, 4]
    assert sorted(item for items in place.runs for item in items) == list(range(10))


def test_a_rollback_leaves_nothing(place: Place) -> None:
    index = place.declare(size=2)

    with transaction.atomic(using=place.alias):
        index.gather_many([1, 2])
        transaction.set_rollback(True, using=place.alias)

    assert place.is_empty()
    assert not place.broker.counts() or sum(count.ready + count.delayed for count in place.broker.counts()) == 0


def test_what_is_committed_runs_without_what_a_savepoint_took_back(place: Place) -> None:
    index = place.declare(size=2)

    with transaction.atomic(using=place.alias):
        index.gather(1)
        with transaction.atomic(using=place.alias):
            index.gather(2)
            transaction.set_rollback(True, using=place.alias)
        index.gather(3)
    place.work(1)

    assert place.runs == [[1, 3]]
    until(place.is_empty, 10)


def test_a_run_that_fails_is_tried_again_with_the_same_items(place: Place) -> None:
    index = place.declare(size=2, fails=lambda: len(place.runs) == 1)

    index.gather_many([1, 2])
    with place.worker():
        until(lambda: len(place.runs) == 1, 20)
        index.gather(3)
        until(lambda: len(place.runs) == 2, 20)
        until(lambda: place.waiting() == place.rows.count() == 1, 10)

    assert place.runs == [[1, 2], [1, 2]]
    assert len(set(place.ids)) == 1


def test_a_dead_letter_keeps_its_items_until_it_is_requeued(place: Place) -> None:
    index = place.declare(size=2, max_retries=0, fails=lambda: len(place.runs) == 1)
    index.gather_many([1, 2])
    place.work(1)
    (dead,) = place.ids
    assert dead is not None
    until(lambda: _is_dead(place, dead), 10)
    place.keep()
    assert place.rows.filter(taken_by=dead).count() == 2

    assert place.broker.requeue([dead]) == [dead]
    place.work(2)

    assert place.runs == [[1, 2], [1, 2]]
    until(place.is_empty, 10)


def test_what_comes_while_a_requeued_dead_letter_waits_is_for_the_next_at_once(place: Place) -> None:
    # Given a dead letter that waits again, with its items, and holds its key
    index = place.declare(size=2, max_retries=0, fails=lambda: len(place.runs) == 1)
    index.gather_many([1, 2])
    place.work(1)
    (dead,) = place.ids
    assert dead is not None
    until(lambda: _is_dead(place, dead), 10)
    assert place.broker.requeue([dead]) == [dead]

    # When as many items come as are enough for a run
    index.gather_many([3, 4])
    place.work(3)

    # Then nobody waits for the keeper
    assert sorted(place.runs) == [[1, 2], [1, 2], [3, 4]]


def test_a_collector_has_a_record_where_nothing_else_has(place: Place) -> None:
    place.broker.recording = Recording(enabled=False)
    index = place.declare(size=1)

    index.gather(1)
    place.work(1)

    if place.broker.journal is not None:
        catch_up(place.broker, seconds=20)
    until(lambda: MessageRecord.objects.using(_records_of(place)).filter(pk=str(place.ids[0])).exists(), 10)


def test_who_finds_nothing_is_skipped(place: Place) -> None:
    index = place.declare(size=2)
    index.gather_many([1, 2])
    place.rows.delete()

    with place.worker():
        until(lambda: not _is_busy(place), 20)

    assert place.runs == []


def test_a_list_that_is_sent_is_run_as_it_is(place: Place) -> None:
    index = place.declare()
    index.gather(1)

    index.send([7, 8])
    place.work(1)

    assert place.runs == [[7, 8]]
    assert place.waiting() == 1


def test_async_actors_gather_too(place: Place) -> None:
    from django_tasks_q import Gather

    @actor(broker=place.broker, gather=Gather(2, LONG))
    async def index(items: list[Any]) -> None:
        place.runs.append(items)

    index.gather_many([1, 2])
    place.work(1)

    assert place.runs == [[1, 2]]
    until(place.is_empty, 10)


def _records_of(place: Place) -> str:
    return str(getattr(place.broker, "using", "default"))


def _is_busy(place: Place) -> bool:
    return any(count.ready or count.in_flight or count.delayed for count in place.broker.counts())


def _is_dead(place: Place, message_id: str) -> bool:
    held = place.broker.look_up([message_id]).get(message_id)
    return held is not None and held.state == "dead"


@pytest.mark.parametrize(("alias", "kind"), [("mariadb", "mariadb")])  # the drivers of others send many rows at once
def test_many_items_are_few_statements(place: Place) -> None:
    index = place.declare(size=10_000)
    index.gather("first")  # which connects
    before = inserts(place)

    index.gather_many(range(500))

    assert inserts(place) - before < 10
    assert place.rows.count() == 501


def inserts(place: Place) -> int:
    with connections[place.alias].cursor() as cursor:
        cursor.execute("SHOW SESSION STATUS LIKE 'Com_insert'")
        return int(cursor.fetchone()[1])
