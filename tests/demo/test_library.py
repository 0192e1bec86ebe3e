"""The demo's own app: its texts, its words, its page."""

import re
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import Client
from django.urls import resolve
from django.utils import timezone

from testproject.demo import check, expected, stay
from testproject.demo.room import Room
from testproject.library import catalogue, words
from testproject.library.models import Book, Chapter, Entry, Printing


def a_chapter(text: str) -> Chapter:
    book = Book.objects.create(slug="b", title="<b>Book</b>", author="Nobody", year=1900)
    chapter = Chapter.objects.create(book=book, number=1, title="One", file_name="b-01.txt", text=text)
    for word, lines in words.concordance(text).items():
        Entry.objects.create(chapter=chapter, word=word, count=len(lines), lines=lines)
    return chapter


def test_every_catalogued_file_is_there_and_every_file_is_catalogued() -> None:
    catalogued = {file_name for book in catalogue.books() for _, _, file_name in book.files()}

    assert catalogued == {path.name for path in catalogue.FOLDER.glob("*.txt")}


def test_exactly_one_file_is_not_utf8() -> None:
    assert expected.unreadable_files() == {"swann-02.txt"}


def test_the_concordance_knows_the_line_of_every_occurrence() -> None:
    assert words.concordance("The sea, the sea!\n\nDon't") == {"the": [1, 1], "sea": [1, 1], "don't": [3]}


def test_top_words_leave_out_the_common_ones_and_do_not_depend_on_order() -> None:
    counts = [("the", 9), ("whale", 2), ("sea", 2), ("ship", 3), ("whale", 1)]

    assert words.top_words(counts, 3) == words.top_words(reversed(counts), 3) == [("ship", 3), ("whale", 3), ("sea", 2)]


def test_marked_pieces_make_up_the_line() -> None:
    pieces = words.marked("A Sea of seas, the sea", "sea")

    assert [text for text, hit in pieces if hit] == ["Sea", "sea"]
    assert "".join(text for text, _ in pieces) == "A Sea of seas, the sea"


@pytest.mark.django_db
def test_the_empty_page_offers_the_import(client: Client) -> None:
    assert "Import the library" in client.get("/").content.decode()


@pytest.mark.django_db
def test_the_import_needs_a_post_and_a_token() -> None:
    client = Client(enforce_csrf_checks=True)

    assert client.get("/import/").status_code == 405
    assert client.post("/import/").status_code == 403


@pytest.mark.django_db
def test_the_search_shows_lines_and_escapes_them(client: Client) -> None:
    a_chapter("the sea\n<script>sea</script>")

    page = client.get("/", {"word": "Sea"}).content.decode()

    assert "stands in 2 lines" in page
    assert "&lt;script&gt;<mark>sea</mark>&lt;/script&gt;" in page
    assert "&lt;b&gt;Book&lt;/b&gt;" in page


@pytest.mark.django_db
def test_an_unknown_word_leads_to_similar_ones(client: Client) -> None:
    a_chapter("whale whaling")

    page = client.get("/", {"word": "whal"}).content.decode()

    assert "No chapter contains “whal”" in page
    assert "?word=whaling" in page


@pytest.mark.django_db
def test_the_check_names_what_does_not_agree(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    ledger.write_text('{"id": "x", "attempt": 0, "event": "start", "at": 1, "actor": "index_chapter", "pid": 1}\n')
    a_chapter("")

    problems = check.check(ledger, expected.Expected(expected.after_import([]))).problems

    assert "0 messages of import_library were recorded, not 1" in problems
    assert "the ledger knows message x, the records do not" in problems
    assert "“<b>Book</b>” was not summed up" in problems
    assert "“<b>Book</b>”, 1. One: waiting, not indexed" in problems


@pytest.mark.django_db
def test_the_check_notices_two_who_held_the_press_at_once(tmp_path: Path) -> None:
    now = timezone.now()
    Printing.objects.create(started_at=now, finished_at=now + timedelta(seconds=2))
    Printing.objects.create(started_at=now + timedelta(seconds=1), finished_at=now + timedelta(seconds=3))

    problems = check.check(tmp_path / "ledger", expected.Expected(Counter())).problems

    assert [problem for problem in problems if "two held the press" in problem]


def test_every_address_that_the_demo_prints_is_there(tmp_path: Path) -> None:
    text = stay.welcome("http://127.0.0.1:8000/", Room(tmp_path, fresh=False), no_worker=False)

    names = {resolve(path).view_name for path in re.findall(r"http://127.0.0.1:8000(/\S*)", text)}

    assert names == {
        "library:index",
        "library:donate",
        "library:press",
        "admin:index",
        "admin:django_tasks_q_deadletter_changelist",
    }


@pytest.mark.django_db
def test_a_word_with_a_nul_character_is_looked_for_without_it(client: Client) -> None:
    a_chapter("The sea was calm.")

    assert "<mark>sea</mark>" in client.get("/", {"word": "\0sea\0"}).text
