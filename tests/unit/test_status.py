"""docs/status.md is true: what it calls done works, what works is there, and no name is missing."""

from __future__ import annotations

import ast
import asyncio
import importlib
import importlib.metadata
import inspect
import json
import logging
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import AsyncMock, Mock
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.contrib import admin
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, connections, models
from django.test import override_settings
from django.urls import reverse

import django_tasks_q
from django_tasks_q import (
    Actor,
    Broker,
    DuplicateMessage,
    Gather,
    Message,
    MessageProxy,
    MessageTooLarge,
    Middleware,
    Progress,
    RateLimitExceeded,
    ResultMissing,
    Worker,
    actor,
    checks,
    conf,
    configured,
    context,
    get_current_message,
    get_message_id,
    group,
    lift,
    pause_actor,
    pause_queue,
    pipeline,
    resume_actor,
    resume_queue,
    revoke,
    revoke_by_stamped_headers,
    send_many,
    set_broker,
    set_progress,
    stamping,
    testing,
)
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.rabbitmq import RabbitmqBroker
from django_tasks_q.brokers.redis import RedisBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.deliveries import Casualty, Outgoing, WorkerInfo
from django_tasks_q.errors import BrokerConnectionError, ProcessesFailed
from django_tasks_q.judge import make_judge
from django_tasks_q.logging import MessageFilter
from django_tasks_q.management.commands import runworkers, taskq
from django_tasks_q.management.taskq import SUBCOMMANDS
from django_tasks_q.management.taskq.subcommand import DONE as TASKQ_DONE
from django_tasks_q.management.taskq.subcommand import NOTHING, USAGE, Subcommand, refuse
from django_tasks_q.message import MAX_ID_LENGTH
from django_tasks_q.middleware import GroupCallbacks, default_middleware
from django_tasks_q.middleware.database_connections import tidy
from django_tasks_q.models import Attempt, MessageRecord, Stamp
from django_tasks_q.operations.filters import Filter
from django_tasks_q.operations.stats import QueueStats, Stats
from django_tasks_q.rate_limits import ConcurrentRateLimiter, get_rate_limiter_backend
from django_tasks_q.rate_limits.backends import StubBackend
from django_tasks_q.results import Results, get_result_backend
from django_tasks_q.results.backends import DatabaseBackend as DatabaseResults
from django_tasks_q.results.backends import StubBackend as StubResults
from django_tasks_q.states import State
from django_tasks_q.supervisor import Options, Supervisor
from django_tasks_q.supervisor.logs import TextFormatter
from django_tasks_q.supervisor.pidfile import PidFile
from django_tasks_q.supervisor.signals import Signals
from scripts import capabilities
from tests.support.redis_brokers import keys_of, redis_broker
from tests.support.redis_limits import redis_limits
from tests.support.waiting import until, within
from tests.unit.public_names import NAMES

ROOT = Path(__file__).parents[2]
PACKAGE = Path(django_tasks_q.__file__).parent
PAGE = ROOT / "docs" / "status.md"
DONE = "done"
AREAS = {
    "Django integration and admin",
    "Redis and RabbitMQ",
    "Dramatiq parity",
    "control",
    "django.tasks and operations",
}


class Row(NamedTuple):
    kind: str
    name: str
    status: str


def read_rows() -> Iterator[Row]:
    for line in PAGE.read_text().splitlines():
        if not line.startswith("|") or line in ("| kind | name | status |", "|---|---|---|"):
            continue
        match = re.fullmatch(r"\| ([^|`]+) \| `([^`]+)` \| ([^|`]+) \|", line)
        assert match, f"not a row of the table: {line}"
        yield Row(*match.groups())


ROWS = list(read_rows())


def done(*kinds: str) -> list[str]:
    return [row.name for row in ROWS if row.kind in kinds and row.status == DONE]


def planned(*kinds: str) -> list[str]:
    return [row.name for row in ROWS if row.kind in kinds and row.status != DONE]


# The tables themselves


def test_every_status_is_done_or_a_part_of_the_work() -> None:
    assert {row.status for row in ROWS} <= AREAS | {DONE}


def test_no_name_is_missing_and_none_has_two_rows() -> None:
    named = [(kind, name) for kind, names in NAMES.items() for name in names]

    assert sorted((row.kind, row.name) for row in ROWS) == sorted(named)
    assert len(set(named)) == len(named)


# Imports


def load(path: str) -> Any:
    """What ``from module import name`` gives. ImportError when there is no such thing."""
    module, _, name = path.rpartition(".")
    found = importlib.import_module(module)
    try:
        return getattr(found, name)
    except AttributeError as error:
        raise ImportError(f"{module} has no {name}") from error


@pytest.mark.parametrize("path", done("import"))
def test_an_import_that_is_done_gives_the_real_thing(path: str) -> None:
    thing = load(path)

    assert not isinstance(thing, ModuleType)
    assert is_real(thing), f"{path} is a stub"


def is_real(thing: Any) -> bool:
    """Whether there is code in it: a function that does something, a class that somebody can use."""
    if inspect.isfunction(thing):
        return does_something(thing)
    if not inspect.isclass(thing):
        return bool(thing)
    if issubclass(thing, BaseException):
        return bool(thing.__doc__)
    if inspect.isabstract(thing):
        return any(is_real(child) for child in thing.__subclasses__())
    if issubclass(thing, models.Model):
        return len(thing._meta.get_fields()) > 1
    written = [function_of(value) for value in vars(thing).values()]
    fields = getattr(thing, "__struct_fields__", ())
    return bool(fields) or any(does_something(function) for function in written if inspect.isfunction(function))


def function_of(attribute: Any) -> Any:
    return getattr(attribute, "fget", None) or getattr(attribute, "__func__", attribute)


def does_something(function: Callable[..., Any]) -> bool:
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except OSError:  # made by a library, a dataclass's __init__ for example
        return True
    definition = ast.parse(source).body[0]
    assert isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)
    return any(not is_empty(statement) for statement in definition.body)


def is_empty(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Raise):
        return "NotImplementedError" in ast.dump(statement)
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    )


@pytest.mark.parametrize("path", done("module"))
def test_a_module_that_is_done_has_something_in_it(path: str) -> None:
    module = importlib.import_module(path)

    assert any(not name.startswith("_") and is_code(value) for name, value in vars(module).items())


