"""Messages of which nobody knows what became of them: how their records find out, and what people can do meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from django_tasks_q import Message, set_broker, set_encoder
from django_tasks_q.broker import Broker
from django_tasks_q.brokers.rabbitmq import RabbitmqBroker, ebb
from django_tasks_q.deliveries import Delivery, Settlement, WorkerInfo
from django_tasks_q.encoder import TypedJSONEncoder
from django_tasks_q.events import LIFE_SHIFT
from django_tasks_q.keeper.reconciler import Reconciler
from django_tasks_q.mirror import Mirror, RecordWriter
from django_tasks_q.models import MessageRecord, WorkerProcess
from django_tasks_q.operations import repair
from django_tasks_q.outcomes import DONE, Dead, Retry
from django_tasks_q.recording import Recording
from django_tasks_q.sql import Database
from tests.support.brokers import open_broker
from tests.support.waiting import until

MINUTE = 60_000
RABBITMQ = ["rabbitmq", "rabbitmq-quorum"]
NOT_QUIET_LONG = -1_000
"""Milliseconds: what changed a moment ago is old enough for these tests."""


@pytest.fixture
def broker(request: pytest.FixtureRequest, databases: None) -> Iterator[Broker]:
    with open_broker(request.param) as broker:
        broker.declare_queue("q")
        set_broker(broker)
        yield broker


def of(*kinds: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("broker", kinds, indirect=True)


def message(name: str, *args: Any, **options: Any) -> Message[Any]:
    return Message("q", "work", args, {"key": "ü\x00"}, options, message_id=name)


def mirror(broker: Broker, alias: str = "default") -> None:
    """Write all that was told so far."""
    assert broker.journal is not None
    written = Mirror(broker.journal, Database(alias), Recording())
    for partition in broker.journal.partitions():
        while written.advance(partition) or broker.journal.backlog(partition).events:
            pass


def forget(alias: str = "default") -> None:
    """As a gap in the journal makes the records."""
    RecordWriter(Database(alias)).lose_sight((), 1_000)


def reconciler(broker: Broker, alias: str = "default") -> Reconciler:
    return Reconciler(broker, Database(alias), "me", quiet=NOT_QUIET_LONG)


def states(alias: str = "default") -> dict[str, str]:
    return dict(MessageRecord.objects.using(alias).values_list("message_id", "state"))


def claim(broker: Broker, number: int = 1) -> tuple[Any, list[Delivery]]:
    consumer = broker.consume(WorkerInfo("w"))
    claimed: list[Delivery] = []
    until(lambda: claimed.extend(consumer.exchange([], number - len(claimed)).deliveries) or len(claimed) == number, 20)
    return consumer, claimed


# Found again


@of("stub", "redis", "redis-cluster", *RABBITMQ)
def test_what_a_broker_shows_is_known_again_and_later_events_find_it_where_it_is(broker: Broker) -> None:
    # Given messages in every place that a broker can show, and a journal with a gap
    broker.enqueue(message("dies"))
    broker.enqueue(message("fails"))
    consumer, claimed = claim(broker, 2)
    outcomes = {"dies": Dead("age_limit"), "fails": Retry(MINUTE)}
    consumer.exchange([Settlement(one, outcomes[one.message_id], started_at=1) for one in claimed], 0)
    consumer.close()
    broker.enqueue(message("waits"), delay=MINUTE)
    broker.enqueue(message("is ready"))
    mirror(broker)
    before = states()
    forget()
    # "dies" was told before; a gap has nothing to do with what is final
    assert before == {"dies": "dead", "fails": "retrying", "waits": "delayed", "is ready": "enqueued"}
    assert states() == {"dies": "dead", "fails": "unknown", "waits": "unknown", "is ready": "unknown"}

    reconciler(broker).work()

    is_shown = not isinstance(broker, RabbitmqBroker)
    assert states() == {**before, "is ready": "enqueued" if is_shown else "unknown"}
    record = MessageRecord.objects.get(pk="fails")
    assert (record.retries, record.deliveries) == (1, 1) and record.eta is not None

    # and what happens next is told as ever
    consumer, claimed = claim(broker)
    consumer.exchange([Settlement(claimed[0], DONE)], 0)
    consumer.close()
    mirror(broker)
    assert states() == {**before, "is ready": "succeeded"}


@pytest.mark.parametrize("alias", ["postgresql", "mariadb"])
@of("stub")
def test_each_database_takes_what_was_found_again(broker: Broker, alias: str) -> None:
    broker.enqueue(message("waits"), delay=MINUTE)
    mirror(broker, alias)
    forget(alias)

    reconciler(broker, alias).work()

    assert states(alias) == {"waits": "delayed"}
    connections.close_all()


@of("stub")
def test_what_runs_is_left_to_who_runs_it_and_what_moved_meanwhile_stays_where_it_went(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.enqueue(message("runs"))
    consumer, _ = claim(broker)
    broker.enqueue(message("moves"))
    mirror(broker)
    forget()
    look_up = broker.look_up

    def finished_meanwhile(ids: Any) -> Any:
        found = look_up(ids)
        MessageRecord.objects.filter(pk="moves").update(state="succeeded")
        return found

    monkeypatch.setattr(broker, "look_up", finished_meanwhile)
    reconciler(broker).work()

    assert states() == {"runs": "unknown", "moves": "succeeded"}
    consumer.close()


# Doubted, where a broker cannot be asked


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """RabbitMQ takes everything back at once, and clocks agree."""
    monkeypatch.setattr(ebb, "LOOK_INTERVAL", 0.0)
    monkeypatch.setattr(ebb, "SKEW", 0)


def purge(broker: Any) -> None:
    with broker.reader.connected() as connection:
        channel = connection.open_channel()
        connection.ask(channel.queue_purge, broker.topology.work("q"))
        connection.close_channel(channel)


@pytest.mark.usefixtures("impatient")
@of(*RABBITMQ)
def test_what_is_neither_in_its_queue_nor_heard_of_in_time_is_unknown_and_never_lost(broker: Any) -> None:
    # Given one that waits in its row, one that somebody purged, and one that a worker holds and shows
    broker.delivery_timeout = 1
    broker.enqueue(message("waits"), delay=MINUTE)
    broker.enqueue(message("runs"))
    consumer, _ = claim(broker)
    WorkerProcess.objects.create(worker_id="w", current=[{"message_id": "runs"}])
    broker.enqueue_many([message("purged"), message("is there")])
    consumer.close(give_back=False)
    until(lambda: broker.reader.ready(broker.topology.work("q")) == 3)
    mirror(broker)
    one = reconciler(broker)

    # While anything is ready, or nothing was seen for long enough, nothing is claimed
    one.work()
    one.work()
    assert set(states().values()) == {"enqueued", "delayed"}
    purge(broker)
    one.work()
    assert set(states().values()) == {"enqueued", "delayed"}

    broker.enqueue(message("came later"))
    mirror(broker)
    until(lambda: one.work() or "unknown" in states().values())

    assert states() == {
        "waits": "delayed", "runs": "enqueued", "purged": "unknown", "is there": "unknown", "came later": "enqueued"
    }  # fmt: skip


@pytest.mark.usefixtures("impatient")
@of("rabbitmq")
def test_a_doubted_message_that_comes_through_after_all_says_so(broker: Any) -> None:
    # Given one that a worker keeps for longer than anybody should
    broker.delivery_timeout = 1
    broker.enqueue(message("m"))
    consumer, claimed = claim(broker)
    mirror(broker)
    one = reconciler(broker)
    until(lambda: one.work() or states() == {"m": "unknown"})

    consumer.exchange([Settlement(claimed[0], DONE)], 0)
    consumer.close()
    mirror(broker)

    assert states() == {"m": "succeeded"}


@pytest.mark.usefixtures("impatient")
@of("rabbitmq")
def test_where_rabbitmq_has_no_consumer_timeout_nothing_is_ever_doubted(broker: Any) -> None:
    broker.delivery_timeout = None
    broker.enqueue(message("m"))
    purge(broker)
    mirror(broker)

    one = reconciler(broker)
    one.work()
    one.work()

    assert states() == {"m": "enqueued"}


@of("rabbitmq")
def test_a_queue_counts_as_drained_once_the_time_to_give_back_has_passed_since_it_was_seen_empty(
    broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = 1_000.0
    monkeypatch.setattr(ebb.clock, "monotonic", lambda: seconds)
    monkeypatch.setattr(ebb.clock, "wall_ms", lambda: round(seconds * 1_000))
    tide = ebb.Ebb(broker)
    assert tide.look() == {}

    seconds += 1_800 + ebb.LOOK_INTERVAL - 1
    assert tide.look() == {}
    seconds += 2

    assert tide.look() == {"q": 1_000_000 - ebb.SKEW}


# What people can do


@of("stub", "redis", "redis-cluster", *RABBITMQ)
def test_what_is_unknown_or_lost_is_sent_again_under_its_id_and_its_record_moves_with_it(broker: Broker) -> None:
    # Given two messages that are gone for good, with what not every database takes in their arguments
    now = datetime.now(UTC) - timedelta(hours=1)
    whole = {"queue_name": "q", "actor_name": "work", "args": [1], "options": {"eta": 1}, "created_at": now}
    whole["kwargs"] = {"key": "\ufdd0ü\\x00"}
    fields: dict[str, dict[str, Any]] = {
        "unknown": {"state": "unknown", "life": 2, "guard": (2 << LIFE_SHIFT) + 7},
        "lost": {"state": "dead", "dead_reason": "lost"},
        "dead": {"state": "dead", "dead_reason": "throws"},
        "no arguments": {"state": "unknown", "args": None},
    }
    for name, own in fields.items():
        MessageRecord.objects.create(message_id=name, **{**whole, **own})

    tally = repair.requeue(["unknown", "lost", "dead", "no arguments"])

    assert tally.done == ["unknown", "lost"]
    mirror(broker)
    assert states() == {"unknown": "enqueued", "lost": "enqueued", "dead": "dead", "no arguments": "unknown"}
    consumer, claimed = claim(broker, 2)
    sent = {one.message_id: Message.decode(one.payload) for one in claimed}
    assert {one.message_id: one.life for one in claimed} == {"unknown": 3, "lost": 1}
    assert (sent["unknown"].args, sent["unknown"].kwargs) == ((1,), {"key": "ü\x00"})
    assert sent["unknown"].options == {}
    consumer.exchange([Settlement(one, DONE) for one in claimed], 0)
    consumer.close()
    mirror(broker)
    assert states() == {"unknown": "succeeded", "lost": "succeeded", "dead": "dead", "no arguments": "unknown"}


@of("stub", "redis", "redis-cluster", *RABBITMQ)
@pytest.mark.parametrize("on_conflict", ["drop", "raise", "replace", "refresh"])
def test_what_is_lost_lives_without_its_key_where_somebody_else_has_that(broker: Broker, on_conflict: str) -> None:
    # Given a message that is gone for good, and another one that has its key
    options = {"unique": "until_started", "unique_key": "k", "on_conflict": on_conflict}
    lost = {"state": "dead", "dead_reason": "lost", "created_at": datetime.now(UTC), "options": options}
    MessageRecord.objects.create(message_id="lost", queue_name="q", actor_name="work", args=[1], kwargs={}, **lost)
    broker.enqueue(message("other").copy(options=options))

    assert repair.requeue(["lost"]).done == ["lost"]

    consumer, claimed = claim(broker, 2)
    assert {one.message_id for one in claimed} == {"lost", "other"}
    consumer.exchange([Settlement(one, DONE) for one in claimed], 0)
    consumer.close()


@of("stub")
def test_arguments_that_a_record_may_not_have_whole_are_nobodys_to_guess(broker: Broker) -> None:
    whole = {"queue_name": "q", "actor_name": "work", "args": [1], "kwargs": {}, "options": {}, "state": "unknown"}
    MessageRecord.objects.create(message_id="m", created_at=datetime.now(UTC), **whole)

    broker.recording = Recording(redact=lambda name, args, kwargs: (args, kwargs))
    assert repair.requeue(["m"]).done == []
    broker.recording = Recording()
    set_encoder(TypedJSONEncoder())
    assert repair.requeue(["m"]).done == []


@of("stub", *RABBITMQ)
def test_what_is_unknown_can_be_crossed_off_and_if_it_runs_after_all_that_counts(broker: Broker) -> None:
    # Given messages that ran no time, and once, and were forgotten; the broker may still have them
    broker.enqueue_many([message("first"), message("second")])
    consumer, claimed = claim(broker, 2)
    consumer.exchange([Settlement(one, Retry(1), started_at=1) for one in claimed if one.message_id == "second"], 0)
    until(lambda: consumer.exchange([], 2).deliveries, 20)
    mirror(broker)
    assert states()["second"] == "enqueued"  # promoted
    forget()
    broker.discard = lambda ids: []  # type: ignore[method-assign]
    broker.look_up = lambda ids: {}  # type: ignore[method-assign]

    assert repair.discard(["first", "second"]).done == ["first", "second"]
    assert states() == {"first": "discarded", "second": "discarded"}
    assert MessageRecord.objects.get(pk="second").deliveries == 1

    consumer.close(give_back=False)
    broker.bury("w", [], lambda *_: DONE)
    consumer, claimed = claim(broker, 2)
    consumer.exchange([Settlement(one, DONE) for one in claimed], 0)
    consumer.close()
    mirror(broker)
    assert states() == {"first": "succeeded", "second": "succeeded"}


@of("stub")
def test_everything_that_is_unknown_can_be_crossed_off_by_its_state(broker: Broker) -> None:
    from django_tasks_q.operations import bulk
    from django_tasks_q.operations.filters import Filter

    broker.enqueue(message("m"))
    mirror(broker)
    forget()
    broker.look_up = lambda ids: {}  # type: ignore[method-assign]
    broker.discard = lambda ids: []  # type: ignore[method-assign]

    with override_settings(DJANGO_TASKS_Q={}):
        set_broker(broker)
        done = bulk.step(bulk.begin("discard", Filter(state="unknown"), "me").pk)

    assert (done.done, states()) == (1, {"m": "discarded"})
    done.delete()
