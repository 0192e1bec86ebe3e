"""What the scheduler sends, when, and how often."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from django_tasks_q import Message, clock
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.dialect import SQLITE
from django_tasks_q.keeper import scheduler as scheduler_module
from django_tasks_q.keeper.scheduler import Scheduler
from django_tasks_q.keeper.service import Service
from django_tasks_q.keeper.services import ServiceThreads, make_services
from django_tasks_q.models import ServiceLease, WaitingMessage
from django_tasks_q.schedules import ScheduleRows, declared, run_now
from django_tasks_q.schedules.rows import FORGOTTEN_AFTER, KEPT
from django_tasks_q.waiting import DatabaseOutbox
from tests.schedules.conftest import DAY, HOUR, MINUTE, NOON, Place
from tests.support.waiting import until, within

VENDORS = pytest.mark.parametrize("kind", ["default", "postgresql", "mariadb"], indirect=True)
ELSEWHERE = pytest.mark.parametrize("kind", ["redis", "rabbitmq"], indirect=True)

EVERY_MINUTE = timedelta(minutes=1)


def begin(place: Place, owner: str = "one") -> Scheduler:
    """A scheduler that leads and has seen all entries."""
    scheduler = place.make(owner)
    scheduler.work()
    return scheduler


def run_at(place: Place, scheduler: Scheduler, now: int) -> None:
    place.clock.now = now
    scheduler.work()


# Slots


@VENDORS
def test_each_slot_is_one_message_and_one_row(place: Place) -> None:
    place.actor(schedule=EVERY_MINUTE)
    scheduler = begin(place)
    assert place.sent() == [], "a new entry begins now"

    run_at(place, scheduler, NOON + MINUTE - 1)
    assert place.sent() == []
    run_at(place, scheduler, NOON + MINUTE)
    run_at(place, scheduler, NOON + MINUTE + 5)
    run_at(place, scheduler, NOON + 2 * MINUTE)

    assert place.slots() == [NOON + MINUTE, NOON + 2 * MINUTE]
    assert place.sent() == place.sent_for()
    entry = place.entries.get()
    assert (entry.name, entry.actor_name, entry.spec, entry.time_zone) == ("tick", "tick", "every 0:01:00", "UTC")
    assert entry.last_at == clock.as_datetime(NOON + 2 * MINUTE)
    assert entry.next_at == clock.as_datetime(NOON + 3 * MINUTE)


def test_a_message_says_which_schedule_and_slot_it_is_for(place: Place) -> None:
    place.actor(schedule=EVERY_MINUTE)
    scheduler = begin(place)

    run_at(place, scheduler, NOON + MINUTE)

    [delivery] = place.broker.peek("default")
    message = Message.decode(delivery.payload)
    assert message.options == {"scheduled_by": "tick", "scheduled_for": "2026-06-01T12:01:00+00:00"}
    [entry] = declared(place.broker).values()
    assert entry.message_of(place.broker, NOON + MINUTE).message_id == message.message_id
    assert entry.message_of(place.broker, NOON + 2 * MINUTE).message_id != message.message_id


def test_an_entry_of_the_settings_says_arguments_options_and_a_time_zone(
    place: Place, schedules: Callable[..., None]
) -> None:
    place.actor("report")
    schedules(
        nightly={
            "actor": "report",
            "schedule": "30 2 * * *",
            "args": ["all"],
            "kwargs": {"deep": True},
            "time_zone": "Europe/Berlin",
            "options": {"max_retries": 1},
        }
    )
    scheduler = begin(place)
    assert place.entries.get().next_at == clock.as_datetime(NOON + 12 * HOUR + 30 * MINUTE)

    run_at(place, scheduler, NOON + 12 * HOUR + 30 * MINUTE)

    [delivery] = place.broker.peek("default")
    message = Message.decode(delivery.payload)
    assert (message.actor_name, message.args, message.kwargs) == ("report", ("all",), {"deep": True})
    assert message.options["max_retries"] == 1 and message.options["scheduled_by"] == "nightly"


def test_an_entry_of_the_settings_replaces_the_schedule_of_the_actor_of_its_name(
    place: Place, schedules: Callable[..., None]
) -> None:
    place.actor(schedule=EVERY_MINUTE)
    schedules(tick={"actor": "tick", "schedule": timedelta(hours=1)})

    begin(place)

    assert place.entries.get().spec == "every 1:00:00"


def test_one_of_several_rules_is_enough(place: Place) -> None:
    place.actor(schedule=["0 13 * * *", timedelta(hours=4)])
    scheduler = begin(place)

    for hours in range(1, 6):
        run_at(place, scheduler, NOON + hours * HOUR)

    assert place.slots() == [NOON + HOUR, NOON + 4 * HOUR]


class Slow(Service):
    """Another service, whose rounds take as long as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.may_end = Event()

    def work(self) -> None:
        self.may_end.wait(30)


