"""What the pages show, read from the tables of the library and from the engine's own records."""

from dataclasses import dataclass
from functools import cached_property

from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from django_tasks_q.models import MessageRecord, RateLimitMutex
from testproject.library import press
from testproject.library.models import Book, Chapter, Entry, Printing
from testproject.library.words import marked

IN_PROGRESS = ["pending", "enqueued", "delayed", "running", "retrying"]
MOST_PASSAGES = 40
MOST_PRINTINGS = 10
SUGGESTIONS = 8


@dataclass(frozen=True)
class ChapterRow:
    """A chapter and what the engine says about its message (None: the record has been cleaned up)."""

    chapter: Chapter
    record: MessageRecord | None

    @property
    def state(self) -> str:
        """The chapter's own state or, while somebody is still at work on it, its message's."""
        return self.record.state if self.record and self.busy else str(self.chapter.state)

    @property
    def busy(self) -> bool:
        return (
            self.chapter.state != Chapter.State.INDEXED and self.record is not None and self.record.state in IN_PROGRESS
        )

    @property
    def failed(self) -> bool:
        return self.chapter.state == Chapter.State.FAILED and not self.busy


@dataclass(frozen=True)
class BookCard:
    """A book, its chapters and, of a visitor's gift, the record of the message that cuts it up."""

    book: Book
    rows: list[ChapterRow]
    cutting: MessageRecord | None

    @property
    def indexed_count(self) -> int:
        return sum(row.chapter.state == Chapter.State.INDEXED for row in self.rows)

    @property
    def failed_rows(self) -> list[ChapterRow]:
        return [row for row in self.rows if row.failed]

    @property
    def word_count(self) -> int:
        return sum(row.chapter.word_count for row in self.rows)

    @property
    def busy(self) -> bool:
        return self.book.summarised_at is None or any(row.busy for row in self.rows)

    @property
    def complete(self) -> bool:
        return not self.busy and self.indexed_count == len(self.rows)


@dataclass(frozen=True)
class Shelf:
    """All books, and how far the work on them is."""

    cards: list[BookCard]
    import_waits: bool

    @property
    def chapter_count(self) -> int:
        return sum(len(card.rows) for card in self.cards)

    @property
    def indexed_count(self) -> int:
        return sum(card.indexed_count for card in self.cards)

    @property
    def done_count(self) -> int:
        return self.indexed_count + self.failed_count

    @cached_property
    def failed_count(self) -> int:
        return sum(len(card.failed_rows) for card in self.cards)

    @property
    def word_count(self) -> int:
        return sum(card.word_count for card in self.cards)

    @property
    def busy(self) -> bool:
        return self.import_waits or any(card.busy for card in self.cards)


def shelf() -> Shelf:
    return Shelf(_cards(Book.objects.all()), _import_waits())


def card(slug: str) -> BookCard | None:
    return next(iter(_cards(Book.objects.filter(slug=slug))), None)


def _cards(chosen: QuerySet[Book]) -> list[BookCard]:
    """Without the texts themselves: they are not shown, and this is asked every second."""
    chapters = Prefetch("chapters", Chapter.objects.defer("text", "source"))
    books = list(chosen.select_related("upload").defer("upload__data").prefetch_related(chapters))
    records = _records(books)
    return [
        BookCard(
            book,
            [ChapterRow(chapter, records.get(chapter.message_id)) for chapter in book.chapters.all()],
            records.get(_cut_by(book)),
        )
        for book in books
    ]


def _import_waits() -> bool:
    return MessageRecord.objects.filter(actor_name="import_library", state__in=IN_PROGRESS).exists()


def _records(books: list[Book]) -> dict[str, MessageRecord]:
    chapters = [chapter for book in books for chapter in book.chapters.all()]
    unfinished = [chapter.message_id for chapter in chapters if chapter.state != Chapter.State.INDEXED]
    return MessageRecord.objects.in_bulk([*unfinished, *filter(None, map(_cut_by, books))])


def _cut_by(book: Book) -> str:
    return book.upload.message_id if hasattr(book, "upload") else ""


@dataclass(frozen=True)
class PrintingRow:
    """An order to print and what the engine says about its message."""

    printing: Printing
    record: MessageRecord | None

    @property
    def state(self) -> str:
        if self.printing.finished_at:
            return "printed"
        if self.printing.started_at:
            return "printing"
        return "waiting for the press" if self.refusals else "waiting for a worker"

    @property
    def refusals(self) -> int:
        """How often it found the press taken."""
        return self.record.retries if self.record else 0

    @property
    def busy(self) -> bool:
        return self.record is not None and self.record.state in IN_PROGRESS


@dataclass(frozen=True)
class Holder:
    """Who holds the press: a worker and, unless somebody took it outside of an actor, the message that it runs."""

    worker: str
    message_id: str


@dataclass(frozen=True)
class Press:
    """The orders, newest first, and who holds the press now."""

    rows: list[PrintingRow]
    holder: Holder | None

    @property
    def busy(self) -> bool:
        return self.holder is not None or any(row.busy for row in self.rows)


def printing_press() -> Press:
    printings = list(Printing.objects.all()[:MOST_PRINTINGS])
    records = MessageRecord.objects.in_bulk([printing.message_id for printing in printings])
    return Press([PrintingRow(printing, records.get(printing.message_id)) for printing in printings], _holder())


def _holder() -> Holder | None:
    mutex = RateLimitMutex.objects.filter(key=press.KEY, expires_at__gt=timezone.now()).first()
    if mutex is None or not mutex.holders:
        return None
    return Holder(mutex.holders[0]["worker"], mutex.holders[0]["message_id"])


@dataclass(frozen=True)
class Passage:
    """One line in which the word stands, in pieces (see `marked`)."""

    number: int
    pieces: list[tuple[str, bool]]


@dataclass(frozen=True)
class Found:
    chapter: Chapter
    passages: list[Passage]


@dataclass(frozen=True)
class Search:
    """A word, where it stands (no more than a page can show), and how often that is in all."""

    word: str
    found: list[Found]
    total: int
    suggestions: list[str]

    @property
    def more(self) -> bool:
        return sum(len(each.passages) for each in self.found) < self.total


def search(word: str) -> Search:
    entries = Entry.objects.filter(word=word).select_related("chapter__book").defer("chapter__source")
    entries = entries.order_by("chapter__book__year", "chapter")
    found: list[Found] = []
    room = MOST_PASSAGES
    total = 0
    for entry in entries:
        total += len(entry.lines)
        if passages := _passages(entry, room):
            found.append(Found(entry.chapter, passages))
            room -= len(passages)
    return Search(word, found, total, [] if found else _suggestions(word))


def _passages(entry: Entry, room: int) -> list[Passage]:
    lines = entry.chapter.text.splitlines()
    return [Passage(number, marked(lines[number - 1], entry.word)) for number in entry.lines[:room]]


def _suggestions(word: str) -> list[str]:
    """Words of the library that begin in the same way."""
    similar = Entry.objects.filter(word__startswith=word[:3]).order_by("word").values_list("word", flat=True)
    return list(similar.distinct()[:SUGGESTIONS])
