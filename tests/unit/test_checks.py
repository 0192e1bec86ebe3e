"""System checks: what is wrong is said in words and with a number, and nothing of it is a traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.test import override_settings
from django.utils import timezone

from django_tasks_q import BrokerConnectionError, Middleware, actor, checks, get_broker, set_broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.checks import databases as database_checks
from django_tasks_q.configured import addresses
from django_tasks_q.models import WorkerProcess
from django_tasks_q.results import Results
from django_tasks_q.results.backends import DatabaseBackend

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "checks.md"


def numbers(found: list[CheckMessage]) -> list[str]:
    return [str(message.id).removeprefix("django_tasks_q.") for message in found]


def check_settings(settings: Any) -> list[CheckMessage]:
    with override_settings(DJANGO_TASKS_Q=settings):
        return checks.check_settings(None)


# The page


def test_the_page_explains_every_check_there_is_and_no_other() -> None:
    code = "".join(path.read_text() for path in (ROOT / "django_tasks_q").rglob("*.py"))
    explained = re.findall(r"^### `django_tasks_q\.([EW]\d{3})`", PAGE.read_text(), re.M)

    assert explained == sorted(set(re.findall(r'"([EW]\d{3})"', code)))


def test_each_entry_of_the_page_says_what_it_means_and_what_to_do() -> None:
    entries = re.split(r"^### ", PAGE.read_text(), flags=re.M)[1:]

    assert all(re.search(r"\*\*What to do:\*\* \S", entry) for entry in entries)


# Settings that cannot be used


@pytest.fixture
def no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs of servers make a broker in memory."""
    for scheme in addresses.NAMESPACED:
        monkeypatch.setitem(addresses.BROKERS, scheme, f"{HERE}.a_broker_of")


def a_broker_of(url: str, middleware: Any, *, namespace: str, heads: int = 1, colour: str = "") -> StubBroker:
    if heads < 1:
        raise ValueError(f"heads is at least 1, not {heads}")
    broker = StubBroker(middleware)
    vars(broker)["made_of"] = (url, namespace, heads)
    return broker


class Demanding(Middleware):
    def __init__(self, address: str) -> None:
        self.address = address


class Stumbling(Middleware):
    def __init__(self) -> None:
        raise RuntimeError("no colour today")


not_callable = 7
HERE = "tests.unit.test_checks"


