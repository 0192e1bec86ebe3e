"""What the page shows, read from the tables of the library and from the engine's own records."""

from collections import Counter
from dataclasses import dataclass

from django_tasks_q.models import MessageRecord
from testproject.library.models import Book, Chapter, Entry
from testproject.library.words import marked

IN_PROGRESS = ["pending", "enqueued", "delayed", "running", "retrying"]
MOST_PASSAGES = 40
SUGGESTIONS = 8


@dataclass(frozen=True)
class ChapterRow:
    """A chapter and, where the work on it is not done, what the engine says about its message."""

    chapter: Chapter
    record: MessageRecord | None


@dataclass(frozen=True)
class BookCard:
    book: Book
    rows: list[ChapterRow]


@dataclass(frozen=True)
class Shelf:
    """All books, and how far the work on them is."""

    cards: list[BookCard]
    states: Counter[str]
    import_waits: bool

    @property
    def chapter_count(self) -> int:
        return self.states.total()

    @property
    def done_count(self) -> int:
        return self.chapter_count - self.states[Chapter.State.WAITING]

    @property
    def failed_count(self) -> int:
        return self.states[Chapter.State.FAILED]

    @property
    def word_count(self) -> int:
        return sum(row.chapter.word_count for card in self.cards for row in card.rows)

    @property
    def busy(self) -> bool:
        return self.import_waits or any(card.book.summarised_at is None for card in self.cards)


def shelf() -> Shelf:
    books = list(Book.objects.prefetch_related("chapters"))
    records = _records([chapter for book in books for chapter in book.chapters.all()])
    cards = [
        BookCard(book, [ChapterRow(chapter, records.get(chapter.message_id)) for chapter in book.chapters.all()])
        for book in books
    ]
    states = Counter(row.chapter.state for card in cards for row in card.rows)
    return Shelf(cards, states, _import_waits())


def _import_waits() -> bool:
    return MessageRecord.objects.filter(actor_name="import_library", state__in=IN_PROGRESS).exists()


def _records(chapters: list[Chapter]) -> dict[str, MessageRecord]:
    unfinished = [chapter.message_id for chapter in chapters if chapter.state != Chapter.State.INDEXED]
    return MessageRecord.objects.in_bulk(unfinished)


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
    entries = Entry.objects.filter(word=word).select_related("chapter__book").order_by("chapter__book__year", "chapter")
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
