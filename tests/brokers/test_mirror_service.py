"""The mirror as a service, its catch-up for a page, and what neither may do to anybody else."""

from __future__ import annotations

import copy
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction
from django.test import override_settings

from django_tasks_q import actor, clock
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubJournal
from django_tasks_q.events import Birth, Event, Kind
from django_tasks_q.journal import Gap
from django_tasks_q.keeper.mirror_service import MirrorService, catch_up, mirror_lag_ms
from django_tasks_q.keeper.service_lease import LeaderLease
from django_tasks_q.keeper.services import make_services
from django_tasks_q.mirror import Mirror
from django_tasks_q.models import MessageRecord, ServiceLease
from django_tasks_q.recording import Recording
from django_tasks_q.sql import Database
from django_tasks_q.states import State
from tests.support.journal_broker import JournalBroker
from tests.support.truth import differences
from tests.support.waiting import until, within
from tests.unit.conftest import running

ALIASES = pytest.mark.parametrize("alias", ["default", "postgresql", "mariadb"])


@pytest.fixture
def broker(tmp_path: Path, databases: None) -> Iterator[JournalBroker]:
    broker = JournalBroker(tmp_path / "journal", fail_fast_default=False)
    broker.declare_queue("q")
    yield broker
    broker.close()


def service(broker: JournalBroker, alias: str, owner: str = "me") -> MirrorService:
    with override_settings(DJANGO_TASKS_Q={"RECORDS": {"DATABASE": alias}}):
        return MirrorService(broker, owner)


def tell(broker: JournalBroker, *names: str, at: int = 1_000, **fields: Any) -> list[Event]:
    birth = fields.pop("birth", {})
    told = [
        Event(Kind.CREATED, name, State.ENQUEUED, at, birth=Birth("q", "work", at, **birth), **fields) for name in names
    ]
    for event in told:
        broker.journal.append("q", event)
    return told


def until_nothing_is_left(a_round: Callable[[], None], broker: JournalBroker) -> None:
    """Each round is bounded in time, so that how many it takes is a matter of the machine."""

    def look() -> bool:
        a_round()
        return not broker.journal.backlog("q").events

    until(look)


def states(alias: str) -> dict[str, str]:
    return dict(MessageRecord.objects.using(alias).values_list("message_id", "state"))


@ALIASES
def test_everything_that_waits_is_written_and_trimmed(broker: JournalBroker, alias: str) -> None:
    told = tell(broker, *(f"m{number}" for number in range(2_500)))

    mirror = service(broker, alias)
    until_nothing_is_left(mirror.work, broker)

    assert differences(told, alias) == []


@ALIASES
def test_of_two_mirrors_one_works_until_it_lets_go(broker: JournalBroker, alias: str) -> None:
    first, second = service(broker, alias, "first"), service(broker, alias, "second")
    tell(broker, "m1")
    first.work()
    tell(broker, "m2")

    second.work()
    assert "m2" not in states(alias)

    first.close()
    service(broker, alias, "third").work()
    assert "m2" in states(alias)


@ALIASES
def test_two_mirrors_that_work_at_a_time_by_mistake_do_no_harm(broker: JournalBroker, alias: str) -> None:
    told = tell(broker, *(f"m{number}" for number in range(3_000)))
    start = threading.Barrier(2)

    def work() -> None:
        mirror = Mirror(broker.journal, Database(alias), Recording())
        try:
            start.wait(10)
            while mirror.advance("q", 100):
                pass
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert differences(told, alias) == []


BAD = {
    "a name that is too long": ({"actor_name": "x" * 300}, {}),
    "a number that is too large": ({"priority": 10**30}, {}),
    "a moment that never comes": ({}, {"eta": 10**18}),
    "a queue with a NUL character": ({"queue_name": "q\x00"}, {}),
}


