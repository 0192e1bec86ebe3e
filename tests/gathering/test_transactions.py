"""What a transaction costs, and what nobody tells the end of."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections, transaction

from django_tasks_q.broker import Broker
from tests.gathering.conftest import DATABASES
from tests.gathering.place import LONG, Place

pytestmark = pytest.mark.parametrize(("alias", "kind"), [(alias, alias) for alias in DATABASES])


@pytest.fixture
def published(place: Place, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is sent, or left out."""
    sent: list[Any] = []
    publish = Broker.publish

    def noting(self: Broker, outgoing: Any) -> Any:
        sent.extend(outgoing)
        return publish(self, outgoing)

    monkeypatch.setattr(Broker, "publish", noting)
    return sent


def test_many_items_of_one_transaction_are_sent_for_once(place: Place, published: list[Any]) -> None:
    index = place.declare(size=100)

    with transaction.atomic(using=place.alias):
        for number in range(20):
            index.gather(number)
        index.gather(7, key="other")
        with transaction.atomic(using=place.alias):
            index.gather(20)
        assert published == []
    # once for each key, and once for the savepoint, which might have been all that is committed

    assert len(published) == 3
    assert place.waiting() == 22


def test_what_is_added_in_a_savepoint_alone_is_sent_for(place: Place, published: list[Any]) -> None:
    index = place.declare(size=2)

    with transaction.atomic(using=place.alias):
        with transaction.atomic(using=place.alias):
            index.gather(1)
            transaction.set_rollback(True, using=place.alias)
        with transaction.atomic(using=place.alias):
            index.gather_many([2, 3])

    assert [item.delay for item in published] == [None]


def test_each_transaction_of_a_function_that_is_atomic_is_sent_for(place: Place, published: list[Any]) -> None:
    index = place.declare(size=2)

    @transaction.atomic(using=place.alias)  # one block, however often the function is called
    def save(item: int, fails: bool = False) -> None:
        index.gather(item)
        transaction.set_rollback(fails, using=place.alias)

    save(1)
    save(2, fails=True)
    save(3)

    assert [item.delay for item in published] == [LONG, None]


def test_where_nobody_tells_of_the_end_of_a_transaction_the_keeper_sends(place: Place, published: list[Any]) -> None:
    index = place.declare(size=2)
    connection = connections[place.alias]
    connection.set_autocommit(False)
    try:
        index.gather_many([1, 2])
        connection.commit()
    finally:
        connection.set_autocommit(True)

    assert published == []
    assert place.waiting() == 2