@pytest.mark.parametrize(
    ("settings", "number", "words"),
    [
        (["a list"], "E001", "is a dict of settings, not a list"),
        ({"THREAD": 1}, "E001", "Did you mean 'THREADS'?"),
        ({"RECORDS": {"REDAKT": "x"}}, "E001", "Did you mean 'REDACT'?"),
        ({"RECORDS": {"DEAD_TTL": "7d"}}, "E001", "RECORDS['DEAD_TTL'] is milliseconds, at least 1: '7d'"),
        ({"RECORDS": True}, "E001", "RECORDS is a dict: True"),
        ({"THREADS": 0}, "E001", "THREADS is an integer of at least 1: 0"),
        ({"THREADS": True}, "E001", "THREADS is an integer"),
        ({"DELIVERY_LIMIT": 1}, "E001", "DELIVERY_LIMIT is an integer of at least 2: 1"),
        ({"OUTBOX": 1}, "E001", "OUTBOX is True or False: 1"),
        ({"SWITCH_INTERVAL": 0}, "E001", "SWITCH_INTERVAL is seconds, above 0"),
        ({"AUTODISCOVER": "tasks"}, "E001", "is a list of module names"),
        ({"MIDDLEWARE": "a.b.C"}, "E001", "MIDDLEWARE is a list of dotted paths"),
        ({"BROKER_URL": None}, "E001", "BROKER_URL is text: a NoneType"),
        ({"BROKER_URL": "databse://default"}, "E001", "Did you mean 'database'?"),
        ({"RATE_LIMITS_URL": "nowhere://"}, "E001", "RATE_LIMITS_URL begins with 'nowhere://'"),
        ({"RECORDS": {"DATABASE": "postgresql"}}, "E006", "the broker writes the records itself, in 'default'"),
        ({"BROKER_URL": "database://defualt"}, "E007", "BROKER_URL: DATABASES has no 'defualt'"),
        (
            {"BROKER_URL": "stub://", "RECORDS": {"DATABASE": "x"}},
            "E007",
            "RECORDS[\"DATABASE\"]: DATABASES has no 'x'",
        ),
        ({"RATE_LIMITS_URL": "database://x"}, "E007", "RATE_LIMITS_URL: DATABASES has no 'x'"),
        ({"RESULTS_URL": "nowhere://"}, "E001", "RESULTS_URL begins with 'nowhere://'"),
        ({"RESULTS_URL": "database://x"}, "E007", "RESULTS_URL: DATABASES has no 'x'"),
        ({"RESULTS_URL": "redis://"}, "E015", "RESULTS_URL, redis://…, names no host"),
        ({"MIDDLEWARE": ["django_tasks_q.middleware.Retrys"]}, "E008", "cannot be imported"),
        ({"MIDDLEWARE": ["django_tasks_q.actor"]}, "E008", "is no Middleware"),
        ({"MIDDLEWARE": [7]}, "E008", "7 is no Middleware"),
        ({"MIDDLEWARE": [f"{HERE}.Demanding"]}, "E008", "without arguments: missing a required argument: 'address'"),
        ({"MIDDLEWARE": [f"{HERE}.Stumbling"]}, "E008", "Stumbling() raised RuntimeError('no colour today')"),
        ({"ENCODER": "json"}, "E009", "cannot be imported"),
        ({"ENCODER": "json.JSONEncoder"}, "E009", "is no Encoder"),
        ({"RECORDS": {"REDACT": "shop.hide"}}, "E010", "'shop.hide' cannot be imported"),
        ({"RECORDS": {"REDACT": f"{HERE}.not_callable"}}, "E010", "is not callable: 7"),
        ({"BROKER_OPTIONS": {"colour": "red"}}, "E011", "unexpected keyword argument 'colour'"),
        ({"BROKER_OPTIONS": {"using": "default"}}, "E011", "multiple values for keyword argument 'using'"),
        ({"ACTOR_DEFAULTS": {"max_retrys": 3}}, "E012", "Did you mean 'max_retries'?"),
        ({"ACTOR_DEFAULTS": {"time_limit": "60s"}}, "E012", "time_limit is milliseconds"),
        ({"ACTOR_DEFAULTS": {"on_failure": 3}}, "E012", "on_failure is an actor or the name of one"),
    ],
)
def test_a_setting_that_cannot_be_used_is_said_once_and_raised_by_whoever_uses_the_broker(
    settings: Any, number: str, words: str
) -> None:
    with override_settings(DJANGO_TASKS_Q=settings):
        (found,) = checks.check_settings(None)

        assert (found.id, found.level) == (f"django_tasks_q.{number}", 40)
        assert words in found.msg
        with pytest.raises(ImproperlyConfigured, match=re.escape(found.msg)):
            get_broker().check_ready()


