"""The work: one message imports the folder, one per chapter indexes it, one per book sums it up.

Every message may run more than once (a worker can die between the work and the note that it is done). So each actor
replaces what an earlier run of it wrote, in one transaction, and the database alone knows whether a book is complete.
What an actor sends inside such a transaction is part of it, because the broker lives in the same database.
"""

import os
import threading
from typing import Any

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from django_tasks_q import Message, actor, send_many
from testproject.ledger import recorded
from testproject.library import catalogue, words
from testproject.library.models import Book, Chapter, Entry

TOP_WORDS = 8


@actor
@recorded
def import_library() -> None:
    """Read the catalogue and send one message per chapter: all rows and all messages, or none of them."""
    with transaction.atomic():
        messages = [message for book in catalogue.books() for message in _import_book(book)]
        send_many(messages)


def _import_book(entry: catalogue.CataloguedBook) -> list[Message[Any]]:
    about = {"title": entry.title, "author": entry.author, "year": entry.year, "summarised_at": None}
    book, _ = Book.objects.update_or_create(slug=entry.slug, defaults=about)
    return [_import_chapter(book, *file) for file in entry.files()]


def _import_chapter(book: Book, number: int, title: str, file_name: str) -> Message[Any]:
    chapter, _ = Chapter.objects.update_or_create(
        file_name=file_name,
        defaults={"book": book, "number": number, "title": title, "state": Chapter.State.WAITING},
    )
    message = index_chapter.message(chapter.pk)
    chapter.message_id = message.message_id
    chapter.save(update_fields=["message_id"])
    return message


# One chapter of the folder is not UTF-8 and never will be: two attempts are enough to show what happens to it.
@actor(max_retries=1, min_backoff=100, max_backoff=200, on_retry_exhausted="chapter_failed")
@recorded
def index_chapter(chapter_id: int) -> None:
    """Count the words of one chapter and note the lines in which each of them stands."""
    chapter = Chapter.objects.get(pk=chapter_id)
    text = (catalogue.FOLDER / chapter.file_name).read_text(encoding="utf-8")
    lines_of = words.concordance(text)
    with transaction.atomic():
        _lock(chapter.book_id)
        _write_entries(chapter, lines_of)
        _mark_indexed(chapter, text, sum(map(len, lines_of.values())))
        _summarise_when_complete(chapter.book_id)


def _lock(book_id: int) -> None:
    """Chapters of one book finish one after the other, so that exactly one of them finds that it was the last."""
    Book.objects.select_for_update().get(pk=book_id)


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
        summarise_book.send(book_id)


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
        _lock(chapter.book_id)
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
    counts = list(Entry.objects.filter(chapter__book=book_id).values_list("word").annotate(total=Sum("count")))
    Book.objects.filter(pk=book_id).update(
        word_count=sum(count for _, count in counts),
        distinct_words=len(counts),
        top_words=words.top_words(counts, TOP_WORDS),
        summarised_at=timezone.now(),
    )
