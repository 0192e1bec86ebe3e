"""Compare three accounts that know nothing of each other: the engine's, the actors' (the ledger), the library's."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from django_tasks_q.models import Attempt, MessageRecord
from testproject.library import catalogue
from testproject.library.models import Book, Chapter

ATTEMPTS = 2  # index_chapter has max_retries=1
ONE_GOOD_RUN = Counter(start=1, end=1)
FAILED_RUNS = Counter(start=ATTEMPTS, fail=ATTEMPTS)


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

    def table(self) -> str:
        lines = [f"{'actor':<16}{'sent':>6}{'succeeded':>11}{'dead':>6}{'runs':>6}{'mean ms':>9}"]
        for actor_name in expected_messages():
            states = Counter(record.state for record in self.records if record.actor_name == actor_name)
            runs = self.ledger.durations.get(actor_name, [])
            mean = sum(runs) / len(runs) / 1e6 if runs else 0.0
            figures = f"{states.total():>6}{states['succeeded']:>11}{states['dead']:>6}{len(runs):>6}{mean:>9.1f}"
            lines.append(f"{actor_name:<16}{figures}")
        return "\n".join(lines)


def expected_messages() -> Counter[str]:
    """How many messages of each actor one import sends."""
    books = catalogue.books()
    return Counter(
        import_library=1,
        index_chapter=sum(len(book.chapters) for book in books),
        chapter_failed=len(unreadable_files()),
        summarise_book=len(books),
    )


def unreadable_files() -> set[str]:
    """The files that are not UTF-8, found without the actors' help."""
    return {path.name for path in catalogue.FOLDER.glob("*.txt") if not _is_utf8(path.read_bytes())}


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def check(ledger_path: Path) -> Report:
    records = list(MessageRecord.objects.order_by("created_at"))
    ledger = read_ledger(ledger_path)
    problems = [
        *_wrong_counts(records),
        *_wrong_messages(records, ledger),
        *_unknown_runs(records, ledger),
        *_wrong_books(),
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


def _wrong_counts(records: list[MessageRecord]) -> list[str]:
    sent = Counter(record.actor_name for record in records)
    expected = expected_messages()
    return [
        f"{sent[name]} messages of {name} were recorded, not {expected[name]}"
        for name in sorted(sent | expected)
        if sent[name] != expected[name]
    ]


def _wrong_messages(records: list[MessageRecord], ledger: Ledger) -> list[str]:
    unreadable = dict(Chapter.objects.filter(file_name__in=unreadable_files()).values_list("message_id", "file_name"))
    problems = []
    for record in records:
        ran = ledger.events.get(record.message_id, Counter())
        wrong = _wrong_dead(record, ran) if record.message_id in unreadable else _wrong_success(record, ran)
        problems += [f"{record.actor_name} {record.message_id}: {what}" for what in wrong]
    return problems


def _wrong_success(record: MessageRecord, ran: Counter[str]) -> list[str]:
    problems = []
    if record.state != "succeeded":
        problems.append(f"its record says {record.state}, not succeeded ({record.error_type}: {record.error_message})")
    if ran != ONE_GOOD_RUN:
        problems.append(f"the ledger has {dict(ran)}, not one start and one end")
    return problems


def _wrong_dead(record: MessageRecord, ran: Counter[str]) -> list[str]:
    """The chapter that cannot be read: tried twice, each failure on record with its traceback, then a dead letter."""
    problems = []
    if (record.state, record.dead_reason) != ("dead", "retries_exhausted"):
        problems.append(f"its record says {record.state} ({record.dead_reason}), not dead (retries_exhausted)")
    if ran != FAILED_RUNS:
        problems.append(f"the ledger has {dict(ran)}, not {ATTEMPTS} starts and {ATTEMPTS} failures")
    tracebacks = Attempt.objects.filter(message=record.pk).values_list("traceback", flat=True)
    if [("UnicodeDecodeError" in traceback) for traceback in tracebacks] != [True] * ATTEMPTS:
        problems.append(f"it has {len(tracebacks)} recorded attempts, not {ATTEMPTS} with a UnicodeDecodeError each")
    return problems


def _unknown_runs(records: list[MessageRecord], ledger: Ledger) -> list[str]:
    unknown = ledger.events.keys() - {record.message_id for record in records}
    return [f"the ledger knows message {message_id}, the records do not" for message_id in sorted(map(str, unknown))]


def _wrong_books() -> list[str]:
    unreadable = unreadable_files()
    problems = [f"“{book}” was not summed up" for book in Book.objects.filter(summarised_at=None)]
    for chapter in Chapter.objects.select_related("book"):
        expected = Chapter.State.FAILED if chapter.file_name in unreadable else Chapter.State.INDEXED
        if chapter.state != expected:
            problems.append(f"“{chapter.book}”, {chapter}: {chapter.state}, not {expected}")
    return problems