@pytest.mark.parametrize(
    ("url", "words", "hint"),
    [
        ("redis://", "BROKER_URL, redis://…, names no host", "redis://localhost:6379/0"),
        ("redis:///1", "names no host", "redis://localhost:6379/0"),
        ("amqp://", "names no host", "amqp://guest:guest@localhost:5672/"),
        ("amqp://:secret@:5672", "names no host", "amqp://"),
        ("redis://host:637x9/0", "has a port that is none: '637x9'", "from 1 to 65535"),
        ("redis://host:65536", "has a port that is none: '65536'", ""),
        ("amqp://one:5672;amqp://two:/", "has a port that is none: ''", ""),
        ("amqp://one:5672,two/", "names several hosts", "amqp://one/;amqp://two/"),
        ("redis://one,two", "names several hosts", "redis+sentinel://one,two"),
        ("amqp://one:5672;amqp://two:0/", "has a port that is none: '0'", ""),
        ("redis://[::1]:x", "has a port that is none: 'x'", ""),
        ("redis://host/orders", "names a database that is none: 'orders'", "a number, as in /0"),
        ("redis://host/-1", "names a database that is none: '-1'", ""),
        ("redis+sentinel://one,two/mymaster/x", "names a database that is none: 'x'", ""),
        ("redis+cluster://one:6379,two/2", "names database 2", "only database 0"),
        ("redis://[::1:6379", "is no URL: Invalid IPv6 URL", ""),
        ("redis://:secret/secret@host", "has an @ behind its hosts", "%2F"),
        ("amqp://me:sec#secret@host", "has an @ behind its hosts", "%23"),
    ],
)
def test_a_url_that_no_server_could_have_is_named_before_anybody_connects_and_never_with_its_password(
    url: str, words: str, hint: str, no_servers: None
) -> None:
    (found,) = check_settings({"BROKER_URL": url})

    assert found.id == "django_tasks_q.E015"
    assert words in found.msg
    assert hint in (found.hint or "")
    assert "secret" not in found.msg


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "rediss://me:p%2Fw@cache.example.org:6380/3?health_check_interval=5",
        "redis://:a;b,c@[::1]:6379/0",
        "redis+sentinel://one:26379,two:26379,three/mymaster/0",
        "redis+cluster://one:7000,two:7001/0",
        "amqp://guest:guest@localhost:5672/%2F",
        "amqps://one:5671/orders",
        "amqp://one/a;amqp://two/a",
    ],
)
def test_a_url_that_a_server_could_have_is_taken_as_it_is_with_namespace_and_options(
    url: str, no_servers: None
) -> None:
    settings = {"BROKER_URL": url, "BROKER_OPTIONS": {"heads": 3}, "NAMESPACE": "shop"}
    with override_settings(DJANGO_TASKS_Q=settings):
        assert checks.check_settings(None) == []
        assert vars(get_broker())["made_of"] == (url, "shop", 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"password": "secret"}, "unexpected keyword argument 'password'"),
        ({"heads": 0, "colour": "secret"}, "heads is at least 1, not 0"),
    ],
)
def test_options_that_the_broker_refuses_are_told_by_name_and_never_by_value(
    options: dict[str, Any], words: str, no_servers: None
) -> None:
    (found,) = check_settings({"BROKER_URL": "redis://:secret@host", "BROKER_OPTIONS": options})

    assert found.id == "django_tasks_q.E011"
    assert words in found.msg
    assert all(name in str(found.hint) for name in options)
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("url", "options", "words"),
    [
        ("redis://:secret@host", {"colour": "secret"}, "unexpected keyword argument 'colour'"),
        ("redis://:secret@host/0?colour=1", {}, "unexpected keyword argument 'colour'"),
        ("redis+cluster://:secret@one,two", {"colour": "secret"}, "unexpected keyword argument 'colour'"),
        ("redis+sentinel://:secret@one,two/main", {"colour": "secret"}, "unexpected keyword argument 'colour'"),
        ("redis+sentinel://:secret@one,two", {}, "A sentinel URL names the service"),
        ("redis://:secret@host", {"wait_replicas": "2"}, "wait_replicas is a number of replicas, from 0 on: '2'"),
        ("redis://:secret@host", {"url": "redis://:secret@host"}, "multiple values for argument 'url'"),
    ],
)
def test_options_that_redis_does_not_have_are_named_before_anybody_connects(
    url: str, options: dict[str, Any], words: str
) -> None:
    (found,) = check_settings({"BROKER_URL": url, "BROKER_OPTIONS": options})

    assert found.id == "django_tasks_q.E011"
    assert words in found.msg
    assert "secret" not in found.msg
    assert found.hint == f"BROKER_OPTIONS has {', '.join(map(repr, options)) or 'nothing'}."


