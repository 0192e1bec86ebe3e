"""Groups, through real workers on every kind of broker, and what only memory can show in no time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import transaction

from django_tasks_q import (
    Actor,
    Broker,
    BrokerConnectionError,
    Message,
    ResultFailure,
    ResultTimeout,
    SkipMessage,
    Worker,
    actor,
    clock,
    group,
    pipeline,
    set_broker,
)
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.middleware import GroupCallbacks
from django_tasks_q.middleware.database_connections import DatabaseConnections
from django_tasks_q.models import MessageRecord
from django_tasks_q.operations.repair import requeue_edited
from django_tasks_q.rate_limits import Arrival
from django_tasks_q.rate_limits.backends import StubBackend as StubLimits
from django_tasks_q.results import Results
from django_tasks_q.results.backends import StubBackend
from django_tasks_q.testing import drain, immediate
from tests.support.brokers import open_broker
from tests.support.waiting import until

KINDS = ["stub", "default", "postgresql", "mariadb", "redis", "redis-cluster", "rabbitmq"]


class World:
    """A broker with actors, and what they were called with."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        if not any(isinstance(item, Results) for item in broker.middleware):
            broker.add_middleware(Results(backend=StubBackend()))
        self.calls: list[tuple[str, Any]] = []
        self.double = self.declare(lambda n: n * 2, "double")
        self.add = self.declare(lambda n, m: n + m, "add")
        self.total = self.declare(self._total, "total")
        self.fail = self.declare(lambda *args: 1 / 0, "fail")
        self.note = self.declare(lambda *args: self.calls.append(("note", args)), "note")

    def _total(self, values: list[Any]) -> int:
        self.calls.append(("total", values))
        return sum(sum(value) if isinstance(value, list) else value for value in values)

    def declare(self, fn: Callable[..., Any], name: str, **options: Any) -> Actor[Any, Any]:
        options = {"store_results": True, "max_retries": 0, **options}
        return actor(fn, actor_name=name, broker=self.broker, **options)  # type: ignore[call-overload,no-any-return]

    def group(self, children: Any) -> group:
        """With callbacks that note how it ended."""
        members = group(children)
        members.add_completion_callback(self.note.message("complete"))
        members.add_failure_callback(self.note.message("failed"))
        return members

    @property
    def notes(self) -> list[Any]:
        return [args[0] for name, args in self.calls if name == "note"]


@contextmanager
def working(broker: Broker, **options: Any) -> Iterator[Worker]:
    worker = Worker(broker, worker_timeout=100, **{"worker_threads": 2, **options})
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(5_000)


@pytest.fixture
def world(stub: StubBroker) -> World:
    stub.add_middleware(Results(backend=StubBackend()))
    stub.add_middleware(GroupCallbacks(StubLimits()))
    set_broker(stub)
    return World(stub)


@pytest.fixture
def settle(stub: StubBroker) -> Callable[[], None]:
    """Run everything that waits, and what follows from it."""
    return lambda: drain(broker=stub, raise_errors=False) and None


# On every broker


@pytest.mark.parametrize("kind", KINDS)
def test_groups_and_pipelines_nest_and_each_hands_its_results_on_on_every_broker(kind: str, databases: None) -> None:
    with open_broker(kind) as broker:
        set_broker(broker)
        for middleware in (DatabaseConnections(), GroupCallbacks(), Results()):
            broker.add_middleware(middleware)
        world = World(broker)
        double, add, total = world.double, world.add, world.total
        inner = group([double.message(), add.message(1), double.message() | add.message(1)])
        last = group([double.message(), double.message() | double.message()])
        steps = double.message(1) | inner | total.message() | last
        both = world.group([steps, group([double.message(5), double.message(6)]), double.message(7)]).run()
        failing = world.group([double.message(1), world.fail.message() | double.message()]).run()
        with working(broker):
            assert list(both.get_results(block=True)) == [[24, 48], [10, 12], 14]
            with pytest.raises(ResultFailure):
                list(failing.get_results(block=True))
            until(lambda: len(world.calls) == 3, 10)
            assert both.completed and both.completed_count == len(both) == 3
            assert ("total", [4, 3, 5]) in world.calls and sorted(world.notes) == ["complete", "failed"]


