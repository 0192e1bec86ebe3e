"""Messages by their id: from the broker while it has them, from their record after that."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_tasks_q import Message, actor, set_broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.recording import Recording


@pytest.fixture(params=["default", "postgresql", "mariadb"])
def broker(request: pytest.FixtureRequest, databases: None) -> Iterator[DatabaseBroker]:
    broker = DatabaseBroker(using=str(request.param))
    set_broker(broker)
    yield broker
    broker.close()


def send(broker: DatabaseBroker) -> Message[None]:
    return actor(lambda secret: None, actor_name="keep", broker=broker).send("secret")


def test_a_message_that_waits_is_found_as_it_was_sent(broker: DatabaseBroker) -> None:
    message = send(broker)

    assert Message.fetch(message.message_id) == message
    assert message.record().state == "enqueued"


def test_what_people_may_not_see_in_records_is_whole_while_the_broker_has_it(broker: DatabaseBroker) -> None:
    broker.recording = Recording(arguments=False)
    message = send(broker)
    assert Message.fetch(message.message_id) == message

    broker.discard([message.message_id])

    found = Message.fetch(message.message_id)
    assert found is not None and found.args == () and found.actor_name == "keep"
    assert found.message_timestamp == message.message_timestamp


def test_texts_that_no_database_takes_come_back_from_the_record_as_they_were(broker: DatabaseBroker) -> None:
    hostile = "\x00 and \ud800"
    message = actor(lambda *args, **kwargs: None, actor_name="keep", broker=broker).send(hostile, name=[hostile])
    broker.discard([message.message_id])

    found = Message.fetch(message.message_id)
    assert found is not None and (found.args, found.kwargs) == ((hostile,), {"name": [hostile]})


def test_an_id_that_nobody_knows_is_none(broker: DatabaseBroker) -> None:
    assert Message.fetch("nobody") is None
    assert Message("default", "keep").record() is None