def is_code(value: Any) -> bool:
    return (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith("django_tasks_q")


@pytest.mark.parametrize("path", planned("import"))
def test_an_import_that_is_not_done_is_not_there(path: str) -> None:
    with pytest.raises(ImportError):
        load(path)


@pytest.mark.parametrize("path", planned("module"))
def test_a_module_that_is_not_done_is_not_there(path: str) -> None:
    with pytest.raises(ImportError):
        importlib.import_module(path)


def test_every_name_that_the_package_exports_is_done() -> None:
    assert {f"django_tasks_q.{name}" for name in django_tasks_q.__all__} <= set(done("import"))
    assert all(hasattr(django_tasks_q, name) for name in django_tasks_q.__all__)


def test_every_error_is_exported() -> None:
    errors = importlib.import_module("django_tasks_q.errors")
    classes = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ in str(errors)
    }
    own = {name for name in classes if issubclass(getattr(errors, name), BaseException)}

    assert own <= set(django_tasks_q.__all__)


# Options

VALUES: dict[str, Any] = {
    "actor_name": "chosen",
    "queue_name": "other",
    "priority": 7,
    "max_retries": 3,
    "min_backoff": 10,
    "max_backoff": 20,
    "retry_when": lambda retries, exception: False,
    "throws": ValueError,
    "on_retry_exhausted": "someone",
    "rate_limit": "100/m",
    "schedule": "*/5 * * * *",
    "rate_limit_key": "key",
    "concurrency": 2,
    "concurrency_key": "key",
    "max_age": 1_000,
    "time_limit": 2_000,
    "notify_shutdown": True,
    "on_success": "someone",
    "on_failure": "someone",
    "pipe_ignore": True,
    "delivery_limit": 5,
    "record": False,
    "stamps": {"batch_id": ["7"]},
    "inherit_stamps": False,
    "store_results": True,
    "result_ttl": 60_000,
    "args": (1,),
    "kwargs": {"times": 2},
    "delay": 60_000,
    "eta": int(time.time() * 1000) + 3_600_000,
    "message_id": "order 7",
    "unique": 60_000,
    "unique_key": "key",
    "on_conflict": "raise",
    "gather": Gather(size=2, wait=60_000),
}
OWNERS: dict[str, Callable[..., Any]] = {
    "StubBroker": StubBroker,
    "DatabaseBroker": DatabaseBroker,
    "RabbitmqBroker": RabbitmqBroker,
    "RedisBroker": RedisBroker,
    "Worker": Worker,
    "Message": Message,
    "pipeline.run": pipeline.run,
    "send_many": send_many,
    "ConcurrentRateLimiter": ConcurrentRateLimiter,
    "send_on_commit_with_options": Actor.send_on_commit_with_options,
    "revoke": revoke,
    "revoke_by_stamped_headers": revoke_by_stamped_headers,
    **{name: getattr(context, name) for name in vars(context) if name.startswith("get_")},
}


def take_apart(option: str) -> tuple[str, str]:
    match = re.fullmatch(r"(@?[\w.]+)\((\w+)=.*\)", option)
    assert match, option
    return match[1], match[2]


def declare(broker: Broker, /, **options: Any) -> Actor[Any, Any]:
    def work(number: int = 0, times: int = 1) -> int:
        return number * times

    return actor(**{"broker": broker, **options})(work)


@pytest.mark.parametrize("option", done("option"))
def test_an_option_that_is_done_is_taken(option: str, stub: StubBroker) -> None:
    stub.add_middleware(Results(backend=StubResults()))
    owner, name = take_apart(option)
    if owner == "@actor":
        value = stub if name == "broker" else VALUES[name]
        declared = declare(stub, **{name: value})
        assert (declared.options[name] if name in declared.options else getattr(declared, name)) == value
    elif option == "send_with_options(stamped_headers=)":
        sent = declare(stub).send_with_options(stamped_headers=["batch_id"], batch_id=7)
        assert sent.stamps == VALUES["stamps"]
    elif owner == "send_with_options":
        sent = declare(stub).send_with_options(**{name: VALUES[name]})
        (stored,) = stub.peek("default", "delayed" if name in ("delay", "eta") else "ready")
        seen = Message.decode(stored.payload)
        assert seen.message_id == sent.message_id
        value = VALUES[name]
        assert {"args": seen.args, "kwargs": seen.kwargs}.get(name, seen.options.get(name)) == value
    else:
        assert name in inspect.signature(OWNERS[owner]).parameters


def test_options_that_are_not_done_are_refused(stub: StubBroker) -> None:
    for option in planned("option"):
        owner, name = take_apart(option)
        if owner == "@actor":
            with pytest.raises(ValueError, match=name):
                declare(stub, **{name: 1})
        elif owner == "send_with_options":
            with pytest.raises(ValueError, match=name):
                declare(stub).send_with_options(**{name: 1})
        else:
            assert owner not in OWNERS or name not in inspect.signature(OWNERS[owner]).parameters


def test_no_other_option_is_taken(stub: StubBroker) -> None:
    documented = {take_apart(option)[1] for option in done("option") if option.startswith("@actor")}

    assert stub.actor_options - {"pipe_target"} <= documented


# Settings


def takes_key(setting: str, key: str) -> bool:
    """Whether a setting that is a dict has such a key: one of its own, or any option of an actor."""
    if setting == "ACTOR_DEFAULTS":
        with override_settings(DJANGO_TASKS_Q={setting: {key: True}}):
            return bool(declare(configured.make_broker()).options[key])
    return key in getattr(conf, setting)


@pytest.mark.parametrize("setting", done("setting"))
def test_a_setting_that_is_done_has_a_default_and_is_read(setting: str) -> None:
    if "[" in setting:
        assert takes_key(*re.fullmatch(r'([A-Z_]+)\["(\w+)"\]', setting).groups())  # type: ignore[union-attr]
        return
    key, value, part = re.fullmatch(r'([A-Z_]+)(?:=(.+)|\["(\w+)"\])?', setting).groups()  # type: ignore[union-attr]
    # That checks look at a setting is no use of it.
    text = "".join(path.read_text() for path in sources() if path.parent.name != "checks")

    assert key in conf.DEFAULTS
    assert re.search(rf'\b(get|_Configured)\("{key}"', text)  # or by who makes the backend that it names
    if key == "RECORDS" and part:
        assert part in conf.RECORDS
        assert f'ecords()["{part}"]' in text or f'ecords["{part}"]' in text
    elif part:
        with override_settings(DJANGO_TASKS_Q={key: {part: True}}):
            assert declare(configured.make_broker()).options[part] is True
    if value and key != "ENCODER":
        assert key == "BROKER_URL"
        with override_settings(DJANGO_TASKS_Q={"BROKER_URL": whole(value)}):
            assert configured.make_broker().address


def whole(value: str) -> str:
    """A URL of that scheme, with what a server needs."""
    url = value.strip('"')
    if not url.startswith(("redis", "amqp")):
        return url
    return f"{url}localhost/{'service' if 'sentinel' in url else ''}"


