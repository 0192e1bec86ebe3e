"""The overview says how everything stands, what is wrong and what to do about it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from django_tasks_q import set_broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.dashboard import presentation, standing
from django_tasks_q.errors import BrokerConnectionError
from django_tasks_q.models import ActorState, MessageRecord, QueueState, ServiceLease, WaitingMessage, WorkerProcess
from tests.admin.conftest import charges
from tests.admin.pages import url
from tests.support.dead_letters import bury


def data(admin: Client) -> dict[str, Any]:
    return dict(admin.get(url("overview_data")).json())


def card(admin: Client, name: str) -> str:
    return str(next(card["value"] for card in data(admin)["cards"] if card["id"] == name))


def warnings(admin: Client) -> list[str]:
    return [warning["text"] for warning in data(admin)["warnings"]]


def start_worker(name: str = "worker", queues: tuple[str, ...] = (), age: int = 0) -> WorkerProcess:
    seen = timezone.now() - timedelta(seconds=age)
    return WorkerProcess.objects.create(worker_id=name, queues=list(queues), threads=8, heartbeat_at=seen)


def count_queue(name: str, **counts: Any) -> None:
    now = timezone.now()
    QueueState.objects.update_or_create(queue_name=name, defaults={"sampled_at": now, **counts})


def test_the_cards_count_what_there_is(admin: Client, broker: DatabaseBroker) -> None:
    bury(broker, charges(broker, 2))
    broker.enqueue_many(charges(broker, 3))
    start_worker()
    start_worker("dead", age=600)
    ServiceLease.objects.create(name="retention", notes={"records": 12345})

    assert (card(admin, "ready"), card(admin, "dead")) == ("3", "2")
    assert card(admin, "workers") == "1"
    assert card(admin, "retired") == "12,345"


def test_the_page_shows_what_its_script_would(admin: Client, broker: DatabaseBroker) -> None:
    bury(broker, charges(broker, 2))
    start_worker()

    page = admin.get(url("overview_changelist"))

    told = data(admin)
    for part in ("cards", "queues", "dead_letters"):
        assert [row.keys() for row in page.context[part]] == [row.keys() for row in told[part]]
    assert 'data-source="' + url("overview_data") in page.text
    assert "<noscript" not in page.text


def test_without_a_worker_it_says_how_to_start_one(admin: Client, broker: DatabaseBroker) -> None:
    assert any("manage.py runworkers" in text for text in warnings(admin))

    start_worker()

    assert warnings(admin) == []


def test_a_web_host_whose_clock_is_wrong_takes_nobody_for_dead(
    admin: Client, broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_worker()
    now = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: now() + timedelta(minutes=5))

    assert card(admin, "workers") == "1"
    assert not any("No worker is alive" in text for text in warnings(admin))
    assert [row["state"] for row in admin.get(url("workerprocess_changelist")).context["workers"]] == ["alive"]


def test_a_queue_that_no_worker_serves_is_named(admin: Client, broker: DatabaseBroker) -> None:
    broker.enqueue_many(charges(broker, 1))
    start_worker(queues=("default",))

    assert warnings(admin) == ["No worker serves queue “shop”."]


def test_a_message_that_waits_for_long_is_told_of_and_a_paused_queue_as_well(
    admin: Client, broker: DatabaseBroker
) -> None:
    start_worker()
    now = timezone.now()
    count_queue("default")
    count_queue("shop", ready=1, oldest_at=now - timedelta(minutes=12, seconds=5))

    assert warnings(admin) == ["The oldest message of queue “shop” has been waiting for 12 min 5 s."]

    count_queue("shop", ready=1, oldest_at=now - timedelta(minutes=12), paused_at=now)

    since = presentation.absolute(now)
    assert warnings(admin) == [f"Queue “shop” is paused since {since}."]

    ActorState.objects.create(actor_name="charge", paused_at=now)
    QueueState.objects.all().delete()

    assert f"Actor “charge” is paused since {since}." in warnings(admin)


def test_messages_that_nobody_relays_are_told_of(admin: Client, broker: DatabaseBroker) -> None:
    start_worker()
    now = timezone.now()
    waiting = WaitingMessage.objects.create(
        message_id="1", queue_name="shop", kind="commit", payload=b"", due_at=now, created_at=now
    )
    assert warnings(admin) == []

    WaitingMessage.objects.filter(pk=waiting.pk).update(created_at=now - timedelta(minutes=4))

    assert "Committed messages have been waiting for the broker for 4 min" in warnings(admin)[0]
    assert card(admin, "outbox") == "1"


def test_what_is_delayed_or_dead_in_the_waiting_room_waits_for_no_relay(admin: Client, broker: DatabaseBroker) -> None:
    start_worker()
    long_ago = timezone.now() - timedelta(minutes=9)
    for kind in ("delay", "retry", "parked", "dead"):
        WaitingMessage.objects.create(
            message_id=kind, queue_name="shop", kind=kind, payload=b"", due_at=long_ago, created_at=long_ago
        )

    assert warnings(admin) == []
    assert card(admin, "outbox") == "0"


def test_a_broker_that_cannot_be_reached_is_a_warning_and_no_error_page(
    admin: Client, broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(patience: float) -> None:
        raise BrokerConnectionError("nobody at 10.0.0.7")

    monkeypatch.setattr(standing, "stats", away)
    start_worker()

    page = admin.get(url("overview_changelist"))

    assert page.status_code == 200
    assert warnings(admin) == ["The broker cannot be reached: nobody at 10.0.0.7"]
    assert card(admin, "ready") == "–"


def test_records_catch_up_when_nobody_else_does_it(
    admin: Client, broker: DatabaseBroker, stub: StubBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(standing, "catch_up", asked.append)
    pages = ("overview_changelist", "messagerecord_changelist", "deadletter_changelist")

    for page in pages:
        admin.get(url(page))
    assert asked == []  # this broker writes the records itself

    set_broker(stub)
    for page in pages:
        admin.get(url(page))
    assert asked == [stub] * 3

    start_worker()
    for page in pages:
        admin.get(url(page))
    assert asked == [stub] * 3


def test_an_old_journal_is_told_of(admin: Client, stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    set_broker(stub)
    start_worker()
    assert card(admin, "lag") == "0 ms"

    class Old:
        def partitions(self) -> list[str]:
            return ["all"]

        def backlog(self, partition: str) -> Any:
            return type("Backlog", (), {"lag_ms": 42_000})

    monkeypatch.setattr(StubBroker, "journal", Old())

    assert warnings(admin) == ["Records lag behind by 42 s."]


def test_the_newest_dead_letters_lead_to_their_pages(admin: Client, broker: DatabaseBroker) -> None:
    ids = bury(broker, charges(broker, 7))

    rows = data(admin)["dead_letters"]

    assert len(rows) == 5
    assert {row["url"] for row in rows} < {url("messagerecord_change", message_id) for message_id in ids}
    assert rows[0]["detail"] == "retries exhausted · ValueError"
    assert MessageRecord.objects.count() == 7
