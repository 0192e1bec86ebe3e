"""The relay: what no sender has published, it does, once."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections, transaction

from django_tasks_q import clock
from django_tasks_q.errors import BrokerConnectionError, BrokerError, DuplicateMessage
from django_tasks_q.keeper.relay import Relay
from django_tasks_q.models import ServiceLease, WaitingMessage
from django_tasks_q.sql import Database
from django_tasks_q.waiting import WaitingRows
from tests.outbox.place import Place, in_part


def leave_behind(place: Place, *numbers: int) -> list[str]:
    """Rows whose sender died between the commit and the publication, and whose claim has ended."""
    with transaction.atomic(using=place.alias):
        sent = [place.send(number) for number in numbers]
        connections[place.alias].run_on_commit.clear()
    WaitingRows(Database(place.alias)).give_up(sent)
    assert place.waiting() == sent
    return sent


def test_what_a_dead_sender_left_is_published_in_its_order(place: Place) -> None:
    sent = leave_behind(place, *range(20))

    Relay(place.broker, "me").work()

    assert place.sent() == sent
    assert place.waiting() == []


def test_what_its_sender_is_publishing_is_left_to_him(place: Place) -> None:
    with transaction.atomic(using=place.alias):
        sent = place.send(1)
        connections[place.alias].run_on_commit.clear()

    Relay(place.broker, "me").work()

    assert place.waiting() == [sent]
    assert place.sent() == []


def test_a_sender_does_not_publish_what_the_relay_has_taken(place: Place) -> None:
    rows = WaitingRows(Database(place.alias))
    with transaction.atomic(using=place.alias):
        sent = place.send(1)
        rows.give_up([sent])  # it took its time, and the claim has ended

    assert place.sent() == []
    assert place.waiting() == [sent]


def test_what_was_published_before_the_relay_died_is_not_sent_again(place: Place) -> None:
    [sent] = leave_behind(place, 1)
    payload = bytes(WaitingMessage.objects.using(place.alias).get().payload)
    place.broker.publish([place.broker.reopen(payload, "", clock.wall_ms())])

    Relay(place.broker, "the next one").work()

    assert place.sent() == [sent] * (1 if place.knows_ids else 2)
    assert place.waiting() == []


def test_what_has_run_meanwhile_does_not_begin_a_second_life(place: Place) -> None:
    [sent] = leave_behind(place, 1)
    payload = bytes(WaitingMessage.objects.using(place.alias).get().payload)
    place.broker.publish([place.broker.reopen(payload, "", clock.wall_ms())])
    place.finish(sent)

    Relay(place.broker, "me").work()

    assert place.sent() == ([] if place.knows_ids else [sent])
    assert place.waiting() == []
    assert place.record(sent).life == 0


def test_while_the_broker_is_away_the_rows_stay_and_are_free(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = leave_behind(place, 1, 2)

    def away(outgoing: Any) -> None:
        raise BrokerConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(place.broker, "_enqueue", away)
        Relay(place.broker, "me").work()
        assert place.waiting() == sent

    Relay(place.broker, "me").work()
    assert place.sent() == sent


def test_what_the_broker_took_before_it_went_away_is_not_sent_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = leave_behind(place, 1, 2, 3)

    with monkeypatch.context() as patch:
        patch.setattr(place.broker, "_enqueue", in_part(place.broker))
        Relay(place.broker, "me").work()
    assert place.waiting() == sent[1:]

    Relay(place.broker, "me").work()
    assert place.sent() == sent
    assert place.waiting() == []


def test_only_the_leader_relays(place: Place) -> None:
    sent = leave_behind(place, 1)
    ServiceLease.objects.using(place.alias).create(name="relay", owner="another", expires_at=2**52)

    Relay(place.broker, "me").work()

    assert place.waiting() == sent


def test_the_next_relay_need_not_wait_for_one_that_has_ended(place: Place) -> None:
    leave_behind(place, 1)
    first = Relay(place.broker, "me")
    first.work()
    sent = leave_behind(place, 2)
    first.close()

    Relay(place.broker, "the next one").work()

    assert sent[0] in place.sent()
    assert place.waiting() == []


def test_a_row_that_nobody_can_read_keeps_nobody_back_and_is_not_thrown_away(place: Place) -> None:
    bad, good = leave_behind(place, 1, 2)
    WaitingMessage.objects.using(place.alias).filter(message_id=bad).update(payload=b"\xff")

    Relay(place.broker, "me").work()
    Relay(place.broker, "me").work()

    assert place.sent() == [good]
    assert place.waiting() == [bad]
    assert WaitingMessage.objects.using(place.alias).get().due_at is None


def test_a_message_that_the_broker_refuses_for_good_keeps_nobody_back(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, refused, last = leave_behind(place, 1, 2, 3)
    enqueue = place.broker._enqueue

    def choosy(outgoing: Any) -> None:
        if any(item.message.message_id == refused for item in outgoing):
            raise BrokerError("not this one")
        enqueue(outgoing)

    monkeypatch.setattr(place.broker, "_enqueue", choosy)
    Relay(place.broker, "me").work()

    assert place.sent() == [first, last]
    assert place.waiting() == [refused]


def test_a_duplicate_means_that_the_broker_has_the_message(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first, there, last = leave_behind(place, 1, 2, 3)
    enqueue = place.broker._enqueue

    def choosy(outgoing: Any) -> None:
        if any(item.message.message_id == there for item in outgoing):
            raise DuplicateMessage("I have that one")
        enqueue(outgoing)

    monkeypatch.setattr(place.broker, "_enqueue", choosy)
    Relay(place.broker, "me").work()

    assert place.sent() == [first, last]
    assert place.waiting() == []


def test_the_parent_and_what_is_left_of_a_delay_come_along(place: Place) -> None:
    [sent] = leave_behind(place, 1)
    outgoing = place.broker.prepare(place.note.message_with_options(args=(1,), delay=60_000), parent_id="cause")
    WaitingMessage.objects.using(place.alias).filter(message_id=sent).update(
        message_id=outgoing.message.message_id, payload=outgoing.payload, parent_id="cause"
    )

    Relay(place.broker, "me").work()

    record = place.record(outgoing.message.message_id)
    assert (record.parent_id, record.state) == ("cause", "delayed")
    assert place.held(record.pk).due_at > 0


def test_an_idle_relay_only_reads(place: Place) -> None:
    relay = Relay(place.broker, "me")
    statements: list[str] = []
    watched, Database.watch = Database.watch, statements.append
    try:
        relay.work()
    finally:
        Database.watch = watched

    assert statements and all(statement.startswith("SELECT") for statement in statements)


@pytest.mark.parametrize(("alias", "kind"), [("postgresql", "database")], indirect=True)
def test_no_more_rows_are_claimed_than_the_limit_however_the_planner_goes_about_it(place: Place) -> None:
    with connections[place.alias].cursor() as cursor:
        for way in ("hashjoin", "mergejoin", "hashagg", "sort", "material"):
            cursor.execute(f"SET enable_{way} = off")
    leave_behind(place, *range(10))

    assert len(WaitingRows(Database(place.alias)).claim_due(3)) == 3
