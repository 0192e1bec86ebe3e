"""Everything that a filter matches: asked, begun once, carried on in steps by whoever may."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connections
from django.test import Client

from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.dashboard import bulk_pages
from django_tasks_q.errors import BrokerConnectionError
from django_tasks_q.models import BulkOperation, MessageRecord
from tests.admin.conftest import charges
from tests.admin.pages import url
from tests.support.dead_letters import bury

REQUEUE = "deadletter_requeue_everything"
JSON = {"headers": {"accept": "application/json"}}


def states() -> list[str]:
    return sorted(MessageRecord.objects.values_list("state", flat=True))


def question(admin: Client, address: str) -> dict[str, Any]:
    """What the form of the question sends when somebody confirms it."""
    page = admin.get(address)
    return {name: page.context[name] for name in ("filter", "asked_at")}


def test_everything_that_matches_is_requeued_in_steps(admin: Client, broker: DatabaseBroker, dead: list[str]) -> None:
    others = bury(broker, charges(broker, 2), reason="age_limit")
    address = url(REQUEUE) + "?dead_reason=retries_exhausted"
    asked = admin.get(address)
    assert asked.context["count"] == "3"
    assert asked.context["conditions"] == [("Reason of death", "retries_exhausted")]

    begun = admin.post(address, question(admin, address))

    operation = BulkOperation.objects.get()
    assert begun.url == url("bulkoperation_change", operation.pk) + "?run"
    assert (operation.action, operation.started_by, operation.total) == ("requeue", "superuser", 3)
    assert states() == ["dead"] * 5

    told = admin.post(url("bulkoperation_step", operation.pk), **JSON).json()

    assert told == {"finished": True, "percent": 100, "summary": "3 done, 0 skipped"}
    assert states() == ["dead"] * 2 + ["enqueued"] * 3
    assert set(MessageRecord.objects.filter(state="dead").values_list("pk", flat=True)) == set(others)


def test_without_a_script_a_button_does_a_step(admin: Client, dead: list[str]) -> None:
    admin.post(url(REQUEUE), question(admin, url(REQUEUE)))
    operation = BulkOperation.objects.get()
    page = admin.get(url("bulkoperation_change", operation.pk))
    assert 'id="dtq-step"' in page.text

    after = admin.post(url("bulkoperation_step", operation.pk), follow=True)

    assert "3 done, 0 skipped" in after.text
    assert 'id="dtq-step"' not in after.text


def test_discarding_everything_says_that_it_cannot_be_undone(admin: Client, dead: list[str]) -> None:
    address = url("deadletter_discard_everything")
    assert "cannot be undone" in admin.get(address).text

    admin.post(address, question(admin, address))
    admin.post(url("bulkoperation_step", BulkOperation.objects.get().pk))

    assert states() == ["discarded"] * 3


def test_one_operation_is_logged_once_however_many_messages_it_meets(admin: Client, dead: list[str]) -> None:
    admin.post(url(REQUEUE), question(admin, url(REQUEUE)))
    operation = BulkOperation.objects.get()
    admin.post(url("bulkoperation_step", operation.pk))

    entry = LogEntry.objects.get()
    assert entry.object_id == str(operation.pk)
    assert entry.get_admin_url() == url("bulkoperation_change", operation.pk)


def test_the_same_form_sent_twice_begins_one_operation(admin: Client, dead: list[str]) -> None:
    form = question(admin, url(REQUEUE))

    first, second = admin.post(url(REQUEUE), form), admin.post(url(REQUEUE), form)

    assert first.url == second.url
    assert (BulkOperation.objects.count(), LogEntry.objects.count()) == (1, 1)


def test_the_same_form_sent_twice_at_once_begins_one_operation(
    log_in: Callable[[str], Client], dead: list[str]
) -> None:
    clients = [log_in("superuser") for _ in range(4)]
    form = question(clients[0], url(REQUEUE))
    ready = threading.Barrier(len(clients))
    answers: list[str] = []

    def send(client: Client) -> None:
        ready.wait()
        answers.append(client.post(url(REQUEUE), form).url)
        connections.close_all()

    threads = [threading.Thread(target=send, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 4
    assert len(set(answers)) == 1
    assert (BulkOperation.objects.count(), LogEntry.objects.count()) == (1, 1)


def test_asking_again_begins_another_operation(admin: Client, dead: list[str]) -> None:
    for _ in range(2):
        admin.post(url(REQUEUE), question(admin, url(REQUEUE)))

    assert BulkOperation.objects.count() == 2


def test_trouble_with_the_broker_is_told_and_the_operation_goes_on_later(
    admin: Client, dead: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.post(url(REQUEUE), question(admin, url(REQUEUE)))
    step = url("bulkoperation_step", BulkOperation.objects.get().pk)

    def away(operation_id: int) -> BulkOperation:
        raise BrokerConnectionError("nobody there")

    with monkeypatch.context() as patch:
        patch.setattr(bulk_pages.bulk, "step", away)
        answer = admin.post(step, **JSON)
        page = admin.post(step, follow=True)

    assert (answer.status_code, answer.json()) == (503, {"error": "nobody there"})
    assert "nobody there" in page.text
    assert admin.post(step, **JSON).json()["finished"] is True


@pytest.mark.parametrize("filter", ["[", "[]", '{"colour": "red"}', '{"created_from": "soon"}', "[" * 100_000])
def test_a_filter_that_nobody_asked_about_is_refused(admin: Client, dead: list[str], filter: str) -> None:
    answer = admin.post(url(REQUEUE), {"filter": filter})

    assert answer.status_code == 400
    assert not BulkOperation.objects.exists()


def test_a_filter_never_reaches_what_is_not_dead(admin: Client, broker: DatabaseBroker, dead: list[str]) -> None:
    [waiting] = broker.enqueue_many(charges(broker, 1))
    address = url("deadletter_discard_everything")

    admin.post(address, {"filter": '{"state": "enqueued"}'})
    admin.post(url("bulkoperation_step", BulkOperation.objects.get().pk))

    assert MessageRecord.objects.get(pk=waiting.message_id).state == "enqueued"


def test_the_list_shows_who_did_what_to_what(admin: Client, dead: list[str]) -> None:
    address = url(REQUEUE) + "?actor_name=charge"
    admin.post(address, question(admin, address))

    page = admin.get(url("bulkoperation_changelist")).text

    assert "Requeue #" in page
    assert "Actor: charge" in page
    assert "0 done, 0 skipped of about 3" in page


@pytest.mark.parametrize("asked_at", ["9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00"])
def test_a_question_that_was_asked_beyond_the_calendar_was_asked_now(
    asked_at: str, admin: Client, dead: list[str]
) -> None:
    form = {"filter": "{}", "asked_at": asked_at}

    assert admin.post(url("deadletter_requeue_everything"), form).status_code == 302
