"""The keeper's carriers: what waits goes into its rows, and what is due out of them, soon and by whoever is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Barrier
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from django_tasks_q import Actor, Message, actor, clock, set_broker
from django_tasks_q.errors import BrokerConnectionError
from django_tasks_q.keeper.service import Service
from django_tasks_q.keeper.services import ServiceThreads, make_services
from django_tasks_q.keeper.waiting_service import Intake, Release
from django_tasks_q.models import WaitingMessage
from django_tasks_q.operations import repair
from django_tasks_q.sql import Database
from django_tasks_q.waiting import DatabaseWaitingRoom
from django_tasks_q.waiting_room import get_waiting_room, set_waiting_room
from tests.support.room_broker import RoomBroker
from tests.support.waiting import until, within
from tests.waiting_room.kept import MINUTE, dead, delayed, names


@pytest.fixture
def broker(room: DatabaseWaitingRoom) -> Iterator[RoomBroker]:
    """One that does not carry itself; its room is the process's."""
    before = get_waiting_room()
    set_waiting_room(room)
    broker = RoomBroker(room, carries=False)
    broker.declare_queue("q")
    yield broker
    set_waiting_room(before)
    broker.close()


@pytest.fixture
def note(broker: RoomBroker) -> Actor[[], None]:
    return actor(lambda: None, actor_name="note", queue_name="q", broker=broker)


def carriers(broker: RoomBroker, alias: str) -> list[Service]:
    return [Intake(broker, Database(alias)), Release(broker, Database(alias))]


@pytest.fixture
def keeper(broker: RoomBroker, alias: str) -> Iterator[ServiceThreads]:
    threads = ServiceThreads(carriers(broker, alias))
    threads.start()
    yield threads
    threads.stop()


def stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the next lines take, to them it is no time at all."""
    now = clock.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: now)


def ready(broker: RoomBroker) -> list[str]:
    return [delivery.message_id for delivery in broker.peek("q", "ready", 10_000)]


def test_only_a_broker_whose_messages_wait_in_rows_has_carriers(broker: RoomBroker, databases: None) -> None:
    from django_tasks_q.brokers.database import DatabaseBroker

    class Waits(DatabaseBroker):
        waits_in_rows = True

    assert not any(isinstance(service, Intake | Release) for service in make_services(DatabaseBroker()))
    assert [type(one) for one in make_services(Waits()) if one.thread == "Waiting"] == [Intake, Release]


@pytest.mark.usefixtures("keeper")
def test_a_message_that_is_due_in_a_second_is_ready_half_a_second_later_at_most(
    broker: RoomBroker, note: Actor[[], None]
) -> None:
    before = time.monotonic()
    sent = note.send_with_options(delay=1_000)

    until(lambda: ready(broker) == [sent.message_id], 5)
    assert 0.99 <= time.monotonic() - before < within(1.5)


def test_rounds_take_all_there_is_without_a_rest_and_the_next_is_soon(
    broker: RoomBroker, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.on_the_way += [delayed(f"m{number:04}") for number in range(2_500)]
    intake, release = carriers(broker, alias)

    while broker.on_the_way:  # a round has an end, for others wait for their turn
        intake.work()
        assert intake.seconds_left <= (0 if broker.on_the_way else 0.25)

    while WaitingMessage.objects.using(alias).exists():
        release.work()
    assert len(ready(broker)) == 2_500
    stop_the_clock(monkeypatch)
    release.work()
    assert release.seconds_left == pytest.approx(0.25)


def test_a_round_has_an_end_however_much_there_is(
    broker: RoomBroker, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(broker, "take_in", lambda limit: calls.append(limit) or limit)
    seconds = count(step=0.04)
    monkeypatch.setattr(clock, "monotonic", lambda: next(seconds))

    Intake(broker, Database(alias)).work()

    assert 1 < len(calls) < 10


def test_the_next_look_is_when_the_next_message_is_due(
    broker: RoomBroker, room: DatabaseWaitingRoom, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = Release(broker, Database(alias))
    monkeypatch.setattr(room, "next_due_in", lambda: 150)
    stop_the_clock(monkeypatch)
    release.work()

    assert release.seconds_left == pytest.approx(0.15)


def test_two_keepers_at_once_bring_nothing_twice(broker: RoomBroker, room: DatabaseWaitingRoom, alias: str) -> None:
    class Careful(RoomBroker):
        def _publish(self, items: Any) -> None:
            published.extend(names(items))
            super()._publish(items)

    published: list[str] = []
    room.keep([delayed(f"m{number}") for number in range(500)])
    barrier = Barrier(2)

    def keep() -> None:
        mine = Careful(DatabaseWaitingRoom(alias))
        try:
            barrier.wait(10)
            while mine.release_due(50):
                pass
        finally:
            mine.close()

    with ThreadPoolExecutor(2) as threads:
        for future in [threads.submit(keep) for _ in range(2)]:
            future.result(30)
    assert len(published) == len(set(published)) == 500


def test_after_the_broker_was_away_what_is_due_is_there_within_a_moment(
    broker: RoomBroker, room: DatabaseWaitingRoom, keeper: ServiceThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(items: Any) -> None:
        room.give_up(items)
        raise BrokerConnectionError("gone")

    tries: list[Any] = []
    with monkeypatch.context() as patch:
        patch.setattr(broker, "_publish", lambda items: (tries.append(items), away(items)))
        room.keep([delayed("m")])
        until(lambda: len(tries) >= 2)
        assert ready(broker) == []
    back = time.monotonic()

    until(lambda: ready(broker) == ["m"], 5)
    assert time.monotonic() - back < within(3)


def test_what_a_keeper_had_claimed_when_it_died_is_brought_by_the_next(
    broker: RoomBroker, room: DatabaseWaitingRoom, alias: str
) -> None:
    room.claim = 0.3
    room.keep([delayed("m")])
    assert names(room.claim_due(1)) == ["m"]  # and dies
    release = Release(broker, Database(alias))
    release.work()
    assert ready(broker) == []

    until(lambda: release.work() or ready(broker) == ["m"], 5)


def test_trouble_on_one_way_does_not_stop_the_other(
    broker: RoomBroker, room: DatabaseWaitingRoom, keeper: ServiceThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(limit: int) -> int:
        raise RuntimeError("a message that nobody expected")

    monkeypatch.setattr(broker, "take_in", stumble)
    room.keep([delayed("m")])

    until(lambda: ready(broker) == ["m"], 5)


class TestOperating:
    """People's operations go through the broker, which asks the room."""

    @pytest.fixture(autouse=True)
    def is_the_projects(self, broker: RoomBroker, alias: str) -> Iterator[None]:
        set_broker(broker)
        with override_settings(DJANGO_TASKS_Q={"RECORDS": {"DATABASE": alias}}):
            yield
            connections.close_all()

    def test_a_dead_letter_in_the_room_is_requeued_once(self, broker: RoomBroker, room: DatabaseWaitingRoom) -> None:
        room.keep([dead("m"), delayed("n", MINUTE)])

        assert repair.requeue(["m", "n", "o"]).done == ["m"]
        assert repair.requeue(["m"]).skipped == ["m"]
        assert ready(broker) == ["m"]

    def test_what_waits_there_is_discarded(self, broker: RoomBroker, room: DatabaseWaitingRoom) -> None:
        room.keep([dead("m"), delayed("n", MINUTE)])

        assert sorted(repair.discard(["m", "n", "o"]).done) == ["m", "n"]
        assert room.look_up(["m", "n"]) == []

    def test_an_edited_copy_takes_the_place_of_its_letter(
        self, broker: RoomBroker, room: DatabaseWaitingRoom, note: Actor[[], None]
    ) -> None:
        letter = dead("m")
        payload = Message("q", "note", message_id="m").encode()
        room.keep([type(letter)("m", "q", payload, "dead", since=letter.since)])

        assert repair.original("m") == Message.decode(payload)
        copy = repair.requeue_edited("m", [], {})
        assert ready(broker) == [copy.message_id]
        assert room.look_up(["m", copy.message_id]) == []

    def test_a_message_that_waits_there_is_found_by_its_id(
        self, broker: RoomBroker, room: DatabaseWaitingRoom, note: Actor[[], None]
    ) -> None:
        sent = note.send_with_options(delay=MINUTE)
        broker.take_in(10)

        assert Message.fetch(sent.message_id) == sent
