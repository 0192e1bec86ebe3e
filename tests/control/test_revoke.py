"""Calling messages off, on every broker, with a worker of this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event
from typing import Any

import pytest
from django.db import transaction

from django_tasks_q import (
    Actor,
    ActorNotFound,
    Broker,
    BrokerConnectionError,
    MessageRevoked,
    QueueNotFound,
    ResultFailure,
    Worker,
    actor,
    clock,
    group,
    lift,
    pause_actor,
    pause_queue,
    records_database,
    resume_actor,
    resume_queue,
    revoke,
    revoke_by_stamped_headers,
    set_broker,
)
from django_tasks_q.control_rows import DatabaseControlStore
from django_tasks_q.deliveries import Delivery, Settlement, WorkerInfo
from django_tasks_q.middleware import GroupCallbacks
from django_tasks_q.middleware.database_connections import DatabaseConnections
from django_tasks_q.models import Attempt, MessageRecord, QueueState, Revocation, WorkerProcess
from django_tasks_q.outcomes import Requeue
from django_tasks_q.results import Results
from django_tasks_q.results.backends import StubBackend
from django_tasks_q.rules import control_store
from tests.support.brokers import open_broker
from tests.support.waiting import until, within

KINDS = ["stub", "default", "postgresql", "mariadb", "redis", "redis-cluster", "rabbitmq", "rabbitmq-quorum"]


class Scene:
    """A broker with actors, and what has run."""

    def __init__(self, kind: str, broker: Broker) -> None:
        self.kind = kind
        self.broker = broker
        self.ran: list[Any] = []
        self.ended: list[str] = []
        self.let_go = Event()
        self.work = self.declare(self.ran.append, "work")
        self.other = self.declare(self.ran.append, "other", queue_name="other")
        self.hold = self.declare(self._hold, "hold", notify_shutdown=True)
        self.stumble = self.declare(self._stumble, "stumble", max_retries=5, min_backoff=100, max_backoff=100)
        self.tries: list[int] = []

    def declare(self, fn: Any, name: str, **options: Any) -> Actor[Any, Any]:
        options = {"max_retries": 0, "store_results": True, **options}
        declared: Actor[Any, Any] = actor(fn, actor_name=name, broker=self.broker, **options)
        return declared

    def _hold(self, what: Any) -> None:
        self.ran.append(what)
        try:
            while not self.let_go.is_set():
                time.sleep(0.005)
        except MessageRevoked:
            self.ended.append("revoked")
            raise
        self.ended.append("done")

    def _stumble(self) -> None:
        self.tries.append(1)
        raise ValueError

    @property
    def records(self) -> Any:
        return MessageRecord.objects.using(records_database.alias(self.broker))

    def states(self) -> dict[str, int]:
        """By the records; the stub has none."""
        found: dict[str, int] = {}
        for state in self.records.values_list("state", flat=True):
            found[state] = found.get(state, 0) + 1
        return found

    def has_states(self, **states: int) -> None:
        if self.kind != "stub":
            until(lambda: self.states() == states, 20, lambda: f"{self.states()} are not {states}")

    @contextmanager
    def working(self, **options: Any) -> Iterator[Worker]:
        worker = Worker(self.broker, worker_timeout=100, **{"worker_threads": 2, **options})
        worker.start()
        try:
            if self.kind != "stub":  # who revokes asks there who is alive
                rows = WorkerProcess.objects.using(records_database.alias(self.broker))
                until(lambda: rows.filter(worker_id=worker.worker_id).exists(), 20, "nobody tells of the worker")
            yield worker
        finally:
            self.let_go.set()
            worker.stop(5_000)


@pytest.fixture(params=KINDS)
def scene(request: pytest.FixtureRequest, databases: None) -> Iterator[Scene]:
    with opened(request.param) as scene:
        yield scene


@contextmanager
def opened(kind: str) -> Iterator[Scene]:
    with open_broker(kind) as broker:
        set_broker(broker)
        for middleware in (DatabaseConnections(), GroupCallbacks(), Results(backend=StubBackend())):
            broker.add_middleware(middleware)
        yield Scene(kind, broker)


def test_what_waits_or_comes_later_with_a_stamp_never_runs_until_that_is_lifted(scene: Scene) -> None:
    with scene.working():  # its keeper writes the records
        delayed = []
        pause_queue("default")
        for number in range(5):
            scene.work.send_with_options(args=(f"off {number}",), stamps={"batch_id": 7})
            later = {"batch_id": [6, 7]}
            delayed.append(scene.work.send_with_options(args=(f"off later {number}",), stamps=later, delay=60_000))
        scene.work.send_with_options(args=("on",), stamps={"batch_id": 70, "other": 7})
        scene.has_states(enqueued=6, delayed=5)

        revocation = revoke(stamps={"batch_id": "7"}, reason="a mistake", by="somebody")

        assert revocation.counts == {"enqueued": 5, "delayed": 5}
        assert revocation.unreached == []
        assert resume_queue("default")
        late = scene.work.send_with_options(args=("late",), stamps={"batch_id": 7})
        until(lambda: scene.ran == ["on"], 20, lambda: str(scene.ran))
        for message in (late, *delayed):
            with pytest.raises(ResultFailure, match=r"revoked|Revocation"):
                message.get_result(block=True)
        scene.has_states(revoked=11, succeeded=1)

        assert lift(revocation) and revocation.lifted_at is not None and not lift(revocation)
        scene.work.send_with_options(args=("again",), stamps={"batch_id": 7})
        until(lambda: scene.ran == ["on", "again"], 20, lambda: str(scene.ran))


def test_a_dry_run_counts_and_does_nothing(scene: Scene) -> None:
    with scene.working():
        pause_queue("default")
        message = scene.work.send_with_options(args=(1,), stamps={"a": 1})
        scene.has_states(enqueued=1)

        revocation = revoke(ids=[message.message_id], dry_run=True)

        assert (revocation.id, revocation.counts, revocation.total) == (None, {"enqueued": 1}, 1)
        assert not lift(revocation)
        resume_queue("default")
        until(lambda: scene.ran == [1], 20)


def test_ids_actors_and_queues_are_conditions_too_and_mean_what_was_sent_before(scene: Scene) -> None:
    with scene.working():
        pause_queue("default")
        pause_queue("other")
        one = scene.work.send("by id")
        scene.stumble.send()
        scene.other.send("by queue")
        scene.work.send("stays")
        scene.has_states(enqueued=4)
        time.sleep(0.002)  # its clock counts milliseconds

        assert revoke(ids=[one.message_id]).counts == {"enqueued": 1}
        assert revoke(actor="stumble").counts == {"enqueued": 1}
        assert revoke(queue="other").counts == {"enqueued": 1}
        time.sleep(0.002)
        scene.other.send("sent after")
        assert resume_queue("default") and resume_queue("other")

        until(lambda: sorted(scene.ran) == ["sent after", "stays"], 20, lambda: str(scene.ran))
        scene.has_states(revoked=3, succeeded=2)
        assert scene.tries == []


def test_several_conditions_say_how_they_match(scene: Scene) -> None:
    with scene.working():
        pause_queue("default")
        for a, b in [(1, 1), (1, 2), (2, 2)]:
            scene.work.send_with_options(args=(f"{a}{b}",), stamps={"a": a, "b": b})
        scene.has_states(enqueued=3)

        assert revoke(stamps={"a": 1, "b": 2}, match="all").counts == {"enqueued": 1}
        assert revoke_by_stamped_headers({"a": [3], "b": [1]}).counts == {"enqueued": 1}
        with pytest.raises(ValueError, match="match='all'"):
            revoke(actor="work", queue="default")
        assert revoke(stamps={"a": 2}, actor="other", match="all").counts == {}
        resume_queue("default")

        until(lambda: scene.ran == ["22"], 20, lambda: str(scene.ran))
        scene.has_states(revoked=2, succeeded=1)


def test_what_is_to_run_again_does_not(scene: Scene) -> None:
    with scene.working():
        message = scene.stumble.send_with_options(stamps={"a": 1}, min_backoff=60_000, max_backoff=60_000)
        scene.has_states(retrying=1)
        until(lambda: scene.tries == [1])

        assert scene.kind == "stub" or revoke(stamps={"a": 1}).counts == {"retrying": 1}
        if scene.kind != "stub":
            scene.has_states(revoked=1)
        else:
            until(lambda: scene.broker.look_up([message.message_id])[message.message_id].state == "delayed")
            assert revoke(stamps={"a": 1}).counts == {"retrying": 1}
        assert scene.broker.look_up([message.message_id]) == {}


def test_what_runs_goes_on_and_is_not_tried_again(scene: Scene) -> None:
    @actor(broker=scene.broker, max_retries=5, min_backoff=0, max_backoff=0)
    def fails_late() -> None:
        scene.ran.append("began")
        scene.let_go.wait(20)
        raise ValueError

    with scene.working() as worker:
        message = fails_late.send_with_options(stamps={"a": 1})
        scene.has_states(running=1)
        until(lambda: scene.ran == ["began"])

        assert revoke(stamps={"a": 1}).counts == {"running": 1}

        until(lambda: worker.executor.rules is not None)
        scene.let_go.set()
        scene.has_states(revoked=1)
        until(lambda: scene.broker.look_up([message.message_id]) == {}, 20)
        assert scene.ran == ["began"]


def test_what_runs_is_ended_when_that_is_wanted_and_its_neighbour_is_not(scene: Scene) -> None:
    with scene.working():
        message = scene.hold.send_with_options(args=("off",), stamps={"a": 1})
        scene.hold.send_with_options(args=("on",), stamps={"a": 2})
        scene.has_states(running=2)
        until(lambda: sorted(scene.ran) == ["off", "on"])

        began = time.monotonic()
        assert revoke(stamps={"a": 1}, terminate=True, reason="a mistake").counts == {"running": 1}

        until(lambda: scene.ended == ["revoked"], 5)
        assert time.monotonic() - began < within(2)
        with pytest.raises(ResultFailure, match="Revo"):
            message.get_result(block=True)
        scene.has_states(revoked=1, running=1)
        scene.let_go.set()
        scene.has_states(revoked=1, succeeded=1)
        if scene.kind != "stub":
            record = scene.records.get(pk=message.message_id)
            assert record.error_type == "MessageRevoked" and record.error_message.endswith(": a mistake")
            attempt = Attempt.objects.using(record._state.db).get(message=record.pk)
            assert attempt.outcome == "revoked"


def test_a_coroutine_is_ended_too(scene: Scene) -> None:
    import asyncio

    @actor(broker=scene.broker, max_retries=0)
    async def waits() -> None:
        scene.ran.append("began")
        try:
            await asyncio.sleep(60)
        except MessageRevoked:
            pytest.fail("coroutines are cancelled")
        except asyncio.CancelledError:
            scene.ended.append("cancelled")
            raise

    with scene.working():
        waits.send_with_options(stamps={"a": 1})
        until(lambda: scene.ran == ["began"], 20)
        scene.has_states(running=1)

        revoke(stamps={"a": 1}, terminate=True)

        until(lambda: scene.ended == ["cancelled"], 5)
        scene.has_states(revoked=1)


def test_a_group_goes_on_without_its_revoked_members_and_nothing_else_follows_them(scene: Scene) -> None:
    scene.declare(lambda *args: scene.ran.append("followed"), "follow")
    with scene.working():
        pause_queue("default")
        members = group(
            [scene.work.message("on"), scene.work.message_with_options(args=("off",), on_failure="follow").stamp(a=1)],
            broker=scene.broker,
        )
        members.add_failure_callback(scene.other.message_with_options(args=("failed",), inherit_stamps=False))
        members.add_completion_callback(scene.other.message("complete"))
        members.run()
        scene.has_states(enqueued=2)

        revoke(stamps={"a": 1})
        resume_queue("default")

        until(lambda: sorted(scene.ran) == ["failed", "on"], 30, lambda: str(scene.ran))


def test_what_a_revoked_message_has_sent_meanwhile_does_not_run_either(scene: Scene) -> None:
    @actor(broker=scene.broker, max_retries=0)
    def parent() -> None:
        scene.ran.append("parent")
        scene.let_go.wait(20)
        scene.work.send("child")
        scene.ran.append("sent")

    with scene.working():
        parent.send_with_options(stamps={"a": 1})
        scene.has_states(running=1)
        until(lambda: scene.ran == ["parent"])

        revoke(stamps={"a": 1})
        scene.let_go.set()

        scene.has_states(succeeded=1, revoked=1)
        until(lambda: scene.ran == ["parent", "sent"])


def test_a_worker_that_starts_later_obeys_what_was_said_before(scene: Scene) -> None:
    scene.work.send_with_options(args=("off",), stamps={"a": 1})
    revoke(stamps={"a": 1})
    pause_queue("other")
    scene.other.send("waits")
    scene.work.send("on")

    with scene.working():
        until(lambda: scene.ran == ["on"], 20, lambda: str(scene.ran))
        scene.has_states(revoked=1, succeeded=1, enqueued=1)
        assert resume_queue("other")
        until(lambda: scene.ran == ["on", "waits"], 20, lambda: str(scene.ran))


def test_a_revocation_that_has_expired_is_over(scene: Scene) -> None:
    revoke(stamps={"a": 1}, expires=1)
    until(lambda: True)
    time.sleep(0.01)

    with scene.working():
        scene.work.send_with_options(args=("on",), stamps={"a": 1})
        until(lambda: scene.ran == ["on"], 20)


def test_a_paused_queue_rests_within_a_second_and_others_go_on(scene: Scene) -> None:
    with scene.working():
        scene.work.send("before")
        until(lambda: scene.ran == ["before"], 20)

        assert pause_queue("default") and not pause_queue("default")

        time.sleep(1)  # within which it has to take hold
        for number in range(20):
            scene.work.send(number)
        scene.other.send("other")
        until(lambda: scene.ran == ["before", "other"], 20)
        time.sleep(0.5)
        assert scene.ran == ["before", "other"]
        until(lambda: _ready(scene.broker, "default") == 20, 20)
        assert resume_queue("default") and not resume_queue("default")
        until(lambda: len(scene.ran) == 22, 20, lambda: str(scene.ran))


def test_a_paused_actor_rests_and_others_of_its_queue_go_on(scene: Scene) -> None:
    second = scene.declare(scene.ran.append, "second")
    with scene.working():
        assert pause_actor("work") and not pause_actor("work")
        time.sleep(1)
        for number in range(3):
            scene.work.send(number)
        second.send("second")
        until(lambda: scene.ran == ["second"], 20)
        scene.has_states(delayed=3, succeeded=1)
        assert scene.ran == ["second"]

        assert resume_actor("work") and not resume_actor("work")

        until(lambda: sorted(map(str, scene.ran)) == ["0", "1", "2", "second"], 20, lambda: str(scene.ran))
        until(lambda: all(record.retries == 0 for record in scene.records.all()))


def _ready(broker: Broker, queue_name: str) -> int:
    return sum(count.ready for count in broker.counts() if count.queue_name == queue_name)


def test_a_revocation_is_part_of_the_transaction_it_is_said_in(databases: None) -> None:
    with opened("default") as scene:
        broker = scene.broker
        message = scene.work.send_with_options(args=(1,), stamps={"a": 1})
        with pytest.raises(ValueError, match="undone"), transaction.atomic():
            revoke(stamps={"a": 1})
            raise ValueError("undone")
        assert not Revocation.objects.exists()
        assert list(broker.look_up([message.message_id])) == [message.message_id]

        with transaction.atomic():
            revocation = revoke(stamps={"a": 1})
            assert list(broker.look_up([message.message_id])) == [message.message_id]

        assert broker.look_up([message.message_id]) == {}
        row = Revocation.objects.get()
        assert (row.pk, row.target, row.name, row.value) == (revocation.id, "stamp", "a", "1")
        assert row.counts == {"enqueued": 1}


def test_a_pause_is_where_people_look_for_it(databases: None) -> None:
    with opened("default"):
        pause_queue("default")

        assert QueueState.objects.get(queue_name="default").paused_at is not None


def test_nobody_revokes_or_pauses_what_is_not_there(stub: Broker) -> None:
    set_broker(stub)
    for wrong in ({}, {"stamps": {"a": None}}, {"ids": ["x"], "match": "some"}, {"ids": ["x"], "future": True}):
        with pytest.raises(ValueError):
            revoke(**wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        revoke(ids="x")
    with pytest.raises(QueueNotFound, match="Did you mean 'default'"):
        pause_queue("defualt")
    with pytest.raises(ActorNotFound):
        pause_actor("nobody")


def test_what_has_long_been_over_is_forgotten(databases: None) -> None:
    with opened("default") as scene:
        over, lifted, holds = revoke(stamps={"a": 1}, expires=1), revoke(stamps={"a": 2}), revoke(stamps={"a": 3})
        lift(lifted)
        store = control_store(scene.broker)
        assert store is not None and store.forget(60_000) == 0
        until(lambda: store.forget(0) or Revocation.objects.count() == 1)

        assert list(Revocation.objects.values_list("pk", flat=True)) == [holds.id]
        assert not lift(over)


def test_what_was_paused_can_be_resumed_though_nobody_declares_it_any_more(databases: None) -> None:
    with opened("default") as scene:
        pause_queue("other")
        pause_actor("other")
        del scene.broker.queues["other"], scene.broker.actors["other"]

        assert resume_queue("other") and resume_actor("other")
        with pytest.raises(QueueNotFound):
            resume_queue("other")
        with pytest.raises(ActorNotFound):
            resume_actor("other")


def test_a_suspect_of_a_paused_queue_keeps_no_quarantine_busy(scene: Scene) -> None:
    scene.work.send("suspect")
    lost_by = scene.broker.consume(WorkerInfo("lost by"))
    found: list[Delivery] = []

    def takes_it() -> bool:
        found.extend(lost_by.exchange([], 1).deliveries)
        return bool(found)

    until(takes_it, 20, "nobody gets the message")
    lost_by.exchange([Settlement(found[0], Requeue(lost=True, suspect=True))], 0)
    lost_by.close()
    with scene.working():
        pause_queue("default")
        quarantine = Worker(scene.broker, worker_timeout=100, worker_threads=1, suspects=True)
        quarantine.start()
        try:
            looks = 0

            def rests() -> bool:
                nonlocal looks
                looks = looks + 1 if quarantine.exhausted else 0
                return looks > 20

            until(rests, 20, "it is busy")
            assert scene.ran == []
            resume_queue("default")
            until(lambda: scene.ran == ["suspect"], 20, "it does not run")
        finally:
            quarantine.stop(5_000)


def test_everything_that_was_sent_is_called_off_and_what_is_sent_later_runs(scene: Scene) -> None:
    scene.work.send("before")
    scene.other.send_with_options(args=("delayed",), delay=100)
    revoke(everything=True)
    said = clock.wall_ms()
    until(lambda: clock.wall_ms() > said + 1)
    scene.work.send("after")
    with scene.working():
        until(lambda: scene.ran == ["after"], 20, lambda: str(scene.ran))
        scene.has_states(revoked=2, succeeded=1)

    assert scene.ran == ["after"]


@pytest.mark.parametrize("fails", ["version", "unreached"])
def test_what_is_written_down_holds_and_says_so_when_the_database_goes_right_after_that(
    fails: str, databases: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_gone(*args: Any) -> Any:
        raise BrokerConnectionError("the database is gone")

    with opened("default") as scene:
        message = scene.work.send("called off")
        with monkeypatch.context() as cut:
            cut.setattr(DatabaseControlStore, fails, is_gone)
            revocation = revoke(ids=[message.message_id])
            assert (revocation.id, revocation.is_confirmed, revocation.unreached) == (
                Revocation.objects.get().pk,
                False,
                [],
            )
            assert pause_queue("default") and resume_queue("default")
        scene.work.send("after")
        with scene.working():
            until(lambda: scene.ran, 20, "nothing runs")
            scene.has_states(revoked=1, succeeded=1)
        with monkeypatch.context() as cut:
            cut.setattr(DatabaseControlStore, fails, is_gone)
            assert lift(revocation) and not lift(revocation)

    assert scene.ran == ["after"] and revoke(ids=["another"]).is_confirmed


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ({"actor": 5}, "the actor"),
        ({"actor": "a\0b"}, "the actor"),
        ({"queue": "x" * 201}, "the queue"),
        ({"ids": ["a"], "expires": 0}, "expires"),
        ({"ids": ["a"], "expires": "soon"}, "expires"),
        ({"ids": ["a"], "expires": 10**18}, "expires"),
        ({"ids": ["a"], "expires": timedelta.max}, "expires"),
        ({"ids": ["a"], "by": "x" * 201}, "by"),
        ({"ids": ["a"], "reason": "a\0b"}, "reason"),
        ({"ids": ["a"], "terminate": "yes"}, "terminate"),
        ({"everything": "no"}, "everything"),
        ({"everything": True, "queue": "default"}, "stands alone"),
        ({"everything": True, "future": True}, "stands alone"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_leaves_nothing(
    given: dict[str, Any], culprit: str, databases: None
) -> None:
    with opened("default") as scene:
        with pytest.raises(ValueError, match=culprit):
            revoke(**given)

        store = control_store(scene.broker)
        assert store is not None
        assert store.rules().rules == ()


def test_a_pause_ends_also_when_nobody_can_be_called(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_away(*args: Any) -> int:
        raise BrokerConnectionError("away")

    pause_actor("work")
    monkeypatch.setattr(scene.broker, "unpark", is_away)

    assert resume_actor("work")
    store = control_store(scene.broker)
    assert store is not None
    assert not store.rules().paused_actors


@pytest.mark.parametrize("terminate", [False, True])
def test_what_fails_for_the_last_time_after_it_was_revoked_is_no_dead_letter(scene: Scene, terminate: bool) -> None:
    def fail() -> None:
        scene.ran.append("failing")
        try:
            while not scene.let_go.is_set():
                time.sleep(0.005)
        finally:
            raise ValueError

    failing = scene.declare(fail, "failing")
    with scene.working():
        message = failing.send()
        until(lambda: scene.ran == ["failing"], 20, "it does not start")
        revoke(ids=[message.message_id], terminate=terminate)
        scene.let_go.set()

        with pytest.raises(ResultFailure):
            message.get_result(block=True, timeout=20_000)
        scene.has_states(revoked=1)
        until(lambda: scene.broker.look_up([message.message_id]) == {}, 20)
