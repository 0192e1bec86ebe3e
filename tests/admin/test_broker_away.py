"""With the broker away every page comes soon, shows what was recorded before, and says what is wrong."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from django_tasks_q import BrokerConnectionError, actor, set_broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.rabbitmq import RabbitmqBroker
from django_tasks_q.brokers.redis import RedisBroker
from django_tasks_q.keeper.mirror_service import catch_up
from django_tasks_q.models import BulkOperation, MessageRecord, WorkerProcess
from django_tasks_q.operations import asking
from django_tasks_q.results import Results
from tests.admin.pages import url
from tests.support.journal_broker import JournalBroker
from tests.support.waiting import within

LISTS = (
    "overview", "messagerecord", "deadletter", "delayedmessage", "runningmessage", "queuestate", "workerprocess",
    "scheduleentry", "ratelimitmutex", "waitingmessage", "bulkoperation",
)  # fmt: skip
NOW = timezone.now()
NOBODY = 1
"""A port that nobody listens on."""
WORDS = "The broker cannot be reached: "


class Elsewhere(JournalBroker):
    """A broker on another host, which may refuse connections or never answer."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.is_away = False
        self.is_silent = False
        self.back = threading.Event()

    def answer(self) -> None:
        if self.is_silent:
            self.back.wait(10)
        if self.is_away:
            raise BrokerConnectionError("nobody at 10.0.0.7:6379")

    def check_ready(self) -> None:
        self.answer()

    def counts(self) -> Any:
        self.answer()
        return super().counts()

    def look_up(self, message_ids: Any) -> Any:
        self.answer()
        return super().look_up(message_ids)

    def requeue(self, message_ids: Any) -> Any:
        self.answer()
        return super().requeue(message_ids)

    @property
    def journal(self) -> Any:
        journal = super().journal
        journal.watch = lambda step: self.answer()
        return journal


@pytest.fixture
def elsewhere(broker: DatabaseBroker, tmp_path: Path) -> Iterator[Elsewhere]:
    remote = Elsewhere(tmp_path / "journal.sqlite3")
    set_broker(remote)
    actor(print, broker=remote, actor_name="charge", queue_name="shop")
    yield remote
    remote.back.set()
    remote.close()


@pytest.fixture
def letter(elsewhere: Elsewhere) -> str:
    """A dead letter by its record."""
    return MessageRecord.objects.create(
        message_id="m", actor_name="charge", queue_name="shop", state="dead", created_at=NOW
    ).pk


def seconds_of(client: Client, address: str, **fields: str) -> tuple[float, Any]:
    before = time.monotonic()
    page = client.post(address, fields, follow=True) if fields else client.get(address)
    return time.monotonic() - before, page


def test_the_records_catch_up_from_the_journal_when_a_page_is_opened_and_no_worker_runs(
    admin: Client, elsewhere: Elsewhere
) -> None:
    message = elsewhere.actors["charge"].send("an order")
    assert not MessageRecord.objects.exists()

    page = admin.get(url("messagerecord_changelist"))

    assert message.message_id in page.text
    assert "dtq-broker-trouble" not in page.text


@pytest.mark.parametrize("trouble", ["is_away", "is_silent"])
@pytest.mark.parametrize("has_workers", [False, True])
def test_every_list_comes_within_two_seconds_and_says_what_is_wrong(
    trouble: str, has_workers: bool, admin: Client, elsewhere: Elsewhere, letter: str
) -> None:
    if has_workers:
        WorkerProcess.objects.create(worker_id="w", heartbeat_at=timezone.now())
    setattr(elsewhere, trouble, True)

    for name in LISTS:
        asking._lines.clear()
        took, page = seconds_of(admin, url(f"{name}_changelist"))

        assert took < within(2), name
        assert page.status_code == 200, name
        said = page.text + str(page.context.get("warnings")) + str(page.context.get("trouble"))
        assert ("nobody at 10.0.0.7:6379" if trouble == "is_away" else "did not answer within 1 s") in said, name
        assert page.text.count(WORDS) <= 1, name


