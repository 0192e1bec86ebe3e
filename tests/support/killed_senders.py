"""A hundred processes, each killed at another statement of what happens after its commit.

Run as a program, with the models in one database and the broker in another. Each process writes a row and sends on
commit in one transaction; every fifth rolls back instead. Prints ``<message id> <statement it died at>`` for each; who
was rolled back prints too, so only the row tells whether its transaction has committed.
"""

from __future__ import annotations

import os
import signal
import sys

import django

django.setup()

from django.db import connections, transaction  # noqa: E402 - models need Django

from django_tasks_q import get_broker  # noqa: E402
from django_tasks_q.sql import Database  # noqa: E402
from testproject.library.models import Book  # noqa: E402
from testproject.misbehave import noop  # noqa: E402

STATEMENTS = 6
"""One more than there are: claim, begin, insert, record, commit, delete on SQLite; the last round dies after them."""


class Regret(Exception):
    """What makes a transaction roll back."""


def die_at(statement: int) -> None:
    """From the commit on, count statements and die before the n-th; 0: in the callback itself."""
    left = statement

    def watch(sql: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    transaction.on_commit(lambda: setattr(Database, "watch", staticmethod(watch)))


def send(number: int) -> None:
    statement = number // 5 % (STATEMENTS + 1)
    with transaction.atomic():
        die_at(statement)
        message = noop.send_on_commit()
        Book.objects.create(slug=message.message_id, title="", author="", year=number)
        print(message.message_id, statement, flush=True)
        if number % 5 == 4:
            raise Regret
    os.kill(os.getpid(), signal.SIGKILL)


def main(processes: int) -> None:
    get_broker()
    for number in range(processes):
        connections.close_all()
        pid = os.fork()
        if pid == 0:
            try:
                send(number)
            except Regret:
                os._exit(0)
            finally:
                os._exit(1)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
