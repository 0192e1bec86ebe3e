"""The page of schedules: what people see of them, and what they may do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from django_tasks_q import actor
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.models import MessageRecord, ScheduleEntry, ScheduleRun
from tests.admin.pages import url


@pytest.fixture
def entry(broker: DatabaseBroker) -> ScheduleEntry:
    """One that a scheduler has seen, of an actor that the code still has."""
    actor(lambda: None, actor_name="tick", broker=broker, schedule=timedelta(hours=1))
    now = timezone.now()
    return ScheduleEntry.objects.create(
        name="tick",
        actor_name="tick",
        spec="every 1:00:00",
        time_zone="Europe/Berlin",
        catch_up="once",
        next_at=now,
        declared_at=now,
    )


def told(client: Client) -> str:
    """What the list says on top, once."""
    return " ".join(str(message) for message in client.get(url("scheduleentry_changelist")).context["messages"])


def test_the_list_shows_when_each_runs_next_and_ran_last(admin: Client, entry: ScheduleEntry) -> None:
    ScheduleEntry.objects.filter(pk="tick").update(last_at=timezone.now())
    for hours, message_id in ((2, "older"), (1, "newest")):
        at = timezone.now() - timedelta(hours=hours)
        ScheduleRun.objects.create(entry=entry, slot=at, message_id=message_id, created_at=at)
    ScheduleEntry.objects.create(name="idle", actor_name="tick", enabled=False, declared_at=timezone.now())

    idle, tick = admin.get(url("scheduleentry_changelist")).context["entries"]

    assert (tick["name"], tick["spec"], tick["time_zone"], tick["enabled"]) == (
        "tick",
        "every 1:00:00",
        "Europe/Berlin",
        True,
    )
    assert tick["next"] != "–" and tick["last"] != "–"
    assert tick["message_url"] == url("messagerecord_change", "newest")
    assert (idle["next"], idle["last"], idle["message_url"], idle["enabled"]) == ("–", "–", "", False)


def test_without_any_the_list_says_where_they_come_from(admin: Client) -> None:
    assert b"notes those that the code declares" in admin.get(url("scheduleentry_changelist")).content


def test_a_name_that_is_hostile_is_shown_and_not_run(admin: Client) -> None:
    name = "<script>alert('ü')</script>/.."
    ScheduleEntry.objects.create(name=name, actor_name=name, spec=name, declared_at=timezone.now())

    page = admin.get(url("scheduleentry_changelist")).content.decode()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert admin.post(url("scheduleentry_disable", name)).status_code == 302
    assert not ScheduleEntry.objects.get().enabled


def test_disabling_and_enabling_is_done_once_told_and_logged(
    log_in: Callable[[str], Client], entry: ScheduleEntry
) -> None:
    client = log_in("controller")

    client.post(url("scheduleentry_disable", "tick"))
    assert "tick is disabled." in told(client)
    client.post(url("scheduleentry_disable", "tick"))
    assert "nothing was changed" in told(client)
    disabled = ScheduleEntry.objects.get()
    assert (disabled.enabled, disabled.next_at) == (False, None)
    client.post(url("scheduleentry_enable", "tick"))

    enabled = ScheduleEntry.objects.get()
    assert (enabled.enabled, enabled.next_at) == (True, None), "the scheduler knows when it is next"
    log = LogEntry.objects.order_by("id").values_list("user__username", "object_repr", "change_message")
    assert list(log) == [("controller", "tick", "Disabled."), ("controller", "tick", "Enabled.")]


def test_run_now_sends_a_message_at_once_and_leaves_the_next_slot(
    log_in: Callable[[str], Client], entry: ScheduleEntry
) -> None:
    client = log_in("controller")

    client.post(url("scheduleentry_run", "tick"))

    assert "tick is on its way." in told(client)
    record, run = MessageRecord.objects.get(), ScheduleRun.objects.get()
    assert (record.actor_name, record.state, record.options) == ("tick", "enqueued", {"scheduled_by": "tick"})
    assert run.message_id == record.message_id
    after = ScheduleEntry.objects.get()
    assert after.next_at == entry.next_at and after.last_at == run.slot
    assert LogEntry.objects.get().change_message == "Run now."
    page = client.get(url("messagerecord_change", record.message_id)).content.decode()
    assert "scheduled_by" in page


def test_what_the_code_of_the_page_does_not_have_cannot_be_run(admin: Client, broker: DatabaseBroker) -> None:
    ScheduleEntry.objects.create(name="newer", actor_name="os.system", spec="* * * * *", declared_at=timezone.now())

    admin.post(url("scheduleentry_run", "newer"))

    assert "does not have this schedule" in told(admin)
    assert not MessageRecord.objects.exists() and not LogEntry.objects.exists()


def test_what_the_actor_refuses_is_told_and_nothing_is_written(
    admin: Client, entry: ScheduleEntry, broker: DatabaseBroker
) -> None:
    broker.max_message_bytes = 10

    admin.post(url("scheduleentry_run", "tick"))

    assert "MAX_MESSAGE_BYTES" in told(admin)
    assert not ScheduleRun.objects.exists() and not LogEntry.objects.exists()
    assert ScheduleEntry.objects.get().last_at is None


@pytest.mark.parametrize("page", ["enable", "disable", "run"])
def test_what_is_not_there_is_not_found(admin: Client, page: str) -> None:
    assert admin.post(url(f"scheduleentry_{page}", "nobody")).status_code == 404
