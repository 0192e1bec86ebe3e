"""The keeper's services, each on every database: leases, retention, reconciliation, samples."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from django_tasks_q import Message, Worker, clock
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.deliveries import Held, Settlement, WorkerInfo
from django_tasks_q.keeper.pruner import NAME, Pruner
from django_tasks_q.keeper.reconciler import Reconciler
from django_tasks_q.keeper.retention import Batch, Cutoffs, Sweep, prune
from django_tasks_q.keeper.sampler import QueueSampler, WorkerSampler
from django_tasks_q.keeper.service import Service
from django_tasks_q.keeper.service_lease import LeaderLease
from django_tasks_q.keeper.services import ServiceThread, make_services
from django_tasks_q.models import Attempt, MessageRecord, QueuedMessage, QueueState, ServiceLease, WorkerProcess
from django_tasks_q.outcomes import Dead, Done, ErrorInfo
from django_tasks_q.recording import Recording
from django_tasks_q.sql import Database
from django_tasks_q.worker.board import EMPTY, STOPPED, Board
from tests.support.waiting import until, within

HOUR = 3_600_000


@pytest.fixture(params=["default", "postgresql", "mariadb"])
def database(request: pytest.FixtureRequest, databases: None) -> Iterator[Database]:
    """Each vendor's database."""
    yield Database(request.param)
    connections.close_all()


@pytest.fixture
def broker(database: Database) -> Iterator[DatabaseBroker]:
    broker = DatabaseBroker(using=database.alias)
    broker.declare_queue("default")
    yield broker
    broker.close()


def records(database: Database) -> Any:
    return MessageRecord.objects.using(database.alias)


