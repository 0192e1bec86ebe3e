"""A process that settles a batch of every outcome and is killed at the n-th statement, for n = 1, 2, … until it lives.

Run as a program on a database of its own. Prints a line for each round: n, and whether ``nothing`` or ``everything``
of the batch was settled; ends with a message when it was something in between, or when queue and record disagree.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import django

django.setup()

from django.db import connections  # noqa: E402 - models need Django

from django_tasks_q import Message, get_broker  # noqa: E402
from django_tasks_q.brokers.database import DatabaseBroker  # noqa: E402
from django_tasks_q.deliveries import Delivery, Outgoing, Settlement, WorkerInfo  # noqa: E402
from django_tasks_q.models import Attempt, MessageRecord, Place, QueuedMessage  # noqa: E402
from django_tasks_q.outcomes import DONE, HANDED_BACK, Dead, ErrorInfo, Outcome, Requeue, Retry  # noqa: E402
from testproject.misbehave import echo, fail, fail_always, noop  # noqa: E402

MOST_STATEMENTS = 60
ERROR = ErrorInfo("ValueError", "as asked")
STATES = {
    None: {"succeeded"},
    Place.READY: {"enqueued"},
    Place.DELAYED: {"retrying"},
    Place.IN_FLIGHT: {"enqueued"},
    Place.DEAD: {"dead"},
}


def batch() -> list[tuple[Message[Any], Outcome]]:
    """Messages, and what a worker that ran them would settle them as."""
    return [
        (noop.message(), DONE),
        (noop.message(), DONE),
        (fail.message(1), Retry(10)),
        (fail_always.message_with_options(max_retries=0), Dead("retries_exhausted")),
        (noop.message(), HANDED_BACK),
        (noop.message(), Requeue(lost=True)),
        ((echo.message(1) | echo.message()).messages[0], DONE),
    ]


def settlement(broker: DatabaseBroker, delivery: Delivery, outcome: Outcome) -> Settlement:
    failed = isinstance(outcome, Retry | Dead)
    target = Message.decode(delivery.payload).options.get("pipe_target")
    then: tuple[Outgoing, ...] = ()
    if target and outcome is DONE:
        then = (broker.prepare(Message.from_dict(dict(target)).copy(args=(1,)), None, delivery.message_id),)
    return Settlement(delivery, outcome, ERROR if failed else None, then, started_at=1, finished_at=2)


def settle_and_die(worker_id: str, outcomes: dict[str, Outcome], last: int) -> None:
    """In a child: claim the batch, then settle it, and end at the statement number ``last``."""
    broker = get_broker()
    assert isinstance(broker, DatabaseBroker)
    consumer = broker.consume(WorkerInfo(worker_id, {}, 8))
    deliveries = [d for d in consumer.exchange([], 100).deliveries if d.message_id in outcomes]
    assert len(deliveries) == len(outcomes), "somebody else's messages are in the way"
    settlements = [settlement(broker, delivery, outcomes[delivery.message_id]) for delivery in deliveries]
    broker.database.watch = _deadly(last)
    exchange = consumer.exchange(settlements, 0)
    assert not exchange.refused


def _deadly(last: int) -> Callable[[str], None]:
    seen = 0

    def watch(statement: str) -> None:
        nonlocal seen
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)

    return watch


def round_of(number: int) -> bool:
    """One batch; whether the child survived."""
    broker = get_broker()
    messages = batch()
    broker.enqueue_many([message for message, _ in messages])
    outcomes = {message.message_id: outcome for message, outcome in messages}
    worker_id = f"victim-{number}"
    connections.close_all()
    survived = _in_child(lambda: settle_and_die(worker_id, outcomes, number))
    verdict = judge(list(outcomes), outcomes)
    agree(list(outcomes))
    broker.bury(worker_id, (), lambda delivery, casualty: HANDED_BACK, "killed")
    agree(list(outcomes))
    _put_aside(list(outcomes))
    print(number, verdict, flush=True)
    return survived


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


def judge(ids: Sequence[str], outcomes: dict[str, Outcome]) -> str:
    """Nothing settled, everything, or a sentence about the mixture."""
    in_flight = QueuedMessage.objects.filter(message_id__in=ids, place=Place.IN_FLIGHT).count()
    children = MessageRecord.objects.filter(parent_id__in=ids).count()
    attempts = Attempt.objects.filter(message_id__in=ids).count()
    if in_flight == len(ids) and not children and not attempts:
        return "nothing"
    # The retry, the dead letter, the lost one, and the interrupted one tell of an attempt each.
    if not in_flight and children == 1 and attempts == 4:
        return "everything"
    return f"a-mixture:{in_flight}-in-flight,{children}-caused,{attempts}-attempts"


def agree(ids: Sequence[str]) -> None:
    """Stop here when the record of a message and its row in the queue tell different stories."""
    rows = {row.message_id: row for row in QueuedMessage.objects.filter(message_id__in=ids)}
    for record in MessageRecord.objects.filter(message_id__in=ids):
        row = rows.get(record.message_id)
        states = STATES[None if row is None else Place(row.place)]
        if record.state not in states:
            sys.exit(f"{record.message_id} is {record.state} by its record, the queue says {row and row.place}")
        if (
            row is not None
            and row.place != Place.IN_FLIGHT
            and (row.retries, row.lost) != (record.retries, record.lost)
        ):
            sys.exit(f"{record.message_id}: {record.retries, record.lost} by its record, {row.retries, row.lost}")


def _put_aside(ids: Sequence[str]) -> None:
    """Out of the way of the next round; the worker that comes last takes every queue."""
    rows = QueuedMessage.objects.filter(place__in=(Place.READY, Place.DELAYED, Place.SUSPECT))
    rows.update(queue_name="aside")


if __name__ == "__main__":
    get_broker().declare_queue("default")
    for number in range(1, MOST_STATEMENTS):
        if round_of(number):
            sys.exit(0)
    sys.exit(f"it was still killed at statement {MOST_STATEMENTS}")
