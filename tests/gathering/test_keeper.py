"""What the keeper does about items, and what is left to it."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from django_tasks_q import clock, conf, gathering
from django_tasks_q.broker import Broker
from django_tasks_q.errors import BrokerConnectionError
from django_tasks_q.keeper import gathered
from django_tasks_q.keeper.gathered import Gathered
from django_tasks_q.keeper.mirror_service import catch_up
from django_tasks_q.models import MessageRecord, WorkerProcess
from django_tasks_q.sql import Database
from tests.gathering.conftest import DATABASES
from tests.gathering.place import LONG, Place
from tests.support.waiting import until

IN_EACH_DATABASE = pytest.mark.parametrize(("alias", "kind"), [(alias, alias) for alias in DATABASES])
ANYWHERE = pytest.mark.parametrize(("alias", "kind"), [("default", "default")])


def sent(place: Place) -> int:
    return sum(count.ready + count.delayed for count in place.broker.counts())


def orphaned(place: Place, index: Any, *items: int) -> None:
    """Items whose sender died when they were committed."""
    with transaction.atomic(using=place.alias):
        index.gather_many(items)
        connections[place.alias].run_on_commit.clear()


def age(place: Place, milliseconds: int) -> None:
    for row in place.rows:
        row.created_at -= milliseconds
        row.taken_at = None if row.taken_at is None else row.taken_at - milliseconds
        row.save()


def test_a_broker_that_is_away_is_nobodys_error_and_the_keeper_sends(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given items that were added while the broker was away
    index = place.declare(size=2, wait=100)

    def away(self: Broker, outgoing: Any) -> None:
        raise BrokerConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(type(place.broker), "publish", away)
        index.gather(1)
        index.gather(2)
    assert place.waiting() == 2 and sent(place) == 0
    # who was told once leaves it to the keeper for a while
    assert [record.getMessage() for record in caplog.records if "keeper will" in record.getMessage()] == [
        "Nobody was sent for the items of index yet; the keeper will: gone"
    ]

    # When the keeper looks, before they have waited for long enough and after it
    place.keep()
    assert sent(place) == 0
    age(place, gathered.MARGIN + 100)
    place.keep()
    place.keep()  # who waits already is enough

    # Then they run
    place.work(1)
    assert place.runs == [[1, 2]]


@IN_EACH_DATABASE
def test_what_a_killed_sender_left_is_sent_for_by_key(place: Place) -> None:
    index = place.declare(size=2, wait=LONG)
    orphaned(place, index, 1)
    with transaction.atomic(using=place.alias):
        index.gather(2, key="other")
        connections[place.alias].run_on_commit.clear()
    age(place, LONG)
    place.keep()
    assert sent(place) == 0

    age(place, gathered.MARGIN)
    place.keep()
    place.work(2)

    assert sorted(place.runs) == [[1], [2]]


@IN_EACH_DATABASE
def test_as_many_as_a_run_gets_do_not_wait_for_their_time(place: Place) -> None:
    index = place.declare(size=2)
    orphaned(place, index, 1, 2)
    age(place, gathered.MARGIN)

    place.keep()
    place.work(1)

    assert place.runs == [[1, 2]]


@IN_EACH_DATABASE
def test_where_each_collector_is_called_off_the_keeper_does_not_send_one_in_each_round(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given items whose collectors never start
    published: list[str] = []
    publish = Broker.publish

    def publish_and_call_off(self: Broker, outgoing: Any) -> Any:
        left_out = publish(self, outgoing)
        published.extend(self.discard([item.message.message_id for item in outgoing]))
        return left_out

    monkeypatch.setattr(Broker, "publish", publish_and_call_off)
    index = place.declare(wait=1)
    orphaned(place, index, 1, 2)
    age(place, gathered.MARGIN + 1)
    service = Gathered(place.broker, Database(place.alias), "me")

    # When the keeper looks again and again
    now = clock.monotonic()
    for seconds in range(0, 60, 3):
        monkeypatch.setattr(clock, "monotonic", lambda seconds=seconds: now + seconds)
        service.work()

    # Then it sends more and more rarely, and at once for what is the oldest now
    assert len(published) == 5
    place.rows.first().delete()
    service.work()
    assert len(published) == 6
    service.close()


@IN_EACH_DATABASE
@pytest.mark.parametrize("state", ["succeeded", "skipped", "revoked", "discarded"])
def test_items_of_a_message_that_has_ended_are_deleted(place: Place, state: str) -> None:
    index = place.declare()
    orphaned(place, index, 1, 2)
    place.rows.update(taken_by="m", taken_at=0)
    orphaned(place, index, 3)
    MessageRecord.objects.using(place.alias).create(message_id="m", state=state)

    place.keep()

    assert place.waiting() == place.rows.count() == 1


@IN_EACH_DATABASE
@pytest.mark.parametrize("state", ["running", "retrying", "enqueued", "delayed", "dead"])
def test_items_of_a_message_that_may_run_again_stay(place: Place, state: str) -> None:
    index = place.declare()
    orphaned(place, index, 1, 2)
    place.rows.update(taken_by="m", taken_at=0)
    MessageRecord.objects.using(place.alias).create(message_id="m", state=state)

    place.keep()

    assert place.rows.filter(taken_by="m").count() == 2


def test_items_of_a_message_that_its_broker_has_stay_whatever_is_recorded(place: Place) -> None:
    # Given a message that waits for a retry, though its record says that it has succeeded: it was delivered once more
    # after its end, and has taken others
    index = place.declare(size=1, fails=lambda: True, min_backoff=LONG, max_backoff=LONG)
    index.gather(1)
    place.work(1)
    message_id = str(place.ids[0])
    until(lambda: place.broker.look_up([message_id])[message_id].state == "delayed", 10)
    if place.broker.journal is not None:
        catch_up(place.broker, seconds=20)
    MessageRecord.objects.using(place.alias).update_or_create(message_id=message_id, defaults={"state": "succeeded"})
    age(place, LONG)

    place.keep()

    assert place.rows.filter(taken_by=message_id).count() == 1


@IN_EACH_DATABASE
def test_items_of_a_message_that_somebody_runs_stay_whatever_is_recorded(place: Place) -> None:
    index = place.declare()
    orphaned(place, index, 1)
    place.rows.update(taken_by="m", taken_at=0)
    MessageRecord.objects.using(place.alias).create(message_id="m", state="succeeded")
    worker = WorkerProcess(worker_id="w", current=[{"message_id": "m"}], heartbeat_at=timezone.now())
    worker.save(using=place.alias)

    place.keep()
    assert place.rows.count() == 1

    worker.delete(using=place.alias)
    place.keep()
    assert place.is_empty()


@IN_EACH_DATABASE
@pytest.mark.parametrize("state", ["unknown", None])
def test_items_of_a_message_of_which_nobody_knows_what_became_of_it_are_for_others(
    place: Place, state: str | None
) -> None:
    # Given items of a message that was lost sight of, or of which nothing was ever told
    index = place.declare()
    orphaned(place, index, 1)
    place.rows.update(taken_by="m", taken_at=place.rows.first().created_at)
    if state is not None:
        MessageRecord.objects.using(place.alias).create(message_id="m", state=state)

    # When the keeper looks, soon and after an hour
    place.keep()
    assert place.waiting() == 0
    age(place, gathered._UNTOLD + 1_000)
    place.keep()

    # Then
    assert list(place.rows.values_list("taken_by", "taken_at")) == [("", None)]


@IN_EACH_DATABASE
def test_items_of_a_message_whose_record_is_old_enough_to_be_deleted_go_too(place: Place) -> None:
    index = place.declare()
    orphaned(place, index, 1)
    place.rows.update(taken_by="m", taken_at=place.rows.first().created_at)
    age(place, conf.get("DEAD_LETTER_TTL") + 1_000)

    place.keep()

    assert place.is_empty()


@ANYWHERE
def test_items_of_an_actor_that_nobody_declares_any_more_stay_and_are_told_of_once(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    orphaned(place, place.declare(), 1)
    del place.broker.actors["index"]
    place.declare(actor_name="another")
    service = Gathered(place.broker, Database(place.alias), "me")
    service.work()
    assert caplog.messages == []

    age(place, conf.get("UNKNOWN_ACTOR_GRACE") + 1)
    service.work()
    service.work()

    assert caplog.messages == ["Items wait for index, and no actor of this name gathers here."]
    assert place.waiting() == 1
    service.close()


@ANYWHERE
def test_where_no_actor_gathers_nothing_is_asked(place: Place) -> None:
    database = Database(place.alias)
    asked: list[str] = []
    database.watch = asked.append

    Gathered(place.broker, database, "me").work()

    assert asked == []


@ANYWHERE
def test_where_nothing_is_gathered_one_query_is_asked(place: Place) -> None:
    place.declare()
    database = Database(place.alias)
    asked: list[str] = []
    database.watch = asked.append

    Gathered(place.broker, database, "me").work()

    assert len(asked) == 1


def test_a_discarded_dead_letter_takes_its_items_with_it(place: Place) -> None:
    index = place.declare(size=1, max_retries=0, fails=lambda: True)
    index.gather(1)
    place.work(1)
    (dead,) = place.ids
    assert dead is not None
    until(lambda: place.broker.discard([dead]) == [dead], 10)
    if place.broker.journal is not None:
        catch_up(place.broker, seconds=20)
    MessageRecord.objects.using(place.alias).update_or_create(message_id=dead, defaults={"state": "discarded"})
    age(place, gathered._SEEN + 1)

    place.keep()

    assert place.is_empty()


@ANYWHERE
def test_items_that_cannot_be_deleted_are_left_to_the_keeper(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*args: Any) -> None:
        raise BrokerConnectionError("gone")

    items = gathering.store(place.broker)
    monkeypatch.setattr(items, "forget", away)
    index = place.declare(size=1)

    index.gather(1)
    place.work(1)

    message_id = str(place.ids[0])
    until(lambda: MessageRecord.objects.using(place.alias).get(pk=message_id).state == "succeeded", 10)
    assert "could not be deleted yet" in caplog.text
    age(place, gathered._SEEN + 1)
    place.keep()
    assert place.is_empty()


@IN_EACH_DATABASE
def test_items_of_a_collector_that_was_discarded_before_it_started_are_for_the_next(place: Place) -> None:
    index = place.declare(wait=1)
    index.gather(1)
    [waiting] = [*place.broker.peek("default", "delayed"), *place.broker.peek("default", "ready")]
    assert place.broker.discard([waiting.message_id]) == [waiting.message_id]
    age(place, gathered.MARGIN + 1)

    place.keep()
    place.work(1)

    assert place.runs == [[1]]
    assert place.ids != [waiting.message_id]