@pytest.mark.parametrize(
    "url",
    ["redis://:secret@host", "rediss://me:secret@host/2", "redis+sentinel://:secret@h/m", "redis+cluster://:secret@h"],
)
def test_the_address_of_redis_has_no_password(url: str) -> None:
    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": url}):
        assert "secret" not in get_broker().address + repr(get_broker())


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("redis://host", "redis", "redis"),
        ("rediss+sentinel://host/main", "redis", "redis"),
        ("amqps://host", "pika", "rabbitmq"),
    ],
)
def test_a_client_library_that_is_not_installed_is_named_with_what_installs_it(
    url: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    (found,) = check_settings({"BROKER_URL": url})

    assert found.id == "django_tasks_q.E016"
    assert f"needs the package {module!r}" in found.msg
    assert found.hint == f'pip install "django-tasks-q[{extra}]"'


def test_values_that_may_hold_a_password_are_not_repeated() -> None:
    for key in ("BROKER_URL", "BROKER_OPTIONS", "RATE_LIMITS_URL", "RESULTS_URL"):
        (found,) = check_settings({key: [b"secret"]})
        assert "secret" not in str(found)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    assert numbers(check_settings({"THREAD": 1, "LEASE": "x", "RECORDS": {"ENABLED": 1}})) == ["E001"] * 3
    assert numbers(check_settings({"ENCODER": "x.y", "MIDDLEWARE": ["x.y"], "RATE_LIMITS_URL": "database://x"})) == [
        "E007",
        "E008",
        "E009",
    ]


def test_a_database_of_another_vendor_can_neither_be_the_broker_nor_hold_what_is_the_engines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = {**connections.settings["default"], "ENGINE": "django.db.backends.dummy"}
    monkeypatch.setattr("django.db.backends.dummy.base.DatabaseWrapper.vendor", "oracle")
    monkeypatch.setitem(connections.settings, "legacy", other)

    for wrong in (
        {"BROKER_URL": "database://legacy"},
        {"RATE_LIMITS_URL": "database://legacy"},
        {"RESULTS_URL": "database://legacy"},
        {"BROKER_URL": "stub://", "RECORDS": {"DATABASE": "legacy"}},
    ):
        (found,) = check_settings(wrong)
        assert numbers([found]) == ["E005"]
        assert "'legacy' is oracle, which is not supported yet" in found.msg


def test_the_other_checks_are_silent_while_the_settings_cannot_be_used() -> None:
    with override_settings(DJANGO_TASKS_Q={"THREAD": 1}):
        every = run_checks(databases=[], include_deployment_checks=True)

    assert [found.id for found in every if str(found.id).startswith("django_tasks_q")] == ["django_tasks_q.E001"]


def test_settings_that_are_right_are_no_finding() -> None:
    assert check_settings({}) == []
    assert check_settings({"BROKER_URL": "stub://", "RECORDS": {"DATABASE": "postgresql"}, "PROCESSES": None}) == []
    assert (
        check_settings({"MIDDLEWARE": ["django_tasks_q.middleware.Retries"], "ACTOR_DEFAULTS": {"max_retries": 1}})
        == []
    )


# Commands


Manage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def manage(tmp_path: Path) -> Manage:
    """Runs a command of the test project with these settings, on a database that is not there yet."""

    def run(*arguments: str, settings: Any, module: str = "testproject.settings") -> subprocess.CompletedProcess[str]:
        own = {
            "DJANGO_SETTINGS_MODULE": module,
            "DJANGO_TASKS_Q_JSON": json.dumps(settings),
            "DATABASE_URL": f"sqlite:///{tmp_path}/new.sqlite3",
        }
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(command, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, timeout=200)

    return run


@pytest.mark.parametrize("command", [("check",), ("migrate", "--no-input"), ("runserver", "--noreload")])
def test_commands_end_with_the_finding_and_without_a_traceback(command: tuple[str, ...], manage: Manage) -> None:
    ended = manage(*command, settings={"MIDDLEWARE": ["shop.middleware.Missing"]})

    assert ended.returncode != 0
    assert "(django_tasks_q.E008)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_runworkers_ends_with_two_and_one_line(manage: Manage) -> None:
    ended = manage("runworkers", settings={"BROKER_URL": "database://nowhere"})

    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("runworkers: DJANGO_TASKS_Q: BROKER_URL: DATABASES has no 'nowhere'")


def test_a_process_that_runs_no_checks_says_it_in_its_log_and_at_each_send(manage: Manage) -> None:
    code = "from testproject import misbehave; misbehave.noop.send()"
    ended = manage("shell", "-c", code, settings={"ENCODER": "x.y"})

    first, *rest = ended.stderr.splitlines()
    assert first.startswith("DJANGO_TASKS_Q: ENCODER: 'x.y' cannot be imported")
    assert rest[-1].startswith("django_tasks_q.conf.WrongSetting: DJANGO_TASKS_Q: ENCODER: 'x.y' cannot be imported")


def test_actors_that_cannot_be_imported_are_as_loud_as_ever(
    tmp_path: Path, manage: Manage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "tasks.py").write_text("import a_module_that_nobody_has\n")
    text = "from testproject.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, 'shop']\n"
    (tmp_path / "broken_settings.py").write_text(text)

    ended = manage("check", settings={}, module="broken_settings")

    assert ended.returncode == 1
    assert "No module named 'a_module_that_nobody_has'" in ended.stderr


def test_a_new_database_can_be_migrated_although_its_tables_are_missing(manage: Manage) -> None:
    assert manage("migrate", settings={}).returncode == 0


# Values and actors


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"LEASE": 1_000}, "LEASE is 1000 ms"),
        ({"WORKER_SHUTDOWN_TIMEOUT": 30}, "WORKER_SHUTDOWN_TIMEOUT is 30 ms"),
        ({"TIME_LIMIT_GRACE": 10}, "TIME_LIMIT_GRACE is 10 ms"),
        ({"UNKNOWN_ACTOR_GRACE": 600}, "UNKNOWN_ACTOR_GRACE is 600 ms"),
        ({"DEAD_LETTER_TTL": 604_800}, "DEAD_LETTER_TTL is 604800 ms"),
        ({"RECORDS": {"DEAD_TTL": 3_600_000}}, "records of dead letters end before the letters do"),
    ],
)
def test_a_duration_that_looks_like_seconds_is_a_warning(settings: dict[str, Any], words: str) -> None:
    with override_settings(DJANGO_TASKS_Q=settings):
        (found,) = checks.check_values(None)

    assert numbers([found]) == ["W006"]
    assert words in found.msg


