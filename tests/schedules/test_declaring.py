"""What may be declared: a mistake is told where it is made, with the name of who made it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_tasks_q import actor, checks, set_broker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.conf import configured
from django_tasks_q.schedules import declared


@pytest.fixture
def broker() -> StubBroker:
    broker = StubBroker()
    set_broker(broker)
    return broker


def declare(broker: StubBroker, schedule: Any, fn: Callable[..., None] = lambda: None) -> Any:
    return actor(fn, actor_name="tick", broker=broker, schedule=schedule)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("61 * * * *", "the minute of '61 * * * *' cannot be '61'"),
        ("0 25 * * *", "the hour of '0 25 * * *' cannot be '25'"),
        ("0 0 0 * *", "the day of the month of '0 0 0 * *' cannot be '0'"),
        ("0 0 30 2 *", "the day of the month of '0 0 30 2 *' cannot be '30'"),
        ("0 0 * 13 *", "the month of '0 0 * 13 *' cannot be '13'"),
        ("0 0 * * MONDAY", "the day of the week of '0 0 * * MONDAY' cannot be 'MONDAY'"),
        ("*/0 * * * * *", "the second of '*/0 * * * * *' cannot be '*/0'"),
        ("0 0 */20 * 1L", "'0 0 */20 * 1L' never comes"),
        ("* * * *", "'* * * *' is no crontab expression: it has five fields"),
        ("", "'' is no crontab expression"),
        ("@daily", "'@daily' is no crontab expression"),
        (timedelta(milliseconds=500), "an interval is at least a second and at most 365 days, not 0:00:00.500000"),
        (timedelta(days=366), "an interval is at least a second and at most 365 days"),
        (timedelta(seconds=1, microseconds=1), "an interval is of whole milliseconds"),
        (timedelta(seconds=-5), "an interval is at least a second"),
        ([], "an empty list never comes"),
        (["0 3 * * *", 60], "it is a crontab expression, a timedelta, or a list of these, not 60"),
        (5_000, "it is a crontab expression, a timedelta, or a list of these, not 5000"),
    ],
)
def test_a_schedule_that_cannot_be_meant_is_refused_with_the_actor_and_the_field(
    broker: StubBroker, schedule: Any, words: str
) -> None:
    with pytest.raises(ValueError) as caught:
        declare(broker, schedule)

    assert str(caught.value).startswith(f"tick: an actor's schedule: {words}")
    assert "tick" not in broker.actors


@pytest.mark.parametrize(
    "schedule",
    [
        "*/5 * * * *",
        "30 0 2 * * *",
        "0 0 1,15 JAN-JUN MON#1",
        "0 0 LW * *",
        "  0   3 * * 7 ",
        timedelta(minutes=5),
        ["0 9 * * *", "0 17 * * *", timedelta(days=1)],
        None,
    ],
)
def test_others_are_taken(broker: StubBroker, schedule: Any) -> None:
    assert declare(broker, schedule).options.get("schedule") == schedule


def test_an_actor_that_wants_arguments_cannot_have_a_schedule_of_its_own(broker: StubBroker) -> None:
    def send(order: int) -> None: ...

    with pytest.raises(TypeError, match="missing a required argument: 'order'"):
        declare(broker, timedelta(hours=1), send)
    assert "tick" not in broker.actors


def test_a_schedule_belongs_to_actors_and_not_to_messages(broker: StubBroker) -> None:
    tick = declare(broker, timedelta(hours=1))

    with pytest.raises(ValueError, match="a message has no option 'schedule'"):
        tick.send_with_options(schedule=timedelta(hours=1))


def test_without_the_library_an_expression_says_what_to_install_and_intervals_work(
    broker: StubBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cronsim", None)

    with pytest.raises(ImportError, match=r'needs cronsim: pip install "django-tasks-q\[schedules\]"'):
        declare(broker, "0 3 * * *")
    assert declare(broker, timedelta(hours=1)).options["schedule"] == timedelta(hours=1)


# Settings


GOOD = {"actor": "tick", "schedule": "0 3 * * *"}


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        (["tick"], "SCHEDULES is a dict"),
        ({"a": "0 3 * * *"}, "SCHEDULES['a'] is a dict with 'actor' and 'schedule', not a str."),
        ({"": GOOD}, "SCHEDULES['']: a name has 1 to 200 printable characters."),
        ({"a": {"actor": "tick"}}, "SCHEDULES['a'] has no 'schedule', which each needs."),
        ({"a": {"schedule": "0 3 * * *"}}, "SCHEDULES['a'] has no 'actor', which each needs."),
        ({"a": {**GOOD, "arg": []}}, "SCHEDULES['a'] has no key 'arg'. Did you mean 'args'?"),
        ({"a": {**GOOD, "args": "one"}}, "SCHEDULES['a']['args'] is a list of arguments: 'one'"),
        ({"a": {**GOOD, "kwargs": [1]}}, "SCHEDULES['a']['kwargs'] is a dict: [1]"),
        ({"a": {**GOOD, "options": 3}}, "SCHEDULES['a']['options'] is a dict: 3"),
        ({"a": {**GOOD, "catch_up": "yes"}}, "SCHEDULES['a']['catch_up'] is \"skip\", \"once\" or \"all\": 'yes'"),
        ({"a": {**GOOD, "time_zone": "Europe/Berln"}}, "SCHEDULES['a']: there is no time zone 'Europe/Berln'."),
        ({"a": {**GOOD, "time_zone": "../etc"}}, "SCHEDULES['a']: there is no time zone '../etc'."),
        ({"a": {**GOOD, "schedule": "0 24 * * *"}}, "SCHEDULES['a']: the hour of '0 24 * * *' cannot be '24'."),
        ({"a": {**GOOD, "schedule": 60}}, "SCHEDULES['a']: it is a crontab expression, a timedelta"),
    ],
)
def test_settings_that_cannot_be_meant_are_found_by_a_check_and_raised(entries: Any, words: str) -> None:
    with override_settings(DJANGO_TASKS_Q={"SCHEDULES": entries}):
        [found, *_] = checks.check_settings(None)
        assert found.id == "django_tasks_q.E001"
        assert f"DJANGO_TASKS_Q: {words}" in found.msg
        with pytest.raises(ImproperlyConfigured):
            configured()


def test_a_schedule_of_all_actors_cannot_be_meant() -> None:
    with override_settings(DJANGO_TASKS_Q={"ACTOR_DEFAULTS": {"schedule": "* * * * *"}}):
        [found] = checks.check_settings(None)

    assert found.id == "django_tasks_q.E012" and "ACTOR_DEFAULTS: a schedule is one actor's." in found.msg


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"actor": "tik"}, "Schedule 'a': No actor is called 'tik'. Did you mean 'tick'?"),
        ({"actor": "note", "args": [1, 2]}, "Schedule 'a': too many positional arguments"),
        ({"actor": "note"}, "Schedule 'a': missing a required argument: 'number'"),
        ({"options": {"max_retires": 1}}, "a message has no option 'max_retires'. Did you mean 'max_retries'?"),
        ({"options": {"schedule": "* * * * *"}}, "a message has no option 'schedule'"),
        ({"options": {"args": [1]}}, "multiple values for keyword argument 'args'"),
        ({"actor": "note", "args": [{1}]}, "args[0]"),
    ],
)
def test_what_no_worker_could_run_is_found_by_a_check(broker: StubBroker, entry: dict[str, Any], words: str) -> None:
    declare(broker, None)
    actor(lambda number: None, actor_name="note", broker=broker)

    with override_settings(DJANGO_TASKS_Q={"SCHEDULES": {"a": {**GOOD, **entry}, "good": GOOD}}):
        [found] = checks.check_schedules(None)

    assert found.id == "django_tasks_q.E019" and words in found.msg


def test_an_entry_with_the_name_of_a_scheduled_actor_may_not_call_another_one(broker: StubBroker) -> None:
    declare(broker, timedelta(hours=1))
    actor(lambda: None, actor_name="note", broker=broker)

    with override_settings(DJANGO_TASKS_Q={"SCHEDULES": {"tick": {**GOOD, "actor": "note"}}}):
        [found] = checks.check_schedules(None)

    assert "it has the name of an actor with a schedule, and calls another one, 'note'" in found.msg


@override_settings(TIME_ZONE="Asia/Tokyo")
def test_where_no_time_zone_is_named_it_is_djangos(broker: StubBroker) -> None:
    declare(broker, "0 3 * * *")
    berlin = {**GOOD, "time_zone": "Europe/Berlin"}

    with override_settings(DJANGO_TASKS_Q={"SCHEDULES": {"plain": GOOD, "berlin": berlin}}):
        zones = {name: entry.time_zone for name, entry in declared(broker).items()}

    assert zones == {"tick": "Asia/Tokyo", "plain": "Asia/Tokyo", "berlin": "Europe/Berlin"}
