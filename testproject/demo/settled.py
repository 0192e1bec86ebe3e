"""Waiting until the work is done, and saying why it is not."""

import argparse
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from django_tasks_q.models import MessageRecord
from testproject.demo.children import Children, Stop
from testproject.demo.problem import Problem
from testproject.library.page import IN_PROGRESS

# How long nothing may move. With workers that is generous: the machine may be busy with other things.
PATIENCE_SECONDS = 20.0
PATIENCE_WITHOUT_WORKERS_SECONDS = 5.0

# How many records there are of each actor, in each state.
Counts = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Waiting:
    children: Children
    stop: Stop
    options: argparse.Namespace
    deadline: float

    def until_settled(self, expected: Counter[str], meanwhile: Callable[[], object] = lambda: None) -> None:
        """Until these messages are there and all in a final state; not longer than something moves, nor past the
        deadline. `meanwhile` is called again and again."""
        patience = PATIENCE_WITHOUT_WORKERS_SECONDS if self.options.no_worker else PATIENCE_SECONDS
        counts, moved_at = _counts(), time.monotonic()
        while not _settled(counts, expected):
            if self.stop.wait(0.1):
                raise Problem("interrupted")
            self.children.check()
            meanwhile()
            latest, now = _counts(), time.monotonic()
            if latest != counts:
                counts, moved_at = latest, now
            if now > min(self.deadline, moved_at + patience):
                raise Problem(self._why_unsettled(counts))

    def _why_unsettled(self, counts: Counts) -> str:
        unfinished = _unfinished(counts)
        left = ", ".join(f"{count} {actor} {state}" for (actor, state), count in sorted(unfinished.items()))
        waiting = unfinished.total()
        are = "message is" if waiting == 1 else "messages are"
        if self.options.no_worker:
            return f"no worker is running: {waiting} {are} still enqueued ({left}). Start one: manage.py runworkers"
        what = left or "others were never sent"
        return f"nothing moves any more: {waiting} {are} unfinished ({what}).\n{self.children.last_words()}"


def _counts() -> Counts:
    return Counter(MessageRecord.objects.values_list("actor_name", "state"))


def _settled(counts: Counts, expected: Counter[str]) -> bool:
    sent: Counter[str] = Counter()
    for (actor_name, _), count in counts.items():
        sent[actor_name] += count
    return sent >= expected and not _unfinished(counts)


def _unfinished(counts: Counts) -> Counts:
    return Counter({key: count for key, count in counts.items() if key[1] in IN_PROGRESS})
