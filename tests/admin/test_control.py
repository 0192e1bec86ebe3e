"""Calling messages off, lifting it, and letting queues and actors wait, from the admin's pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_tasks_q import Message, lift, pause_actor, pause_queue, revoke
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.dashboard.standing import pauses
from django_tasks_q.models import (
    ActorState,
    BulkOperation,
    MessageRecord,
    QueueState,
    Revocation,
    Stamp,
    WorkerProcess,
)
from django_tasks_q.operations import batches
from django_tasks_q.operations.batches import batch
from django_tasks_q.rules import Rules, control_store
from tests.admin.conftest import charges
from tests.admin.pages import url
from tests.support.dead_letters import bury

BATCH = "batch=a=b"
"""Only the first sign divides the name from the value."""


def stamped(broker: DatabaseBroker, count: int) -> list[Message[None]]:
    charge = broker.actors["charge"]
    return [charge.message_with_options(args=(number,), stamps={"batch": "a=b"}) for number in range(count)]


def waiting(broker: DatabaseBroker, count: int) -> list[str]:
    return [message.message_id for message in broker.enqueue_many(stamped(broker, count))]


def states(ids: list[str]) -> list[str]:
    known = dict(MessageRecord.objects.filter(pk__in=ids).values_list("pk", "state"))
    return [known[one] for one in ids]


def told(page: object) -> list[str]:
    return [str(message) for message in page.context["messages"]]  # type: ignore[attr-defined]


def rules(broker: DatabaseBroker) -> Rules:
    """What workers would obey."""
    store = control_store(broker)
    assert store is not None
    return store.rules()


# Messages


@pytest.mark.parametrize(("page", "terminate"), [("revoke", False), ("terminate", True)])
def test_a_message_is_revoked_after_a_question_that_changes_nothing(
    page: str, terminate: bool, admin: Client, broker: DatabaseBroker
) -> None:
    ids = waiting(broker, 2)
    address = url(f"messagerecord_{page}", ids[0])

    question = admin.get(address)

    assert question.context["counts"] == [("enqueued", "1")]
    assert not Revocation.objects.exists() and states(ids) == ["enqueued", "enqueued"]

    assert admin.post(address).status_code == 302

    assert states(ids) == ["revoked", "enqueued"]
    row = Revocation.objects.get()
    assert (row.conditions, row.terminate, row.created_by) == ({"ids": [ids[0]]}, terminate, "superuser")
    assert LogEntry.objects.get(object_id=ids[0]).user.username == "superuser"
    shown = admin.get(url("messagerecord_change", ids[0]))
    assert shown.context["revocation"] == (f"#{row.pk}", url("revocation_change", row.pk))
    assert shown.context["buttons"] == []
    MessageRecord.objects.filter(pk=ids[0]).update(error_message=f"Revocation {row.pk} by ada: a mistake")
    assert admin.get(url("messagerecord_change", ids[0])).context["revocation"] == shown.context["revocation"]


def test_ticked_messages_are_revoked_and_those_that_have_ended_are_skipped(
    admin: Client, broker: DatabaseBroker
) -> None:
    dead = bury(broker, charges(broker, 1))
    ids = waiting(broker, 2)
    form = {"action": "revoke_selected", ACTION_CHECKBOX_NAME: [*ids, *dead]}

    question = admin.post(url("messagerecord_changelist"), form)
    assert question.context["counts"] == [("enqueued", "2")]
    page = admin.post(url("messagerecord_changelist"), {**form, "confirmed": "yes"}, follow=True)

    assert states([*ids, *dead]) == ["revoked", "revoked", "dead"]
    assert told(page)[0] == "2 messages were revoked."
    assert "1 message was skipped" in told(page)[1]
    assert set(Revocation.objects.get().conditions["ids"]) == set(ids)
    assert LogEntry.objects.count() == 2


def test_nothing_is_kept_of_a_revocation_that_is_about_nothing(admin: Client, dead_letter: str) -> None:
    admin.post(url("messagerecord_revoke", dead_letter))

    assert not Revocation.objects.exists()
    assert states([dead_letter]) == ["dead"]


@pytest.mark.parametrize("action", ["revoke_selected", "terminate_selected"])
@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("discarder", 403), ("controller", 302)])
def test_ticked_messages_are_revoked_by_those_who_may(
    action: str, role: str, status: int, log_in: Callable[[str], Client], broker: DatabaseBroker
) -> None:
    ids = waiting(broker, 1)
    form = {"action": action, ACTION_CHECKBOX_NAME: ids, "confirmed": "yes"}

    assert log_in(role).post(url("messagerecord_changelist"), form).status_code == status
    assert states(ids) == ["revoked" if status == 302 else "enqueued"]
    assert [row.created_by for row in Revocation.objects.all()] == ([role] if status == 302 else [])


def test_workers_that_do_not_know_it_yet_are_named(admin: Client, broker: DatabaseBroker) -> None:
    [message_id] = waiting(broker, 1)
    WorkerProcess.objects.create(worker_id="far away", heartbeat_at=timezone.now())

    page = admin.post(url("messagerecord_revoke", message_id), follow=True)

    assert any("far away" in text for text in told(page))


# Stamps


def test_stamps_of_a_message_lead_to_their_batches(admin: Client, broker: DatabaseBroker) -> None:
    [message_id] = waiting(broker, 1)

    [(stamp, address)] = admin.get(url("messagerecord_change", message_id)).context["stamps"]

    assert stamp == BATCH
    assert admin.get(address).context["stamp"] == BATCH


@pytest.mark.parametrize("list", ["messagerecord", "deadletter"])
def test_lists_are_filtered_by_a_stamp(list: str, admin: Client, broker: DatabaseBroker) -> None:
    ids = bury(broker, stamped(broker, 2))
    bury(broker, charges(broker, 2))

    page = admin.get(url(f"{list}_changelist"), {"stamp": BATCH})

    assert {record.pk for record in page.context["cl"].result_list} == set(ids)
    assert url("stamp_batch") + "?stamp=batch%3Da%3Db" in page.text
    assert f'value="{BATCH}"' in page.text


@pytest.mark.parametrize("wrong", ["batch", "=7", "my batch=7", "batch="])
def test_what_cannot_be_a_stamp_is_told_and_finds_nothing(
    wrong: str, admin: Client, broker: DatabaseBroker, dead: list[str]
) -> None:
    page = admin.get(url("messagerecord_changelist"), {"stamp": wrong})

    assert told(page)[0].startswith("That cannot be a stamp:")
    assert list(page.context["cl"].result_list) == []
    assert 'aria-invalid="true"' in page.text
    assert 'aria-invalid="true"' in admin.get(url("stamp_batch"), {"stamp": wrong}).text


def test_everything_dead_of_a_batch_is_requeued(admin: Client, broker: DatabaseBroker) -> None:
    ids = bury(broker, stamped(broker, 3))
    others = bury(broker, charges(broker, 2))
    buttons = admin.get(url("stamp_batch"), {"stamp": BATCH}).context["buttons"]
    address = next(button["url"] for button in buttons if button["name"] == "requeue")

    question = admin.get(address)
    admin.post(address, {name: question.context[name] for name in ("filter", "asked_at")})
    admin.post(url("bulkoperation_step", BulkOperation.objects.get().pk))

    assert question.context["count"] == "3"
    assert states([*ids, *others]) == ["enqueued"] * 3 + ["dead"] * 2


# Batches


def test_a_batch_says_how_far_it_is(admin: Client, broker: DatabaseBroker) -> None:
    dead = bury(broker, stamped(broker, 2))
    ids = waiting(broker, 6)
    now = timezone.now()
    MessageRecord.objects.filter(pk__in=ids[:2]).update(state="succeeded", finished_at=now)
    MessageRecord.objects.filter(pk__in=ids[2:3]).update(state="succeeded", finished_at=now - timedelta(minutes=3))
    MessageRecord.objects.filter(pk__in=dead).update(finished_at=now - timedelta(hours=1), error_message="<no order>")

    page = admin.get(url("stamp_batch"), {"stamp": BATCH})

    found = page.context["batch"]
    assert (found.counts, found.total) == ({"enqueued": 3, "succeeded": 3, "dead": 2}, 8)
    assert (found.last_minute, found.last_five_minutes, found.percent, found.is_whole) == (2, 3, 62, True)
    assert 'value="62"' in page.text
    assert page.context["words"]["summary"] == "5 of 8 messages have ended."
    assert {row["url"] for row in page.context["failures"]} == {url("messagerecord_change", one) for one in dead}
    assert all("&lt;no order&gt;" in page.text for _row in page.context["failures"])


def test_of_a_large_batch_the_newest_are_counted_until_somebody_wants_all(
    admin: Client, broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "STRETCH", 4)
    waiting(broker, 9)

    page = admin.get(url("stamp_batch"), {"stamp": BATCH})
    found = page.context["batch"]
    assert (found.seen, found.total, found.is_whole) == (4, 9, False)

    found = admin.get(page.context["whole_url"]).context["batch"]
    assert (found.seen, found.total, found.is_whole) == (9, 9, True)


def test_a_batch_asks_few_questions_and_its_index(admin: Client, broker: DatabaseBroker) -> None:
    bury(broker, stamped(broker, 30))
    waiting(broker, 30)
    for _ in range(5):
        revoke(stamps={"batch": "other"})

    with CaptureQueriesContext(connection) as captured:
        admin.get(url("stamp_batch"), {"stamp": BATCH})

    assert len(captured) <= 14
    plan = broker.database.rows(
        "EXPLAIN QUERY PLAN SELECT message_id FROM django_tasks_q_stamp WHERE name = ? AND value = ? "
        "ORDER BY message_id DESC LIMIT 10",
        ("batch", "a=b"),
    )
    assert "COVERING INDEX dtq_stamp_value" in str(plan) and "TEMP B-TREE" not in str(plan)


def test_stamps_that_were_used_lately_are_named(admin: Client, broker: DatabaseBroker) -> None:
    waiting(broker, 3)

    assert [stamp for stamp, _url in admin.get(url("stamp_changelist")).context["stamps"]] == [BATCH]
    assert "No recorded message carries it." in admin.get(url("stamp_batch"), {"stamp": "batch=none"}).text


def test_a_batch_shows_what_was_said_about_it(admin: Client, broker: DatabaseBroker) -> None:
    alone = revoke(stamps={"batch": "a=b"})
    among = revoke(stamps={"batch": ["x", "a=b"]}, actor="charge", match="all")
    revoke(stamps={"batch": "another"})
    lift(alone)

    rows = admin.get(url("stamp_batch"), {"stamp": BATCH}).context["revocations"]

    assert [(row["number"], row["state"]) for row in rows] == [(str(among.id), "holds"), (str(alone.id), "lifted")]
    assert [bool(row["lift_url"]) for row in rows] == [True, False]


# Revocations


@pytest.mark.parametrize(("button", "terminate"), [("revoke", False), ("terminate", True)])
def test_a_batch_is_revoked_after_a_question_with_its_counts(
    button: str, terminate: bool, admin: Client, broker: DatabaseBroker
) -> None:
    ids = waiting(broker, 3)
    buttons = admin.get(url("stamp_batch"), {"stamp": BATCH}).context["buttons"]
    address = next(one["url"] for one in buttons if one["name"] == button)

    question = admin.get(address)
    assert question.context["counts"] == [("enqueued", "3")]
    assert not Revocation.objects.exists()

    form = dict(question.context["hidden"])
    for _ in range(2):  # a form that is sent twice acts once
        page = admin.post(url("revocation_new"), form, follow=True)

    row = Revocation.objects.get()
    assert (row.target, row.name, row.value, row.terminate) == ("stamp", "batch", "a=b", terminate)
    assert (row.created_by, row.counts) == ("superuser", {"enqueued": 3})
    assert states(ids) == ["revoked"] * 3
    assert page.context["counts"] == [("enqueued", "3")]
    assert LogEntry.objects.get().get_change_message() == "Revoked."
    assert [rule.id for rule in rules(broker).rules] == [row.pk]


def test_the_form_asks_before_it_revokes_and_says_what_is_wrong(admin: Client, broker: DatabaseBroker) -> None:
    ids = waiting(broker, 2)
    address = url("revocation_new")

    def errors(**form: str) -> str:
        return str(admin.post(address, {"expires": "week", **form}).context["form"].errors)

    assert "Say which messages" in errors()
    assert "name=value is wanted" in errors(stamp="batch")
    assert "say match=" in errors(stamp=BATCH, actor="charge")
    assert "1 to 64 printable characters" in errors(ids="x" * 65)
    assert "future= is for actor= and queue=" in errors(ids="x", future="on")
    assert "expires" in errors(stamp=BATCH, expires="soon")

    form = {"ids": f"{ids[0]}\r\n\r\n {ids[1]} ", "reason": "a mistake", "expires": "never"}
    question = admin.post(address, form)
    assert question.context["counts"] == [("enqueued", "2")]
    assert not Revocation.objects.exists()
    admin.post(address, dict(question.context["hidden"]))

    row = Revocation.objects.get()
    assert (set(row.conditions["ids"]), row.reason, row.expires_at) == (set(ids), "a mistake", None)
    assert states(ids) == ["revoked", "revoked"]


def test_the_list_says_what_holds(admin: Client, broker: DatabaseBroker) -> None:
    lifted = revoke(queue="shop", reason="by mistake", by="ada")
    lift(lifted)
    revoke(actor="charge", terminate=True)
    expired = revoke(stamps={"batch": 7})
    Revocation.objects.filter(pk=expired.id).update(expires_at=timezone.now() - timedelta(seconds=1))

    page = admin.get(url("revocation_changelist"))

    texts = [page.text.index(text) for text in ("stamp batch=7", "actor charge", "queue shop")]
    assert texts == sorted(texts)
    for text in ('data-state="expired"', 'data-state="holds"', 'data-state="lifted"', "by mistake", "ada"):
        assert text in page.text


def test_lifting_asks_is_logged_and_happens_once(admin: Client, broker: DatabaseBroker) -> None:
    number = revoke(stamps={"batch": "a=b"}).id
    address = url("revocation_lift", number)

    assert admin.get(address).status_code == 200
    assert Revocation.objects.get().lifted_at is None
    first = admin.post(address, follow=True)
    second = admin.post(address, follow=True)

    assert Revocation.objects.get().lifted_at is not None
    assert told(first) == [f"Revocation #{number} was lifted."]
    assert told(second) == ["It does not hold any more."]
    assert LogEntry.objects.get().get_change_message() == "Lifted."
    assert rules(broker).rules == ()


def test_a_viewer_is_offered_nothing(log_in: Callable[[str], Client], broker: DatabaseBroker) -> None:
    waiting(broker, 1)
    bury(broker, stamped(broker, 1))
    number = revoke(stamps={"other": 1}).id
    client = log_in("viewer")

    assert client.get(url("stamp_batch"), {"stamp": BATCH}).context["buttons"] == []
    assert client.get(url("revocation_changelist")).context["tools"] == []
    assert client.get(url("revocation_change", number)).context["row"]["lift_url"] == ""
    assert not any(row["links"] for row in client.get(url("queuestate_changelist")).context["queues"])
    assert not any(row["links"] for row in client.get(url("actorstate_changelist")).context["actors"])


# Queues and actors


def links(page: object, rows: str, name: str) -> list[str]:
    return [link["name"] for row in page.context[rows] if row["name"] == name for link in row["links"]]  # type: ignore[attr-defined]


def test_a_queue_is_paused_and_resumed(admin: Client, broker: DatabaseBroker) -> None:
    assert admin.get(url("queuestate_pause", "shop")).status_code == 200
    assert not QueueState.objects.exclude(paused_at=None).exists()

    paused = admin.post(url("queuestate_pause", "shop"), follow=True)
    assert told(paused) == ["Queue “shop” is paused."]
    assert links(paused, "queues", "shop") == ["resume", "purge"]
    assert "paused, 0 s ago" in paused.text
    assert any("“shop” is paused since" in one["text"] for one in admin.get(url("overview_data")).json()["warnings"])
    assert told(admin.post(url("queuestate_pause", "shop"), follow=True)) == ["It is paused already."]
    assert rules(broker).paused_queues == {"shop"}

    resumed = admin.post(url("queuestate_resume", "shop"), follow=True)
    assert told(resumed) == ["Queue “shop” goes on."]
    assert links(resumed, "queues", "shop") == ["pause", "purge"]
    assert rules(broker).paused_queues == set()
    assert [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")] == ["Paused.", "Resumed."]


def test_a_queue_is_purged_after_its_counts_were_shown(admin: Client, broker: DatabaseBroker) -> None:
    dead = bury(broker, charges(broker, 2))
    ids = waiting(broker, 3)
    address = url("queuestate_purge", "shop")

    assert admin.get(address).context["question"].counts == [("Ready", "3"), ("Delayed", "0"), ("Dead", "2")]
    assert states(ids) == ["enqueued"] * 3
    admin.post(address)

    assert states([*ids, *dead]) == ["discarded"] * 5
    assert LogEntry.objects.get().get_change_message() == "Purged."


def test_an_actor_is_paused_and_resumed(admin: Client, broker: DatabaseBroker) -> None:
    waiting(broker, 1)
    [row] = [row for row in admin.get(url("actorstate_changelist")).context["actors"] if row["name"] == "charge"]
    assert (row["queue"], row["waiting"], row["running"], row["dead"]) == ("shop", "1", "0", "0")

    paused = admin.post(url("actorstate_pause", "charge"), follow=True)
    assert links(paused, "actors", "charge") == ["resume"]
    assert rules(broker).paused_actors == {"charge"}

    resumed = admin.post(url("actorstate_resume", "charge"), follow=True)
    assert links(resumed, "actors", "charge") == ["pause"]
    assert rules(broker).paused_actors == set()


def test_what_this_process_does_not_declare_is_shown_and_left_alone(admin: Client, broker: DatabaseBroker) -> None:
    now = timezone.now()
    QueueState.objects.create(queue_name="elsewhere", paused_at=now, sampled_at=now)
    ActorState.objects.create(actor_name="elsewhere", paused_at=now)
    pause_queue("shop")
    pause_actor("charge")

    assert links(admin.get(url("queuestate_changelist")), "queues", "elsewhere") == []
    assert links(admin.get(url("actorstate_changelist")), "actors", "elsewhere") == []
    for name in ("queuestate_pause", "queuestate_purge", "actorstate_resume"):
        assert admin.post(url(name, "elsewhere")).status_code == 404


@pytest.mark.parametrize("alias", ["default", "postgresql", "mariadb"])
def test_batches_and_actors_are_counted_on_every_database(alias: str, databases: None) -> None:
    from django_tasks_q import actor, set_broker
    from django_tasks_q.operations.actor_counts import actor_counts

    broker = DatabaseBroker(using=alias)
    set_broker(broker)
    actor(lambda order: None, actor_name="charge", broker=broker, queue_name="shop")
    bury(broker, stamped(broker, 2))
    broker.enqueue_many(stamped(broker, 3))

    assert batch(BATCH).counts == batch(BATCH, whole=True).counts == {"enqueued": 3, "dead": 2}
    assert batch(BATCH).last_minute == 2
    assert batches.lately() == [BATCH]
    assert actor_counts() == ({"charge": {"enqueued": 3, "dead": 2}}, set())
    assert Stamp.objects.using(alias).count() == 5
    pause_queue("shop")
    pause_actor("charge")
    paused = pauses()
    assert (list(paused.queues), list(paused.actors)) == (["shop"], ["charge"])
    assert abs(paused.at - paused.queues["shop"]) < timedelta(minutes=1)
    for model in (QueueState, ActorState):
        model.objects.using(alias).all().delete()
    broker.close()
