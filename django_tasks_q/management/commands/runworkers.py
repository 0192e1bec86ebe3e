"""``manage.py runworkers``: run the messages of this project."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import msgspec
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseTrouble
from django.db import connections

from django_tasks_q import __version__, conf, get_broker
from django_tasks_q.durations import parse_milliseconds, parse_seconds
from django_tasks_q.errors import BrokerConnectionError, BrokerNotReady, ProcessesFailed, did_you_mean
from django_tasks_q.logging import get_logger
from django_tasks_q.middleware import AsyncIO
from django_tasks_q.operations.readiness import check_records
from django_tasks_q.supervisor import Options, Supervisor, handle, launch
from django_tasks_q.supervisor.boot import wait_for_broker
from django_tasks_q.supervisor.channel import Channel
from django_tasks_q.supervisor.generation import Generation
from django_tasks_q.supervisor.logs import configure
from django_tasks_q.supervisor.supervisor import say

logger = get_logger(__name__)

ARGUMENTS, UNREACHABLE = 2, 3
MOST = 1024
"""Processes, or threads of one; more is a slip of the finger that would keep the machine busy starting them."""


class Command(BaseCommand):
    help = "Run the messages that this project's actors were sent, until Ctrl-C."
    requires_system_checks = []  # they open connections; what matters here is asked of the broker itself

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("-p", "--processes", type=_few, help="worker processes (setting PROCESSES; default: one for each CPU)")
        add("-t", "--threads", type=_few, help="threads in each process (setting THREADS; default 8)")
        add(
            "-Q",
            "--queues",
            nargs="+",
            default=[],
            metavar="NAME[=WEIGHT]",
            help="only these queues; high=3 gets three times the turns of low",
        )
        add(
            "--watch",
            nargs="?",
            const="",
            metavar="DIR",
            help="reload when a Python file below DIR changes (default: BASE_DIR)",
        )
        add("--watch-use-polling", action="store_true", help="look at the files instead of asking the system")
        add("--use-spawn", action="store_true", help="start fresh interpreters instead of forking")
        add("--use-gevent", action="store_true", help="run messages in greenlets; -t may then be hundreds")
        add("--pid-file", metavar="FILE", help="write the process id there, and refuse to start twice")
        add("--log-file", metavar="FILE", help="log there instead of standard error")
        add("--log-format", choices=["text", "json"], default="text", help="json: an object on each line")
        add(
            "--worker-shutdown-timeout",
            type=_milliseconds,
            metavar="MS",
            help="how long running messages may go on after a stop: milliseconds, or 30s, 10m",
        )
        add("--max-messages", type=_positive, metavar="N", help="replace a worker after N messages")
        add("--max-memory", type=_positive, metavar="MIB", help="replace a worker that uses more")
        add("--max-age", type=_seconds, metavar="S", help="replace a worker after S seconds, or 10m, 2h")
        add("--burst", action="store_true", help="end when nothing can run now; delays and retries are not awaited")
        add("--no-maintenance", action="store_true", help="start no keeper; another runworkers must have one")
        add(
            "--wait-for-broker",
            type=_milliseconds,
            default=30_000,
            metavar="MS",
            help="how long to wait for it at boot: milliseconds, or 30s (the default), 10m",
        )

    def handle(self, *args: Any, **given: Any) -> None:
        if sys.platform == "win32":
            _leave("runworkers needs Linux or macOS; on Windows run it in WSL or a container.")
        options = self._options(given)
        if options.watch is not None and not os.path.isdir(options.watch):
            _leave(f"--watch needs a folder, and there is none at {options.watch}.")
        if options.use_gevent:
            check_gevent(options)
        try:
            configure(options.log_format, options.log_file, options.verbosity)
        except OSError as error:
            _leave(f"Log file {options.log_file}: {error.strerror}")
        try:
            code = self._run(options)
        except BrokerNotReady as error:
            _leave(str(error))
        except BrokerConnectionError as error:
            _leave(f"The broker cannot be reached: {error}", UNREACHABLE)
        except ProcessesFailed as error:
            _leave(str(error), error.exit_code)
        sys.exit(code)

    def _run(self, options: Options) -> int:
        """As what this process was started: one of a generation's own, a generation, or by a person."""
        role = os.environ.pop(launch.ENVIRONMENT, None)
        if role is not None:
            return launch.run_role(options, msgspec.json.decode(role, type=launch.Role))
        if not get_broker().capabilities.survives_restart:
            _leave(
                f"{get_broker().address} keeps messages in the process that sends them; workers would never see any."
            )
        wait_for_broker(options.wait_for_broker / 1000)
        if handle.ENVIRONMENT not in os.environ:
            self._check_tables()
        close_connections()
        channel = os.environ.pop(handle.ENVIRONMENT, None)
        if channel is not None:
            return _run_generation(options, Channel.from_descriptor(int(channel)))
        greet(options)
        return Supervisor(options, lambda theirs: _run_generation(options, theirs), say).run()

    def _check_tables(self) -> None:
        """Only missing tables of our own stop us: while the database is away, messages run and events wait."""
        try:
            check_records(get_broker())
            self.check_migrations()  # says which are not applied
        except (BrokerConnectionError, DatabaseTrouble) as error:
            logger.warning("Nothing is recorded until the database can be reached: %s", str(error).strip())

    def _options(self, given: dict[str, Any]) -> Options:
        watch = given["watch"]
        timeout = given["worker_shutdown_timeout"]
        return Options(
            processes=given["processes"] or conf.get("PROCESSES"),
            threads=given["threads"] or conf.get("THREADS"),
            async_concurrency=0 if given["use_gevent"] else conf.get("ASYNC_CONCURRENCY"),
            queues=parse_queues(given["queues"]),
            watch=None if watch is None else str(Path(watch or _project_folder()).resolve()),
            watch_use_polling=given["watch_use_polling"],
            pid_file=given["pid_file"],
            log_file=given["log_file"],
            log_format=given["log_format"],
            shutdown_timeout=conf.get("WORKER_SHUTDOWN_TIMEOUT") if timeout is None else timeout,
            max_messages=given["max_messages"],
            max_memory_mib=given["max_memory"],
            max_age_seconds=given["max_age"],
            use_spawn=given["use_spawn"],
            use_gevent=given["use_gevent"],
            burst=given["burst"],
            maintenance=not given["no_maintenance"],
            wait_for_broker=given["wait_for_broker"],
            verbosity=given["verbosity"],
            time_limit_grace=conf.get("TIME_LIMIT_GRACE"),
            unknown_actor_grace=conf.get("UNKNOWN_ACTOR_GRACE"),
            switch_interval=conf.get("SWITCH_INTERVAL"),
        )


