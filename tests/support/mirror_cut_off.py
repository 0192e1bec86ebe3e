"""A mirror that is killed at the n-th step, for n = 1, 2, … until it lives; then another one ends its work.

Run as a program on a database of its own: ``python -m tests.support.mirror_cut_off FOLDER [BUDGET]``. Prints a line for
each round; ends with a message when the records say anything but what happened (with a budget: or ``unknown``).
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import django

django.setup()

from django.db import connections  # noqa: E402 - models need Django

from django_tasks_q import Message, clock  # noqa: E402
from django_tasks_q.deliveries import Settlement, Started, WorkerInfo  # noqa: E402
from django_tasks_q.mirror import Mirror  # noqa: E402
from django_tasks_q.models import Attempt, MessageRecord  # noqa: E402
from django_tasks_q.outcomes import DONE, HANDED_BACK, Dead, ErrorInfo, Requeue, Retry  # noqa: E402
from django_tasks_q.sql import Database  # noqa: E402
from tests.support.journal_broker import PLENTY, JournalBroker  # noqa: E402
from tests.support.truth import differences  # noqa: E402

MOST_STEPS = 200
BATCH = 16
"""Events that the mirror takes at a time: small, so that there are many places to die at."""

ERROR = ErrorInfo("ValueError", "as asked")
OUTCOMES = [DONE, Retry(0), Dead("throws"), HANDED_BACK, Requeue(lost=True), DONE, DONE]


def play(broker: JournalBroker, turn: str) -> None:
    """Two queues of messages that come to every end; some run again, some still wait when the play is over."""
    for queue_name in ("first", "second"):
        for number in range(len(OUTCOMES)):
            broker.enqueue(Message(queue_name, "work", (number,), message_id=f"{turn} {queue_name} {number}"))
    consumer = broker.consume(WorkerInfo(f"worker {turn}", {}))
    for _ in range(2):
        deliveries = consumer.exchange([], 10).deliveries
        consumer.exchange([], 0, [Started(delivery, clock.wall_ms()) for delivery in deliveries])
        consumer.exchange([_settlement(delivery) for delivery in deliveries], 0)
    consumer.close()
    broker.requeue([f"{turn} first 2"])
    broker.discard([f"{turn} second 2"])


def _settlement(delivery: Any) -> Settlement:
    outcome = OUTCOMES[int(delivery.message_id[-1]) if delivery.number == 1 else 0]
    error = ERROR if isinstance(outcome, Retry | Dead) else None
    return Settlement(delivery, outcome, error, started_at=clock.wall_ms(), finished_at=clock.wall_ms() + 1)


def mirror(broker: JournalBroker, last: int | None = None) -> None:
    """Mirror everything; with ``last``, end at that step."""
    database = Database("default")
    if last is not None:
        database.watch = broker.journal.watch = _deadly(last)
    worker = Mirror(broker.journal, database, broker.recording)
    while sum(worker.advance(partition, BATCH) for partition in broker.journal.partitions()):
        pass


def _deadly(last: int) -> Callable[[str], None]:
    seen = 0

    def watch(step: str) -> None:
        nonlocal seen
        seen += 1
        if seen == last:
            print(f"killed at {step.split()[0].lower() if step[:1].isupper() else step}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    return watch


def round_of(number: int, path: Path, budget: int) -> bool:
    """One play; whether the mirror survived."""
    broker = JournalBroker(path, budget)
    for queue_name in ("first", "second"):
        broker.declare_queue(queue_name)
    if budget != PLENTY:
        # Records that were right before the journal had to drop what happened next.
        play(broker, "before")
        mirror(broker)
    play(broker, "after")
    connections.close_all()
    survived = _in_child(lambda: mirror(broker, number))
    mirror(broker)
    _judge(broker, may_be_unknown=budget != PLENTY)
    broker.close()
    MessageRecord.objects.all().delete()
    Attempt.objects.all().delete()
    return survived


def _judge(broker: JournalBroker, *, may_be_unknown: bool) -> None:
    wrong = differences(broker.told, "default", may_be_unknown=may_be_unknown)
    if wrong:
        sys.exit("\n".join(wrong))
    if may_be_unknown:
        unknown = MessageRecord.objects.filter(state="unknown").count()
        print("some are unknown" if unknown else "none is unknown", flush=True)
    if any(broker.journal.backlog(partition).events for partition in broker.journal.partitions()):
        sys.exit("there is something left in the journal")


def _in_child(work: Callable[[], None]) -> bool:
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
        sys.exit(f"the child ended with {status}")
    return status == 0


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for number in range(1, MOST_STEPS):
        if round_of(number, folder / f"journal {number}", int(sys.argv[2]) if len(sys.argv) > 2 else PLENTY):
            print(f"survived {number - 1} steps")
            sys.exit(0)
    sys.exit(f"it was still killed at step {MOST_STEPS}")
