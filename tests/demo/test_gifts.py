"""What visitors of the demo may do: give texts, mend chapters, order prints."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import transaction
from django.http import HttpResponse
from django.test import Client

from django_tasks_q import Message
from django_tasks_q.errors import RateLimitExceeded
from django_tasks_q.models import MessageRecord, QueuedMessage
from django_tasks_q.rate_limits import ConcurrentRateLimiter, get_rate_limiter_backend
from django_tasks_q.testing import drain
from testproject.library import catalogue, orders, press
from testproject.library.forms import Donation
from testproject.library.models import Book, Chapter, Printing, Upload
from testproject.library.pieces import MOST_PIECES, pieces
from testproject.library.tasks import chapter_failed, cut_up, index_chapter, summarise_book

LATIN = (catalogue.FOLDER / "swann-02.txt").read_bytes()

pytestmark = pytest.mark.django_db


def give(client: Client, data: bytes = b"", **fields: str) -> HttpResponse:
    file = {"file": SimpleUploadedFile("gift.txt", data)} if data else {}
    answer: Any = client.post("/donate/", {**fields, **file})
    return answer


def given(data: bytes) -> Book:
    """A book that was given and cut up."""
    book = orders.donate(Donation("gift.txt", data, "A gift"))
    cut_up(book.upload.pk)
    return book


def dead(chapter: Chapter) -> None:
    """The chapter as its last failed attempt leaves it."""
    chapter_failed({"message_id": chapter.message_id}, {})
    MessageRecord.objects.filter(pk=chapter.message_id).update(state="dead")


def queued(actor_name: str) -> list[str]:
    """The ids of the actor's messages."""
    messages = [Message.decode(bytes(row.payload)) for row in QueuedMessage.objects.all()]
    return [message.message_id for message in messages if message.actor_name == actor_name]


@pytest.fixture
def quick_press(settings: Any) -> None:
    settings.PRESS_SECONDS = 0


