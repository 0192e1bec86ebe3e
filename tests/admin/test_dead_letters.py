"""Dead letters: looked at, requeued, discarded, one, several, or as an edited copy."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.test import Client

from django_tasks_q import PickleEncoder, actor, set_encoder
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.models import MessageRecord, QueuedMessage
from django_tasks_q.operations import repair
from django_tasks_q.recording import Recording
from tests.admin.conftest import charges
from tests.admin.pages import url
from tests.support.dead_letters import bury

LIST = "deadletter_changelist"


def state(message_id: str) -> str:
    return MessageRecord.objects.get(pk=message_id).state


def ticked(ids: list[str], action: str, **more: str) -> dict[str, object]:
    return {"action": action, ACTION_CHECKBOX_NAME: ids, **more}


def test_the_list_has_dead_letters_only(admin: Client, broker: DatabaseBroker, dead: list[str]) -> None:
    [waiting] = broker.enqueue_many(charges(broker, 1))

    page = admin.get(url(LIST))

    assert {record.pk for record in page.context["cl"].result_list} == set(dead)
    assert waiting.message_id not in page.text


def test_the_list_is_filtered_by_reason(admin: Client, dead: list[str]) -> None:
    found = admin.get(url(LIST), {"dead_reason": "retries_exhausted"})
    not_found = admin.get(url(LIST), {"dead_reason": "age_limit"})

    assert len(found.context["cl"].result_list) == 3
    assert len(not_found.context["cl"].result_list) == 0


def test_ticked_ones_are_requeued_after_a_question(admin: Client, dead: list[str]) -> None:
    question = admin.post(url(LIST), ticked(dead[:2], "requeue_selected"))

    assert question.status_code == 200
    assert all(message_id in question.text for message_id in dead[:2])
    assert [state(message_id) for message_id in dead] == ["dead"] * 3

    answer = admin.post(url(LIST), ticked(dead[:2], "requeue_selected", confirmed="yes"), follow=True)

    assert [state(message_id) for message_id in dead] == ["enqueued", "enqueued", "dead"]
    assert "2 messages were requeued." in answer.text
    assert sorted(LogEntry.objects.values_list("object_id", flat=True)) == sorted(dead[:2])


def test_one_is_requeued_from_its_page(admin: Client, dead_letter: str) -> None:
    address = url("messagerecord_requeue", dead_letter)

    assert admin.get(address).status_code == 200
    assert state(dead_letter) == "dead"

    assert admin.post(address).status_code == 302
    assert state(dead_letter) == "enqueued"
    assert LogEntry.objects.get().get_change_message() == "Requeued."


def test_what_nobody_knows_the_end_of_is_requeued_or_crossed_off_after_a_warning(
    admin: Client, broker: DatabaseBroker, dead: list[str]
) -> None:
    unknown, lost, other = dead
    QueuedMessage.objects.all().delete()
    MessageRecord.objects.filter(pk=unknown).update(state="unknown")
    MessageRecord.objects.filter(pk=lost).update(dead_reason="lost")
    for message_id in (unknown, lost):
        page = admin.get(url("messagerecord_change", message_id))
        assert url("messagerecord_requeue", message_id) in page.text
        assert "Nobody knows whether" in admin.get(url("messagerecord_discard", message_id)).text
    assert "Nobody knows whether" not in admin.get(url("messagerecord_requeue", other)).text

    admin.post(url("messagerecord_requeue", unknown))
    admin.post(url("messagerecord_discard", lost))
    answer = admin.post(url("messagerecord_requeue", other), follow=True)

    assert [state(message_id) for message_id in dead] == ["enqueued", "discarded", "dead"]
    assert "not even its record has all of it" in answer.text
    assert [delivery.message_id for delivery in broker.peek("shop")] == [unknown]


def test_one_is_discarded_from_its_page(admin: Client, dead_letter: str) -> None:
    admin.post(url("messagerecord_discard", dead_letter))

    assert state(dead_letter) == "discarded"
    assert LogEntry.objects.get().get_change_message() == "Discarded."


def test_a_second_post_requeues_nothing_and_says_so(admin: Client, dead_letter: str) -> None:
    address = url("messagerecord_requeue", dead_letter)
    admin.post(address)

    again = admin.post(address, follow=True)

    assert "1 message was skipped" in again.text
    assert MessageRecord.objects.get(pk=dead_letter).life == 1
    assert LogEntry.objects.count() == 1


def test_the_page_of_a_message_offers_what_its_state_allows(
    admin: Client, broker: DatabaseBroker, dead_letter: str
) -> None:
    [waiting] = broker.enqueue_many(charges(broker, 1))

    of_dead = admin.get(url("messagerecord_change", dead_letter)).context["buttons"]
    of_waiting = admin.get(url("messagerecord_change", waiting.message_id)).context["buttons"]

    assert [button["name"] for button in of_dead] == ["requeue", "edit", "discard"]
    assert [button["name"] for button in of_waiting] == ["discard", "revoke", "terminate"]


def test_an_edited_copy_takes_the_place_of_the_dead_letter(admin: Client, dead_letter: str) -> None:
    address = url("messagerecord_edit", dead_letter)
    form = admin.get(address).context["form"]
    assert (form.initial["args"], form.initial["kwargs"]) == ("[\n  0\n]", "{}")

    admin.post(address, {"args": "[7]", "kwargs": '{"currency": "CHF"}'})

    copy = MessageRecord.objects.get(parent_id=dead_letter)
    assert (copy.args, copy.kwargs, copy.state) == ([7], {"currency": "CHF"}, "enqueued")
    assert state(dead_letter) == "discarded"
    assert copy.pk in LogEntry.objects.get(object_id=dead_letter).get_change_message()
    assert copy.pk in admin.get(url("messagerecord_change", dead_letter)).text


def test_posting_an_edited_copy_twice_sends_one(admin: Client, dead_letter: str) -> None:
    address = url("messagerecord_edit", dead_letter)
    admin.post(address, {"args": "[7]", "kwargs": "{}"})

    admin.post(address, {"args": "[7]", "kwargs": "{}"})

    assert MessageRecord.objects.filter(parent_id=dead_letter).count() == 1
    assert LogEntry.objects.count() == 1


def errors_of(admin: Client, dead_letter: str, args: str, kwargs: str) -> dict[str, list[str]]:
    page = admin.post(url("messagerecord_edit", dead_letter), {"args": args, "kwargs": kwargs})
    assert page.status_code == 200
    assert state(dead_letter) == "dead"
    return dict(page.context["form"].errors)


def test_what_is_wrong_with_a_copy_is_said_at_its_field(admin: Client, dead_letter: str) -> None:
    assert "line 1, column 2" in errors_of(admin, dead_letter, "[", "{}")["args"][0]
    assert "list is wanted" in errors_of(admin, dead_letter, "{}", "{}")["args"][0]
    assert "object is wanted" in errors_of(admin, dead_letter, "[]", "[]")["kwargs"][0]
    assert "NaN" in errors_of(admin, dead_letter, "[NaN]", "{}")["args"][0]
    assert "twice" in errors_of(admin, dead_letter, "[1]", '{"currency": "A", "currency": "B"}')["kwargs"][0]
    assert "Arguments" not in errors_of(admin, dead_letter, "[" * 100_000, "{}")


def test_a_copy_that_does_not_fit_the_actor_says_what_was_expected_and_what_came(
    admin: Client, dead_letter: str
) -> None:
    [text] = errors_of(admin, dead_letter, "[1]", '{"colour": "red"}')["kwargs"]
    assert "expected (order: 'int', currency: 'str' = 'EUR')" in text
    assert "got (int, colour=…)" in text

    [text] = errors_of(admin, dead_letter, "[1, 2, 3]", "{}")["args"]
    assert "got (int, int, int)" in text


@pytest.mark.parametrize("edited", ["[{}]", '[{"id": ""}]'])
def test_a_copy_of_which_no_key_can_be_made_is_refused_at_its_field(
    edited: str, admin: Client, broker: DatabaseBroker
) -> None:
    def pay(order: dict[str, str]) -> None: ...

    unique = actor(pay, broker=broker, queue_name="shop", unique=True, unique_key=lambda order: order["id"])
    [message_id] = bury(broker, [unique.message({"id": "7"})])

    [text] = errors_of(admin, message_id, edited, "{}")["args"]

    assert "pay: unique_key" in text


def test_annotations_that_only_type_checkers_can_read_break_no_form(admin: Client, broker: DatabaseBroker) -> None:
    def pay(order: QueuedMessage[int]) -> None: ...  # type: ignore[type-arg]

    [message_id] = bury(broker, [actor(pay, broker=broker, queue_name="shop").message(1)])

    page = admin.get(url("messagerecord_edit", message_id))

    assert "pay(order:" in page.text


ITSELF: list[object] = []
ITSELF.append(ITSELF)


@pytest.mark.parametrize("argument", [{1: "one"}, {"pair": (1, 2)}, float("nan"), ITSELF])
def test_what_json_would_change_unseen_cannot_be_edited(
    argument: object, admin: Client, broker: DatabaseBroker
) -> None:
    set_encoder(PickleEncoder())
    broker.recording = Recording(arguments=False)
    [message_id] = bury(broker, [broker.actors["charge"].message(argument)])

    page = admin.get(url("messagerecord_edit", message_id), follow=True)

    assert page.status_code == 200
    assert "Nothing was changed" in page.text


def test_what_the_broker_has_no_more_cannot_be_edited(admin: Client, dead_letter: str) -> None:
    repair.discard([dead_letter])

    page = admin.get(url("messagerecord_edit", dead_letter), follow=True)

    assert "does not have this message any more" in page.text


def test_the_form_shows_no_message_that_is_not_dead(log_in: Callable[[str], Client], broker: DatabaseBroker) -> None:
    broker.recording = Recording(arguments=False)
    message = broker.actors["charge"].send(4242)

    page = log_in("requeuer").get(url("messagerecord_edit", message.message_id), follow=True)

    assert "no dead letter" in page.text
    assert "4242" not in page.text