def test_every_second_is_on_time_whatever_the_other_services_do(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module, "ScheduleRows", ScheduleRows)
    place.actor(schedule="* * * * * *")
    slow = Slow()
    threads = ServiceThreads([place.make(), slow])
    threads.start()
    try:
        until(lambda: place.runs.count() >= 3)
    finally:
        slow.may_end.set()
        threads.stop()

    late = [(run.created_at - run.slot).total_seconds() for run in place.runs]
    assert all(0 <= seconds < within(0.5) for seconds in late), late


# Missed slots


def miss(place: Place, schedules: Callable[..., None], catch_up: str | None, until: int) -> None:
    """Nobody schedules from noon on, until then."""
    place.actor()
    policy = {} if catch_up is None else {"catch_up": catch_up}
    schedules(tick={"actor": "tick", "schedule": timedelta(minutes=10), **policy})
    begin(place).close()
    run_at(place, place.make("two"), until)


@VENDORS
@pytest.mark.parametrize(
    ("catch_up", "late", "ran"),
    [
        (None, 2 * MINUTE, []),
        ("skip", 2 * MINUTE, []),
        ("skip", 59_000, [60]),
        ("once", 2 * MINUTE, [60]),
        ("all", 2 * MINUTE, [10, 20, 30, 40, 50, 60]),
    ],
)
def test_slots_that_were_missed_run_as_the_entry_says(
    place: Place, schedules: Callable[..., None], catch_up: str | None, late: int, ran: list[int]
) -> None:
    miss(place, schedules, catch_up, NOON + HOUR + late)

    assert place.slots() == [NOON + minutes * MINUTE for minutes in ran]
    assert place.sent() == place.sent_for()
    assert place.entries.get().next_at == clock.as_datetime(NOON + HOUR + 10 * MINUTE)


def test_all_slots_are_caught_up_in_order_a_bounded_number_in_each_round(
    place: Place, schedules: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "_BATCH", 4)
    miss(place, schedules, "all", NOON + HOUR)
    assert len(place.slots()) == 4
    scheduler = place.make("two")

    scheduler.work()

    assert place.slots() == [NOON + number * 10 * MINUTE for number in range(1, 7)]
    assert place.sent() == place.sent_for()


def test_a_round_that_left_something_is_followed_by_the_next_one_at_once(
    place: Place, schedules: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "_BATCH", 4)
    miss(place, schedules, "all", NOON)
    scheduler = place.make("two")

    run_at(place, scheduler, NOON + HOUR)
    assert scheduler.seconds_left == 0

    scheduler.work()
    assert 0.5 < scheduler.seconds_left <= 1


def test_the_missed_slots_of_a_year_of_seconds_are_nobodys_work(place: Place) -> None:
    place.actor(schedule=timedelta(seconds=1))
    scheduler = begin(place)
    began = clock.monotonic()

    run_at(place, scheduler, NOON + 365 * DAY)

    assert place.slots() == [NOON + 365 * DAY]
    assert clock.monotonic() - began < 2


@VENDORS
@pytest.mark.parametrize("sees_it_happen", [True, False])
def test_a_clock_that_is_set_back_repeats_nothing_and_keeps_nothing_waiting(
    place: Place, sees_it_happen: bool, caplog: pytest.LogCaptureFixture
) -> None:
    place.actor(schedule=EVERY_MINUTE)
    scheduler = begin(place)
    run_at(place, scheduler, NOON + 5 * MINUTE)
    assert place.slots() == [NOON + 5 * MINUTE]
    if not sees_it_happen:
        scheduler.close()
        scheduler = place.make("another")

    for minutes in range(8):
        run_at(place, scheduler, NOON + minutes * MINUTE)

    assert place.slots() == [NOON + minutes * MINUTE for minutes in range(1, 8)]
    assert sorted(place.sent()) == sorted(place.sent_for()), "what ran before its time runs no second time"
    assert caplog.text.count("was set back") == 1


