"""The other pages: one message, delayed and running ones, workers, mutexes, the outbox, and another AdminSite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from types import ModuleType

import pytest
from django.contrib.admin import AdminSite
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client, override_settings
from django.urls import path
from django.utils import timezone
from django.utils.html import escape

from django_tasks_q import Encoder, PickleEncoder, actor, set_broker, set_encoder
from django_tasks_q.admin import register
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.unusable import UnusableBroker
from django_tasks_q.conf import WrongSetting
from django_tasks_q.deliveries import Settlement, WorkerInfo
from django_tasks_q.encoder import TypedJSONEncoder
from django_tasks_q.models import Attempt, BulkOperation, MessageRecord, WaitingMessage, WorkerProcess
from django_tasks_q.outcomes import Parked
from django_tasks_q.rate_limits.backends import DatabaseBackend
from django_tasks_q.rate_limits.mutex import Owner
from tests.admin.conftest import charges
from tests.admin.pages import url
from tests.admin.test_permissions import MATRIX
from tests.support.dead_letters import bury

NOW = timezone.now()


def record(message_id: str, state: str = "succeeded", **fields: object) -> MessageRecord:
    known = {"actor_name": "charge", "queue_name": "shop", "created_at": NOW, **fields}
    return MessageRecord.objects.create(message_id=message_id, state=state, **known)


def test_the_timeline_tells_what_happened_in_order(admin: Client, broker: DatabaseBroker) -> None:
    seconds = [NOW + timedelta(seconds=number) for number in range(10)]
    record("m", enqueued_at=seconds[3], started_at=seconds[4], finished_at=seconds[6], created_at=seconds[0])
    Attempt.objects.create(
        message_id="m", number=1, outcome="failed", started_at=seconds[1], finished_at=seconds[2], error_message="no"
    )

    steps = admin.get(url("messagerecord_change", "m")).context["timeline"]

    assert [(step.name, step.after) for step in steps] == [
        ("Created", ""),
        ("Attempt 1 started", "1.0 s"),
        ("Attempt 1: failed", "1.0 s"),
        ("Enqueued", "1.0 s"),
        ("Started", "1.0 s"),
        ("Succeeded", "2.0 s"),
    ]


@pytest.mark.parametrize("encoder", [PickleEncoder(), TypedJSONEncoder()], ids=["pickle", "typed"])
def test_messages_of_any_encoder_have_their_pages(encoder: Encoder, admin: Client, broker: DatabaseBroker) -> None:
    set_encoder(encoder)
    [message_id] = bury(broker, [broker.actors["charge"].message(date(2030, 1, 31), currency=date(2031, 1, 31))])

    for name in ("messagerecord_change", "messagerecord_edit"):
        page = admin.get(url(name, message_id), follow=True)
        assert page.status_code == 200
        assert "2030" in page.text and "2031" in page.text, name


def test_what_waits_shows_when_it_is_due(admin: Client, broker: DatabaseBroker) -> None:
    record("m", state="delayed", eta=timezone.now() + timedelta(hours=3, minutes=1))

    steps = admin.get(url("messagerecord_change", "m")).context["timeline"]

    assert (steps[-1].name, steps[-1].detail) == ("Due", "in 3 h")


def test_tracebacks_are_folded(admin: Client, broker: DatabaseBroker) -> None:
    record("m", state="dead")
    Attempt.objects.create(message_id="m", number=1, outcome="failed", traceback="Traceback of it", finished_at=NOW)

    page = admin.get(url("messagerecord_change", "m")).text

    assert '<details class="dtq-attempt">' in page
    assert "Traceback of it" in page


def test_a_message_leads_to_its_parent_and_its_children(admin: Client, broker: DatabaseBroker) -> None:
    record("parent", started_at=NOW, finished_at=NOW + timedelta(seconds=2))
    record("child", parent_id="parent", created_at=NOW + timedelta(seconds=1))
    record("stranger", created_at=NOW + timedelta(seconds=1))

    parent = admin.get(url("messagerecord_change", "parent"))
    child = admin.get(url("messagerecord_change", "child"))

    assert [found.pk for found, _ in parent.context["children"]] == ["child"]
    assert child.context["parent_url"] == url("messagerecord_change", "parent")


def test_arguments_that_were_not_recorded_are_not_shown_as_none(admin: Client, broker: DatabaseBroker) -> None:
    record("m", args=None, kwargs=None, options=None)

    assert admin.get(url("messagerecord_change", "m")).text.count("Not recorded.") == 3


def test_a_message_that_is_not_recorded_is_404(admin: Client, broker: DatabaseBroker) -> None:
    for name in ("change", "requeue", "edit"):
        assert admin.get(url(f"messagerecord_{name}", "nobody")).status_code == 404
    assert admin.get(url("bulkoperation_change", 404)).status_code == 404


@pytest.mark.parametrize("message_id", ["a/b", "a b", "ü_%2F?#&", ";:@=+$,\"'<>", "x" * 64])
def test_ids_may_be_made_of_anything(message_id: str, admin: Client, broker: DatabaseBroker) -> None:
    record(message_id)

    row = admin.get(url("messagerecord_changelist"))

    assert escape(url("messagerecord_change", message_id)) in row.text
    assert admin.get(url("messagerecord_change", message_id)).context["record"].pk == message_id


def test_delayed_and_retrying_messages_share_a_page(admin: Client, broker: DatabaseBroker) -> None:
    record("delayed", state="delayed", eta=NOW)
    record("retrying", state="retrying", eta=NOW)
    record("other")

    def found(**wanted: str) -> set[str]:
        page = admin.get(url("delayedmessage_changelist"), wanted)
        return {row.pk for row in page.context["cl"].result_list}

    assert found() == {"delayed", "retrying"}
    assert found(state="retrying") == {"retrying"}
    assert found(state="succeeded") == {"delayed", "retrying"}


def test_delayed_messages_can_be_discarded(admin: Client, broker: DatabaseBroker) -> None:
    delayed = broker.actors["charge"].send_with_options(args=(1,), delay=60_000)
    form = {"action": "discard_selected", ACTION_CHECKBOX_NAME: [delayed.message_id], "confirmed": "yes"}

    admin.post(url("delayedmessage_changelist"), form)

    assert MessageRecord.objects.get().state == "discarded"


def test_all_pages_of_a_list_are_never_done_by_a_tick(admin: Client, broker: DatabaseBroker, dead: list[str]) -> None:
    form = {"action": "requeue_selected", ACTION_CHECKBOX_NAME: dead[:1], "confirmed": "yes", "select_across": "1"}

    admin.post(url("deadletter_changelist"), form)

    assert MessageRecord.objects.filter(state="dead").count() == 2


def test_running_messages_say_where_and_for_how_long(admin: Client, broker: DatabaseBroker) -> None:
    record("m", state="running", started_at=timezone.now() - timedelta(seconds=65), worker="host-1")

    page = admin.get(url("runningmessage_changelist")).text

    assert "host-1" in page
    assert "1 min 5 s" in page


def test_workers_show_what_they_run(admin: Client, broker: DatabaseBroker) -> None:
    now = timezone.now()
    since = int((now - timedelta(minutes=3)).timestamp() * 1000)
    WorkerProcess.objects.create(
        worker_id="w1",
        hostname="host",
        heartbeat_at=now,
        threads=8,
        rss_bytes=50 * 2**20,
        current=[{"message_id": "m1", "queue_name": "shop", "since": since}],
    )
    WorkerProcess.objects.create(worker_id="w2", heartbeat_at=now - timedelta(minutes=5))

    page = admin.get(url("workerprocess_changelist"))

    first, second = page.context["workers"]
    assert (first["state"], first["busy"], first["memory"]) == ("alive", "1 / 8", "50 MiB")
    assert first["current"][0]["since"] == "3 min ago"
    assert second["state"] == "stale"


def test_queues_show_what_they_hold(admin: Client, broker: DatabaseBroker) -> None:
    broker.enqueue_many(charges(broker, 3))

    [shop] = [row for row in admin.get(url("queuestate_changelist")).context["queues"] if row["name"] == "shop"]

    assert (shop["ready"], shop["dead"], shop["consumers"], shop["level"]) == ("3", "0", "0", "warning")


def test_the_outbox_shows_no_payload(admin: Client, broker: DatabaseBroker) -> None:
    WaitingMessage.objects.create(
        message_id="m1", queue_name="shop", kind="commit", payload=b"secret", due_at=NOW, created_at=NOW
    )

    page = admin.get(url("waitingmessage_changelist")).text

    assert "m1" in page
    assert "6 bytes" in page
    assert "secret" not in page


@pytest.mark.parametrize(
    "query", ["waitingmessage payload__contains", "waitingmessage payload__gt", "bulkoperation filters__contains"]
)
def test_nobody_can_guess_what_is_not_shown_by_asking_for_it(query: str, admin: Client, broker: DatabaseBroker) -> None:
    page, lookup = query.split()

    assert admin.get(url(f"{page}_changelist"), {lookup: "s"}).status_code == 400


def test_what_waits_in_the_room_is_not_in_the_outbox(admin: Client, broker: DatabaseBroker) -> None:
    for kind in ("delay", "retry", "parked", "dead"):
        WaitingMessage.objects.create(
            message_id=f"waits-{kind}", queue_name="shop", kind=kind, payload=b"", due_at=NOW, created_at=NOW
        )

    assert "waits-" not in admin.get(url("waitingmessage_changelist")).text


# Mutexes


@pytest.fixture
def token(broker: DatabaseBroker) -> int:
    """Somebody's lease of the key ``shop/1``."""
    token = DatabaseBackend().acquire("shop/1", Owner("worker-1", "message-1"), 2, 60_000)
    assert token is not None
    return token