@pytest.mark.parametrize("what", BAD)
@ALIASES
def test_a_row_that_the_database_refuses_keeps_no_other_back(
    broker: JournalBroker, alias: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    birth, fields = BAD[what]
    told = tell(broker, *(f"m{number}" for number in range(50)))
    born = Birth(**{"queue_name": "q", "actor_name": "a", "created_at": 1} | birth)
    bad = Event(Kind.CREATED, "bad", State.DELAYED, 1_000, birth=born, **fields)
    broker.journal.append("q", bad)
    told += tell(broker, *(f"n{number}" for number in range(50)))

    with caplog.at_level(logging.ERROR):
        service(broker, alias).work()

    MessageRecord.objects.using(alias).filter(pk="bad").delete()  # SQLite takes what fits no column
    assert differences(told, alias) == []
    assert broker.journal.backlog("q").events == 0


def test_a_record_whose_event_was_left_out_says_unknown(
    broker: JournalBroker, caplog: pytest.LogCaptureFixture
) -> None:
    alias = "postgresql"
    tell(broker, "m")
    broker.journal.append("q", Event(Kind.SETTLED, "m", State.DEAD, 2_000, delivery=1, reason="x" * 100))

    with caplog.at_level(logging.ERROR):
        service(broker, alias).work()

    assert states(alias) == {"m": "unknown"}
    assert "'m'" in caplog.text and "x" * 100 not in caplog.text


@ALIASES
def test_after_a_gap_what_was_alive_is_unknown_until_something_new_is_heard(broker: JournalBroker, alias: str) -> None:
    mirror = service(broker, alias)
    tell(broker, "waiting", "running", "elsewhere")
    MessageRecord.objects.using(alias).create(message_id="other queue", queue_name="other", state="enqueued")
    MessageRecord.objects.using(alias).create(message_id="done", queue_name="q", state="succeeded")
    mirror.work()
    broker.journal.append_bytes("q", b"what happened next")
    broker.journal.append("q", Event(Kind.SETTLED, "running", State.SUCCEEDED, 2_000, delivery=1))

    mirror.work()

    assert states(alias) == {
        "waiting": "unknown", "running": "succeeded", "elsewhere": "unknown", "other queue": "enqueued",
        "done": "succeeded",
    }  # fmt: skip
    assert broker.journal.backlog("q").gap is None
    assert ServiceLease.objects.using(alias).get(name="mirror q").notes["dropped"] == 1
    broker.journal.append("q", Event(Kind.STARTED, "waiting", State.RUNNING, 3_000, delivery=1, worker="w"))
    mirror.work()
    assert states(alias)["waiting"] == "running"


def test_a_gap_of_which_nobody_knows_the_queues_concerns_all(databases: None) -> None:
    journal = StubJournal(1)
    MessageRecord.objects.create(message_id="m", queue_name="q", state="retrying")
    for name in ("a", "b"):
        journal.append(Event(Kind.CREATED, name, State.ENQUEUED, 1, birth=Birth("q", "a", 1)))
    noted: list[Gap] = []
    mirror = Mirror(journal, Database("default"), Recording(), lambda partition, gap: noted.append(gap))

    while mirror.advance("stub"):
        pass

    assert states("default") == {"m": "unknown", "b": "enqueued"}
    assert noted == [Gap(1, 1, 1)]


@pytest.fixture
def away() -> Iterator[Any]:
    """An alias of the PostgreSQL database whose server cannot be reached until it is told to be back."""
    config = copy.deepcopy(connections["postgresql"].settings_dict)
    port = config["PORT"]
    connections.settings["away"] = {**config, "PORT": "1"}

    class Away:
        alias = "away"

        def comes_back(self) -> None:
            connections.settings["away"]["PORT"] = port
            del connections["away"]

    yield Away()
    connections["away"].close()
    del connections["away"]
    del connections.settings["away"]


def test_while_the_database_is_away_work_goes_on_and_afterwards_the_records_are_complete(
    broker: JournalBroker, away: Any, caplog: pytest.LogCaptureFixture
) -> None:
    work = actor(lambda: None, broker=broker, queue_name="q", actor_name="work")
    mirror = service(broker, away.alias)
    with running(broker):
        for _ in range(200):
            work.send()
            mirror.hurry()
            mirror.run_if_due()
        broker.join("q", timeout=20_000)

    assert broker.journal.backlog("q").events == len(broker.told) >= 400
    assert caplog.text.count("MirrorService") == 1, "an outage is told of once"

    away.comes_back()
    mirror.hurry()
    until_nothing_is_left(mirror.run_if_due, broker)

    assert differences(broker.told, "postgresql") == []


def test_a_page_catches_up_outside_of_its_own_transaction(broker: JournalBroker) -> None:
    told = tell(broker, *(f"m{number}" for number in range(300)))

    with override_settings(DJANGO_TASKS_Q={"RECORDS": {"DATABASE": "postgresql"}}):
        with transaction.atomic(using="postgresql"):
            written = catch_up(broker, seconds=20)
            transaction.set_rollback(True, using="postgresql")
        assert written == 300
        assert catch_up(broker) == 0

    assert differences(told, "postgresql") == []


def test_a_page_in_a_transaction_of_sqlite_does_not_wait_for_itself(broker: JournalBroker) -> None:
    tell(broker, "m")

    with transaction.atomic():
        assert catch_up(broker, seconds=20) == 0

    assert catch_up(broker, seconds=20) == 1


def test_a_page_catches_up_no_more_than_it_was_told(broker: JournalBroker) -> None:
    tell(broker, *(f"m{number}" for number in range(1_000)))

    written = catch_up(broker, limit=250, seconds=20)

    assert 250 <= written < 1_000
    assert broker.journal.backlog("q").events == 1_000 - written


def test_a_page_leaves_to_a_keeper_what_a_keeper_does(broker: JournalBroker) -> None:
    lease = LeaderLease(Database("default"), "mirror q", "the keeper")
    assert lease.hold()
    tell(broker, "m")

    assert catch_up(broker, seconds=20) == 0

    lease.release()
    assert catch_up(broker, seconds=20) == 1


def test_who_stops_reading_lets_go_of_the_journal_before_others_may_read(
    broker: JournalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(broker, "m")
    steps: list[str] = []
    release = LeaderLease.release
    monkeypatch.setattr(type(broker.journal), "close", lambda journal: steps.append("close"))
    monkeypatch.setattr(LeaderLease, "release", lambda lease: [steps.append("release"), release(lease)])

    catch_up(broker, seconds=20)
    assert steps == ["close", "release"]

    mirror = service(broker, "default")
    mirror.work()
    mirror.close()
    assert steps == ["close", "release"] * 2


def test_a_page_that_reads_nothing_takes_the_journal_from_nobody(
    broker: JournalBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = LeaderLease(Database("default"), "mirror q", "another page")
    assert lease.hold()
    tell(broker, "m")
    monkeypatch.setattr(type(broker.journal), "close", lambda journal: pytest.fail("it was not reading"))

    assert catch_up(broker, seconds=20) == 0


def test_a_page_waits_no_longer_than_it_was_told_for_a_database_that_is_busy(broker: JournalBroker) -> None:
    tell(broker, "m")
    before = set(threading.enumerate())
    writer = sqlite3.connect(connections["default"].settings_dict["NAME"], isolation_level=None)
    with closing(writer):
        writer.execute("BEGIN IMMEDIATE")
        began = clock.monotonic()
        assert catch_up(broker, seconds=0.2) == 0
        assert clock.monotonic() - began < within(2)

    until(lambda: set(threading.enumerate()) <= before, 20)


def test_a_page_survives_a_database_that_is_away(
    broker: JournalBroker, away: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tell(broker, "m")

    with override_settings(DJANGO_TASKS_Q={"RECORDS": {"DATABASE": "away"}}):
        assert catch_up(broker, seconds=10) == 0

    assert "could not catch up" in caplog.text
    assert broker.journal.backlog("q").events == 1


def test_the_lag_is_the_age_of_the_oldest_event_that_is_not_in_the_records(broker: JournalBroker) -> None:
    assert mirror_lag_ms(broker) == 0
    tell(broker, "m", at=clock.wall_ms() - 5_000)

    assert 5_000 <= mirror_lag_ms(broker) < 60_000

    catch_up(broker, seconds=20)
    assert mirror_lag_ms(broker) == 0


def test_a_broker_that_writes_records_itself_needs_no_mirror(databases: None) -> None:
    broker = DatabaseBroker()

    assert (mirror_lag_ms(broker), catch_up(broker)) == (0, 0)
    assert not any(isinstance(item, MirrorService) for item in make_services(broker))


def test_what_is_recorded_is_redacted_on_its_way(broker: JournalBroker) -> None:
    broker.recording = Recording(redact=lambda name, args, kwargs: (["***"], {}))
    tell(broker, "m", birth={"args": ["secret"], "kwargs": {"password": "secret"}})

    catch_up(broker, seconds=20)

    record = MessageRecord.objects.get()
    assert (record.args, record.kwargs) == (["***"], {})


def test_a_queue_with_the_longest_name_has_a_lease_too(broker: JournalBroker) -> None:
    names = ["q" * 199 + "1", "q" * 199 + "2"]
    for name in names:
        broker.journal.append(name, Event(Kind.CREATED, name[-4:], State.ENQUEUED, 1, birth=Birth(name, "a", 1)))

    service(broker, "postgresql").work()

    assert set(states("postgresql")) == {"qqq1", "qqq2"}
    assert ServiceLease.objects.using("postgresql").filter(name__startswith="mirror ").count() == 2
