"""How far the work is, as JSON: what the pages ask for again and again, and only then fetch themselves anew."""

import json
import zlib
from dataclasses import asdict
from typing import Any

from django.urls import reverse

from testproject.library.page import BookCard, ChapterRow, Press, PrintingRow, Shelf

Progress = dict[str, Any]


def of_shelf(shelf: Shelf) -> Progress:
    return _versioned(
        {
            "busy": shelf.busy,
            "chapters": shelf.chapter_count,
            "indexed": shelf.indexed_count,
            "failed": shelf.failed_count,
            "words": shelf.word_count,
            "books": [_book(card) for card in shelf.cards],
        }
    )


def of_book(card: BookCard) -> Progress:
    return _versioned(_book(card))


def of_press(press: Press) -> Progress:
    orders = [_printing(row) for row in press.rows]
    return _versioned({"busy": press.busy, "holder": press.holder and asdict(press.holder), "orders": orders})


def _versioned(progress: Progress) -> Progress:
    """`version` changes whenever anything in it does."""
    return {**progress, "version": f"{zlib.crc32(json.dumps(progress).encode()):08x}"}


def _book(card: BookCard) -> Progress:
    return {
        "title": card.book.title,
        "busy": card.busy,
        "complete": card.complete,
        "cutting": card.cutting.state if card.cutting else None,
        "indexed": card.indexed_count,
        "failed": len(card.failed_rows),
        "words": card.word_count,
        "chapters": [_chapter(row) for row in card.rows],
    }


def _chapter(row: ChapterRow) -> Progress:
    return {
        "number": row.chapter.number,
        "title": row.chapter.title,
        "state": row.state,
        "encoding": row.chapter.encoding,
        "words": row.chapter.word_count,
        "message": _message_url(row.chapter.message_id),
    }


def _printing(row: PrintingRow) -> Progress:
    return {
        "number": row.printing.pk,
        "state": row.state,
        "refusals": row.refusals,
        "pages": row.printing.pages,
        "page_count": row.printing.page_count,
        "message": _message_url(row.printing.message_id),
    }


def _message_url(message_id: str) -> str | None:
    """Where the admin shows the message; None before there is one."""
    return reverse("admin:django_tasks_q_messagerecord_change", args=[message_id]) if message_id else None
