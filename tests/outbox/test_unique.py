"""Unique messages that wait for a commit take their keys when they are published."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from django.db import connections, transaction

from django_tasks_q import actor, clock, group, records_database
from django_tasks_q.errors import BrokerConnectionError
from django_tasks_q.keeper.relay import Relay
from django_tasks_q.models import MessageRecord, WaitingMessage
from django_tasks_q.sql import Database
from django_tasks_q.waiting import WaitingRows
from tests.outbox.place import Place

KEY: dict[str, Any] = {"unique": True, "unique_key": "k"}


def send(place: Place, number: int, **options: Any) -> str:
    """On commit; the id that the message has, if it is sent."""
    message = place.note.send_on_commit_with_options(args=(number,), using=place.alias, **{**KEY, **options})
    return message.message_id


def holder(place: Place) -> str:
    return place.broker.enqueue(place.note.message_with_options(args=(0,), **KEY)).message_id


@pytest.mark.parametrize("on_conflict", ["drop", "raise"])
def test_what_is_in_the_way_after_the_commit_keeps_a_message_out_and_nothing_of_it_is_left(
    place: Place, on_conflict: str
) -> None:
    held_by = holder(place)

    with transaction.atomic(using=place.alias):
        send(place, 1, on_conflict=on_conflict)
        other = place.note.send_on_commit_with_options(args=(2,), using=place.alias).message_id

    assert sorted(place.sent()) == sorted([held_by, other])
    assert place.waiting() == []


def test_of_several_in_one_transaction_the_first_is_sent(place: Place) -> None:
    with transaction.atomic(using=place.alias):
        sent = [send(place, number) for number in range(3)]

    assert place.sent() == sent[:1]
    assert place.waiting() == []


def test_a_rollback_takes_no_key(place: Place) -> None:
    with transaction.atomic(using=place.alias):
        send(place, 1)
        transaction.set_rollback(True, using=place.alias)

    sent = holder(place)
    assert place.sent() == [sent]


def test_the_relay_does_not_keep_out_what_it_publishes_again(place: Place) -> None:
    with transaction.atomic(using=place.alias):
        sent = send(place, 1)
        connections[place.alias].run_on_commit.clear()
    WaitingRows(Database(place.alias)).give_up([sent])
    payload = bytes(WaitingMessage.objects.using(place.alias).get().payload)
    place.broker.publish([place.broker.reopen(payload, "", clock.wall_ms())])

    Relay(place.broker, "the next one").work()

    assert place.sent() == [sent] * (1 if place.knows_ids else 2)
    assert place.waiting() == []
    assert holder(place) == sent


@pytest.mark.parametrize("on_conflict", ["drop", "raise"])
def test_the_relay_leaves_out_what_somebody_else_has_sent_meanwhile(
    place: Place, on_conflict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a message whose broker was away when its transaction had committed
    def away(outgoing: Any) -> None:
        raise BrokerConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(place.broker, "_enqueue", away)
        with transaction.atomic(using=place.alias):
            sent = send(place, 1, on_conflict=on_conflict)
    assert place.waiting() == [sent]
    held_by = holder(place)

    # When the relay comes to it
    Relay(place.broker, "me").work()

    # Then nothing of it is left, and nobody is shown that it waits
    assert place.sent() == [held_by]
    assert place.waiting() == []
    records = MessageRecord.objects.using(records_database.alias(place.broker)).filter(message_id=sent)
    assert set(records.values_list("state", flat=True)) <= {"discarded"}


def test_no_member_of_a_group_takes_its_key_when_nobody_can_be_told_of_a_conflict(place: Place) -> None:
    options: dict[str, Any] = {"broker": place.broker, "on_commit": True, "on_conflict": "raise"}
    late = actor(lambda: None, actor_name="late", unique=True, **options)
    is_told = place.broker.sends_within("default")  # the database of on_commit: there it is refused when it is sent
    refused = pytest.raises(ValueError, match="late is unique, a member of a group, and sent when its transaction has")

    with nullcontext() if is_told else refused:
        group([place.note.message(1), late.message()], broker=place.broker).run()

    assert len(place.sent()) == (2 if is_told else 0)
    group([late.message_with_options(unique=None)], broker=place.broker).run()
