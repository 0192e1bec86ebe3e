"""Compare three accounts that know nothing of each other: the engine's, the actors' (the ledger), the library's."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from django_tasks_q.models import Attempt, MessageRecord
from testproject.demo.expected import WELL, Expected, Fate
from testproject.library.models import Book, Chapter, Printing


@dataclass(frozen=True)
class Ledger:
    """What ran: the events of each message, and how long the runs of each actor took (in nanoseconds)."""

    events: dict[str, Counter[str]]
    durations: dict[str, list[int]]


@dataclass(frozen=True)
class Report:
    records: list[MessageRecord]
    ledger: Ledger
    problems: list[str]

    @property
    def message_count(self) -> int:
        return len(self.records)

    @property
    def run_count(self) -> int:
        return sum(events["start"] for events in self.ledger.events.values())

    def table(self) -> str:
        lines = [f"{'actor':<16}{'sent':>6}{'succeeded':>11}{'replaced':>10}{'dead':>6}{'runs':>6}{'mean ms':>9}"]
        for actor_name in dict.fromkeys(record.actor_name for record in self.records):
            states = Counter(record.state for record in self.records if record.actor_name == actor_name)
            runs = self.ledger.durations.get(actor_name, [])
            mean = sum(runs) / len(runs) / 1e6 if runs else 0.0
            ends = f"{states['succeeded']:>11}{states['discarded']:>10}{states['dead']:>6}"
            lines.append(f"{actor_name:<16}{states.total():>6}{ends}{len(runs):>6}{mean:>9.1f}")
        return "\n".join(lines)


def check(ledger_path: Path, expected: Expected) -> Report:
    records = list(MessageRecord.objects.order_by("created_at"))
    ledger = read_ledger(ledger_path)
    problems = [
        *_wrong_counts(records, expected),
        *_wrong_messages(records, ledger, expected),
        *_unknown_runs(records, ledger),
        *_wrong_books(expected),
        *_wrong_printings(),
    ]
    return Report(records, ledger, problems)


def read_ledger(path: Path) -> Ledger:
    events: dict[str, Counter[str]] = defaultdict(Counter)
    durations: dict[str, list[int]] = defaultdict(list)
    started: dict[tuple[str, int], int] = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        entry = json.loads(line)
        events[entry["id"]][entry["event"]] += 1
        run = (entry["id"], entry["attempt"])
        if entry["event"] == "start":
            started[run] = entry["at"]
        elif run in started:
            durations[entry["actor"]].append(entry["at"] - started[run])
    return Ledger(events, durations)


def _wrong_counts(records: list[MessageRecord], expected: Expected) -> list[str]:
    sent = Counter(record.actor_name for record in records)
    return [
        f"{sent[name]} messages of {name} were recorded, not {expected.messages[name]}"
        for name in sorted(sent | expected.messages)
        if sent[name] != expected.messages[name]
    ]


def _wrong_messages(records: list[MessageRecord], ledger: Ledger, expected: Expected) -> list[str]:
    problems = []
    for record in records:
        ran = ledger.events.get(record.message_id, Counter())
        wrong = _wrong_end(record, ran, expected.fates.get(record.message_id, WELL))
        problems += [f"{record.actor_name} {record.message_id}: {what}" for what in wrong]
    return problems


def _wrong_end(record: MessageRecord, ran: Counter[str], fate: Fate) -> list[str]:
    problems = []
    if (record.state, record.dead_reason) != (fate.state, fate.dead_reason):
        said = f"{record.state} ({record.dead_reason}; {record.error_type}: {record.error_message})"
        problems.append(f"its record says {said}, not {fate.state} ({fate.dead_reason})")
    if ran != fate.runs:
        problems.append(f"the ledger has {dict(ran)}, not {dict(fate.runs)}")
    tracebacks = Attempt.objects.filter(message=record.pk).values_list("traceback", flat=True)
    if [fate.error in traceback for traceback in tracebacks] != [True] * fate.failures:
        problems.append(f"{len(tracebacks)} failed attempts are on record, not {fate.failures} ({fate.error})")
    return problems


def _unknown_runs(records: list[MessageRecord], ledger: Ledger) -> list[str]:
    unknown = ledger.events.keys() - {record.message_id for record in records}
    return [f"the ledger knows message {message_id}, the records do not" for message_id in sorted(map(str, unknown))]


def _wrong_books(expected: Expected) -> list[str]:
    dead = {message_id for message_id, fate in expected.fates.items() if fate.state == "dead"}
    problems = [f"“{book}” was not summed up" for book in Book.objects.filter(summarised_at=None)]
    for chapter in Chapter.objects.select_related("book"):
        right = Chapter.State.FAILED if chapter.message_id in dead else Chapter.State.INDEXED
        if chapter.state != right:
            problems.append(f"“{chapter.book}”, {chapter}: {chapter.state}, not {right}")
    return problems


def _wrong_printings() -> list[str]:
    """What the holders of the press wrote down while they held it: one was done before the next one began."""
    held = list(Printing.objects.exclude(started_at=None).order_by("started_at"))
    return [
        f"{later} began before {earlier} was done: two held the press"
        for earlier, later in pairwise(held)
        if earlier.finished_at is None or later.started_at is None or later.started_at < earlier.finished_at
    ]