def test_a_project_without_time_zones_is_told_before_a_page_fails() -> None:
    with override_settings(USE_TZ=False):
        (found,) = checks.check_values(None)

    assert numbers([found]) == ["E014"]
    assert "USE_TZ" in found.hint


def test_a_database_with_a_time_zone_of_its_own_is_told_before_every_worker_looks_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for alias in ("default", "postgresql"):
        monkeypatch.setitem(connections[alias].settings_dict, "TIME_ZONE", "Europe/Berlin")

    (found,) = checks.check_values(None)
    assert numbers([found]) == ["E014"]
    assert "'default' has TIME_ZONE 'Europe/Berlin'" in found.msg

    set_broker(DatabaseBroker(using="postgresql"))  # which knows zones itself
    assert checks.check_values(None) == []


def test_pickle_is_a_warning_and_a_subclass_of_it_too() -> None:
    with override_settings(DJANGO_TASKS_Q={"ENCODER": "django_tasks_q.PickleEncoder"}):
        assert numbers(checks.check_values(None)) == ["W004"]
    assert checks.check_values(None) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"time_limit": 60}, "time_limit is 60 ms"),
        ({"max_age": timedelta(milliseconds=5)}, "max_age is 5 ms"),
        ({"min_backoff": 2_000, "max_backoff": 1_000}, "min_backoff, 2000 ms, is more than max_backoff, 1000 ms"),
        ({"min_backoff": 9_000, "max_age": 8_000}, "max_age, 8000 ms, is over before the first retry, after 9000 ms"),
    ],
)
def test_a_limit_of_an_actor_that_makes_no_sense_is_a_warning(
    options: dict[str, Any], words: str, stub: StubBroker
) -> None:
    actor(broker=stub, actor_name="sensible", time_limit=float("inf"), max_age=60_000, max_retries=0)(print)
    actor(broker=stub, actor_name="odd", **options)(print)
    set_broker(stub)

    (found,) = checks.check_actors(None)

    assert numbers([found]) == ["W007"]
    assert "'odd'" in found.msg
    assert words in found.msg


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"time_limit": 1_800_001}, "time_limit is 1800001 ms, but the server takes back"),
        ({"time_limit": float("inf")}, "it has no time limit, but the server takes back"),
        ({"time_limit": 1_800_000}, ""),
        ({}, ""),
    ],
)
def test_a_time_limit_that_the_server_cuts_short_is_a_warning(
    options: dict[str, Any], words: str, stub: StubBroker
) -> None:
    actor(broker=stub, actor_name="long", **options)(print)
    set_broker(stub)
    assert checks.check_actors(None) == []

    stub.delivery_timeout = 1_800_000
    found = checks.check_actors(None)

    assert numbers(found) == (["W013"] if words else [])
    assert all(words in message.msg for message in found)