def parse_queues(given: list[str]) -> dict[str, int]:
    """``["high=3", "low"]`` as names and weights. CommandError for a queue that no actor uses, or a bad weight."""
    known = get_broker().get_declared_queues()
    queues = {}
    for item in given:
        name, _, weight = item.partition("=")
        if name not in known:
            hint = did_you_mean(name, sorted(known)) or f" Known are: {', '.join(sorted(known)) or 'none'}."
            raise CommandError(f"No actor uses a queue called {name!r}.{hint}", returncode=ARGUMENTS)
        if weight and (not weight.isdigit() or int(weight) < 1):
            raise CommandError(f"The weight of a queue is a whole number from 1 on: {item!r}", returncode=ARGUMENTS)
        queues[name] = int(weight or 1)
    return queues


def check_gevent(options: Options) -> None:
    """CommandError where gevent is missing, or cannot run what these workers would be sent."""
    if find_spec("gevent") is None:
        _leave('--use-gevent needs gevent: pip install "django-tasks-q[gevent]"')
    broker = get_broker()
    served = options.queues or broker.queues
    names = sorted(name for name, item in broker.actors.items() if item.is_async and item.queue_name in served)
    if names:
        _leave(
            f"Greenlets cannot share their thread with the event loop of async actors: {', '.join(names)}. Give these "
            "a queue of their own, and start one runworkers with --use-gevent and one without (-Q says which queues)."
        )
    if any(isinstance(item, AsyncIO) for item in broker.middleware):
        _leave("Greenlets cannot share their thread with the event loop of the AsyncIO middleware: leave that out.")


def greet(options: Options) -> None:
    """The first lines: what runs, on what, and how to end it."""
    broker = get_broker()
    queues = options.queues or dict.fromkeys(sorted(broker.queues), 1)
    names = [name if weight == 1 else f"{name}={weight}" for name, weight in queues.items()]
    apps = sorted({actor.app_label for actor in broker.actors.values()})
    say(f"django_tasks_q {__version__}, broker {broker.address}")
    say(f"  queues     {', '.join(names) or 'none: no actor is declared'}")
    say(f"  actors     {len(broker.actors)} in {', '.join(apps) or 'no app'}")
    say(f"  processes  {options.processes} x {options.threads} {'greenlets' if options.use_gevent else 'threads'}")
    if options.watch is not None:
        say(f"  watching   {options.watch}")
    say("Stop with Ctrl-C.")


def close_connections() -> None:
    """What must not cross a fork: connections, and pools of them."""
    connections.close_all()
    for connection in connections.all(initialized_only=True):
        if hasattr(connection, "close_pool"):
            connection.close_pool()


def _run_generation(options: Options, channel: Channel) -> int:
    return Generation(options, channel, prepare_fork=close_connections).run()


def _project_folder() -> str:
    return str(getattr(settings, "BASE_DIR", None) or os.getcwd())


def _leave(text: str, code: int = ARGUMENTS) -> NoReturn:
    raise CommandError(text, returncode=code)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise ArgumentTypeError(f"a whole number from 1 on, not {text!r}")
    return int(text)


def _few(text: str) -> int:
    number = _positive(text)
    if number > MOST:
        raise ArgumentTypeError(f"at most {MOST} on one machine, not {text}")
    return number


def _milliseconds(text: str) -> int:
    try:
        return parse_milliseconds(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def _seconds(text: str) -> int:
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
