"""The demo without a person: press the button, wait for the work, check every message, print what was found."""

import argparse
import html
import time
from collections import Counter

from django_tasks_q.models import MessageRecord
from testproject.demo import check, site
from testproject.demo.children import Children, Stop
from testproject.demo.problem import Problem
from testproject.demo.room import Room
from testproject.demo.stay import WORKERS
from testproject.library import catalogue
from testproject.library.page import IN_PROGRESS

# How long nothing may move. With workers that is generous: the machine may be busy with other things.
PATIENCE_SECONDS = 20.0
PATIENCE_WITHOUT_WORKERS_SECONDS = 5.0

# How many records there are of each actor, in each state.
Counts = Counter[tuple[str, str]]


def run(children: Children, stop: Stop, room: Room, options: argparse.Namespace, deadline: float) -> None:
    if not options.no_worker:
        children.start("workers", *WORKERS)
    web = site.start(children, stop, options.port)
    started = time.monotonic()
    web.press_import()
    _wait_until_settled(children, stop, options, deadline)
    seconds = time.monotonic() - started
    report = check.check(room.ledger)
    print(report.table())
    problems = [*report.problems, *_missing_on(web.page())]
    if problems:
        raise Problem("\n".join(["records, ledger and library do not agree:", *problems]))
    print(f"\n{report.message_count} messages, each checked against its record and the ledger; {seconds:.1f} s in all.")


def _wait_until_settled(children: Children, stop: Stop, options: argparse.Namespace, deadline: float) -> None:
    """Until all expected messages are in a final state; not longer than something moves, nor past the deadline."""
    patience = PATIENCE_WITHOUT_WORKERS_SECONDS if options.no_worker else PATIENCE_SECONDS
    counts, moved_at = _counts(), time.monotonic()
    while not _settled(counts):
        if stop.wait(0.1):
            raise Problem("interrupted")
        children.check()
        latest, now = _counts(), time.monotonic()
        if latest != counts:
            counts, moved_at = latest, now
        if now > min(deadline, moved_at + patience):
            raise Problem(_why_unsettled(counts, children, options.no_worker))


def _counts() -> Counts:
    return Counter(MessageRecord.objects.values_list("actor_name", "state"))


def _settled(counts: Counts) -> bool:
    sent: Counter[str] = Counter()
    for (actor_name, _), count in counts.items():
        sent[actor_name] += count
    return sent >= check.expected_messages() and not _unfinished(counts)


def _unfinished(counts: Counts) -> Counts:
    return Counter({key: count for key, count in counts.items() if key[1] in IN_PROGRESS})


def _why_unsettled(counts: Counts, children: Children, no_worker: bool) -> str:
    unfinished = _unfinished(counts)
    left = ", ".join(f"{count} {actor} {state}" for (actor, state), count in sorted(unfinished.items()))
    waiting = unfinished.total()
    are = "message is" if waiting == 1 else "messages are"
    if no_worker:
        return f"no worker is running: {waiting} {are} still enqueued ({left}). Start one: manage.py runworkers"
    what = left or "others were never sent"
    return f"nothing moves any more: {waiting} {are} unfinished ({what}).\n{children.last_words()}"


def _missing_on(page: str) -> list[str]:
    titles = [book.title for book in catalogue.books()]
    return [f"the page does not show “{title}”" for title in titles if html.escape(title) not in page]
