"""The demo without a person: a visitor's story over HTTP, every message of it checked, and what was found printed."""

import argparse
import html
import time
from collections import Counter

from testproject.demo import check, site
from testproject.demo.check import Report
from testproject.demo.children import Children, Stop
from testproject.demo.expected import DEAD, REPLACED, REQUEUED, Expected, Fate, after_import
from testproject.demo.problem import Problem
from testproject.demo.room import Room
from testproject.demo.settled import Waiting
from testproject.demo.stay import WORKERS
from testproject.demo.visitor import Visitor
from testproject.library import catalogue
from testproject.library.models import Book, Chapter, Printing

LATIN = "swann-02.txt"  # shipped, and not UTF-8
GIFT = "The whale, once more"


def run(children: Children, stop: Stop, room: Room, options: argparse.Namespace, deadline: float) -> None:
    if not options.no_worker:
        children.start("workers", *WORKERS)
    web = site.start(children, stop, options.port)
    started = time.monotonic()
    story = Story(web, room, Waiting(children, stop, options, deadline))
    story.fill_the_shelves()
    story.repair_and_print()
    report = story.checked()
    print(report.table())
    print(
        f"\n{report.message_count} messages ({report.run_count} runs), each checked against its record and the ledger; "
        f"{time.monotonic() - started:.1f} s in all."
    )


class Story:
    """Two texts die; one is mended and requeued, the other requeued as an edited copy; two orders share the press."""

    def __init__(self, web: site.Site, room: Room, waiting: Waiting) -> None:
        self._web = web
        self._room = room
        self._waiting = waiting
        self._visitor = Visitor(web)
        self._expected = Expected(Counter())
        self._dead: list[Chapter] = []
        self._holders: set[str] = set()

    def fill_the_shelves(self) -> None:
        whale = b"\n\n".join(path.read_bytes() for path in sorted(catalogue.FOLDER.glob("moby-dick-*.txt")))
        latin = (catalogue.FOLDER / LATIN).read_bytes()
        self._web.press_import()
        self._visitor.upload("whale.txt", whale, GIFT)
        self._visitor.pick(LATIN)
        messages = after_import([whale, latin])
        self._waiting.until_settled(messages)
        self._dead = list(Chapter.objects.filter(state=Chapter.State.FAILED).select_related("book"))
        self._expected = Expected(messages, {chapter.message_id: DEAD for chapter in self._dead})
        self.checked()
        print(f"{len(self._dead)} chapters died, as they should. Now requeued in the admin: one mended, one edited.\n")

    def repair_and_print(self) -> None:
        shipped, copy = sorted(self._dead, key=lambda chapter: chapter.file_name != LATIN)
        self._visitor.log_in()
        self._visitor.mend_and_requeue(shipped, "latin-1")
        self._visitor.requeue_edited(copy, "latin-1")
        for _ in range(2):
            self._visitor.order_print()
            self._look_at_press()
        messages = self._expected.messages + Counter(index_chapter=1, summarise_book=2, print_catalogue=2)
        self._waiting.until_settled(messages, self._look_at_press)
        orders = {message_id: self._order(message_id) for message_id in self._orders()}
        fates = {shipped.message_id: REQUEUED, copy.message_id: REPLACED, **orders}
        self._expected = Expected(messages, fates)

    def _look_at_press(self) -> None:
        self._holders.add(self._visitor.press_holder())

    def checked(self) -> Report:
        """The report; a Problem when anything in it is not as it should be."""
        report = check.check(self._room.ledger, self._expected)
        if problems := [*report.problems, *self._missing_on_pages(), *self._unseen_holders()]:
            raise Problem("\n".join(["records, ledger and library do not agree:", *problems]))
        return report

    def _orders(self) -> list[str]:
        return list(Printing.objects.values_list("message_id", flat=True))

    def _order(self, message_id: str) -> Fate:
        """Printed once, whatever the number of times that the press was taken."""
        refused = check.read_ledger(self._room.ledger).events[message_id]["fail"]
        return Fate("succeeded", successes=1, failures=refused, error="RateLimitExceeded")

    def _missing_on_pages(self) -> list[str]:
        page = self._web.page()
        titles = Book.objects.values_list("title", flat=True)
        return [f"the page does not show “{title}”" for title in titles if html.escape(title) not in page]

    def _unseen_holders(self) -> list[str]:
        return [f"nobody saw {each} hold the press" for each in self._orders() if each not in self._holders]
