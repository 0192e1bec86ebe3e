"""The work: one message imports the folder or cuts up an upload, one per chapter indexes it, one per book sums it up.

Every message may run more than once (a worker can die between the work and the note that it is done). So each actor
replaces what an earlier run of it wrote, in one transaction, and the database alone knows whether a book is complete.
What an actor sends inside such a transaction waits for its commit, so the same code is right with every broker.
"""

import os
import threading
from collections.abc import Iterator
from typing import Any

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from django_tasks_q import Message, actor, get_message_id, send_many
from testproject.ledger import recorded
from testproject.library import catalogue, words
from testproject.library.models import Book, Chapter, Entry, Upload
from testproject.library.pieces import pieces
from testproject.library.press import print_catalogue

__all__ = [
    "chapter_failed",
    "cut_up",
    "import_library",
    "index_chapter",
    "print_catalogue",
    "summarise_book",
]

TOP_WORDS = 8


@actor
@recorded
def import_library() -> None:
    """Read the catalogue and send one message per chapter: all rows and all messages, or none of them."""
    with transaction.atomic():
        messages = [message for book in catalogue.books() for message in _import_book(book)]
        send_many(messages, on_commit=True)


def _import_book(entry: catalogue.CataloguedBook) -> Iterator[Message[Any]]:
    about = {"title": entry.title, "author": entry.author, "year": entry.year, "summarised_at": None}
    book, _ = Book.objects.update_or_create(slug=entry.slug, defaults=about)
    for number, title, file_name in entry.files():
        yield _put_in(book, number, title, file_name, (catalogue.FOLDER / file_name).read_bytes())


@actor
@recorded
def cut_up(upload_id: int) -> None:
    """Make chapters of what a visitor brought and send one message for each; nobody has looked at the encoding yet."""
    with transaction.atomic():
        upload = Upload.objects.select_related("book").get(pk=upload_id)
        slug = upload.book.slug
        messages = [
            _put_in(upload.book, number, f"Part {number}", f"{slug}-{number:02}.txt", piece)
            for number, piece in enumerate(pieces(bytes(upload.data)), start=1)
        ]
        send_many(messages, on_commit=True)


def _put_in(book: Book, number: int, title: str, file_name: str, source: bytes) -> Message[Any]:
    """A chapter as it is before anybody has read it, and the message that is to do so."""
    as_new = {"state": Chapter.State.WAITING, "encoding": Chapter.Encoding.UTF_8}
    chapter, _ = Chapter.objects.update_or_create(
        file_name=file_name, defaults={"book": book, "number": number, "title": title, "source": source, **as_new}
    )
    # The encoding is spelled out so that whoever repairs a dead letter with an edited copy finds where to write it.
    message = index_chapter.message(chapter.pk, encoding=None)
    chapter.message_id = message.message_id
    chapter.save(update_fields=["message_id"])
    return message


# Another attempt does not make UTF-8 of Latin-1: two are enough to show what happens.
@actor(max_retries=1, min_backoff=100, max_backoff=200, on_retry_exhausted="chapter_failed")
@recorded
def index_chapter(chapter_id: int, encoding: str | None = None) -> None:
    """Count the words of one chapter and note the lines in which each of them stands.

    The chapter's row says how to read its bytes, unless the message does.
    """
    chapter = _take_on(chapter_id)
    text = bytes(chapter.source).decode(encoding or chapter.encoding).removeprefix("\ufeff")
    lines_of = words.concordance(text)
    with transaction.atomic():
        _open(chapter.book_id)
        _write_entries(chapter, lines_of)
        _mark_indexed(chapter, text, sum(map(len, lines_of.values())))
        _summarise_when_complete(chapter.book_id)


def _take_on(chapter_id: int) -> Chapter:
    """The chapter, which from now on names this message: it may be an edited copy of the one that was sent first."""
    Chapter.objects.filter(pk=chapter_id).exclude(state=Chapter.State.INDEXED).update(message_id=get_message_id() or "")
    return Chapter.objects.get(pk=chapter_id)


def _open(book_id: int) -> None:
    """The book is to be summed up (again).

    Chapters of one book finish one after the other from here on, so that exactly one finds that it was the last.
    """
    Book.objects.filter(pk=book_id).update(summarised_at=None)


def _write_entries(chapter: Chapter, lines_of: dict[str, list[int]]) -> None:
    chapter.entries.all().delete()
    Entry.objects.bulk_create(
        Entry(chapter=chapter, word=word, count=len(lines), lines=sorted(set(lines)))
        for word, lines in lines_of.items()
    )


def _mark_indexed(chapter: Chapter, text: str, word_count: int) -> None:
    chapter.state = Chapter.State.INDEXED
    chapter.text = text
    chapter.word_count = word_count
    chapter.indexed_at = timezone.now()
    chapter.indexed_by = f"process {os.getpid()}, {threading.current_thread().name}"
    chapter.save(update_fields=["state", "text", "word_count", "indexed_at", "indexed_by"])


def _summarise_when_complete(book_id: int) -> None:
    if not Chapter.objects.filter(book=book_id, state=Chapter.State.WAITING).exists():
        summarise_book.send_on_commit(book_id)


@actor
@recorded
def chapter_failed(message_data: dict[str, Any], retry_data: dict[str, Any]) -> None:
    """Note that a chapter could not be indexed; the engine sends this when the last attempt has failed.

    A message of an earlier import has no say in a chapter that has been sent again since.
    """
    mine = Chapter.objects.filter(message_id=message_data["message_id"])
    chapter = mine.exclude(state=Chapter.State.INDEXED).first()
    if chapter is None:
        return
    with transaction.atomic():
        _open(chapter.book_id)
        chapter.entries.all().delete()
        chapter.state = Chapter.State.FAILED
        chapter.text = ""
        chapter.word_count = 0
        chapter.save(update_fields=["state", "text", "word_count"])
        _summarise_when_complete(chapter.book_id)


@actor
@recorded
def summarise_book(book_id: int) -> None:
    """Add up the chapters of a book, all of which are done: how many words, how many different ones, the top ones."""
    with transaction.atomic():
        _open(book_id)
        counts = list(Entry.objects.filter(chapter__book=book_id).values_list("word").annotate(total=Sum("count")))
        Book.objects.filter(pk=book_id).update(
            word_count=sum(count for _, count in counts),
            distinct_words=len(counts),
            top_words=words.top_words(counts, TOP_WORDS),
            summarised_at=timezone.now(),
        )