def test_mutexes_show_who_holds_them(admin: Client, token: int) -> None:
    [row] = admin.get(url("ratelimitmutex_changelist")).context["holders"]

    assert (row["key"], row["message"], row["worker"], row["limit"]) == ("shop/1", "message-1", "worker-1", "2")
    assert row["release_url"] == url("ratelimitmutex_release", "shop/1") + f"?token={token}"


def test_one_holder_is_released_by_force_after_a_question(admin: Client, token: int) -> None:
    backend = DatabaseBackend()
    other = backend.acquire("shop/1", Owner("worker-2", "message-2"), 2, 60_000)
    address = url("ratelimitmutex_release", "shop/1") + f"?token={token}"

    assert "worker-1" in admin.get(address).text
    assert len(backend.inspect()) == 2

    answer = admin.post(address, follow=True)

    assert "1 lease was released." in answer.text
    assert [held.holder.token for held in backend.inspect()] == [other]
    assert LogEntry.objects.get().get_change_message() == "Released by force."
    assert "Nobody holds it any more." in admin.post(address, follow=True).text
    assert LogEntry.objects.count() == 1


def test_who_is_parked_on_what_is_released_by_force_is_called(admin: Client, broker: DatabaseBroker) -> None:
    token = DatabaseBackend().acquire("concurrency charge", Owner("worker-1", "message-1"), 1, 60_000)
    broker.enqueue_many(charges(broker, 1))
    consumer = broker.consume(WorkerInfo("worker-2"))
    [delivery] = consumer.exchange([], 1).deliveries
    consumer.exchange([Settlement(delivery, Parked("concurrency charge", 60_000))], 0)
    assert not broker.peek("shop")

    admin.post(url("ratelimitmutex_release", "concurrency charge") + f"?token={token}")

    assert [waiting.message_id for waiting in broker.peek("shop")] == [delivery.message_id]
    consumer.close()