def test_a_clock_that_trembles_runs_each_slot_once(place: Place) -> None:
    place.actor(schedule=EVERY_MINUTE)
    scheduler = begin(place)

    for now in (NOON + MINUTE + 2, NOON + MINUTE - 3, NOON + MINUTE, NOON + MINUTE - 1, NOON + MINUTE + 4):
        run_at(place, scheduler, now)

    assert place.slots() == [NOON + MINUTE]
    assert place.sent() == place.sent_for()
    assert place.entries.get().next_at == clock.as_datetime(NOON + 2 * MINUTE)


# Disabled and enabled


@VENDORS
def test_a_disabled_entry_runs_nothing_and_does_not_catch_it_up(place: Place, schedules: Callable[..., None]) -> None:
    place.actor()
    schedules(tick={"actor": "tick", "schedule": EVERY_MINUTE, "catch_up": "all"})
    scheduler, rows = begin(place), ScheduleRows(place.database)
    assert rows.disable("tick") and not rows.disable("tick")
    assert place.entries.get().next_at is None

    run_at(place, scheduler, NOON + 30 * MINUTE)
    assert rows.enable("tick") and not rows.enable("tick")
    run_at(place, scheduler, NOON + 40 * MINUTE)
    assert place.slots() == []
    run_at(place, scheduler, NOON + 41 * MINUTE)

    assert place.slots() == [NOON + 41 * MINUTE]
    assert not rows.enable("nobody") and not rows.disable("nobody")


