"""docs/options.md has every option of the code, with its default, and no other."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from django_tasks_q import Actor, Worker, actor, conf, middleware, options
from django_tasks_q.broker import Broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.rabbitmq import RabbitmqBroker
from django_tasks_q.brokers.redis import RedisBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.configured import make_middleware
from django_tasks_q.management.commands.runworkers import Command
from django_tasks_q.management.taskq import SUBCOMMANDS
from django_tasks_q.management.taskq.subcommand import Subcommand
from django_tasks_q.middleware import Middleware
from django_tasks_q.middleware.database_connections import DatabaseConnections
from django_tasks_q.middleware.prometheus import Prometheus
from django_tasks_q.rate_limits import Barrier, BucketRateLimiter, ConcurrentRateLimiter, WindowRateLimiter
from django_tasks_q.rate_limits import backends as rate_limits
from django_tasks_q.results import Results
from django_tasks_q.results import backends as results

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "options.md").read_text(encoding="utf-8")
TASKQ = (DOCS / "taskq.md").read_text(encoding="utf-8")

OF_THE_ENGINE = {"pipe_target"}
"""What a pipeline writes into its messages."""

OF_RUNWORKERS = {"broker", "worker_id", "region", "suspects", "duties", "maintenance", "most", "on_forfeit"}
"""Arguments of a worker that nobody gives by hand, and the broker, which has no default."""

KINDS = [
    kind for kind in (getattr(middleware, name) for name in middleware.__all__)
    if inspect.isclass(kind) and issubclass(kind, Middleware) and kind is not Middleware
] + [DatabaseConnections, Results, Prometheus]  # fmt: skip

LIMITERS = [ConcurrentRateLimiter, BucketRateLimiter, WindowRateLimiter, Barrier]

BROKERS: list[type[Broker]] = [DatabaseBroker, StubBroker, RedisBroker, RabbitmqBroker]

SAMPLES: dict[str, Any] = {
    "record": True,
    "delivery_limit": 4,
    "store_results": True,
    "stamps": {"import_id": 7},
    "inherit_stamps": False,
    "on_conflict": "raise",
}
"""Values of options that cannot be None."""


def table(start: str) -> list[list[str]]:
    """The cells of the table whose head follows ``start``."""
    lines = PAGE.split(start, 1)[1].split("\n|", 1)[1].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def shown(value: Any) -> str:
    """A default as the page says it."""
    return f"`{value!r}`".replace("'", '"')


def arguments(of: Callable[..., Any]) -> dict[str, str]:
    """What it takes, and the defaults."""
    given = {}
    for name, parameter in inspect.signature(of).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            given[name] = "none"
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            given[name] = shown(parameter.default)
    return given


def by_owner(start: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for owner, argument, default, *_ in table(start):
        found.setdefault(owner.strip("`"), {})[argument.strip("`")] = default
    return found


def test_each_option_of_an_actor_has_a_row_with_its_default() -> None:
    stack = make_middleware()
    defaults = {name: getattr(item, name, None) for item in stack for name in item.actor_options}
    defaults = {**defaults, "pipe_ignore": False, "throws": (), "on_commit": False, "schedule": None, "gather": None}
    defaults |= {"stamps": None, "inherit_stamps": True}
    wanted = {name: shown(default) for name, default in defaults.items() if name not in OF_THE_ENGINE}
    wanted |= {"delivery_limit": "`DELIVERY_LIMIT`", "record": '`RECORDS["ENABLED"]`'}
    wanted |= {"unique": "`False`", "unique_key": "`None`", "on_conflict": '`"drop"`'}

    assert set(wanted) >= options._FOR_ACTORS
    assert {row[0].strip("`"): row[2] for row in table("## Actors and messages")} == wanted
    assert conf.DEFAULTS["DELIVERY_LIMIT"] == 3 and conf.RECORDS["ENABLED"] is True


def test_the_page_says_which_of_them_messages_take() -> None:
    broker = StubBroker(make_middleware())
    work = actor(lambda: None, actor_name="work", broker=broker)

    def takes(name: str) -> bool:
        try:
            work.message_with_options(**{name: SAMPLES.get(name)})
        except ValueError as error:
            assert "a message has no option" in str(error)
            return False
        return True

    rows = table("## Actors and messages")
    assert {row[0]: row[1] for row in rows} == {row[0]: "yes" if takes(row[0].strip("`")) else "no" for row in rows}


def test_each_argument_of_the_decorator_has_a_row() -> None:
    wanted = {name: default for name, default in arguments(actor).items() if name not in ("fn", "options")}
    wanted["actor_class"] = "`Actor`"

    assert {row[0].strip("`"): row[1] for row in table("`@actor` itself takes:")} == wanted


def test_each_argument_of_a_message_has_a_row() -> None:
    taken = {**arguments(Actor.send_with_options), **arguments(Actor.send_on_commit_with_options)}
    wanted = {name: default for name, default in taken.items() if name not in ("self", "options")}
    rows = {row[0].strip("`"): row[1] for row in table("Messages only")}
    given = {"priority": 3, "broker_priority": 3, "message_id": "mine"}
    celerys = {"stamped_headers": ["import_id"], "import_id": 7}

    message = actor(lambda: None, actor_name="work", broker=StubBroker()).message_with_options(**given, **celerys)

    assert set(message.options) == {*given, "stamps"}
    assert {name: rows.pop(name) for name in wanted} == wanted
    assert set(rows) == {*given, "stamped_headers"}


def test_each_argument_of_a_middleware_has_a_row() -> None:
    wanted = {kind.__name__: arguments(kind) for kind in KINDS}
    without = {name for name, taken in wanted.items() if not taken}
    section = PAGE.split("## Middleware")[1].split("\n\n|")[0]

    assert by_owner("## Middleware") == {name: taken for name, taken in wanted.items() if taken}
    assert without == set(re.findall(r"`(\w+)`", section.split("by hand.")[1]))


def test_each_argument_of_a_broker_has_a_row() -> None:
    assert by_owner("## Brokers") == {kind.__name__: arguments(kind) for kind in BROKERS}


def test_each_argument_of_a_worker_has_a_row() -> None:
    wanted = {name: default for name, default in arguments(Worker).items() if name not in OF_RUNWORKERS}

    assert {row[0].strip("`"): row[1] for row in table("of your own:")} == wanted


def test_each_argument_of_a_limiter_or_backend_has_a_row() -> None:
    limiters = {kind.__name__: arguments(kind) for kind in LIMITERS}
    wanted = {
        name: {argument: default for argument, default in taken.items() if argument not in ("backend", "key")}
        for name, taken in limiters.items()
    }
    for module in (rate_limits, results):
        room = module.__name__.partition(".")[2]
        for kind in (module.DatabaseBackend, module.RedisBackend, module.StubBackend):
            wanted[f"{room}.{kind.__name__}"] = arguments(kind)

    assert by_owner("## Limiters") == {name: taken for name, taken in wanted.items() if taken}


@pytest.mark.parametrize("subcommand", SUBCOMMANDS, ids=lambda subcommand: subcommand.name)
def test_the_page_of_taskq_has_each_of_its_options(subcommand: Subcommand) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    subcommand.add_arguments(parser.add_argument)
    said = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}

    assert f"| `{subcommand.name}" in TASKQ or f", `{subcommand.name}`" in TASKQ
    assert said <= set(re.findall(r"--[a-z-]+", TASKQ))


def test_each_option_of_runworkers_has_a_row() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    Command().add_arguments(parser)
    wanted = {}
    for action in parser._actions:
        setting = action.dest.upper()
        default = f"`{setting}`" if setting in conf.DEFAULTS else "none"
        if action.nargs in (0, "?"):
            default = "off"
        elif action.dest == "queues":
            default = "all"
        elif action.default is not None:
            default = f"`{action.default}`"
        wanted[action.option_strings[-1]] = default

    assert {row[0].strip("`"): row[1] for row in table("## runworkers")} == wanted


@pytest.mark.parametrize("head", re.findall(r"^\| .*meaning \|\n\|[-|]+\|\n((?:\|.*\n?)+)", PAGE, re.MULTILINE))
def test_each_row_has_a_unit(head: str) -> None:
    for line in head.splitlines():
        *_, unit, _ = [cell.strip() for cell in line.removesuffix("|").removeprefix("|").split(" | ")]
        assert unit, line