def test_releasing_needs_a_holder(admin: Client, token: int) -> None:
    address = url("ratelimitmutex_release", "shop/1")

    for wrong in ("", "?token=", "?token=x", "?token=-1", "?token=" + "9" * 30, "?token=²"):
        assert admin.post(address + wrong).status_code == 404
    assert len(DatabaseBackend().inspect()) == 1


# What cannot be used


@pytest.mark.parametrize("page", sorted(name for name, page in MATRIX.items() if page.get and not page.argument))
def test_settings_that_cannot_be_used_are_explained_to_who_may_see_the_page(
    page: str, log_in: Callable[[str], Client]
) -> None:
    viewer, stranger = log_in("superuser"), log_in("staff")
    set_broker(UnusableBroker(WrongSetting("BROKER_URL begins with 'foo://'")))  # type: ignore[arg-type]

    answer = viewer.get(url(page))

    assert answer.status_code == 503
    assert "BROKER_URL begins with" in answer.text
    assert stranger.get(url(page)).status_code == 403


# Records in another database than people


def test_the_pages_work_with_records_in_another_database(
    log_in: Callable[[str], Client], broker: DatabaseBroker
) -> None:
    elsewhere = DatabaseBroker(using="postgresql")
    set_broker(elsewhere)
    actor(lambda order: None, actor_name="charge", broker=elsewhere, queue_name="shop")
    ids = bury(elsewhere, charges(elsewhere, 3))
    client = log_in("superuser")

    for name, page in MATRIX.items():
        if page.get and page.argument in ("", "message"):
            arguments = (ids[0],) if page.argument else ()
            assert client.get(url(name, *arguments)).status_code in (200, 302), name
    client.post(url("messagerecord_requeue", ids[0]))
    client.post(url("messagerecord_edit", ids[1]), {"args": "[5]", "kwargs": "{}"})
    client.post(url("deadletter_requeue_everything"), {"filter": "{}"})
    operation = BulkOperation.objects.using("postgresql").get()
    client.post(url("bulkoperation_step", operation.pk))

    found = MessageRecord.objects.using("postgresql")
    assert sorted(found.values_list("state", flat=True)) == ["discarded", "enqueued", "enqueued", "enqueued"]
    assert LogEntry.objects.count() == 3
    operation.delete()
    elsewhere.close()