def test_without_a_limit_for_all_an_actor_that_has_none_is_cut_short() -> None:
    broker = StubBroker(middleware=[])
    broker.delivery_timeout = 1_800_000
    actor(broker=broker, actor_name="endless")(print)
    set_broker(broker)

    assert numbers(checks.check_actors(None)) == ["W013"]


def test_the_timeout_of_rabbitmq_is_half_an_hour_unless_the_options_say_otherwise() -> None:
    url = "amqp://localhost"
    for options, found in (
        ({}, 1_800_000),
        ({"delivery_timeout": 7_200_000}, 7_200_000),
        ({"delivery_timeout": None}, None),
    ):
        with override_settings(DJANGO_TASKS_Q={"BROKER_URL": url, "BROKER_OPTIONS": options}):
            assert get_broker().delivery_timeout == found
    (wrong,) = check_settings({"BROKER_URL": url, "BROKER_OPTIONS": {"delivery_timeout": "2h"}})
    assert "delivery_timeout is milliseconds, or None: '2h'" in wrong.msg


# Servers


class Server(StubBroker):
    """A broker on a server that may be away, or set up badly."""

    is_away = False
    asked = 0

    @property
    def address(self) -> str:
        return "redis://cache:6379/0"

    def check_ready(self) -> None:
        self.asked += 1
        if self.is_away:
            raise BrokerConnectionError("connection refused")

    def risks(self) -> list[str]:
        return ["maxmemory-policy is allkeys-lru, so messages are evicted; set noeviction.", "Nothing is kept on disk."]


@pytest.fixture
def server() -> Iterator[Server]:
    broker = Server()
    set_broker(broker)
    yield broker
    broker.close()


def test_each_risk_of_the_server_is_a_warning(server: Server) -> None:
    first, second = checks.check_server(None, databases=["default"])

    assert numbers([first, second]) == ["W012"] * 2
    assert first.msg.startswith("The broker, redis://cache:6379/0: maxmemory-policy is allkeys-lru")
    assert "docs/brokers.md" in str(second.hint)


def test_a_server_that_is_away_is_an_error_and_no_traceback(server: Server) -> None:
    server.is_away = True

    (found,) = checks.check_server(None, databases=["default"])

    assert numbers([found]) == ["E017"]
    assert found.msg == "The broker, redis://cache:6379/0, does not answer: connection refused"


@pytest.mark.django_db
def test_a_server_is_only_asked_when_a_deployment_with_its_connections_is_checked(server: Server) -> None:
    run_checks()
    run_checks(include_deployment_checks=True)
    run_checks(databases=["default"], tags=["database"])
    assert checks.check_server(None) == []
    assert server.asked == 0

    found = run_checks(databases=["default"], tags=["database"], include_deployment_checks=True)
    assert server.asked == 1
    assert "W012" in numbers(found)


def test_a_database_is_not_asked_twice(django_db_blocker: Any) -> None:
    set_broker(DatabaseBroker(using="default"))

    assert checks.check_server(None, databases=["default"]) == []


# Databases


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any) -> Iterator[Callable[..., str]]:
    """``sqlite(OPTIONS…)`` is an alias of an empty SQLite database with these options."""

    def make(folder: Path = tmp_path, **options: Any) -> str:
        settings = {**connections.settings["default"], "NAME": folder / "empty.sqlite3", "OPTIONS": options}
        monkeypatch.setitem(connections.settings, "empty", settings)
        return "empty"

    with django_db_blocker.unblock():
        yield make
        connections["empty"].close()
        del connections["empty"]