def ago(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def note(database: Database, message_id: str, state: str, finished: float | None, **fields: Any) -> MessageRecord:
    """A record that was created an hour before it finished, so many hours ago."""
    finished_at = None if finished is None else ago(finished)
    fields = {"created_at": ago((finished or 100) + 1), "finished_at": finished_at, **fields}
    record: MessageRecord = records(database).create(message_id=message_id, state=state, **fields)
    return record


def left(database: Database) -> set[str]:
    return set(records(database).values_list("message_id", flat=True))


def notes(database: Database) -> dict[str, Any]:
    return dict(ServiceLease.objects.using(database.alias).get(name=NAME).notes)


def run_until_idle(pruner: Pruner) -> None:
    """Rounds without the rests between them, until a sweep is over."""
    pruner.work()
    while pruner.seconds_left < 50:
        pruner.work()


# Leases


def test_of_many_who_want_a_lease_at_once_one_holds_it(database: Database) -> None:
    def ask(number: int) -> bool:
        try:
            return LeaderLease(database, "job", f"owner {number}").hold()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        held = list(pool.map(ask, range(8)))

    assert sum(held) == 1


def test_who_holds_a_lease_renews_it_and_keeps_everybody_else_out(database: Database) -> None:
    first, second = LeaderLease(database, "job", "first", 1_000), LeaderLease(database, "job", "second", 1_000)
    end = clock.monotonic() + 1.3
    while clock.monotonic() < end:
        assert first.hold()
        assert not second.hold()
    assert LeaderLease(database, "another job", "second").hold()


def test_a_lease_that_ran_out_goes_to_who_asks_first_and_its_last_holder_hears_of_it(database: Database) -> None:
    first, second = LeaderLease(database, "job", "first", 200), LeaderLease(database, "job", "second", 5_000)
    assert first.hold()

    until(second.hold, 5)

    assert not first.hold()
    assert not first.note({"done": 1})


def test_a_lease_that_was_released_can_be_had_at_once(database: Database) -> None:
    first, second = LeaderLease(database, "job", "first"), LeaderLease(database, "job", "second")
    assert first.hold()
    second.release()  # not its own
    assert not second.hold()

    first.release()

    assert second.hold()


def test_what_one_holder_notes_the_next_one_reads(database: Database) -> None:
    first, second = LeaderLease(database, "job", "first"), LeaderLease(database, "job", "second")
    assert first.notes() == {}
    assert first.hold()
    assert first.note({"cursor": "ä'\"%s?", "total": 3})
    first.release()

    assert second.hold()

    assert second.notes() == {"cursor": "ä'\"%s?", "total": 3}


# Retention


def test_retention_takes_what_is_finished_and_old_enough_and_nothing_else(
    database: Database, broker: DatabaseBroker
) -> None:
    for state in ("succeeded", "skipped"):
        note(database, f"{state} old", state, 25)
        note(database, f"{state} young", state, 23)
    for state in ("dead", "revoked", "discarded"):
        note(database, f"{state} old", state, 169)
        note(database, f"{state} young", state, 167)
    for state in ("pending", "enqueued", "delayed", "running", "retrying", "unknown"):
        note(database, state, state, None, created_at=ago(10_000))
        note(database, f"{state} again", state, 10_000)  # finished in a former life
    note(database, "unborn old", "discarded", 169, created_at=None)
    note(database, "unborn young", "discarded", 1, created_at=None)
    expected = {message_id for message_id in left(database) if not message_id.endswith("old")}

    run_until_idle(Pruner(broker, database, "me"))

    assert left(database) == expected


def test_the_times_to_live_are_those_of_the_settings(database: Database, broker: DatabaseBroker) -> None:
    note(database, "succeeded", "succeeded", 3)
    note(database, "dead", "dead", 3)

    with override_settings(DJANGO_TASKS_Q={"RECORDS": {"SUCCEEDED_TTL": 4 * HOUR, "DEAD_TTL": 2 * HOUR}}):
        run_until_idle(Pruner(broker, database, "me"))

    assert left(database) == {"succeeded"}


def test_attempts_go_with_their_records_and_stay_with_them(database: Database, broker: DatabaseBroker) -> None:
    for message_id, finished in (("old", 200.0), ("young", 1.0)):
        note(database, message_id, "dead", finished)
        for number in (1, 2):
            Attempt.objects.using(database.alias).create(message_id=message_id, number=number, outcome="failed")

    run_until_idle(Pruner(broker, database, "me"))

    assert set(Attempt.objects.using(database.alias).values_list("message_id", "number")) == {
        ("young", 1),
        ("young", 2),
    }


def test_a_sweep_walks_past_many_old_messages_that_are_not_finished(database: Database, broker: DatabaseBroker) -> None:
    # Given more of them than fit into one batch, many of which were created in the same moment
    moment = ago(5_000)
    fields = {"state": "delayed", "created_at": moment}
    records(database).bulk_create([MessageRecord(message_id=f"waits {i:04}", **fields) for i in range(2_500)])
    note(database, "old", "succeeded", 4_000)
    looked_at = []

    sweep = Sweep(database, Cutoffs(clock.wall_ms(), clock.wall_ms()))
    while (batch := sweep.step()) is not None:
        looked_at.append(batch.looked_at)

    # Then each was looked at once, in batches
    assert sum(looked_at) == 2_501
    assert max(looked_at) <= 1_000
    assert "old" not in left(database)
    assert len(left(database)) == 2_500


def test_a_message_that_begins_a_new_life_between_look_and_deletion_keeps_its_record(database: Database) -> None:
    for name in ("requeued", "old"):
        note(database, name, "dead", 200)

    class Watched(Database):
        def watch(self, sql: str) -> None:
            if sql.startswith("BEGIN"):
                # In the moment after the look
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(requeue).result()

    def requeue() -> None:
        records(database).filter(message_id="requeued").update(state="enqueued")
        connections.close_all()

    sweep = Sweep(Watched(database.alias), Cutoffs(clock.wall_ms(), clock.wall_ms()))

    assert sweep.step() == Batch(2, 1, 0)
    assert left(database) == {"requeued"}


@pytest.mark.parametrize("alias", ["postgresql", "mariadb"])  # SQLite locks no rows
def test_a_record_that_somebody_has_locked_does_not_hold_retention_up(databases: None, alias: str) -> None:
    database = Database(alias)
    for name in ("locked", "free"):
        note(database, name, "dead", 200)

    with database.transaction():
        database.rows("SELECT 1 FROM django_tasks_q_messagerecord WHERE message_id = 'locked' FOR UPDATE")
        with ThreadPoolExecutor(1) as pool:
            pruned = pool.submit(_in_a_thread, lambda: sum(prune(Database(alias), clock.wall_ms())))
            assert pruned.result(20) == 1

    assert left(database) == {"locked"}
    connections.close_all()


def test_what_retention_deletes_is_counted_and_told(
    database: Database, broker: DatabaseBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for i in range(3):
        note(database, f"old {i}", "dead", 200)
        Attempt.objects.using(database.alias).create(message_id=f"old {i}", number=1, outcome="failed")
    first = Pruner(broker, database, "first")
    run_until_idle(first)
    assert notes(database) == {"records": 3, "attempts": 3}
    first.close()

    # The next leader goes on counting
    note(database, "one more", "succeeded", 30)
    run_until_idle(Pruner(broker, database, "second"))

    assert notes(database) == {"records": 4, "attempts": 3}
    assert "Retention: 3 records with 3 attempts deleted, 0 dead letters and 0 results dropped." in caplog.messages
    assert "Retention: 1 records with 0 attempts deleted, 0 dead letters and 0 results dropped." in caplog.messages


def test_a_batch_whose_transaction_fails_is_neither_deleted_nor_counted(
    database: Database, broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(database, "old", "dead", 200)
    pruner = Pruner(broker, database, "me")
    real = LeaderLease.note

    def fail(lease: LeaderLease, notes: dict[str, Any]) -> bool:
        real(lease, notes)
        raise RuntimeError("between the deletion and its commit")

    monkeypatch.setattr(LeaderLease, "note", fail)
    with pytest.raises(RuntimeError):
        run_until_idle(pruner)
    assert (left(database), notes(database)) == ({"old"}, {})

    monkeypatch.undo()
    run_until_idle(pruner)

    assert (left(database), notes(database)) == (set(), {"records": 1, "attempts": 0})


def test_of_two_keepers_one_deletes(database: Database, broker: DatabaseBroker) -> None:
    first, second = Pruner(broker, database, "first"), Pruner(broker, database, "second")
    run_until_idle(first)
    note(database, "old", "dead", 200)

    second.work()
    second.work()

    assert left(database) == {"old"}


def test_dead_letters_that_the_broker_kept_long_enough_are_dropped_and_counted(
    database: Database, broker: DatabaseBroker
) -> None:
    old, young = _dead_letter(broker), _dead_letter(broker)
    queued = QueuedMessage.objects.using(database.alias)
    queued.filter(message_id=old).update(died_at=clock.wall_ms() - 2 * HOUR)

    with override_settings(DJANGO_TASKS_Q={"DEAD_LETTER_TTL": HOUR}):
        run_until_idle(Pruner(broker, database, "me"))

    assert [row.message_id for row in queued.all()] == [young]
    assert notes(database)["dead_letters"] == 1
    assert records(database).get(message_id=old).state == "discarded"


def test_purging_deletes_what_finished_before_a_moment_and_tells_how_much(database: Database) -> None:
    fields = {"state": "succeeded", "created_at": ago(3), "finished_at": ago(2)}
    records(database).bulk_create([MessageRecord(message_id=f"old {i}", **fields) for i in range(450)])
    note(database, "young", "succeeded", 0.5)
    note(database, "waiting", "enqueued", None)

    steps = list(prune(database, clock.wall_ms() - HOUR))

    assert sum(steps) == 450
    assert len(steps) == (3 if database.vendor == "sqlite" else 1)
    assert left(database) == {"young", "waiting"}


# Reconciliation


def test_a_message_that_the_broker_lost_becomes_dead_with_that_reason(
    database: Database, broker: DatabaseBroker
) -> None:
    # Given a message for each state that the broker must know of, and some that it may not know
    for state in ("enqueued", "delayed", "running", "retrying"):
        note(database, state, state, None, life=1, retries=2, deliveries=3, guard=_guard(1, 2, 3, 2), worker="w")
    note(database, "promoted", "enqueued", None, deliveries=0, guard=_guard(0, 0, 1, 1))
    for state in ("pending", "unknown", "succeeded", "revoked"):
        note(database, state, state, 1 if state in ("succeeded", "revoked") else None)
    held = _send(broker)
    _age(database, held)

    Reconciler(broker, database, "me").work()

    states = dict(records(database).values_list("message_id", "state"))
    lost = {"enqueued", "delayed", "running", "retrying", "promoted"}
    assert {message_id for message_id, state in states.items() if state == "dead"} == lost
    assert {states[name] for name in (held,)} == {"enqueued"}
    assert all(states[name] == name for name in ("pending", "unknown", "succeeded", "revoked"))
    record = records(database).get(message_id="running")
    assert (record.dead_reason, record.error_type, record.retries, record.deliveries) == ("lost", "MessageLost", 2, 3)
    assert (record.worker, record.life) == ("w", 1)
    assert record.finished_at is not None


def test_a_message_that_has_just_moved_is_nobodys_loss(database: Database, broker: DatabaseBroker) -> None:
    for name, fields in {
        "sent": {"created_at": ago(0.01)},
        "requeued": {"enqueued_at": ago(0.01)},
        "started": {"enqueued_at": ago(5), "started_at": ago(0.01)},
    }.items():
        note(database, name, "running", None, **fields)

    Reconciler(broker, database, "me").work()

    assert not records(database).filter(state="dead")


def test_a_message_that_is_settled_between_look_and_write_stays_settled(
    database: Database, broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a message at work
    message_id = _send(broker)
    consumer = broker.consume(WorkerInfo("w"))
    [delivery] = consumer.exchange([], 1).deliveries
    _age(database, message_id)
    look_up = broker.look_up

    # When it is settled right after the reconciler has read its record
    def settled_meanwhile(message_ids: Any) -> dict[str, Held]:
        consumer.exchange([Settlement(delivery, Done())], 0)
        return look_up(message_ids)

    monkeypatch.setattr(broker, "look_up", settled_meanwhile)
    Reconciler(broker, database, "me").work()

    assert records(database).get(message_id=message_id).state == "succeeded"
    consumer.close()


def test_a_later_life_wins_over_the_loss(database: Database, broker: DatabaseBroker) -> None:
    message = Message("default", "nobody", (), {}, {}, "x")
    broker.enqueue(message)
    QueuedMessage.objects.using(database.alias).all().delete()
    _age(database, "x")
    Reconciler(broker, database, "me").work()
    assert records(database).get().state == "dead"

    broker.enqueue(message)

    record = records(database).get()
    assert (record.state, record.life, record.dead_reason) == ("enqueued", 1, "")


def test_a_walk_goes_on_where_the_last_round_ended(database: Database, broker: DatabaseBroker) -> None:
    # Given more than one round may look at, all but the last of which are there
    held = [_send(broker) for _ in range(3)]
    fields = {"state": "enqueued", "created_at": ago(2)}
    records(database).bulk_create([MessageRecord(message_id=f"lost {i:04}", **fields) for i in range(1_100)])
    _age(database, *held)
    reconciler = Reconciler(broker, database, "me")

    reconciler.work()
    after_one = records(database).filter(state="dead").count()
    assert reconciler.seconds_left < within(2)  # what found so much goes on soon
    reconciler.work()

    assert 900 <= after_one <= 1_000
    assert records(database).filter(state="dead").count() == 1_100
    assert records(database).filter(state="enqueued").count() == 3
    reconciler.work()
    assert records(database).filter(state="dead").count() == 1_100


def test_while_the_journal_is_not_empty_nothing_is_taken_for_lost(database: Database) -> None:
    broker = StubBroker()
    broker.declare_queue("default")
    note(database, "gone", "running", None)
    _send(broker)  # an event that nobody has written yet
    reconciler = Reconciler(broker, database, "me")
    reconciler.work()
    assert records(database).get(message_id="gone").state == "running"

    for partition in broker.journal.partitions():
        broker.journal.trim(partition, broker.journal.read(partition, 10))
    reconciler.work()

    assert records(database).get(message_id="gone").state == "dead"


def test_a_dead_letter_without_a_record_gets_one(database: Database, broker: DatabaseBroker) -> None:
    broker.recording = Recording(enabled=True)
    pruned = _dead_letter(broker)
    known = _dead_letter(broker)
    records(database).filter(message_id=pruned).delete()
    before = records(database).get(message_id=known)

    Reconciler(broker, database, "me").work()

    record = records(database).get(message_id=pruned)
    assert (record.state, record.actor_name, record.queue_name, record.args) == ("dead", "nobody", "default", [1])
    assert (record.retries, record.deliveries) == (0, 1)
    assert record.finished_at is not None
    assert records(database).get(message_id=known).finished_at == before.finished_at


# Samples


def test_a_worker_is_shown_as_its_board_tells_it(database: Database, broker: DatabaseBroker) -> None:
    board = Board(2, 3)
    board.regions[0].assign("w1", 4711)
    board.regions[0].report(7, 2, 123_456)
    board.regions[0].begin(1, b"some-id", b"default", 1, 1_700_000_000_000, 1.0)
    sampler = WorkerSampler(broker, database, board, ["default"])

    sampler.work()

    row = WorkerProcess.objects.using(database.alias).get()
    assert (row.worker_id, row.pid, row.threads, row.queues) == ("w1", 4711, 3, ["default"])
    assert (row.processed, row.failed, row.rss_bytes) == (7, 2, 123_456)
    assert row.current == [{"message_id": "some-id", "queue_name": "default", "since": 1_700_000_000_000}]
    assert row.hostname
    assert abs((row.heartbeat_at - datetime.now(UTC)).total_seconds()) < within(5)

    board.regions[0].end(1)
    sampler.work()
    again = WorkerProcess.objects.using(database.alias).get()
    assert again.current == []
    assert again.started_at == row.started_at
    assert again.heartbeat_at > row.heartbeat_at


def test_a_worker_that_left_or_was_buried_is_not_shown_any_more(database: Database, broker: DatabaseBroker) -> None:
    workers = WorkerProcess.objects.using(database.alias)
    board = Board(3, 1)
    for index, region in enumerate(board):
        region.assign(f"w{index}", 1)
    sampler = WorkerSampler(broker, database, board)
    sampler.work()

    board.regions[0].mark(EMPTY)
    sampler.work()
    assert set(workers.values_list("worker_id", flat=True)) == {"w1", "w2"}
    sampler.buried("w1")
    assert set(workers.values_list("worker_id", flat=True)) == {"w2"}
    sampler.close()
    assert not workers.exists()


def test_a_worker_that_stands_still_shows_since_when(database: Database, broker: DatabaseBroker) -> None:
    board = Board(1, 1)
    board.regions[0].assign("w", 1)
    sampler = WorkerSampler(broker, database, board)
    sampler.work()
    before = WorkerProcess.objects.using(database.alias).get().heartbeat_at

    board.regions[0].mark(STOPPED)
    sampler.work()

    assert WorkerProcess.objects.using(database.alias).get().heartbeat_at == before


def test_workers_that_died_with_their_keeper_are_forgotten_after_three_leases(
    database: Database, broker: DatabaseBroker
) -> None:
    workers = WorkerProcess.objects.using(database.alias)
    workers.create(worker_id="long gone", heartbeat_at=datetime.now(UTC) - timedelta(seconds=91))
    workers.create(worker_id="of another host", heartbeat_at=datetime.now(UTC) - timedelta(seconds=60))

    WorkerSampler(broker, database, Board(1, 1)).work()

    assert [row.worker_id for row in workers.all()] == ["of another host"]


def test_queues_are_counted_and_a_pause_is_left_alone(database: Database, broker: DatabaseBroker) -> None:
    paused = datetime(2026, 1, 2, tzinfo=UTC)
    queues = QueueState.objects.using(database.alias)
    queues.create(queue_name="default", paused_at=paused)
    broker.declare_queue("empty")
    for _ in range(3):
        _send(broker)
    _send(broker, delay=60_000)
    _dead_letter(broker)

    QueueSampler(broker, database, "me").work()

    row = queues.get(queue_name="default")
    assert (row.ready, row.in_flight, row.delayed, row.dead, row.paused_at) == (3, 0, 1, 1, paused)
    assert abs((row.oldest_at - datetime.now(UTC)).total_seconds()) < within(5)
    assert abs((row.sampled_at - datetime.now(UTC)).total_seconds()) < within(5)
    empty = queues.get(queue_name="empty")
    assert (empty.ready, empty.oldest_at) == (0, None)


def test_a_count_that_takes_long_is_made_less_often(
    database: Database, broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [clock.monotonic()]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])
    sampler = QueueSampler(broker, database, "me")
    sampler.run_if_due()
    assert sampler.seconds_left == pytest.approx(5)
    now[0] += 10.0
    counts = broker.counts

    def slow() -> Any:
        now[0] += 2.0
        return counts()

    monkeypatch.setattr(broker, "counts", slow)
    sampler.run_if_due()

    assert 38 < sampler.seconds_left < 41


# All together


def test_a_service_that_fails_keeps_no_other_from_its_work_and_trouble_is_told_once(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    class Broken(Service):
        interval = 0.01

        def work(self) -> None:
            Database(database.alias).rows("SELECT * FROM django_tasks_q_no_such_table")

    class Working(Service):
        interval = 0.01

        def work(self) -> None:
            calls.append("work")

        def buried(self, worker_id: str) -> None:
            calls.append(worker_id)

        def close(self) -> None:
            calls.append("close")

    thread = ServiceThread([Broken(), Working()])
    thread.start()
    thread.buried("w1")
    until(lambda: calls.count("work") >= 5)
    thread.stop()

    assert not thread.is_alive()
    assert calls.index("w1") < calls.index("close") == len(calls) - 1
    assert len([record for record in caplog.records if "tables of django_tasks_q are missing" in record.message]) == 1


def test_a_worker_of_your_own_has_the_services_too(database: Database, broker: DatabaseBroker) -> None:
    workers = WorkerProcess.objects.using(database.alias)
    note(database, "old", "succeeded", 200)
    worker = Worker(broker, worker_threads=2)

    worker.start()
    try:
        until(lambda: [(row.worker_id, row.threads) for row in workers.all()] == [(worker.worker_id, 2)])
        until(lambda: not left(database))
    finally:
        worker.stop()

    assert not workers.exists()
    assert not ServiceLease.objects.using(database.alias).exclude(owner="").exists()


def test_the_stub_has_no_services_that_write_records_or_samples() -> None:
    kinds = {type(service) for service in make_services(StubBroker())}
    assert not kinds & {WorkerSampler, QueueSampler, Pruner, Reconciler}


# Helpers


def _in_a_thread(step: Callable[[], int]) -> int:
    try:
        return step()
    finally:
        connections.close_all()


def _guard(life: int, attempt: int, delivery: int, kind: int) -> int:
    return ((life << 20 | attempt) << 26 | delivery) << 5 | kind


def _send(broker: Any, **options: Any) -> str:
    message = Message("default", "nobody", (1,), {}, options)
    return str(broker.enqueue(message).message_id)


def _age(database: Database, *message_ids: str) -> None:
    times = {"created_at": ago(1), "enqueued_at": ago(1)}
    records(database).filter(message_id__in=message_ids).update(**times)


def _dead_letter(broker: DatabaseBroker) -> str:
    message_id = _send(broker, priority=-10)
    consumer = broker.consume(WorkerInfo(f"w {message_id}"))
    [delivery] = consumer.exchange([], 1).deliveries
    assert delivery.message_id == message_id
    consumer.exchange([Settlement(delivery, Dead("throws"), ErrorInfo("ValueError", "no"))], 0)
    consumer.close()
    return message_id
