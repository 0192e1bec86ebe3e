"""Members that end where no worker is left to say so: the keeper tells their groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.db import connections
from django.utils import timezone

from django_tasks_q import Broker, Message, actor, group, set_broker
from django_tasks_q import revoke as call_off
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.deliveries import Casualty, Delivery, Settlement, WorkerInfo
from django_tasks_q.judge import make_judge
from django_tasks_q.keeper import groups
from django_tasks_q.keeper.groups import Groups
from django_tasks_q.keeper.mirror_service import MirrorService
from django_tasks_q.middleware import GroupCallbacks
from django_tasks_q.models import MessageRecord
from django_tasks_q.operations.repair import discard as discard_messages
from django_tasks_q.outcomes import REVOKED
from django_tasks_q.rate_limits.backends import StubBackend
from django_tasks_q.recording import Recording
from django_tasks_q.sql import Database
from django_tasks_q.testing import drain
from tests.composition.test_groups import working
from tests.support.brokers import open_broker
from tests.support.waiting import until


class World:
    """A broker with one group of two members, of which one has succeeded, and its keeper."""

    def __init__(self, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(groups, "_SETTLED", 0)
        self.broker = broker
        self.notes: list[Any] = []
        self.limits = StubBackend()
        broker.add_middleware(GroupCallbacks(self.limits))
        set_broker(broker)
        self.work = actor(lambda: None, actor_name="work", queue_name="members", broker=broker)
        note = actor(self.notes.append, actor_name="note", broker=broker)
        self.database = Database(getattr(broker, "using", "default"))
        self.service = self.keeper()
        self.members = group([self.work.message(), self.work.message()], broker=broker)
        self.members.add_completion_callback(note.message("complete"))
        self.members.add_failure_callback(note.message("failed"))
        self.ids = [child.message_id for child in self.members.children]  # type: ignore[union-attr]

    def keeper(self) -> Groups:
        return Groups(self.broker, self.database, "keeper")

    def one_ends_well(self) -> None:
        """The first of both has told of it."""
        self.members.run()
        first = self.members.sealed()[0]
        self.limits.arrive(f"group:{self.members.group_id}", first.options["group_member"], True, 2, 60_000)

    def look(self) -> list[Any]:
        """What is noted after a round of the keeper."""
        if self.broker.journal is not None:
            MirrorService(self.broker, "mirror").work()
        self.service.work()
        drain("default", broker=self.broker)
        return self.notes

    def requeue(self) -> None:
        assert self.broker.requeue(self.ids[1:]) == self.ids[1:]


@pytest.fixture(params=["default", "postgresql", "mariadb", "redis"])
def world(request: pytest.FixtureRequest, databases: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with open_broker(request.param) as broker:
        yield World(broker, monkeypatch)
        connections.close_all()


@pytest.mark.parametrize("kind", ["stub", "default", "redis", "rabbitmq"])
def test_a_member_without_a_record_that_is_thrown_away_hangs_no_group(
    kind: str, databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_broker(kind) as broker:
        world = World(broker, monkeypatch)
        world.members.children = [world.work.message_with_options(record=False) for _ in range(3)]
        first, *others = world.members.sealed()
        world.limits.arrive(f"group:{world.members.group_id}", first.options["group_member"], True, 3, 60_000)
        for member in others:
            broker.enqueue(member, delay=3_600_000)
        ids = [member.message_id for member in others]
        for number, notes in enumerate(([], ["failed"], ["failed"])):
            assert discard_messages(ids[: number + 1]).done == ids[number : number + 1]
            until(lambda notes=notes: world.look() == notes)  # type: ignore[misc]
        connections.close_all()


@pytest.mark.parametrize("kind", ["default", "redis", "rabbitmq"])
def test_a_member_without_a_record_that_is_called_off_while_it_waits_hangs_no_group(
    kind: str, databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_broker(kind) as broker:
        world = World(broker, monkeypatch)
        world.members.children = [world.work.message_with_options(record=False) for _ in range(2)]
        first, second = world.members.sealed()
        world.limits.arrive(f"group:{world.members.group_id}", first.options["group_member"], True, 2, 60_000)
        broker.enqueue(second, delay=3_600_000)
        until(lambda: broker.look_up([second.message_id]))

        for _ in range(2):
            call_off(ids=[second.message_id])
            until(lambda: world.look() == ["failed"])
        assert not broker.look_up([second.message_id])
        connections.close_all()


def bury(world: World) -> None:
    """The second member was lost with its worker, and with the next one, where it ran alone."""
    world.broker.delivery_limit = 2
    for worker_id, suspects in (("first", False), ("second", True)):
        consumer = world.broker.consume(WorkerInfo(worker_id, {"members": 1}, suspects=suspects))
        deliveries = consumer.exchange([], 8).deliveries
        lost = [
            Casualty(delivery.message_id, delivery.number, "lost")
            for delivery in deliveries
            if delivery.message_id == world.ids[1]
        ]
        assert len(lost) == 1
        world.broker.bury(worker_id, lost, make_judge(world.broker))
        consumer.close(give_back=False)


def discard(world: World) -> None:
    assert world.broker.discard(world.ids[1:]) == world.ids[1:]


def test_a_member_that_is_thrown_away_hangs_no_group_and_is_told_of_once(world: World) -> None:
    world.one_ends_well()
    assert world.look() == []
    discard(world)
    for _ in range(2):
        assert world.look() == ["failed"]
    world.service = world.keeper()  # another one, which begins at the beginning
    assert world.look() == ["failed"]


def test_a_member_that_is_buried_with_its_worker_hangs_no_group_and_may_complete_it_in_another_life(
    world: World,
) -> None:
    world.one_ends_well()
    bury(world)
    assert world.look() == ["failed"]
    world.requeue()
    drain("members", broker=world.broker)
    assert world.look() == ["failed", "complete"]


def test_the_first_keeper_looks_back_a_day_and_the_next_one_goes_on_where_it_was(world: World) -> None:
    def forget_when(hours: float) -> list[str]:
        """A member that was discarded long ago; who of the group has arrived after a round of another keeper."""
        options = group([world.work.message()]).sealed()[0].options
        options = {**options, "group_completion_callbacks": [world.work.message().asdict()]}
        MessageRecord.objects.using(world.database.alias).create(
            message_id=options["group_id"],
            state="discarded",
            group_id=options["group_id"],
            finished_at=timezone.now() - timedelta(hours=hours),
            options=options,
        )
        keeper = world.keeper()
        keeper.work()
        return world.limits.arrived(f"group:{options['group_id']}")

    assert len(forget_when(2)) == 1
    assert forget_when(1) == []
    assert len(forget_when(0.01)) == 1


def test_what_a_worker_has_told_is_not_told_again(world: World) -> None:
    world.one_ends_well()
    world.work.fn = lambda: 1 / 0
    world.broker.actors["work"].options["max_retries"] = 0
    drain("members", broker=world.broker, raise_errors=False)
    assert world.look() == ["failed"]
    assert world.look() == ["failed"]


def test_a_callback_whose_queue_nobody_knows_yet_holds_up_no_other_group(world: World) -> None:
    world.members.add_failure_callback(Message("new", "work"))
    other = group([world.work.message()], broker=world.broker)
    other.add_failure_callback(world.broker.actors["note"].message("other"))
    world.one_ends_well()
    discard(world)
    other.run()
    world.broker.discard([child.message_id for child in other.children])  # type: ignore[union-attr]
    for _ in range(2):
        assert sorted(world.look()) == ["failed", "other"]

    world.broker.declare_queue("new")
    assert len(world.look()) == 2
    waiting = [delivery.message_id for delivery in world.broker.peek("new")]
    assert waiting == [world.members.failure_callbacks[1].message_id]
    world.broker.flush("new")


def test_where_records_hide_arguments_callbacks_are_sent_whole_or_not_at_all(
    databases: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for end, notes in ((bury, ["failed"]), (discard, [])):
        with open_broker("default") as broker:
            broker.recording = Recording(arguments=False)
            world = World(broker, monkeypatch)
            world.one_ends_well()
            end(world)
            [record] = MessageRecord.objects.filter(pk=world.ids[1])
            assert [wire["args"] for wire in record.options["group_failure_callbacks"]] == [[]]
            assert world.look() == notes
            broker.flush_all()
    assert f"follows the group of message {world.ids[1]} is not sent" in caplog.text


def test_records_that_failed_are_read_a_few_at_a_time_and_by_an_index(
    databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_BATCH", 3)
    broker = DatabaseBroker()
    world = World(broker, monkeypatch)
    world.members.children = [world.work.message() for _ in range(10)]
    world.members.run()
    broker.discard([child.message_id for child in world.members.children])  # type: ignore[union-attr]
    for _ in range(20):
        if world.look():
            break
    assert world.notes == ["failed"]
    plan = world.database.rows(
        "EXPLAIN QUERY PLAN SELECT 1 FROM django_tasks_q_messagerecord WHERE state IN ('dead', 'discarded', 'revoked') "
        "AND NOT (group_id = '') AND finished_at >= 'x' ORDER BY finished_at"
    )
    assert "dtq_record_group_failed" in str(plan)
    connections.close_all()


def revoke(world: World, member: Message[Any]) -> None:
    """As a worker does who reads that it was called off, and is killed before he has told anybody."""
    world.broker.enqueue(member)
    consumer = world.broker.consume(WorkerInfo("worker", {"members": 1}))
    found: list[Delivery] = []
    until(lambda: found or found.extend(consumer.exchange([], 8).deliveries))
    until(lambda: not consumer.exchange([Settlement(found[0], REVOKED)], 0).unsettled)
    consumer.close()


def scramble(world: World, member: Message[Any]) -> None:
    """It is recorded as it was meant, and its bytes do not survive."""
    outgoing = world.broker.prepare(member)
    world.broker.publish([msgspec.structs.replace(outgoing, payload=b"{")])
    with working(world.broker):
        until(lambda: any(held.state == "dead" for held in world.broker.look_up([member.message_id]).values()))


def throw_away(world: World, member: Message[Any]) -> None:
    """RabbitMQ lets go of what waits in rows only."""
    world.broker.enqueue(member, delay=3_600_000)
    assert world.broker.discard([member.message_id]) == [member.message_id]


@pytest.mark.parametrize("end", [revoke, scramble, throw_away])
@pytest.mark.parametrize("kind", ["default", "redis", "rabbitmq"])
def test_whoever_no_hook_saw_end_hangs_no_group_on_any_broker(
    kind: str, end: Callable[[World, Message[Any]], None], databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_broker(kind) as broker:
        world = World(broker, monkeypatch)
        first, second = world.members.sealed()
        world.limits.arrive(f"group:{world.members.group_id}", first.options["group_member"], True, 2, 60_000)
        end(world, second)
        until(lambda: world.look() == ["failed"])
        world.service = world.keeper()
        assert world.look() == ["failed"]
        connections.close_all()


@pytest.mark.parametrize("kind", ["default", "postgresql", "mariadb"])
@pytest.mark.parametrize("end", [bury, discard])
def test_what_follows_is_sent_with_the_arguments_that_were_meant_whatever_a_record_can_hold(
    kind: str, end: Callable[[World], None], databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant: list[Any] = ["\x00 \\ \ud800", {"\x00": "a"}, *([1e22, -0.0] if end is bury else [])]
    with open_broker(kind) as broker:
        world = World(broker, monkeypatch)
        world.members.failure_callbacks.clear()
        world.members.add_failure_callback(broker.actors["note"].message(meant))
        world.one_ends_well()
        end(world)
        assert [repr(note) for note in world.look()] == [repr(meant)]
        connections.close_all()