def test_who_disables_an_entry_while_its_slot_is_about_to_run_wins(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.actor(schedule=EVERY_MINUTE)
    scheduler = begin(place)
    add_run = ScheduleRows.add_run

    def disabling(self: ScheduleRows, *args: Any) -> bool:
        self.disable("tick")
        return add_run(self, *args)

    monkeypatch.setattr(ScheduleRows, "add_run", disabling)
    run_at(place, scheduler, NOON + MINUTE)

    assert place.sent() == [] and place.slots() == []


@VENDORS
def test_what_is_run_by_hand_runs_at_once_and_leaves_the_next_slot_alone(place: Place) -> None:
    place.actor(schedule=EVERY_MINUTE)
    scheduler = begin(place)
    ScheduleRows(place.database).disable("tick")

    message = run_now(place.broker, place.database, declared(place.broker)["tick"])

    assert place.sent() == place.sent_for() == [message.message_id]
    assert message.options == {"scheduled_by": "tick"}
    entry = place.entries.get()
    assert entry.last_at is not None and entry.next_at is None and not entry.enabled
    run_at(place, scheduler, NOON + MINUTE)
    assert place.sent() == [message.message_id]


# Several schedulers


@VENDORS
def test_of_several_who_all_believe_to_lead_one_runs_each_slot(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.actor(schedule=EVERY_MINUTE)
    schedulers = [begin(place, f"number {number}") for number in range(3)]
    for scheduler in schedulers:
        monkeypatch.setattr(scheduler._lease, "hold", lambda: True)

    for minutes in range(1, 5):
        for scheduler in schedulers:
            run_at(place, scheduler, NOON + minutes * MINUTE)

    assert place.slots() == [NOON + minutes * MINUTE for minutes in range(1, 5)]
    assert place.sent() == place.sent_for()


@VENDORS
def test_who_looked_before_somebody_else_ran_the_slot_runs_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.actor(schedule=EVERY_MINUTE)
    first = begin(place)
    stale = ScheduleRows(place.database).standing()
    run_at(place, first, NOON + MINUTE)
    run_at(place, first, NOON + 2 * MINUTE)

    # It was stopped between its look and its run, for longer than its lease.
    second = place.make("two")
    monkeypatch.setattr(second._lease, "hold", lambda: True)
    monkeypatch.setattr(second._rows, "standing", lambda: stale._replace(now=NOON + 2 * MINUTE))
    second.work()

    assert place.slots() == [NOON + MINUTE, NOON + 2 * MINUTE]
    assert place.sent() == place.sent_for()


@VENDORS
def test_who_looked_before_somebody_else_passed_the_slot_over_does_not_run_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.actor(schedule=timedelta(hours=1))
    first = begin(place)
    stale = ScheduleRows(place.database).standing()
    run_at(place, first, NOON + HOUR + 2 * MINUTE)  # too late, so it is missed
    following = place.entries.get().next_at

    second = place.make("two")
    monkeypatch.setattr(second._lease, "hold", lambda: True)
    monkeypatch.setattr(second._rows, "standing", lambda: stale._replace(now=NOON + HOUR))
    second.work()

    assert place.sent() == [] and place.slots() == []
    assert place.entries.get().next_at == following


def test_only_the_leader_runs_anything_and_when_it_lets_go_the_next_one_does(place: Place) -> None:
    place.actor(schedule=EVERY_MINUTE)
    first, second = begin(place, "one"), begin(place, "two")

    run_at(place, second, NOON + MINUTE)
    assert place.slots() == []
    first.close()
    run_at(place, second, NOON + MINUTE)

    assert place.slots() == [NOON + MINUTE]


@VENDORS
def test_a_slot_whose_message_is_there_already_is_not_sent_again(place: Place) -> None:
    place.actor(schedule=EVERY_MINUTE)
    scheduler = begin(place)
    message = declared(place.broker)["tick"].message_of(place.broker, NOON + MINUTE)
    place.broker.enqueue(message)

    run_at(place, scheduler, NOON + MINUTE)

    assert place.sent() == place.sent_for() == [message.message_id]


@VENDORS
@pytest.mark.parametrize("on_conflict", ["drop", "raise"])
def test_the_row_of_a_slot_names_the_message_that_is_there_in_its_place(
    place: Place, on_conflict: str, caplog: pytest.LogCaptureFixture
) -> None:
    tick = place.actor(schedule=EVERY_MINUTE, unique=True, on_conflict=on_conflict)
    holder = tick.send()
    scheduler = begin(place)

    run_at(place, scheduler, NOON + MINUTE)
    if on_conflict == "drop":
        assert run_now(place.broker, place.database, declared(place.broker)["tick"]).message_id == holder.message_id

    assert place.sent() == [holder.message_id]
    assert set(place.sent_for()) == {holder.message_id}
    assert (f"{holder.message_id} holds the key" in caplog.text) == (on_conflict == "raise")


@VENDORS
def test_a_slot_that_has_a_row_is_passed_over(place: Place) -> None:
    place.actor(schedule=EVERY_MINUTE)
    scheduler = begin(place)
    ScheduleRows(place.database).add_run("tick", NOON + MINUTE, "long ago")

    run_at(place, scheduler, NOON + MINUTE)
    run_at(place, scheduler, NOON + 2 * MINUTE)

    assert len(place.sent()) == 1 and place.slots() == [NOON + MINUTE, NOON + 2 * MINUTE]


# Other brokers


@ELSEWHERE
def test_a_broker_elsewhere_gets_each_slot_once_through_a_row_that_waits_for_the_commit(place: Place) -> None:
    place.actor(schedule=EVERY_MINUTE)
    scheduler = begin(place)

    for minutes in range(1, 4):
        run_at(place, scheduler, NOON + minutes * MINUTE)

    [counts] = [counts for counts in place.broker.counts() if counts.queue_name == "default"]
    assert counts.ready == 3 and len(place.slots()) == 3
    assert not WaitingMessage.objects.filter(kind="commit").exists()


@ELSEWHERE
def test_who_is_killed_between_the_commit_and_the_publication_leaves_the_message_to_the_relay(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.actor(schedule=EVERY_MINUTE)
    scheduler = begin(place)
    monkeypatch.setattr(DatabaseOutbox, "publish", lambda *args: None)

    run_at(place, scheduler, NOON + MINUTE)

    assert list(WaitingMessage.objects.values_list("message_id", flat=True)) == place.sent_for()


# What goes wrong


def test_an_entry_whose_message_cannot_be_made_keeps_the_others_from_nothing(
    place: Place, schedules: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    place.actor(schedule=EVERY_MINUTE)
    schedules(refused={"actor": "tick", "schedule": EVERY_MINUTE, "args": ["long" * 1_000]})
    place.broker.max_message_bytes = 2_000
    scheduler = begin(place)

    run_at(place, scheduler, NOON + MINUTE)
    run_at(place, scheduler, NOON + MINUTE + 1)

    assert place.slots() == [NOON + MINUTE] and place.slots("refused") == []
    assert caplog.text.count("Schedule 'refused' cannot be run") == 1, "it rests for a while"
    assert scheduler.seconds_left > 0.5, "and is nothing to hurry for"


def test_an_entry_of_an_actor_that_nobody_knows_is_told_of_and_left_alone(
    place: Place, schedules: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    place.actor(schedule=EVERY_MINUTE)
    schedules(lost={"actor": "tock", "schedule": "* * * * *"})

    begin(place)

    assert "Schedule 'lost' cannot be run: No actor is called 'tock'. Did you mean 'tick'?" in caplog.text
    assert list(place.entries.values_list("name", flat=True)) == ["tick"]


# Rows


@VENDORS
def test_a_changed_schedule_begins_anew_with_who_leads_next(place: Place, schedules: Callable[..., None]) -> None:
    place.actor()
    schedules(tick={"actor": "tick", "schedule": timedelta(hours=4), "catch_up": "all"})
    old = begin(place)
    schedules(tick={"actor": "tick", "schedule": timedelta(hours=1), "catch_up": "all"})
    place.clock.now = NOON + 10 * HOUR + 1

    new = begin(place, "two")
    assert place.entries.get().spec == "every 4:00:00", "the old release leads"
    old.close()
    new.work()

    assert place.slots() == []
    entry = place.entries.get()
    assert (entry.spec, entry.next_at) == ("every 1:00:00", clock.as_datetime(NOON + 11 * HOUR))


@VENDORS
def test_entries_that_no_release_has_any_more_go_after_a_while(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    place.actor(schedule=EVERY_MINUTE)
    begin(place)
    recently = place.entries.get().declared_at - timedelta(milliseconds=FORGOTTEN_AFTER // 2)
    long_ago = recently - timedelta(milliseconds=FORGOTTEN_AFTER)
    for name, at in (("newer", recently), ("gone", long_ago)):
        place.entries.create(name=name, actor_name=name, spec="* * * * *", time_zone="UTC", declared_at=at)
        ScheduleRows(place.database).add_run(name, NOON, "message")
    place.entries.filter(name="tick").update(declared_at=long_ago)

    begin(place, "two")

    assert set(place.entries.values_list("name", flat=True)) == {"tick", "newer"}
    assert set(place.runs.values_list("entry_id", flat=True)) == {"newer"}
    assert "Schedule 'gone' is gone" in caplog.text


def test_where_the_code_has_no_schedule_nothing_asks_for_the_lease_and_old_rows_still_go(place: Place) -> None:
    at = clock.as_datetime(NOON - 365 * DAY)
    place.entries.create(name="gone", actor_name="gone", spec="* * * * *", time_zone="UTC", declared_at=at)

    scheduler = begin(place)

    assert not place.entries.exists()
    assert not ServiceLease.objects.filter(name="schedules").exists()
    assert scheduler.thread == "Services", "it needs no thread of its own"


@VENDORS
def test_only_the_last_runs_of_each_entry_are_kept(place: Place) -> None:
    rows = ScheduleRows(place.database)
    for number in range(KEPT + 7):
        rows.add_run("many", NOON + number, "message")
    rows.add_run("few", NOON, "message")

    assert (rows.prune(), rows.prune()) == (7, 0)

    assert place.slots("many") == [NOON + number for number in range(7, KEPT + 7)]
    assert place.slots("few") == [NOON]


def test_the_runs_that_a_long_catch_up_leaves_go_in_batches_one_soon_after_the_other(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.actor(schedule=EVERY_MINUTE)
    leader = begin(place)
    rows = ScheduleRows(place.database)
    for number in range(KEPT + 2 * SQLITE.batch + 7):
        rows.add_run("tick", NOON + number, "message")
    monkeypatch.setattr(scheduler_module, "_SOON", 0.0)
    leader._care_at = 0.0

    for _ in range(4):
        leader.work()

    assert place.runs.filter(entry_id="tick").count() == KEPT


def test_the_stub_broker_has_no_scheduler() -> None:
    assert not any(isinstance(service, Scheduler) for service in make_services(StubBroker()))