def test_settings_that_are_not_done_are_refused() -> None:
    for setting in planned("setting"):
        key, mark, value = re.fullmatch(r"([A-Z_]+)([=\[]?)(.*)", setting).groups()  # type: ignore[union-attr]
        if mark == "=":
            chosen: Any = whole(value)
        else:
            chosen = {json.loads(value[:-1]): True} if mark else 1

        with override_settings(DJANGO_TASKS_Q={key: chosen}), pytest.raises((ImproperlyConfigured, ValueError)):
            broker = configured.make_broker()
            declare(broker)


def test_every_setting_there_is_is_done() -> None:
    assert set(conf.DEFAULTS) <= set(done("setting"))


def test_the_settings_reach_the_broker_that_is_made() -> None:
    mine = {"BROKER_URL": "stub://", "LEASE": 5_000, "DELIVERY_LIMIT": 4, "MAX_MESSAGE_BYTES": 200}
    mine |= {"SEND_TIMEOUT": 300, "JOURNAL_MAX_BYTES": 400}
    mine |= {"ACTOR_DEFAULTS": {"max_retries": 1}, "MIDDLEWARE": ["django_tasks_q.middleware.Retries"]}

    with override_settings(DJANGO_TASKS_Q={**mine, "ENCODER": "django_tasks_q.PickleEncoder"}):
        broker = configured.make_broker()
        assert type(django_tasks_q.get_encoder()) is django_tasks_q.PickleEncoder

    assert (broker.lease, broker.delivery_limit, broker.max_message_bytes) == (5_000, 4, 200)
    assert (broker.send_timeout, broker.journal_max_bytes) == (300, 400)
    assert declare(broker).options == {"max_retries": 1}
    assert [type(item).__name__ for item in broker.middleware] == ["Retries"]


def test_the_encoders_that_are_settings_can_be_named() -> None:
    named = [json.loads(name.partition("=")[2]) for name in done("setting") if name.startswith("ENCODER=")]
    assert named

    for path in named:
        with override_settings(DJANGO_TASKS_Q={"ENCODER": path}):
            made = configured.make_encoder()
            assert made.decode(made.encode({"id": UUID(int=1)})) == {"id": UUID(int=1)}


def test_a_delivery_limit_below_two_is_no_setting() -> None:
    with (
        override_settings(DJANGO_TASKS_Q={"DELIVERY_LIMIT": 1}),
        pytest.raises(ImproperlyConfigured, match="at least 2"),
    ):
        configured.make_broker()


@pytest.mark.parametrize("wrong", [{"THREADS": 0}, {"PROCESSES": "4"}, {"LEASE": "30s"}, {"MAX_MESSAGE_BYTES": None}])
def test_a_setting_that_is_no_number_is_named_before_anything_runs(wrong: dict[str, Any]) -> None:
    with (
        override_settings(DJANGO_TASKS_Q=wrong),
        pytest.raises(ImproperlyConfigured, match=f"{next(iter(wrong))} is an integer of at least 1"),
    ):
        conf.configured()


def test_broker_options_go_to_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(conf, "load", keep_options(given, conf.load))

    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://", "BROKER_OPTIONS": {"colour": "red"}}):
        configured.make_broker()

    assert given == {"colour": "red"}


def keep_options(given: dict[str, Any], load: Callable[[str, str], Any]) -> Callable[[str, str], Any]:
    def make(url: str, middleware: list[Middleware], **options: Any) -> StubBroker:
        given.update(options)
        return StubBroker(middleware)

    return lambda path, key: make if path.endswith("from_url") else load(path, key)


# Commands, flags, exit codes, signals


def flags_of(command: BaseCommand) -> set[str]:
    text = command.create_parser("manage.py", "runworkers").format_help()
    return {
        flag for line in re.findall(r"^  (-.*?)(?:  |$)", text, re.M) for flag in re.findall(r"--?[a-zA-Z][\w-]*", line)
    }


FLAGS = flags_of(runworkers.Command()) - flags_of(BaseCommand())


def flags_of_subcommand(subcommand: Subcommand) -> set[str]:
    flags: list[str] = []
    subcommand.add_arguments(lambda *names, **given: flags.extend(names))
    return set(flags)


TASKQ_FLAGS = {subcommand.name: flags_of_subcommand(subcommand) for subcommand in SUBCOMMANDS}


@pytest.mark.parametrize("command", [name for name in done("command") if " " not in name])
def test_a_command_that_is_done_is_one_of_the_apps(command: str) -> None:
    assert get_commands()[command] == "django_tasks_q"
    assert load_command_class("django_tasks_q", command).help


def test_no_command_is_there_that_is_not_done() -> None:
    ours = {name for name, app in get_commands().items() if app == "django_tasks_q"}

    assert ours | {f"taskq {word}" for word in TASKQ_FLAGS} == set(done("command"))


def test_the_flags_that_are_done_are_those_of_the_help() -> None:
    flags = {row.split()[1] for row in done("flag") if row.startswith("runworkers")}

    assert flags == FLAGS
    assert not {row.split()[1] for row in planned("flag") if row.startswith("runworkers")} & FLAGS


def taskq_has(row: str) -> bool:
    """Whether what a row like ``taskq stats --watch`` or ``taskq --actor`` names is there."""
    *words, flag = row.split()[1:]
    return flag in (TASKQ_FLAGS.get(words[0], set()) if words else set.union(*TASKQ_FLAGS.values(), {"--json"}))


def test_the_flags_of_taskq_that_are_done_are_there_and_no_others() -> None:
    assert all(taskq_has(row) for row in done("flag") if row.startswith("taskq"))
    assert not any(taskq_has(row) for row in planned("flag") if row.startswith("taskq"))


def test_every_subcommand_of_taskq_takes_json() -> None:
    parser = taskq.Command().create_parser("manage.py", "taskq")
    needed = {"lift": ["1"], "show": ["id"], "send": ["actor"], "purge-records": ["--before", "7d"]}
    for name in TASKQ_FLAGS:
        assert parser.parse_args([name, *needed.get(name, []), "--json"]).json


@pytest.mark.parametrize("form", ["text", "json"])
def test_both_forms_of_the_log_are_taken(form: str) -> None:
    assert f"runworkers --log-format {form}" in done("flag")
    parser = runworkers.Command().create_parser("manage.py", "runworkers")
    assert parser.parse_args(["--log-format", form]).log_format == form


# What cannot be looked up has an example that runs.

Example = Callable[[StubBroker, pytest.MonkeyPatch], None]
EXAMPLES: dict[tuple[str, str], Example] = {}


def example(kind: str, *names: str) -> Callable[[Example], Example]:
    def keep(function: Example) -> Example:
        EXAMPLES.update({(kind, name): function for name in names})
        return function

    return keep


ILLUSTRATED = ("call", "helper", "signal", "exit code")


