"""What must have happened when nothing moves any more, worked out without the engine and without the actors."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from testproject.library import catalogue
from testproject.library.pieces import pieces

ATTEMPTS = 2  # index_chapter has max_retries=1


class Fate(NamedTuple):
    """How a message ends, how many of its runs succeed and fail, and with which error."""

    state: str
    successes: int = 0
    failures: int = 0
    error: str = ""
    dead_reason: str = ""

    @property
    def runs(self) -> Counter[str]:
        """What the ledger has of it."""
        return +Counter(start=self.successes + self.failures, end=self.successes, fail=self.failures)


WELL = Fate("succeeded", successes=1)
DEAD = Fate("dead", failures=ATTEMPTS, error="UnicodeDecodeError", dead_reason="retries_exhausted")
REQUEUED = Fate("succeeded", successes=1, failures=ATTEMPTS, error="UnicodeDecodeError")
REPLACED = Fate("discarded", failures=ATTEMPTS, error="UnicodeDecodeError")


@dataclass(frozen=True)
class Expected:
    """How many messages there are of each actor, and the fates of those that do not simply succeed."""

    messages: Counter[str]
    fates: Mapping[str, Fate] = field(default_factory=dict)


def after_import(gifts: list[bytes]) -> Counter[str]:
    """The messages of one import and of texts that visitors gave."""
    books = catalogue.books()
    given = [piece for gift in gifts for piece in pieces(gift)]
    unreadable = [piece for piece in given if not _is_utf8(piece)]
    return Counter(
        import_library=1,
        cut_up=len(gifts),
        index_chapter=sum(len(book.chapters) for book in books) + len(given),
        chapter_failed=len(unreadable_files()) + len(unreadable),
        summarise_book=len(books) + len(gifts),
    )


def unreadable_files() -> set[str]:
    """The shipped files that are not UTF-8."""
    return {path.name for path in catalogue.FOLDER.glob("*.txt") if not _is_utf8(path.read_bytes())}


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