GOOD = {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL"}


def check_databases(*aliases: str) -> list[CheckMessage]:
    return checks.check_databases(None, databases=list(aliases))


def test_missing_tables_of_the_broker_are_an_error_that_says_how_to_make_them(sqlite: Callable[..., str]) -> None:
    set_broker(DatabaseBroker(using=sqlite(**GOOD)))

    (found,) = check_databases("empty")

    assert numbers([found]) == ["E004"]
    assert "django_tasks_q_messagerecord, " in found.msg
    assert found.hint == "Run 'manage.py migrate --database empty'."


def test_missing_tables_of_the_records_are_an_error(sqlite: Callable[..., str], stub: StubBroker) -> None:
    set_broker(stub)
    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://", "RECORDS": {"DATABASE": sqlite(**GOOD)}}):
        assert numbers(check_databases("empty")) == ["E004"]


def test_databases_are_only_asked_when_they_are_checked(sqlite: Callable[..., str]) -> None:
    set_broker(DatabaseBroker(using=sqlite(**GOOD)))

    assert check_databases() == []
    assert checks.check_databases(None) == []
    assert "empty" not in {connection.alias for connection in connections.all(initialized_only=True)}
    connections["empty"].close()


def test_missing_tables_of_the_results_are_an_error(sqlite: Callable[..., str], stub: StubBroker) -> None:
    stub.add_middleware(Results(backend=DatabaseBackend(using=sqlite(**GOOD))))
    set_broker(stub)

    assert numbers(check_databases("empty")) == ["E004"]


def test_missing_tables_of_the_rate_limits_are_an_error(sqlite: Callable[..., str]) -> None:
    with override_settings(DJANGO_TASKS_Q={"RATE_LIMITS_URL": f"database://{sqlite(**GOOD)}"}):
        assert numbers(check_databases("empty")) == ["E004"]


def test_migrate_is_not_told_that_tables_are_missing(
    sqlite: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_broker(DatabaseBroker(using=sqlite(**GOOD)))
    monkeypatch.setattr("sys.argv", ["manage.py", "migrate"])

    assert check_databases("empty") == []


def test_a_database_without_the_table_of_waiting_messages_is_a_warning(
    sqlite: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_broker(DatabaseBroker(using="default"))

    (found,) = check_databases(sqlite(**GOOD))

    assert numbers([found]) == ["W010"]
    assert str(found.hint).startswith("Run 'manage.py migrate --database empty'.")
    with override_settings(DJANGO_TASKS_Q={"OUTBOX": False}):
        set_broker(DatabaseBroker(using="default"))
        assert check_databases("empty") == []


def test_a_database_that_does_not_answer_is_an_error_and_no_traceback(
    sqlite: Callable[..., str], tmp_path: Path
) -> None:
    set_broker(DatabaseBroker(using=sqlite(tmp_path / "nowhere")))

    (found,) = check_databases("empty")

    assert numbers([found]) == ["E013"]
    assert "Database 'empty' does not answer: unable to open database file" in found.msg


def test_sqlite_as_django_sets_it_up_gets_a_warning_for_each_mode(
    sqlite: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_checks, "_all_tables", set)
    set_broker(DatabaseBroker(using=sqlite()))

    assert numbers([*checks.check_engines(None), *check_databases("empty")]) == ["W002", "W003", "W001"]


@pytest.mark.parametrize("is_mariadb", [True, False])
@pytest.mark.parametrize("version", [(10, 5, 21), (8, 0, 3)])
def test_a_server_that_knows_too_little_is_an_error(
    databases: None, monkeypatch: pytest.MonkeyPatch, is_mariadb: bool, version: tuple[int, ...]
) -> None:
    set_broker(DatabaseBroker(using="mariadb"))
    monkeypatch.setitem(vars(connections["mariadb"]), "mysql_is_mariadb", is_mariadb)
    monkeypatch.setitem(vars(connections["mariadb"]), "mysql_version", version)

    is_old = is_mariadb or version < (8, 0, 4)
    assert numbers(check_databases("mariadb")) == (["E018"] if is_old else [])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, []),
        ({"isolation_level": "Read Committed"}, []),
        ({"isolation_level": "repeatable read"}, ["W014"]),
        ({"isolation_level": None}, ["W014"]),
    ],
)
def test_transactions_that_lock_gaps_get_a_warning(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], expected: list[str]
) -> None:
    set_broker(DatabaseBroker(using="mariadb"))
    monkeypatch.setitem(connections["mariadb"].settings_dict, "OPTIONS", options)

    assert numbers(checks.check_engines(None)) == expected


