"""``manage.py taskq``: look at messages and operate on them."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from django_tasks_q import BrokerError, get_broker, records_database
from django_tasks_q.management.taskq import SUBCOMMANDS
from django_tasks_q.management.taskq.output import Output
from django_tasks_q.management.taskq.subcommand import INTERRUPTED, USAGE, Subcommand, refuse_unreadable
from django_tasks_q.sql import Database


class Command(BaseCommand):
    help = "Look at messages and operate on them. Exit codes: 0 done, 1 nothing matched or unhealthy, 2 usage."
    requires_system_checks = []  # they open connections, and a probe has no time for them

    def add_arguments(self, parser: ArgumentParser) -> None:
        words = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
        for subcommand in SUBCOMMANDS:
            word = words.add_parser(subcommand.name, help=subcommand.help, description=subcommand.help)
            word.add_argument("--json", action="store_true", help="for programs")
            subcommand.add_arguments(word.add_argument)

    def handle(self, *args: Any, **given: Any) -> None:
        subcommand = next(word for word in SUBCOMMANDS if word.name == given["subcommand"])
        out = Output(self.stdout, self.stderr, as_json=given["json"])
        try:
            refuse_unreadable(given)
            code = self._run(subcommand, given, out)
            out.flush()
        except BrokenPipeError:
            _forget_standard_output()
            code = 0
        except KeyboardInterrupt:
            code = INTERRUPTED
        if code:
            sys.exit(code)

    def _run(self, subcommand: Subcommand, given: dict[str, Any], out: Output) -> int:
        """What is wrong with the settings or the broker, in one line."""
        try:
            database = Database(records_database.alias(get_broker()))
            database.own()
            with database.errors():
                return subcommand.run(given, out)
        except ImproperlyConfigured as error:
            raise CommandError(str(error), returncode=USAGE) from error
        except BrokerError as error:
            return subcommand.fail(error, out)


def _forget_standard_output() -> None:
    """Whoever read it has left; without this the interpreter would complain when it flushes at the end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