@pytest.mark.parametrize("size", [0, 1, 1_499, 5_000, 100_000])
def test_pieces_make_up_the_whole(size: int) -> None:
    data = (b"A line.\r\n" * 9 + b"\r\n") * (size // 83 + 1)
    found = pieces(data[:size])

    assert b"".join(found) == data[:size]
    assert 1 <= len(found) <= MOST_PIECES


def test_a_text_without_empty_lines_stays_in_one_piece() -> None:
    assert len(pieces(b"A line.\n" * 10_000)) == 1


def test_a_gift_is_a_row_and_a_message(client: Client) -> None:
    answer = give(client, b"The sea.", title="Sea")

    book = Book.objects.get(title="Sea")
    assert answer["Location"] == f"/books/{book.slug}/"
    assert bytes(book.upload.data) == b"The sea."
    assert queued("cut_up") == [book.upload.message_id]


def test_a_gift_that_is_rolled_back_leaves_neither() -> None:
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        orders.donate(Donation("gift.txt", b"The sea.", "Sea"))
        raise ZeroDivisionError

    assert (Upload.objects.count(), queued("cut_up")) == (0, [])


def test_a_shipped_text_can_be_picked(client: Client) -> None:
    give(client, shipped="moby-dick-01.txt")

    upload = Upload.objects.get()
    assert bytes(upload.data) == (catalogue.FOLDER / "moby-dick-01.txt").read_bytes()
    assert upload.book.title == "Moby-Dick; or, The Whale: Loomings"


@pytest.mark.parametrize(
    ("data", "fields", "told"),
    [
        (b"", {}, "one of the two"),
        (b"Text", {"shipped": "swann-02.txt"}, "one of the two"),
        (b"x" * 1_000_001, {}, "This file has 1,000,001 bytes; the library takes 1,000,000."),
        (b"PK\0\0", {}, "This is no plain text"),
        ("Text".encode("utf-16"), {}, "This is no plain text"),
        (b"x" * 20_001, {}, "a line has more than 20,000 bytes"),
        (b" \n ", {}, "There is nothing to read"),
        (b"", {"shipped": "../settings.py"}, "is not one of the available choices"),
    ],
)
def test_what_the_library_does_not_take_is_told(client: Client, data: bytes, fields: dict[str, str], told: str) -> None:
    answer = give(client, data, **fields)

    assert answer.status_code == 422
    assert told in answer.content.decode()
    assert not Upload.objects.exists()


def test_buttons_need_a_token() -> None:
    client = Client(enforce_csrf_checks=True)
    chapter = given(b"The sea.").chapters.get()

    for path in ["/donate/", "/press/", f"/chapters/{chapter.pk}/encoding/"]:
        assert client.post(path).status_code == 403
    assert client.get(f"/chapters/{chapter.pk}/encoding/").status_code == 405


def test_a_gift_of_another_encoding_is_taken_and_one_of_its_chapters_dies(client: Client) -> None:
    assert give(client, LATIN).status_code == 302
    cut_up(Upload.objects.get().pk)

    chapter = Chapter.objects.get()
    assert queued("index_chapter") == [chapter.message_id]
    with pytest.raises(UnicodeDecodeError):
        index_chapter(chapter.pk)


def test_a_chapter_that_was_mended_can_be_indexed_and_completes_its_book(client: Client) -> None:
    book = given(LATIN)
    chapter = book.chapters.get()
    dead(chapter)
    summarise_book(book.pk)
    failed = client.get(f"/books/{book.slug}/progress.json").json()

    client.post(f"/chapters/{chapter.pk}/encoding/", {"encoding": "latin-1"})
    index_chapter(chapter.pk)
    reopened = client.get(f"/books/{book.slug}/progress.json").json()
    summarise_book(book.pk)
    done = client.get(f"/books/{book.slug}/progress.json").json()

    assert (failed["failed"], failed["busy"], failed["complete"]) == (1, False, False)
    assert reopened["busy"]
    assert (done["failed"], done["busy"], done["complete"]) == (0, False, True)
    assert done["words"] > 200


def test_a_message_may_say_itself_how_its_chapter_is_written() -> None:
    chapter = given(LATIN).chapters.get()

    index_chapter(chapter.pk, encoding="latin-1")

    chapter.refresh_from_db()
    assert (chapter.state, "é" in chapter.text) == (Chapter.State.INDEXED, True)


def test_an_encoding_that_is_not_on_offer_changes_nothing(client: Client) -> None:
    chapter = given(LATIN).chapters.get()

    client.post(f"/chapters/{chapter.pk}/encoding/", {"encoding": "rot13"})

    chapter.refresh_from_db()
    assert chapter.encoding == "utf-8"


def test_the_page_of_a_failed_chapter_says_how_to_bring_it_back(client: Client) -> None:
    book = given(LATIN)
    dead(book.chapters.get())

    page = client.get(f"/books/{book.slug}/").content.decode()

    assert "A message has died" in page
    assert "Requeue an edited copy" in page


def test_the_version_of_the_progress_changes_with_it(client: Client) -> None:
    book = given(b"The sea.")

    def versions() -> list[str]:
        paths = [f"/books/{book.slug}/progress.json", "/progress.json", "/press/progress.json"]
        return [client.get(path).json()["version"] for path in paths]

    before, again = versions(), versions()
    index_chapter(book.chapters.get().pk)
    orders.order_print()
    after = versions()

    assert before == again
    assert all(old != new for old, new in zip(before, after, strict=True))


@pytest.mark.usefixtures("quick_press")
def test_an_order_is_printed_page_by_page() -> None:
    given(b"The sea.")
    order = orders.order_print()

    press.print_catalogue(order.pk)

    order.refresh_from_db()
    assert (order.pages, order.page_count) == (1, 1)
    assert "A gift" in order.sheet
    assert order.finished_at


@pytest.mark.usefixtures("quick_press")
def test_any_visitor_may_follow_an_order_and_no_other_message(client: Client) -> None:
    given(b"The sea.")
    order = orders.order_print()
    address = f"/press/{order.pk}/progress.json"

    assert f'data-follow="{address}"' in client.get("/press/").content.decode()
    assert client.get(address).json() == {
        "message_id": order.message_id,
        "state": "enqueued",
        "is_over": False,
        "progress": None,
    }
    drain()
    printed = client.get(address).json()
    assert (printed["state"], printed["is_over"]) == ("succeeded", True)
    assert printed["progress"] == {"done": 1, "total": 1, "text": "", "percent": 100}
    assert "data-follow" not in client.get("/press/").content.decode()

    MessageRecord.objects.filter(pk=order.message_id).delete()
    assert [client.get(f"/press/{pk}/progress.json").status_code for pk in (order.pk, order.pk + 1)] == [404, 404]


@pytest.mark.usefixtures("quick_press")
def test_an_order_that_finds_the_press_taken_prints_nothing_and_the_page_says_who_has_it(client: Client) -> None:
    order = orders.order_print()

    with ConcurrentRateLimiter(get_rate_limiter_backend(), press.KEY).acquire():
        with pytest.raises(RateLimitExceeded):
            press.print_catalogue(order.pk)
        held = client.get("/press/").content.decode()
    free = client.get("/press/").content.decode()

    assert Printing.objects.get().started_at is None
    assert "The press is held" in held
    assert "Nobody holds the press" in free


def test_an_order_stops_when_the_press_was_released_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    given(b"The sea.")
    order = orders.order_print()
    backend = get_rate_limiter_backend()
    monkeypatch.setattr(press.time, "sleep", lambda _: backend.force_release(press.KEY))

    with pytest.raises(press.PressTaken):
        press.print_catalogue(order.pk)

    order.refresh_from_db()
    assert (order.pages, order.finished_at) == (0, None)