def test_members_and_what_follows_are_recorded_with_the_group(databases: None) -> None:
    with open_broker("default") as broker:
        set_broker(broker)
        broker.add_middleware(Results())
        broker.add_middleware(GroupCallbacks())
        world = World(broker)
        steps = pipeline([world.double.message(1), world.double.message(), world.double.message()]).run()
        members = world.group([world.double.message(1) | world.double.message(), world.double.message(2)]).run()
        drain()
        of = MessageRecord.objects.filter
        assert of(group_id=steps.group_id).count() == of(group_id=members.group_id).count() == 3
        callback = of(pk=members.completion_callbacks[0].message_id).get()
        assert callback.parent_id in of(group_id=members.group_id).values_list("pk", flat=True)


# How it ends


@pytest.mark.parametrize("ending", ["fails", "is skipped as failed", "is skipped", "step fails", "unknown actor"])
def test_a_member_that_ends_otherwise_does_not_hang_its_group(
    world: World, settle: Callable[[], None], ending: str
) -> None:
    def skip() -> None:
        raise SkipMessage

    broker = world.broker
    member = {
        "fails": world.fail.message(),
        "is skipped as failed": world.declare(lambda: None, "old", max_age=1).message(),
        "is skipped": world.declare(skip, "skipping").message(),
        "step fails": world.fail.message() | world.double.message(),
        "unknown actor": Message("default", "nobody"),
    }[ending]
    members = world.group([world.double.message(1), member]).run()
    if ending == "is skipped as failed":
        until(lambda: member.message_datetime.timestamp() * 1000 + 5 < _now(), 5)  # type: ignore[union-attr]
    for _ in range(30 if ending == "unknown actor" else 1):
        drain(broker=broker, raise_errors=False, with_delayed=True)
    assert world.notes == (["complete"] if ending == "is skipped" else ["failed"])
    assert members.completed or ending == "step fails"


def _now() -> float:
    from django_tasks_q import clock

    return clock.wall_ms()


def test_a_dead_member_that_is_requeued_and_succeeds_completes_the_group_and_another_failure_is_not_told_twice(
    world: World, settle: Callable[[], None]
) -> None:
    moods = iter(["bad", "bad", "good"])

    def moody() -> None:
        if next(moods) == "bad":
            raise ValueError

    member = world.declare(moody, "moody").message()
    world.group([world.double.message(1), member]).run()
    settle()
    assert world.notes == ["failed"]
    for notes in (["failed"], ["failed", "complete"]):
        assert world.broker.requeue([member.message_id]) == [member.message_id]
        settle()
        assert world.notes == notes


def test_a_retry_ends_nothing(world: World) -> None:
    moods = iter(["bad", "good"])

    def moody() -> None:
        if next(moods) == "bad":
            raise ValueError

    world.group([world.declare(moody, "moody", max_retries=3).message(), world.double.message(1)]).run()
    drain(broker=world.broker, raise_errors=False)
    assert world.notes == []
    drain(broker=world.broker, with_delayed=True)
    assert world.notes == ["complete"]


def test_a_member_that_is_delivered_again_after_it_was_counted_is_one_member_and_nothing_follows_twice(
    world: World, stub: StubBroker
) -> None:
    """The worker dies between the count and the settlement, for each member, the last one too."""
    members = world.group([world.double.message(1), world.double.message(2)]).run()
    limits = next(item for item in stub.middleware if isinstance(item, GroupCallbacks)).rate_limiter_backend
    ids = [child.message_id for child in members.children]
    names = [f"{place}:m:{message_id}" for place, message_id in enumerate(ids)]
    for name in (names[0], names[0], names[1]):
        arrival = limits.arrive(f"group:{members.group_id}", name, True, 2, 60_000)
    assert arrival == Arrival(done=True, failed=False, is_completer=True)
    drain(broker=stub)
    assert world.notes == ["complete"]


def test_what_follows_has_ids_that_are_derived_from_the_group(world: World, settle: Callable[[], None]) -> None:
    callback = world.note.message("complete")
    first, second = group([world.double.message(1)]), group([world.double.message(1)])
    sent = [members.add_completion_callback(callback) for members in (first, second)]
    assert len({callback.message_id, *(message.message_id for message in sent)}) == 3
    for members in (first, second):
        members.run()
    settle()
    assert world.notes == ["complete", "complete"]
    assert [message.get_result() for message in sent] == [None, None]


