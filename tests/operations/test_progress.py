"""How far one message is, and how far many are: from their records, wherever these are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.db.models import Q
from django.test.utils import CaptureQueriesContext

from django_tasks_q import Message, Progress, actor, set_broker, set_progress
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.deliveries import Settlement, Started, WorkerInfo
from django_tasks_q.models import MessageRecord
from django_tasks_q.operations.progress import Tally, as_json, of_group, progress_json, tally
from django_tasks_q.outcomes import DONE, Dead, Retry
from django_tasks_q.testing import drain


@pytest.fixture(params=["default", "postgresql", "mariadb"])
def broker(request: pytest.FixtureRequest, databases: None) -> Iterator[DatabaseBroker]:
    broker = DatabaseBroker(using=str(request.param))
    set_broker(broker)
    yield broker
    broker.close()


def work(broker: DatabaseBroker) -> Message[None]:
    return actor(lambda: set_progress(3, 4, "nearly"), actor_name="work", broker=broker).send()


def test_a_message_knows_how_far_it_is_while_it_runs_and_after_its_end(broker: DatabaseBroker) -> None:
    message = work(broker)
    assert message.get_progress() is None
    assert progress_json(message.message_id) == as_json(MessageRecord.objects.using(broker.using).get())
    assert progress_json("nobody's") is None

    consumer = broker.consume(WorkerInfo("w"))
    [delivery] = consumer.exchange([], 1).deliveries
    consumer.exchange([], 0, [Started(delivery, 1, Progress(1, 4, "nul \x00 and lone \ud800"))])
    assert message.get_progress() == Progress(1, 4, "nul \x00 and lone \ud800")

    consumer.exchange([Settlement(delivery, DONE, progress=Progress(4, 4))], 0)
    assert message.get_progress() == Progress(4, 4)
    consumer.close()


def test_a_new_life_begins_without_the_progress_of_the_one_before(broker: DatabaseBroker) -> None:
    message = work(broker)
    consumer = broker.consume(WorkerInfo("w"))
    [delivery] = consumer.exchange([], 1).deliveries
    consumer.exchange([Settlement(delivery, Dead("throws"), progress=Progress(2, 4))], 0)
    assert message.get_progress() == Progress(2, 4)

    broker.requeue([message.message_id])
    assert message.get_progress() is None

    [delivery] = consumer.exchange([], 1).deliveries
    consumer.exchange([Settlement(delivery, Retry(0), progress=Progress(1, 4))], 0)
    assert message.get_progress() == Progress(1, 4)
    consumer.close()


def test_an_id_that_is_sent_again_begins_without_the_progress_of_the_one_before(broker: DatabaseBroker) -> None:
    message = work(broker)
    drain(broker=broker)
    assert message.get_progress() == Progress(3, 4, "nearly")

    broker.enqueue(message)

    assert message.get_progress() is None
    drain(broker=broker)
    assert message.get_progress() == Progress(3, 4, "nearly")


def test_async_code_asks_without_blocking(broker: DatabaseBroker) -> None:
    message = work(broker)

    async def ask() -> Progress | None:
        try:
            return await message.aget_progress()
        finally:
            await sync_to_async(connections.close_all)()

    assert asyncio.run(ask()) is None
    drain(broker=broker)
    assert asyncio.run(ask()) == Progress(3, 4, "nearly")


def test_asking_is_one_question_that_reads_little(broker: DatabaseBroker) -> None:
    message = work(broker)
    drain(broker=broker)

    with CaptureQueriesContext(connections[broker.using]) as asked:
        message.get_progress()

    assert len(asked) == 1
    assert "args" not in asked[0]["sql"]


def test_without_a_record_nobody_knows(broker: DatabaseBroker) -> None:
    message = actor(lambda: set_progress(1), actor_name="work", broker=broker, record=False).send()
    drain(broker=broker)

    assert message.get_progress() is None


def test_without_django_there_is_nowhere_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_tasks_q.message._found_by", None)

    with pytest.raises(RuntimeError, match="INSTALLED_APPS"):
        Message("q", "work").get_progress()


# Many


def fill(broker: DatabaseBroker, *states: str, group: str = "g") -> None:
    MessageRecord.objects.using(broker.using).bulk_create(
        MessageRecord(message_id=f"{group}{number}", state=state, group_id=group) for number, state in enumerate(states)
    )


def test_a_tally_counts_by_state_and_knows_what_has_ended(broker: DatabaseBroker) -> None:
    fill(broker, "running", "running", "succeeded", "dead", "revoked", "unknown")
    fill(broker, "enqueued", group="another")
    rows = MessageRecord.objects.using(broker.using)

    counted = tally(of_group("g"))

    assert counted == tally(rows.filter(group_id="g").order_by("-created_at"))
    assert counted == tally(Q(group_id="g", pk__startswith="g"))
    assert counted.counts == {"running": 2, "succeeded": 1, "dead": 1, "revoked": 1, "unknown": 1}
    assert (counted.total, counted.ended, counted.percent) == (6, 3, 50)
    assert tally(rows.all()).total == 7


def test_a_tally_is_one_question(broker: DatabaseBroker) -> None:
    fill(broker, *["succeeded"] * 50)

    with CaptureQueriesContext(connections[broker.using]) as asked:
        tally(of_group("g"))

    assert len(asked) == 1


def test_a_tally_of_nothing_is_over(broker: DatabaseBroker) -> None:
    assert tally(of_group("nobody")).as_json() == {
        "total": 0,
        "ended": 0,
        "percent": 100,
        "is_over": True,
        "counts": {},
    }


def test_a_percent_is_never_rounded_up_to_the_end() -> None:
    assert Tally({"running": 1, "succeeded": 999}).percent == 99
    assert Tally({"succeeded": 1_000}).percent == 100


def test_the_stub_needs_no_records_to_run_what_tells_of_progress(stub: StubBroker) -> None:
    actor(lambda: set_progress(1, 2), actor_name="work", broker=stub).send()

    drain(broker=stub)

    assert stub.journal is not None
    assert [event.progress for event in stub.journal.events if event.progress] == [Progress(1, 2)]
