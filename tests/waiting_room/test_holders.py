"""Who holds which key, as rows; and the keeper, who frees what nobody lets go of."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from django_tasks_q import BrokerNotReady, DuplicateMessage, Message
from django_tasks_q.broker import Broker
from django_tasks_q.brokers.rabbitmq import RabbitmqBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.deliveries import Outgoing
from django_tasks_q.keeper import unique_keys
from django_tasks_q.keeper.unique_keys import UniqueKeys
from django_tasks_q.models import MessageRecord, UniqueHolder
from django_tasks_q.sql import Database
from django_tasks_q.unique_holders import get_unique_holders, set_unique_holders
from django_tasks_q.waiting import DatabaseUniqueHolders
from tests.support.waiting import until


@pytest.fixture
def holders(databases: None, alias: str) -> Iterator[DatabaseUniqueHolders]:
    holders = DatabaseUniqueHolders(alias)
    yield holders
    holders.close()
    connections.close_all()


@pytest.fixture
def broker() -> Broker:
    broker = StubBroker()
    broker.declare_queue("q")
    return broker


@pytest.fixture
def keeper(holders: DatabaseUniqueHolders, alias: str, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> UniqueKeys:
    """One that gives nobody time."""
    monkeypatch.setattr(unique_keys, "_YOUNG", 0)
    return UniqueKeys(broker, Database(alias), "me")


def wanting(broker: Broker, name: str, key: str = "k", **options: Any) -> Outgoing:
    return broker.prepare(Message("q", "work", (), {}, {"unique": True, "unique_key": key, **options}, name))


def key_of(item: Outgoing) -> str:
    assert item.unique is not None
    return item.unique.key


def test_a_key_is_held_by_one_message(holders: DatabaseUniqueHolders, broker: Broker) -> None:
    first, second, other = (wanting(broker, "m1"), wanting(broker, "m2"), wanting(broker, "m3", "other"))

    assert holders.take([first]) == {}
    assert holders.take([second, other]) == {"m2": "m1"}
    assert holders.take([first]) == {}
    assert (holders.holder(key_of(first)), holders.holder(key_of(other))) == ("m1", "m3")


def test_when_one_is_refused_none_is_taken(holders: DatabaseUniqueHolders, broker: Broker) -> None:
    holders.take([wanting(broker, "m1")])
    free, held = wanting(broker, "m2", "free"), wanting(broker, "m3", on_conflict="raise")

    with pytest.raises(DuplicateMessage) as caught:
        holders.take([free, held])

    assert caught.value.holder == "m1"
    assert holders.holder(key_of(free)) is None
    assert holders.take([free, held], caused=True) == {"m3": "m1"}


def test_only_who_holds_a_key_lets_go_of_it(holders: DatabaseUniqueHolders, broker: Broker) -> None:
    item = wanting(broker, "m1")
    holders.take([item])

    holders.release([(key_of(item), "m2")])
    assert holders.holder(key_of(item)) == "m1"
    holders.release([(key_of(item), "m1")])
    assert holders.holder(key_of(item)) is None
    holders.take([item])
    holders.forget(["m2", "m1"])
    assert holders.holder(key_of(item)) is None


def test_whose_time_is_over_makes_way(holders: DatabaseUniqueHolders, broker: Broker) -> None:
    item = wanting(broker, "m1", unique=50)
    holders.take([item])
    until(lambda: holders.holder(key_of(item)) is None, 5)

    assert holders.take([wanting(broker, "m2", unique=3_600_000)]) == {}
    assert holders.holder(key_of(item)) == "m2"
    holders.extend(key_of(item), "m1", 1)
    assert holders.holder(key_of(item)) == "m2"
    holders.extend(key_of(item), "m2", 1)
    until(lambda: holders.holder(key_of(item)) is None, 5)


def test_a_key_is_taken_for_good_whatever_becomes_of_the_senders_transaction(
    holders: DatabaseUniqueHolders, broker: Broker, alias: str
) -> None:
    item = wanting(broker, "m1")
    with transaction.atomic(using=alias):
        holders.take([item])
        transaction.set_rollback(True, using=alias)

    # On SQLite the only writer may be the caller, so it is a part of his transaction.
    assert holders.holder(key_of(item)) == (None if alias == "default" else "m1")


def test_many_who_take_the_same_keys_in_any_order_do_not_block_each_other(
    holders: DatabaseUniqueHolders, broker: Broker
) -> None:
    def take(sender: int) -> int:
        items = [wanting(broker, f"m{sender}-{key}", f"key {key}") for key in range(40)]
        try:
            return len(holders.take(items if sender % 2 else items[::-1]))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        left_out = sum(pool.map(take, range(8)))

    assert left_out == 7 * 40


def record(alias: str, message_id: str, state: str, seconds_ago: float = 0) -> None:
    finished_at = timezone.now() - timedelta(seconds=seconds_ago)
    MessageRecord.objects.using(alias).create(message_id=message_id, state=state, finished_at=finished_at)


@pytest.mark.parametrize("state", ["succeeded", "skipped", "dead", "revoked", "discarded", "unknown"])
def test_the_keeper_frees_the_key_of_what_has_ended_by_its_record(
    holders: DatabaseUniqueHolders, broker: Broker, keeper: UniqueKeys, alias: str, state: str
) -> None:
    ended, waiting = wanting(broker, "m1"), wanting(broker, "m2", "other")
    holders.take([ended, waiting])
    holders.sent(["m1", "m2"])
    record(alias, "m1", state)
    record(alias, "m2", "retrying")

    keeper.work()

    assert (holders.holder(key_of(ended)), holders.holder(key_of(waiting))) == (None, "m2")
    keeper.close()


def test_the_end_of_an_earlier_message_with_the_same_id_frees_nothing(
    holders: DatabaseUniqueHolders, broker: Broker, keeper: UniqueKeys, alias: str
) -> None:
    item = wanting(broker, "m1")
    record(alias, "m1", "succeeded", seconds_ago=60)
    holders.take([item])

    keeper.work()

    assert holders.holder(key_of(item)) == "m1"


def test_who_has_not_sent_is_taken_for_dead_after_a_while_and_who_has_is_not(
    holders: DatabaseUniqueHolders, broker: Broker, keeper: UniqueKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsent, sent = wanting(broker, "m1"), wanting(broker, "m2", "other")
    holders.take([unsent, sent])
    holders.sent(["m2"])
    keeper.work()
    assert holders.holder(key_of(unsent)) == "m1"

    monkeypatch.setattr(unique_keys, "MARGIN", -broker.send_timeout - 1)
    keeper.work()

    assert (holders.holder(key_of(unsent)), holders.holder(key_of(sent))) == (None, "m2")


def test_the_keeper_goes_through_all_rows_in_parts(
    holders: DatabaseUniqueHolders, broker: Broker, keeper: UniqueKeys, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unique_keys, "_BATCH", 2)
    monkeypatch.setattr(unique_keys, "_BATCHES", 2)
    holders.take([wanting(broker, f"m{number}", f"key {number}") for number in range(9)])
    record(alias, "m3", "succeeded")
    record(alias, "m8", "succeeded")

    for _ in range(4):
        keeper.work()

    held = set(UniqueHolder.objects.using(alias).values_list("message_id", flat=True))
    assert held == {f"m{number}" for number in range(9)} - {"m3", "m8"}


def test_without_a_database_rabbitmq_sends_nothing_that_takes_a_key() -> None:
    before = get_unique_holders()
    set_unique_holders(None)
    broker = RabbitmqBroker(url="amqp://127.0.0.1:1/")
    broker.declare_queue("q")
    try:
        with pytest.raises(BrokerNotReady, match="unique messages need 'django_tasks_q' in INSTALLED_APPS"):
            broker.enqueue(Message("q", "work", options={"unique": True}))
    finally:
        set_unique_holders(before)
        broker.close()