class Away(StubLimits):
    """A store that is away for so many calls."""

    calls = 0

    def arrive(self, key: str, member: str, ok: bool, parties: int, ttl: int) -> Arrival:
        self.calls -= 1
        if self.calls >= 0:
            raise BrokerConnectionError("away")
        return super().arrive(key, member, ok, parties, ttl)


@pytest.mark.parametrize(("calls", "runs"), [(2, 1), (4, 2)])
def test_a_member_whose_end_cannot_be_told_to_its_group_is_not_settled_as_done(
    stub: StubBroker, calls: int, runs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = Away()
    limits.calls = calls
    set_broker(stub)
    stub.add_middleware(GroupCallbacks(limits))
    world = World(stub)
    began: list[None] = []
    world.group([world.declare(lambda: began.append(None), "begin").message()]).run()
    drain(broker=stub, with_delayed=True)
    assert world.notes == ["complete"] and len(began) == runs


def test_a_result_that_is_gone_when_the_next_step_needs_it_makes_a_dead_letter_that_can_be_repaired(
    world: World, stub: StubBroker
) -> None:
    (group([world.double.message(1), world.double.message(2)]) | world.total.message()).run()
    store = stub.get_results_backend()
    kept, store.load = store.load, lambda keys: {}  # type: ignore[method-assign]
    drain(broker=stub, raise_errors=False)
    assert world.calls == []
    [letter] = stub.peek("default", "dead")
    store.load = kept  # type: ignore[method-assign]
    stub.requeue([letter.message_id])
    drain(broker=stub)
    assert world.calls == [("total", [2, 4])]


# What cannot be meant


def test_callbacks_need_the_middleware_that_sends_them(stub: StubBroker) -> None:
    world = World(stub)
    set_broker(stub)
    with pytest.raises(RuntimeError, match="GroupCallbacks"):
        world.group([world.double.message(1)]).run()
    with pytest.raises(RuntimeError, match="GroupCallbacks"):
        steps = group([world.double.message(1)], broker=stub) | world.note.message_with_options(pipe_ignore=True)
        steps.run()
    assert not stub.counts() or stub.counts()[0].ready == 0
    group([world.double.message(1)], broker=stub).run()


def test_the_step_after_a_group_can_only_get_results_that_are_stored(world: World) -> None:
    quiet = world.declare(lambda: 1, "quiet", store_results=False)
    with pytest.raises(ValueError, match="results of quiet are not stored"):
        pipeline([group([world.double.message(1), quiet.message()]), world.total.message()])
    with pytest.raises(ValueError, match="at least one message"):
        pipeline([group([]), world.total.message()])
    with pytest.raises(ValueError, match="at least one message"):
        group([group([])])
    with pytest.raises(TypeError, match="A group is made of"):
        group([1])  # type: ignore[list-item]
    pipeline([group([quiet.message()]), world.note.message_with_options(args=("x",), pipe_ignore=True)]).run()
    drain(broker=world.broker)
    assert world.notes == ["x"]


def test_a_group_that_never_ran_is_not_complete_and_an_empty_one_is_when_it_has(
    world: World, settle: Callable[[], None]
) -> None:
    members = group([group([world.double.message(1)]), world.double.message(2)])
    assert not members.completed and members.completed_count == 0
    nothing = world.group([])
    assert not nothing.completed
    nothing.run()
    assert nothing.completed and list(nothing.get_results()) == []
    nothing.wait()
    settle()
    assert world.notes == ["complete"] and not members.completed


def test_waiting_takes_failures_as_ends_and_has_one_deadline(world: World, stub: StubBroker) -> None:
    members = group([world.fail.message(), group([world.double.message(2)]), world.fail.message()]).run()
    with pytest.raises(ResultTimeout):
        members.wait(timeout=50)
    drain(broker=stub, raise_errors=False)
    members.wait(timeout=50)
    assert members.completed


def test_a_group_that_runs_once_more_is_another_one(world: World, settle: Callable[[], None]) -> None:
    members = world.group([world.double.message(1)])
    for _ in range(2):
        members.run()
        settle()
    assert world.notes == ["complete", "complete"]


# How it is sent


def test_a_group_is_one_round_trip_and_its_delay_is_a_lower_bound(
    world: World, stub: StubBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[int | None]] = []
    enqueue = stub._enqueue
    monkeypatch.setattr(stub, "_enqueue", lambda batch: batches.append([one.delay for one in batch]) or enqueue(batch))
    own = world.double.message_with_options(args=(1,), delay=5_000)
    other = world.double.message_with_options(args=(1,), delay=50)
    inner = group([other, world.double.message(2) | world.double.message()])
    members = group([world.double.message(1), own, inner])
    with pytest.raises(ValueError, match="delay is milliseconds"):
        members.run(delay=-100)
    members.run(delay=100)
    assert batches == [[100, 5_000, 100, 100]]


def test_a_group_that_is_delayed_leaves_members_that_are_for_later_where_they_are(
    world: World, stub: StubBroker
) -> None:
    soon, late = clock.wall_ms() + 1_000, clock.wall_ms() + 3_600_000
    members = [world.double.message_with_options(args=(1,), eta=eta) for eta in (soon, late)]
    for composition in (group(members), pipeline(members[1:])):
        composition.run(delay=60_000)
        due = {
            found.delivery.message_id: found.due_at
            for found in stub.look_up([one.message_id for one in members]).values()
        }
        assert due[members[1].message_id] == late
        stub.flush("default")
    group(members).run(delay=60_000)
    assert stub.look_up([members[0].message_id])[members[0].message_id].due_at >= soon + 50_000


def test_members_whose_actors_say_so_wait_for_the_commit(databases: None) -> None:
    with open_broker("stub") as broker:
        set_broker(broker)
        world = World(broker)
        late = world.declare(lambda: None, "late", on_commit=True)
        with transaction.atomic():
            group([world.double.message(1), late.message(), late.message()]).run()
            assert [counts.ready for counts in broker.counts()] == [1]
        assert [counts.ready for counts in broker.counts()] == [3]


def test_groups_run_where_messages_run_at_once() -> None:
    with open_broker("stub") as broker:
        broker.add_middleware(GroupCallbacks(StubLimits()))
        broker.add_middleware(Results(backend=StubBackend()))
        set_broker(broker)
        world = World(broker)
        with immediate():
            steps = (group([world.double.message(1), world.double.message(2)]) | world.total.message()).run()
            assert steps.get_result() == 6
            world.group([world.double.message(1)]).run()
        assert world.notes == ["complete"]


# What is done once more


def letters(broker: StubBroker) -> list[str]:
    return [delivery.message_id for delivery in broker.peek("default", "dead")]


def moody(*moods: str) -> Callable[..., str]:
    """An actor that fails as often as it is told to."""
    left = iter(moods)

    def act(*args: Any) -> str:
        mood = next(left)
        if mood == "bad":
            raise ValueError
        return mood

    return act


def test_a_requeued_pipeline_that_fails_at_a_later_step_is_not_told_twice_and_may_succeed_in_the_end(
    world: World, stub: StubBroker, settle: Callable[[], None]
) -> None:
    first, last = (world.declare(moody("bad", "good"), name).message() for name in ("first", "last"))
    world.group([world.double.message(1), first | last]).run()
    for notes in (["failed"], ["failed"], ["failed", "complete"]):
        settle()
        assert world.notes == notes
        stub.requeue(letters(stub))


def test_a_group_in_a_requeued_pipeline_tells_of_itself_and_the_group_around_it_is_not_told_twice(
    world: World, stub: StubBroker, settle: Callable[[], None]
) -> None:
    inner = group([world.fail.message(), world.double.message()])
    inner.add_failure_callback(world.note.message("inner failed"))
    world.group([world.double.message(1), world.declare(moody("bad", "good"), "first").message() | inner]).run()
    settle()
    stub.requeue(letters(stub))
    settle()
    assert world.notes == ["failed", "inner failed"]


def test_an_edited_copy_of_a_dead_member_takes_its_place(
    world: World, stub: StubBroker, settle: Callable[[], None]
) -> None:
    halve = world.declare(lambda n: 10 // n, "halve")
    members = world.group([world.double.message(1), halve.message(0)])
    steps = (members | world.total.message()).run()
    settle()
    [dead] = letters(stub)
    again = requeue_edited(dead, [0], {})
    settle()
    assert world.notes == ["failed"]
    copy = requeue_edited(again.message_id, [2], {})
    settle()
    assert world.notes == ["failed", "complete"]
    assert steps.get_result() == 7 and list(members.get_results()) == [2, 5] and copy.get_result() == 5


@pytest.mark.parametrize("shape", ["a pipeline", "a pipeline in a group", "a group in a pipeline in a pipeline"])
def test_what_runs_once_more_waits_for_its_own_members(world: World, stub: StubBroker, shape: str) -> None:
    slow = actor(lambda n: n, actor_name="slow", queue_name="slow", broker=stub, store_results=True)
    inner = group([one.message_with_options(args=(1,), pipe_ignore=True) for one in (slow, world.double)])
    steps: Any = inner | world.total.message()
    if shape == "a pipeline in a group":
        steps = group([steps])
    elif shape != "a pipeline":
        steps = world.note.message("first") | (group([inner]) | world.total.message())
    for early, totals in (("slow", 1), ("default", 2)):  # who was the last the first time is the first now
        steps.run()
        drain(early, broker=stub)
        assert [name for name, _ in world.calls].count("total") == totals - 1
        drain(broker=stub)
        assert [name for name, _ in world.calls].count("total") == totals


# What is not there any more, or cannot be told


def test_a_group_within_that_is_forgotten_is_not_taken_for_an_empty_one(world: World, stub: StubBroker) -> None:
    slow = actor(lambda n: n, actor_name="slow", queue_name="slow", broker=stub, store_results=True)
    inner = group([world.double.message(1)])
    (group([inner, slow.message(2)]) | world.total.message()).run()
    drain("default", broker=stub)
    limits: Any = next(item for item in stub.middleware if isinstance(item, GroupCallbacks)).rate_limiter_backend
    del limits._gatherings[f"group:{inner.group_id}"]
    drain(broker=stub, raise_errors=False)
    assert world.calls == []
    assert len(stub.peek("slow", "dead")) == 1


def test_waiting_for_a_pipeline_that_ends_in_a_group_waits_for_all_of_that_group(
    world: World, stub: StubBroker
) -> None:
    slow = actor(lambda n: n, actor_name="slow", queue_name="slow", broker=stub, store_results=True)
    last = group([world.fail.message(), slow.message()])
    members = group([world.double.message(1) | last]).run()
    drain("default", broker=stub, raise_errors=False)
    with pytest.raises(ResultTimeout):
        members.wait(timeout=30)
    drain(broker=stub)
    members.wait(timeout=30)
    broken = group([world.fail.message() | group([world.double.message()])]).run()
    drain(broker=stub, raise_errors=False)
    broken.wait(timeout=2_000)


def test_a_store_that_stays_away_has_members_run_again_ever_more_rarely(stub: StubBroker) -> None:
    limits = Away()
    limits.calls = 1_000
    set_broker(stub)
    stub.add_middleware(GroupCallbacks(limits))
    world = World(stub)
    world.group([world.double.message(1)]).run()
    waits: list[int] = []
    for _ in range(8):
        drain(broker=stub)
        [delayed] = stub.peek("default", "delayed")
        waits.append(round(stub.look_up([delayed.message_id])[delayed.message_id].due_at - stub.now(), -2))
        stub.bring_forward(["default"])
    assert 4_000 < waits[0] <= 5_000 and waits[1] > 8_000
    assert waits == sorted(waits) and waits[-1] <= 300_000


class Broken(StubLimits):
    def arrive(self, key: str, member: str, ok: bool, parties: int, ttl: int) -> Arrival:
        raise RuntimeError("A fault of its own.")


def test_a_member_whose_group_cannot_be_told_for_another_reason_is_a_dead_letter(stub: StubBroker) -> None:
    set_broker(stub)
    stub.add_middleware(GroupCallbacks(Broken()))
    world = World(stub)
    world.group([world.double.message(1), world.fail.message()]).run()
    ran = drain(broker=stub, raise_errors=False)
    assert [one.state for one in ran] == ["dead", "dead"] and len(letters(stub)) == 2