def test_sqlite_in_its_best_modes_is_no_finding(sqlite: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_checks, "_all_tables", set)
    set_broker(DatabaseBroker(using=sqlite(**GOOD)))

    assert [*checks.check_engines(None), *check_databases("empty")] == []


@pytest.mark.parametrize(
    ("host", "options", "expected"),
    [
        ("queue.example", {}, ["W005"]),
        ("queue.example", {"connect_timeout": 30}, ["W005"]),
        ("queue.example", {"connect_timeout": 2}, []),
        ("localhost", {}, []),
        ("/var/run/postgresql", {}, []),
        ("", {}, []),
    ],
)
def test_a_broker_on_another_host_needs_a_short_connect_timeout(
    host: str, options: dict[str, Any], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**connections.settings["postgresql"], "HOST": host, "OPTIONS": options}
    monkeypatch.setitem(connections.settings, "queue", settings)
    set_broker(DatabaseBroker(using="queue"))
    try:
        assert numbers(checks.check_engines(None)) == expected
    finally:
        del connections["queue"]


def test_a_broker_beside_everything_else_needs_no_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    only = {**connections.settings["postgresql"], "HOST": "db.example"}
    monkeypatch.setattr(connections, "settings", {"elsewhere": only})
    set_broker(DatabaseBroker(using="elsewhere"))

    assert checks.check_engines(None) == []
    if hasattr(connections._connections, "elsewhere"):  # type: ignore[attr-defined]
        del connections["elsewhere"]


# Deployment


def test_a_broker_in_memory_is_a_warning_for_deployments(stub: StubBroker) -> None:
    set_broker(stub)
    assert numbers(checks.check_broker_is_shared(None)) == ["W011"]
    assert checks.check_workers(None, databases=["default"]) == []  # nor could there be any
    set_broker(DatabaseBroker())
    assert checks.check_broker_is_shared(None) == []


def seen(seconds_ago: float, queues: list[str], worker_id: str = "w") -> None:
    heartbeat = timezone.now() - timedelta(seconds=seconds_ago)
    WorkerProcess.objects.create(worker_id=worker_id, heartbeat_at=heartbeat, queues=queues)


@pytest.fixture
def deployed(db: None) -> Callable[[], list[CheckMessage]]:
    """What the check of the workers says of a broker with the queues "high" and "low"."""
    broker = DatabaseBroker()
    broker.declare_queue("high")
    broker.declare_queue("low")
    set_broker(broker)
    return lambda: checks.check_workers(None, databases=["default"])


def test_nobody_who_runs_anything_is_a_warning(deployed: Callable[[], list[CheckMessage]]) -> None:
    assert numbers(deployed()) == ["W008"]
    seen(30, [])
    assert numbers(deployed()) == ["W008"]


def test_a_queue_that_nobody_serves_is_a_warning(deployed: Callable[[], list[CheckMessage]]) -> None:
    seen(1, ["high"])
    seen(60, ["low"], "dead")

    (found,) = deployed()

    assert numbers([found]) == ["W009"]
    assert "'low'" in found.msg


def test_a_worker_of_all_queues_serves_each(deployed: Callable[[], list[CheckMessage]]) -> None:
    seen(1, ["high"])
    seen(1, [], "all")

    assert deployed() == []


def test_a_host_whose_clock_is_wrong_takes_nobody_for_dead(
    deployed: Callable[[], list[CheckMessage]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen(1, [])
    now = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: now() + timedelta(minutes=5))

    assert deployed() == []


def test_workers_are_not_looked_for_unless_their_database_is_checked(
    deployed: Callable[[], list[CheckMessage]],
) -> None:
    assert checks.check_workers(None, databases=["postgresql"]) == []
    assert checks.check_workers(None, databases=None) == []


def test_workers_are_only_looked_for_in_a_deployment() -> None:
    from django.core.checks.registry import registry

    deployment = {getattr(check, "__wrapped__", check) for check in registry.deployment_checks}
    assert {checks.check_workers, checks.check_broker_is_shared} <= deployment
    assert not {checks.check_workers, checks.check_broker_is_shared} & registry.registered_checks
