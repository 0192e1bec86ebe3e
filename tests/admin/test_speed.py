"""Pages ask the database a small number of questions, however much there is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_tasks_q import revoke
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.dashboard import paginator
from django_tasks_q.models import MessageRecord, QueueState, WorkerProcess
from django_tasks_q.operations import bulk
from django_tasks_q.operations.filters import Filter
from django_tasks_q.sql import Database
from tests.admin.conftest import charges
from tests.admin.pages import url
from tests.admin.test_permissions import MATRIX, QUERIES
from tests.support.dead_letters import bury

MOST = 15


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """The engine's own statements, which Django does not count."""
    statements: list[str] = []
    Database.watch = staticmethod(statements.append)
    yield statements
    Database.watch = None


def fill(broker: DatabaseBroker, count: int) -> str:
    """Messages in every list, workers and queues; returns the id of a dead letter with a parent and children."""
    now = timezone.now()
    ids = bury(broker, charges(broker, count))
    broker.enqueue_many(charges(broker, count))
    for number, state in enumerate(["running", "delayed", "retrying"] * count):
        MessageRecord.objects.create(
            message_id=f"{state}{number}",
            actor_name="charge",
            state=state,
            parent_id=ids[0],
            created_at=now,
            eta=now,
            group_id="group",
        )
    for number in range(count):
        current = [{"message_id": ids[0], "queue_name": "shop", "since": 1}]
        WorkerProcess.objects.create(worker_id=f"worker {number}", heartbeat_at=now, current=current)
        QueueState.objects.create(queue_name=f"queue{number}", ready=3, sampled_at=now, oldest_at=now)
    QueueState.objects.create(queue_name="shop", dead=count, sampled_at=now)
    QueueState.objects.create(queue_name="default", sampled_at=now)
    return ids[0]


def test_no_page_asks_more_than_a_few_questions(admin: Client, broker: DatabaseBroker, asked: list[str]) -> None:
    message_id = fill(broker, 60)
    operation = bulk.begin("requeue", Filter(), "somebody")
    arguments = {
        "": (),
        "message": (message_id,),
        "operation": (operation.pk,),
        "key": ("key",),
        "group": ("group",),
        "queue": ("shop",),
        "actor": ("charge",),
        "revocation": (revoke(stamps={"batch": 42}).id,),
    }

    questions = {}
    for name, page in MATRIX.items():
        if page.get:
            asked.clear()
            with CaptureQueriesContext(connection) as captured:
                admin.get(url(name, *arguments[page.argument]) + QUERIES.get(name, ""))
            questions[name] = len(captured) + len(asked)

    assert {name: count for name, count in questions.items() if count > MOST} == {}
    assert questions["messagerecord_changelist"] > 1


def test_queues_without_a_fresh_count_cost_no_question_each(
    admin: Client, broker: DatabaseBroker, asked: list[str]
) -> None:
    for number in range(10):
        broker.declare_queue(f"queue{number}")
    asked.clear()

    with CaptureQueriesContext(connection) as captured:
        admin.get(url("queuestate_changelist"))

    assert len(captured) + len(asked) <= MOST


def test_a_list_reads_only_the_beginning_of_arguments_and_error_texts(admin: Client, broker: DatabaseBroker) -> None:
    fill(broker, 3)

    for name in ("messagerecord", "deadletter", "delayedmessage", "runningmessage"):
        with CaptureQueriesContext(connection) as captured:
            admin.get(url(f"{name}_changelist"))
        sql = " ".join(query["sql"] for query in captured)
        assert (
            sql.count('."args"') == sql.count('SUBSTR(CAST("django_tasks_q_messagerecord"."args" AS text), 1, 61)') > 0
        )
        assert '."raw"' not in sql


def test_a_list_is_never_counted_to_its_end(
    admin: Client, broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paginator, "CAP", 5)
    bury(broker, charges(broker, 8))

    with CaptureQueriesContext(connection) as captured:
        page = admin.get(url("deadletter_changelist"))

    assert "5+ dead letters" in " ".join(page.text.split())
    counts = [query["sql"] for query in captured if "COUNT(" in query["sql"] and "messagerecord" in query["sql"]]
    assert counts
    assert all("LIMIT 5" in sql for sql in counts)


@pytest.mark.parametrize("by", ["id", "correlation id"])
def test_a_search_is_exact_and_finds_by_index(by: str, admin: Client, broker: DatabaseBroker) -> None:
    ids = bury(broker, charges(broker, 3))
    MessageRecord.objects.filter(pk=ids[1]).update(correlation_id="order-7")
    wanted = ids[1] if by == "id" else "order-7"

    with CaptureQueriesContext(connection) as captured:
        page = admin.get(url("messagerecord_changelist"), {"q": wanted})
    part = admin.get(url("messagerecord_changelist"), {"q": wanted[:-1]})

    assert [record.pk for record in page.context["cl"].result_list] == [ids[1]]
    assert list(part.context["cl"].result_list) == []
    assert not any("LIKE" in query["sql"] for query in captured)


def test_lists_are_filtered_by_time(admin: Client, broker: DatabaseBroker) -> None:
    ids = bury(broker, charges(broker, 2))
    long_ago = timezone.now() - timedelta(days=3)
    MessageRecord.objects.filter(pk=ids[0]).update(created_at=long_ago)
    address = url("deadletter_changelist")

    def found(**wanted: str) -> list[str]:
        return [record.pk for record in admin.get(address, wanted).context["cl"].result_list]

    assert found(created="hour") == [ids[1]]
    assert set(found(created="week")) == set(ids)
    day = f"{long_ago:%Y-%m-%d}"
    assert found(created_from=day, created_to=day) == [ids[0]]