# Another site


@pytest.fixture
def other_site() -> Iterator[str]:
    """The address of an AdminSite that is not Django's own."""
    site = AdminSite(name="operations")
    register(site)
    urls = ModuleType("urls_of_another_site")
    urls.urlpatterns = [path("back-office/", site.urls)]  # type: ignore[attr-defined]
    with override_settings(ROOT_URLCONF=urls):
        yield "/back-office/django_tasks_q/"


def test_the_pages_work_on_any_admin_site(
    admin: Client, broker: DatabaseBroker, dead_letter: str, other_site: str
) -> None:
    for page in ("overview", "messagerecord", "deadletter", "queuestate", "workerprocess", "ratelimitmutex"):
        answer = admin.get(f"{other_site}{page}/")
        assert answer.status_code == 200
        assert "/back-office/" in answer.text
        assert 'href="/admin/' not in answer.text

    page = f"{other_site}messagerecord/{dead_letter}/"
    assert f'href="{page}requeue/"' in admin.get(f"{page}change/").text
    assert admin.post(f"{page}requeue/").url == f"{page}change/"
    assert MessageRecord.objects.get(pk=dead_letter).state == "enqueued"


# Without tables


@pytest.mark.parametrize(
    ("table", "pages"),
    [
        (
            "messagerecord",
            ["overview_changelist", "overview_data", "messagerecord_changelist", "deadletter_changelist"],
        ),
        ("queuestate", ["overview_changelist", "messagerecord_changelist", "queuestate_changelist"]),
        ("workerprocess", ["overview_changelist", "workerprocess_changelist"]),
        ("bulkoperation", ["bulkoperation_changelist"]),
        ("waitingmessage", ["waitingmessage_changelist"]),
    ],
)
def test_a_missing_table_is_explained_with_the_next_step(table: str, pages: list[str], admin: Client) -> None:
    rename = "ALTER TABLE {} RENAME TO {}"
    names = [f"django_tasks_q_{table}", "not_migrated"]
    connection.cursor().execute(rename.format(*names))
    try:
        answers = {page: admin.get(url(page)) for page in pages}
    finally:
        connection.cursor().execute(rename.format(*reversed(names)))

    for page, answer in answers.items():
        assert answer.status_code == 503, page
        assert "manage.py migrate" in answer.text, page