@pytest.mark.parametrize(("kind", "name"), [row[:2] for row in ROWS if row.kind in ILLUSTRATED and row.status == DONE])
def test_what_is_done_works_in_an_example(
    kind: str, name: str, stub: StubBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    EXAMPLES[kind, name](stub, monkeypatch)


def test_there_is_no_example_of_what_is_not_done() -> None:
    assert set(EXAMPLES) <= {row[:2] for row in ROWS if row.status == DONE}


def test_calls_that_are_not_done_are_not_there() -> None:
    for call in planned("call"):
        owner, _, name = call.removesuffix("()").rpartition(".")
        thing = getattr(django_tasks_q, owner, None) if owner else django_tasks_q

        assert thing is None or not hasattr(thing, name)


def work_off(broker: StubBroker, **options: Any) -> None:
    worker = Worker(broker, worker_threads=2, worker_timeout=20, **options)
    worker.start()
    try:
        for queue_name in list(broker.queues):
            broker.join(queue_name, timeout=10_000, fail_fast=False)
    finally:
        worker.stop(1_000)


def seen_in_an_actor(stub: StubBroker, look: Callable[[], Any]) -> Any:
    seen: list[Any] = []

    @actor(broker=stub, max_retries=4)
    def looking() -> None:
        seen.append(look())

    looking.send()
    work_off(stub)
    (value,) = seen
    return value


@example("call", "Worker.start()", "Worker.stop()", "Worker.join()")
def a_worker_runs_what_waits(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    work = actor(broker=stub)(ran.append)
    work.send(1)
    worker = Worker(stub, worker_threads=1, worker_timeout=20)
    worker.start()
    until(lambda: ran)
    worker.join()
    worker.stop(1_000)
    assert ran == [1]
    assert not worker.consumer.is_alive()


@example("call", "Worker.pause()", "Worker.resume()")
def a_paused_worker_fetches_nothing(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    work = actor(broker=stub)(ran.append)
    worker = Worker(stub, worker_threads=1, worker_timeout=20)
    worker.pause()
    worker.start()
    work.send(1)
    time.sleep(0.1)
    assert not ran
    worker.resume()
    until(lambda: ran)
    worker.stop(1_000)


@example(
    "call", "Actor.send()", "Actor.send_with_options()", "Broker.enqueue()", "Broker.enqueue_many()", "send_many()"
)
def what_is_sent_waits_in_the_queue(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    work = declare(stub)
    set_broker(stub)
    sent = [work.send(1), work.send_with_options(args=(2,)), stub.enqueue(work.message(3))]
    sent += stub.enqueue_many([work.message(4), work.message(5)])
    sent += send_many([work.message(6), work.message(7)])
    waiting = [Message.decode(delivery.payload) for delivery in stub.peek("default")]
    assert [message.message_id for message in waiting] == [message.message_id for message in sent]
    assert [message.args for message in waiting] == [(number,) for number in range(1, 8)]


@example("call", "Actor.asend()", "Actor.asend_with_options()")
def async_code_sends_too(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    work = declare(stub)
    first = async_to_sync(work.asend)(1)
    second = async_to_sync(work.asend_with_options)(args=(2,))
    assert [delivery.message_id for delivery in stub.peek("default")] == [first.message_id, second.message_id]


@example("call", "Actor.send_on_commit()", "Actor.send_on_commit_with_options()", "Actor.asend_on_commit()")
def where_no_transaction_is_open_there_is_nothing_to_wait_for(
    stub: StubBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("django_tasks_q.outbox._outbox", None)  # as in a process without Django
    work = declare(stub)
    sent = [work.send_on_commit(1), work.send_on_commit_with_options(args=(2,)), async_to_sync(work.asend_on_commit)(3)]
    assert [delivery.message_id for delivery in stub.peek("default")] == [message.message_id for message in sent]


@example("call", "Actor.gather()", "Actor.gather_many()", "Actor.agather()", "Actor.agather_many()")
def items_are_gathered_for_one_run(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[bytes] = []
    items = Mock(add=lambda broker, collection, items, committed: stored.extend(items))
    monkeypatch.setattr("django_tasks_q.gather._items", items)
    work = declare(stub, gather=Gather(size=2, wait=0))
    work.gather(1)
    work.gather_many([2, 3])
    async_to_sync(work.agather)(4)
    async_to_sync(work.agather_many)([5])
    assert [json.loads(item)["item"] for item in stored] == [1, 2, 3, 4, 5]


@example("call", "Actor.__call__()")
def an_actor_can_be_called(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert declare(stub)(6, times=7) == 42
    assert not stub.peek("default")


@example("call", "Actor.message()", "Actor.message_with_options()", "Message.encode()", "Message.decode()")
def a_message_is_built_without_being_sent(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    work = declare(stub)
    for message in (work.message(1, times=2), work.message_with_options(args=(1,), kwargs={"times": 2})):
        assert Message.decode(message.encode()) == message
    assert not stub.peek("default")


@example("call", "Message.__or__()", "pipeline.run()")
def a_pipeline_hands_results_on(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    double = actor(broker=stub, actor_name="double")(lambda number: 2 * number)
    note = actor(broker=stub, actor_name="note")(ran.append)
    set_broker(stub)
    (double.message(3) | double.message() | note.message()).run()
    work_off(stub)
    assert ran == [12]


@example("call", "get_message_id()", "get_retry_count()", "get_max_retries()", "get_queue_name()")
@example("call", "get_current_message()")
def the_getters_know_what_runs(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    getters = [getattr(django_tasks_q, f"get_{what}") for what in ("retry_count", "max_retries", "queue_name")]
    message, message_id, *rest = seen_in_an_actor(
        stub, lambda: (get_current_message(), get_message_id(), *(getter() for getter in getters))
    )
    assert isinstance(message, Message)
    assert message_id == message.message_id
    assert rest == [0, 4, "default"]
    for getter in (get_current_message, get_message_id, *getters):
        assert getter() is None
        assert getter(default="outside") == "outside"


@example("helper", "ConcurrentRateLimiter on Redis")
def a_mutex_in_redis_has_one_holder(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    with redis_limits() as backend:
        mutex = ConcurrentRateLimiter(backend, "printer", ttl=5_000)

        with mutex.acquire() as lease, pytest.raises(RateLimitExceeded):
            assert lease and lease.token
            with mutex.acquire():
                pass


@example("helper", "async actors on one event loop")
def async_actors_share_a_loop(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    loops: list[object] = []

    @actor(broker=stub)
    async def work() -> None:
        await asyncio.sleep(0.01)
        loops.append(asyncio.get_running_loop())

    for _ in range(10):
        work.send()
    worker = Worker(stub, worker_threads=1)
    worker.start()
    stub.join("default", timeout=5_000)
    worker.stop()

    assert len(loops) == 10 and len(set(loops)) == 1


@example("helper", "the engine without Django configured")
def a_worker_runs_without_django(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
        import sys
        from django_tasks_q import Worker, actor, set_broker
        from django_tasks_q.brokers.stub import StubBroker

        broker = StubBroker()
        set_broker(broker)

        @actor
        def work():
            print("ran")

        work.send()
        worker = Worker(broker, worker_threads=1)
        worker.start()
        broker.join("default", timeout=20_000)
        worker.stop()
        assert "django" not in sys.modules
    """
    code = textwrap.dedent(code)
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert (ended.stdout, ended.returncode) == ("ran\n", 0), ended.stderr


@example("call", "get_rate_limiter_backend()", "ConcurrentRateLimiter.acquire()")
def only_one_holds_a_key(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    with override_settings(DJANGO_TASKS_Q={"RATE_LIMITS_URL": "stub://"}):
        backend = get_rate_limiter_backend()
    assert isinstance(backend, StubBackend)
    limiter = ConcurrentRateLimiter(backend, "key")
    with limiter.acquire() as lease, limiter.acquire(raise_on_failure=False) as another:
        assert lease and not another
        assert lease.token > 0 and not lease.lease_lost


@example("call", "get_result_backend()", "Broker.get_results_backend()", "Message.get_result()")
@example("call", "Message.aget_result()", "pipeline.get_result()", "pipeline.get_results()")
@example("helper", "results come back through every broker")
def who_sends_gets_the_result(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    with override_settings(DJANGO_TASKS_Q={"RESULTS_URL": "database://postgresql"}):
        assert isinstance(get_result_backend(), DatabaseResults)
    set_broker(stub)
    stub.add_middleware(Results(backend=StubResults(), store_results=True))
    message = declare(stub).send(6, 7)
    double = actor(broker=stub, actor_name="double")(lambda number: 2 * number)
    pipe = pipeline([double.message(3), double.message()]).run()
    work_off(stub)
    assert stub.get_results_backend().get_result(message) == 42
    assert message.get_result() == async_to_sync(message.aget_result)() == 42
    assert pipe.get_result(block=True) == 12
    assert list(pipe.get_results()) == [6, 12]
    with pytest.raises(ResultMissing):
        double.message(1).get_result()


@example("call", "group.run()", "group.add_completion_callback()", "group.get_results()", "group.wait()")
def what_belongs_together_ends_together(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    set_broker(stub)
    stub.add_middleware(Results(backend=StubResults(), store_results=True))
    stub.add_middleware(GroupCallbacks(StubBackend()))
    double = actor(broker=stub, actor_name="double")(lambda number: 2 * number)
    members = group([double.message(1), group([double.message(2)]), double.message(3) | double.message()])
    callback = members.add_completion_callback(double.message(21))
    members.run()
    work_off(stub)
    members.wait(timeout=1_000)
    assert list(members.get_results()) == [2, [4], 12]
    assert callback.get_result() == 42


@example("call", "stamping()", "pipeline.stamp()", "group.stamp()")
def stamps_are_put_on_in_a_block_or_on_compositions(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    set_broker(stub)
    work = declare(stub)
    with stamping(batch_id=7):
        work.send()
    pipeline([work.message()]).stamp(batch_id=7).run()
    group([work.message()]).stamp(batch_id=7).run()
    waiting = [Message.decode(delivery.payload) for delivery in stub.peek("default")]
    assert [message.stamps for message in waiting] == [VALUES["stamps"]] * 3


@example("call", "revoke()", "revoke_by_stamped_headers()", "lift()")
@example("helper", *(f"revocation.{name}" for name in ("id", "counts", "lifted_at", "unreached")))
def what_is_called_off_never_runs(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    set_broker(stub)
    work = declare(stub)
    first = work.send()
    work.send_with_options(stamps={"batch_id": 7})
    revocation = revoke(ids=[first.message_id])
    assert (revocation.counts, revocation.unreached, revocation.lifted_at) == ({"enqueued": 1}, [], None)
    assert revoke_by_stamped_headers({"batch_id": 7}).counts == {"enqueued": 1}
    assert stub.peek("default") == []
    assert lift(revocation) and revocation.lifted_at is not None and revocation.id is not None


@example("call", "pause_queue()", "resume_queue()", "pause_actor()", "resume_actor()")
def what_is_paused_waits(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    set_broker(stub)
    declare(stub)
    assert pause_queue("default") and not pause_queue("default") and resume_queue("default")
    assert pause_actor("work") and not pause_actor("work") and resume_actor("work")


@example("helper", "the default middleware of a bare StubBroker")
def a_bare_stub_has_the_default_stack(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [type(item) for item in stub.middleware] == default_middleware
    assert len(default_middleware) == 8


@example(
    "helper",
    "RabbitMQ: <namespace>.<queue>",
    "RabbitMQ: <namespace>.waiting",
    "RabbitMQ: .XQ",
    "RabbitMQ: x-max-priority",
)
def rabbitmq_s_queues_are_named_by_rule(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = RabbitmqBroker(url="amqp://nobody/", namespace="shop")
    declare(broker, queue_name="plain")
    declare(broker, queue_name="urgent", actor_name="urgent", priority=-10)
    names = broker.topology
    assert [names.work("plain"), names.waiting, names.dead_lettered] == ["shop.plain", "shop.waiting", "shop.XQ"]
    assert (broker.levels("plain"), broker.levels("urgent")) == (0, 10)


@example("helper", "a message id is a UUID version 7")
def ids_are_uuids_that_sort_by_time(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    first = declare(stub).message().message_id
    assert UUID(first).version == 7


@example("helper", "correlation id")
def the_callers_id_is_not_the_engines(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = declare(stub).send_with_options(message_id="order 7")
    assert sent.message_id != "order 7"
    assert journal(stub)[-1].birth.correlation_id == "order 7"


@example("helper", "enqueueing the id that runs is its retry")
def enqueueing_what_runs_retries_it(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str | None] = []

    @actor(broker=stub)
    def again() -> None:
        ran.append(get_message_id())
        if len(ran) == 1:
            stub.enqueue(get_current_message())

    sent = again.send()
    work_off(stub)
    assert ran == [sent.message_id] * 2


@example("helper", "DuplicateMessage on the stub and the database", "an id has at most 64 characters")
def an_id_that_waits_is_refused(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    message = declare(stub).send()
    with pytest.raises(DuplicateMessage):
        stub.enqueue(message)
    assert DatabaseBroker.capabilities.unique_ids.level == "same"
    stub.enqueue(message.copy(message_id="x" * MAX_ID_LENGTH))
    with pytest.raises(ValueError, match="64"):
        stub.enqueue(message.copy(message_id="x" * (MAX_ID_LENGTH + 1)))


@example("helper", "unknown fields survive")
def fields_of_a_newer_release_survive(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = {**declare(stub).message().asdict(), "colour": "red"}
    assert json.loads(Message.decode(json.dumps(wire).encode()).encode())["colour"] == "red"


@example("helper", *(f"log record field: {name}" for name in ("message_id", "actor", "queue", "retries")))
@example("helper", "the text log line carries the message id")
def log_lines_say_what_runs(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    def line() -> tuple[logging.LogRecord, str, str | None]:
        record = logging.LogRecord("mine", logging.INFO, __file__, 1, "hello", (), None)
        assert MessageFilter().filter(record)
        return record, TextFormatter().format(record), get_message_id()

    record, text, message_id = seen_in_an_actor(stub, line)
    fields = [vars(record)[name] for name in ("message_id", "actor", "queue", "retries")]
    assert fields == [message_id, "looking", "default", 0]
    assert re.search(rf"^\[.*\] \[PID \d+\] \[.*\] \[mine\] \[INFO\] \[{message_id}\] hello$", text)


@example("helper", "an unknown setting is a check error with a guess", "check django_tasks_q.E001")
def an_unknown_setting_is_a_check_error(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    with override_settings(DJANGO_TASKS_Q={"THREAD": 1}):
        (error,) = checks.check_settings(None)
    assert error.id == "django_tasks_q.E001"
    assert "'THREADS'" in error.msg


@example("helper", *(f"check django_tasks_q.{name}" for name in ("E002", "E003", "W001")))
def databases_are_checked(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(check: Callable[..., Any], alias: str) -> list[str]:
        set_broker(DatabaseBroker(using=alias))
        return [message.id for message in check(None, databases=[alias])]

    monkeypatch.setattr("sqlite3.sqlite_version_info", (3, 34, 0))
    assert found(checks.check_engines, "default") == ["django_tasks_q.E002"]
    assert found(checks.check_engines, "postgresql") == []
    monkeypatch.setattr("django.db.backends.postgresql.psycopg_any.is_psycopg3", False)
    assert found(checks.check_engines, "postgresql") == ["django_tasks_q.E003"]
    monkeypatch.setattr("django_tasks_q.checks.databases._missing", lambda alias, tables: [])
    monkeypatch.setattr("django_tasks_q.checks.databases._journal_mode", lambda alias: "delete")
    assert found(checks.check_databases, "default") == ["django_tasks_q.W001"]


@example("helper", "settings reset on setting_changed")
def overridden_settings_take_effect(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    with override_settings(DJANGO_TASKS_Q={"LEASE": 9_000}):
        assert django_tasks_q.get_broker().lease == 9_000
    assert django_tasks_q.get_broker().lease == 30_000  # the rest: test_settings.py


@example("helper", "the page of the checks")
def the_checks_have_a_page(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "### `django_tasks_q.E001`" in (ROOT / "docs" / "checks.md").read_text()  # the rest: test_checks.py


# Exit codes and signals


def options(**given: Any) -> Options:
    return Options(processes=1, threads=1, **given)


def make_supervisor() -> Supervisor:
    return Supervisor(options(), lambda channel: 0, lambda text: None)


@example("exit code", "runworkers 0", "runworkers 1")
def a_second_stop_is_killing(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = make_supervisor()
    supervisor._stop(at_once=False)
    assert supervisor._exit_code == 0
    supervisor._stop(at_once=False)
    assert supervisor._exit_code == 1


@example("exit code", "runworkers 2")
@example("helper", "runworkers names missing tables, unknown queues and -t 0", "-Q high=3 low=1")
def a_users_mistake_is_code_two(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    set_broker(stub)
    stub.declare_queue("high")
    stub.declare_queue("low")
    assert runworkers.parse_queues(["high=3", "low=1"]) == {"high": 3, "low": 1}
    with pytest.raises(CommandError, match="Did you mean 'high'") as unknown:
        runworkers.parse_queues(["hihg"])
    assert unknown.value.returncode == runworkers.ARGUMENTS == 2
    with pytest.raises(CommandError, match="whole number from 1 on"):
        runworkers.Command().create_parser("manage.py", "runworkers").parse_args(["-t", "0"])
    assert "except BrokerNotReady" in inspect.getsource(runworkers.Command.handle)


@example("exit code", "runworkers 3")
def a_broker_that_is_away_is_code_three(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(timeout: float) -> None:
        raise BrokerConnectionError("away")

    monkeypatch.setattr(runworkers, "wait_for_broker", away)
    monkeypatch.setattr(runworkers, "configure", lambda *args: None)
    with pytest.raises(CommandError, match="cannot be reached") as error:
        run_command()
    assert error.value.returncode == runworkers.UNREACHABLE == 3


def run_command(*arguments: str) -> None:
    command = runworkers.Command()
    parser = command.create_parser("manage.py", "runworkers")
    command.handle(**vars(parser.parse_args(list(arguments))))


@example("exit code", "runworkers 4")
def a_pid_file_that_is_taken_is_code_four(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProcessesFailed) as error, PidFile("/nowhere/at/all"):
        pass
    assert error.value.exit_code == 4
    assert "error.exit_code" in inspect.getsource(runworkers.Command.handle)


@example("signal", "INT", "TERM", "a second INT or TERM")
@example("signal", "HUP")
def the_supervisor_obeys_signals(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    reloads: list[str] = []
    supervisor = make_supervisor()
    monkeypatch.setattr(supervisor, "_reload", reloads.append)
    supervisor._signals = Signals([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    try:
        obeyed = []
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
            supervisor._obey()
            obeyed.append((len(reloads), supervisor._stops, supervisor._exit_code))
    finally:
        supervisor._signals.close()
    assert obeyed == [(1, 0, 0), (1, 1, 0), (1, 2, 1)]
    caught = inspect.getsource(Supervisor._run)
    assert all(f"signal.{name}" in caught for name in ("SIGINT", "SIGTERM", "SIGHUP"))


@example("exit code", "taskq 0", "taskq 1", "taskq 2")
def taskq_ends_with_one_of_three(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError) as mistake:
        refuse("no such actor")

    assert mistake.value.returncode == USAGE == 2
    assert (TASKQ_DONE, NOTHING) == (0, 1)


STATS = (
    "queues queue_name ready in_flight delayed dead oldest_ms paused consumers per_minute workers outbox mirror_lag_ms"
)


@example("helper", *(f"taskq stats --json: {name}" for name in STATS.split()))
def stats_have_the_documented_names(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = Stats([QueueStats("default")], 0, 0, 0).as_dict()

    assert {*figures, *figures["queues"][0]} == set(STATS.split())


@example("helper", "the first lines of runworkers")
def the_first_lines_say_what_runs(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(runworkers, "say", said.append)
    declare(stub)
    set_broker(stub)
    runworkers.greet(options())
    text = "\n".join(said)
    for what in (django_tasks_q.__version__, stub.address, "default", "1 in ", "1 x 1 threads", "Ctrl-C"):
        assert what in text


@example("helper", "durations 30s 10m 2h")
def durations_take_a_suffix(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = runworkers.Command().create_parser("manage.py", "runworkers").parse_args
    assert parse(["--worker-shutdown-timeout", "30s"]).worker_shutdown_timeout == 30_000
    assert parse(["--max-age", "10m"]).max_age == 600
    assert parse(["--max-age", "2h"]).max_age == 7_200


@example("helper", "Windows is refused")
def windows_is_refused_in_words(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runworkers.sys, "platform", "win32")
    with pytest.raises(CommandError, match="needs Linux or macOS") as error:
        run_command()
    assert error.value.returncode == 2


# Django and details


@example("helper", "admin: records to look at, found by id and correlation id")
def records_are_in_the_admin(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = admin.site.get_model_admin(MessageRecord)
    assert shown.search_fields and shown.filter_of({"q": "one id"}) == Filter(search="one id")


@example(
    "helper", "admin: dashboard", "admin: messages", "admin: dead letters", "admin: delayed", "admin: running now",
    "admin: queues", "admin: workers", "admin: mutexes", "admin: schedules",
)  # fmt: skip
def each_page_of_the_admin_is_on_the_site(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = "Overview MessageRecord DeadLetter DelayedMessage RunningMessage QueueState WorkerProcess RateLimitMutex"
    for name in (*pages.split(), "ScheduleEntry"):
        assert admin.site.is_registered(load(f"django_tasks_q.models.{name}"))
        assert reverse(f"admin:django_tasks_q_{name.lower()}_changelist")


@example("helper", "admin: permissions per action", "admin: LogEntry for every action")
def what_people_do_is_allowed_and_logged(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    told = (ROOT / "tests/admin/test_permissions.py").read_text() + (ROOT / "tests/admin/test_bulk.py").read_text()
    assert "def test_every_page_has_a_row_in_the_matrix(" in told
    assert "def test_one_operation_is_logged_once_however_many_messages_it_meets(" in told


@example("helper", "testing: immediate mode")
def a_message_runs_as_it_is_sent(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    with testing.immediate():
        actor(lambda number: ran.append(number), actor_name="note").send(1)
        assert ran == [1]


@example("helper", "testing: on-commit capture")
def what_a_block_leaves_to_the_commit_runs_at_its_end(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    real = connections["default"]  # undone on the proxy, the attributes would be gone from the connection behind it
    monkeypatch.setattr(real, "in_atomic_block", True)
    monkeypatch.setattr(real, "run_on_commit", [])
    with testing.capture():
        note = actor(lambda number: None, actor_name="note")
        with testing.on_commit():
            note.send_on_commit(1)
            testing.assert_not_sent(note)
        testing.assert_sent(note, args=[1])


@example("helper", "pytest fixture task_broker", "pytest fixture task_worker")
def pytest_finds_the_fixtures(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    (plugin,) = importlib.metadata.entry_points(group="pytest11", name="django_tasks_q")
    fixtures = plugin.load()
    with contextmanager(fixtures.task_broker.__wrapped__)() as broker:
        assert django_tasks_q.get_broker() is broker
    request = SimpleNamespace(fixturenames=[])
    with pytest.raises(pytest.fail.Exception, match="transaction=True"):
        next(fixtures.task_worker.__wrapped__(request))


@example("helper", "connection.queries does not grow")
def queries_are_forgotten_after_each_task(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    # Those that other tests left open would be looked at, which a test without a database may not do.
    for each in connections.all():
        monkeypatch.setattr(each, "connection", None)
    connection.queries_log.append({"sql": "SELECT 1", "time": "0"})
    tidy()
    assert not connection.queries_log


@example("helper", "py.typed")
def the_package_says_that_it_is_typed(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (PACKAGE / "py.typed").is_file()


@example("helper", "eta needs a time zone", "a delay is at most a year", "priorities from -100 to 100")
def times_and_priorities_have_bounds(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    work = declare(stub)
    for wrong in ({"eta": datetime(2030, 1, 1)}, {"delay": 367 * 86_400_000}, {"priority": 101}, {"priority": -101}):
        with pytest.raises(ValueError, match=r"time zone|a year|-100 to 100"):
            work.message_with_options(**wrong)


@example("helper", "MessageTooLarge")
def a_message_may_not_be_too_large(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    stub.max_message_bytes = 300
    with pytest.raises(MessageTooLarge, match="MAX_MESSAGE_BYTES"):
        declare(stub).send("x" * 300)


@example("helper", "two actors of one name")
def two_actors_may_not_share_a_name(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(stub)
    with pytest.raises(ValueError, match=__name__):
        declare(stub)


@example(
    "helper", "extra postgres", "extra watch", "extra redis", "extra rabbitmq", "extra prometheus", "extra gevent",
    "extra schedules", "extra all",
)  # fmt: skip
def the_extras_are_declared(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"postgres", "watch", "redis", "hiredis", "rabbitmq", "prometheus", "gevent", "schedules", "all"}
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert names <= set(importlib.metadata.metadata("django-tasks-q").get_all("Provides-Extra") or [])
    # What asks for each of them says how to get it.
    hints = "\n".join(path.read_text() for path in sources())
    for name, module in (("prometheus", "prometheus-client"), ("gevent", "gevent"), ("schedules", "cronsim")):
        assert any(wanted.startswith(module) for wanted in told[name])
        assert f'pip install "django-tasks-q[{name}]"' in hints


@example("helper", "the install hint of a missing client library")
def what_is_not_installed_is_named_with_its_extra(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, url, extra in (("redis", "redis://localhost", "redis"), ("pika", "amqp://localhost", "rabbitmq")):
        monkeypatch.setitem(sys.modules, module, None)
        with override_settings(DJANGO_TASKS_Q={"BROKER_URL": url}):
            (found,) = checks.check_settings(None)
        assert found.hint == f'pip install "django-tasks-q[{extra}]"'


@example("helper", "the table of broker differences")
def the_page_of_brokers_has_the_table_that_is_made_of_their_values(
    stub: StubBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert capabilities.on_page() == capabilities.table()


@example("helper", "DuplicateMessage on Redis", "Redis: <namespace>:{<queue>}:…")
def a_redis_broker_keeps_each_id_once_and_everything_below_its_namespace(
    stub: StubBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis_broker() as broker:
        message = declare(broker).send()
        with pytest.raises(DuplicateMessage):
            broker.enqueue(message)
        assert f"{broker.keys.namespace}:{{default}}:messages" in keys_of(broker)


@example("helper", "SEND_TIMEOUT ends in BrokerConnectionError")
def a_send_to_a_server_that_is_away_ends(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = RedisBroker(url="redis://127.0.0.1:1/0")
    broker.send_timeout = 300
    before = time.monotonic()
    with pytest.raises(BrokerConnectionError):
        declare(broker).send()
    assert time.monotonic() - before < within(2)


@example("call", "Message.fetch()", "Message.record()")
def a_message_can_be_looked_up(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"fetch", "record"} <= vars(Message).keys()  # see tests/operations/test_lookup.py


@example("call", "set_progress()", "Message.get_progress()", "Message.aget_progress()")
def a_message_says_how_far_it_is(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Mock(progress=lambda message_id: Progress(1, 2), aprogress=AsyncMock(return_value=Progress(1, 2)))
    monkeypatch.setattr("django_tasks_q.message._found_by", seen)  # see tests/operations/test_progress.py
    message = actor(broker=stub, actor_name="work")(lambda: set_progress(1, 2)).send()
    work_off(stub)
    assert [event.progress for event in stub.journal.events if event.progress] == [Progress(1, 2)]
    assert message.get_progress() == async_to_sync(message.aget_progress)() == Progress(1, 2)


@example("helper", "what to remove when uninstalling")
def there_is_a_page_about_leaving(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "migrate django_tasks_q zero" in (ROOT / "docs" / "leaving.md").read_text()


# States and reasons

# What the stub alone does not come to, and the test that shows how it comes about.
TOLD_ELSEWHERE = {
    "state": {
        "pending": (
            "outbox/test_commits.py",
            "test_what_waits_for_a_broker_with_a_journal_is_shown_as_pending",
        ),
        "unknown": (
            "brokers/test_mirror_service.py",
            "test_after_a_gap_what_was_alive_is_unknown_until_something_new_is_heard",
        ),
    },
    "reason": {
        "lost": ("brokers/test_services.py", "test_a_message_that_the_broker_lost_becomes_dead_with_that_reason")
    },
}


def journal(broker: StubBroker) -> list[Any]:
    return broker.journal.events  # type: ignore[union-attr]


def test_a_state_is_done_when_messages_come_into_it(stub: StubBroker) -> None:
    release = threading.Event()

    @actor(broker=stub, min_backoff=1, max_retries=1)
    def stumble() -> None:
        raise RuntimeError("on purpose")

    @actor(broker=stub)
    def wait() -> None:
        release.wait(10)

    @actor(broker=stub)
    def unwanted() -> None: ...

    class Skip(Middleware):
        def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
            if message.actor_name == "unwanted":
                raise django_tasks_q.SkipMessage("nobody wants it")

    stub.add_middleware(Skip())
    stumble.send()
    wait.send()
    unwanted.send_with_options(delay=1)
    worker = Worker(stub, worker_threads=2, worker_timeout=20)
    worker.start()
    until(lambda: State.RUNNING in {event.state for event in journal(stub)})
    release.set()
    stub.join("default", timeout=10_000, fail_fast=False)
    worker.stop(1_000)
    set_broker(stub)
    revoke(ids=[wait.send().message_id])
    wait.send()
    stub.flush_all()

    reached = {event.state.value for event in journal(stub)}
    assert reached | set(TOLD_ELSEWHERE["state"]) == set(done("state"))
    assert {row.name for row in ROWS if row.kind == "state"} == {state.value for state in State}


def test_a_reason_is_done_when_messages_die_of_it(stub: StubBroker) -> None:
    def endless() -> None:
        while True:
            time.sleep(0.001)

    def fail() -> None:
        raise RuntimeError("on purpose")

    def unspeakable() -> object:
        return object()

    class Reject(Middleware):
        def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
            if message.actor_name == "rejected":
                message.fail()

    stub.add_middleware(Reject())
    actor(broker=stub, actor_name="retries_exhausted", max_retries=0)(fail).send()
    actor(broker=stub, actor_name="throws", throws=RuntimeError)(fail).send()
    actor(broker=stub, actor_name="time_limit", max_retries=0, time_limit=30)(endless).send()
    actor(broker=stub, actor_name="rejected")(fail).send()
    actor(broker=stub, actor_name="not_sendable", on_success="throws")(unspeakable).send()
    old = actor(broker=stub, actor_name="age_limit", max_age=1_000)(fail).message()
    stub.enqueue(old.copy(message_timestamp=0))
    stub.enqueue(Message("default", "unknown_actor"))
    stub.enqueue(Message("default", "throws", (1, 2, 3), options={"max_retries": 0}))
    stub._enqueue([Outgoing(Message("default", "undecodable"), b"\xff")])
    work_off(stub, unknown_actor_grace=0)
    lose_twice(stub, actor(broker=stub, actor_name="lost", delivery_limit=2)(fail).send())

    reached = {event.reason for event in journal(stub) if event.state is State.DEAD}
    assert reached | set(TOLD_ELSEWHERE["reason"]) == set(done("reason"))


@pytest.mark.parametrize(
    ("file", "test"), [place for told in TOLD_ELSEWHERE.values() for place in told.values()], ids=lambda value: value
)
def test_what_is_told_elsewhere_is_told(file: str, test: str) -> None:
    assert f"def {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")


def lose_twice(broker: StubBroker, message: Message[Any]) -> None:
    for turn in ("first", "second"):
        consumer = broker.consume(WorkerInfo(turn, {}, 1, suspects=turn == "second"))
        (delivery,) = consumer.exchange([], 1).deliveries
        broker.bury(turn, [Casualty(message.message_id, delivery.number, "lost", 1)], make_judge(broker))
        consumer.close(give_back=False)


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


# Models


def field(name: str) -> Any:
    model, _, column = name.partition(".")
    return load(f"django_tasks_q.models.{model}")._meta.get_field(column)


@pytest.mark.parametrize("name", done("model field"))
def test_a_field_that_is_done_is_in_its_table(name: str) -> None:
    assert field(name).column


@pytest.mark.parametrize("name", planned("model field"))
def test_a_field_that_is_not_done_is_not_there(name: str) -> None:
    with pytest.raises((ImportError, FieldDoesNotExist)):
        field(name)


def test_every_field_of_the_records_is_done() -> None:
    kinds = (MessageRecord, Attempt, Stamp)
    fields = {
        f"{model.__name__}.{item.name}"
        for model in kinds
        for item in model._meta.get_fields()
        if item.concrete and not item.auto_created
    }
    names = {model.__name__ for model in kinds}

    assert fields == {name for name in done("model field") if name.split(".")[0] in names}