@pytest.mark.parametrize("trouble", ["is_away", "is_silent"])
def test_the_pages_of_a_message_show_what_was_recorded_and_say_what_is_wrong(
    trouble: str, admin: Client, elsewhere: Elsewhere, letter: str
) -> None:
    setattr(elsewhere, trouble, True)

    for name in ("change", "requeue", "discard", "edit"):
        asking._lines.clear()
        took, page = seconds_of(admin, url(f"messagerecord_{name}", letter))
        assert took < within(2), name
        if name == "edit":  # it needs the message itself
            assert (page.status_code, page.url) == (302, url("messagerecord_change", letter))
        else:
            assert WORDS in page.text, name
            assert "charge" in page.text


@pytest.mark.parametrize(
    "make",
    [
        lambda: RedisBroker(url=f"redis://:secret@127.0.0.1:{NOBODY}/0"),
        lambda: RabbitmqBroker(url=f"amqp://secret:secret@127.0.0.1:{NOBODY}/"),
    ],
)
def test_a_server_that_refuses_connections_is_named_without_its_password(
    make: Any, admin: Client, elsewhere: Elsewhere, letter: str
) -> None:
    broker = make()
    broker.declare_queue("shop")
    set_broker(broker)

    for name in LISTS:
        asking._lines.clear()
        took, page = seconds_of(admin, url(f"{name}_changelist"))
        assert took < within(2), name
        assert page.status_code == 200, name
        said = page.text + str(page.context.get("warnings")) + str(page.context.get("trouble"))
        assert f"127.0.0.1:{NOBODY}" in said or "did not answer within 1 s" in said, name
        assert "secret" not in said, name
    broker.close()


def test_a_server_that_never_answers_holds_up_no_page_that_asks_it_for_limits_or_results(
    admin: Client, elsewhere: Elsewhere, letter: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        broker = RedisBroker(url=address, middleware=[Results()])
        actor(print, broker=broker, actor_name="charge", queue_name="shop", store_results=True)
        with override_settings(DJANGO_TASKS_Q={"RATE_LIMITS_URL": address, "RESULTS_URL": address}):
            set_broker(broker)
            for page in (
                url("ratelimitmutex_changelist"),
                url("ratelimitmutex_release", "key") + "?token=1",
                url("messagerecord_change", letter),
            ):
                asking._lines.clear()
                took, answer = seconds_of(admin, page)
                assert took < within(2), page
                said = answer.text if answer.status_code == 200 else admin.get(answer.url).text
                assert "did not answer within" in said, page
    broker.close()


def test_what_cannot_be_done_now_is_said_within_two_seconds_and_changes_nothing(
    admin: Client, elsewhere: Elsewhere, letter: str
) -> None:
    operation = BulkOperation.objects.create(action="requeue", filters={}, total=1, started_at=NOW, updated_at=NOW)
    elsewhere.is_silent = True

    for address in (url("messagerecord_requeue", letter), url("bulkoperation_step", operation.pk)):
        asking._lines.clear()
        took, page = seconds_of(admin, address, confirmed="yes")
        assert took < within(2), address
        assert "Nothing was changed: The broker did not answer" in page.text

    assert MessageRecord.objects.get(pk=letter).state == "dead"


def test_a_page_waits_for_a_silent_broker_once_and_the_next_page_not_at_all(
    admin: Client, elsewhere: Elsewhere
) -> None:
    elsewhere.is_silent = True
    first, _ = seconds_of(admin, url("overview_changelist"))
    second, page = seconds_of(admin, url("queuestate_changelist"))

    assert 1 <= first < within(2)
    assert second < within(0.5)
    assert "did not answer within 1 s" in page.text


def test_when_the_broker_is_back_so_are_the_pages(
    admin: Client, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "REST", 0.05)
    elsewhere.is_away = True
    assert WORDS in admin.get(url("messagerecord_changelist")).text

    elsewhere.is_away = False
    time.sleep(0.06)
    message = elsewhere.actors["charge"].send()

    page = admin.get(url("messagerecord_changelist"))
    assert WORDS not in page.text
    assert message.message_id in page.text


def test_catching_up_with_a_broker_that_is_away_is_no_error(elsewhere: Elsewhere) -> None:
    elsewhere.is_away = True

    assert catch_up(elsewhere) == 0
