"""The printing press: there is one, so one order at a time is printed, whatever number of workers there are."""

import time

from django.conf import settings
from django.db.models import F, Sum, Value
from django.db.models.functions import Concat
from django.utils import timezone

from django_tasks_q import actor, set_progress
from django_tasks_q.rate_limits import ConcurrentRateLimiter, get_rate_limiter_backend
from testproject.ledger import recorded
from testproject.library.models import Book, Printing

KEY = "printing-press"
LEASE = 30_000


class PressTaken(Exception):
    """Somebody released the press by force while an order was being printed; it has to begin again."""


# An order that finds the press taken (RateLimitExceeded) is a failed attempt; it comes again every second or two.
@actor(max_retries=500, min_backoff=500, max_backoff=2_000)
@recorded
def print_catalogue(printing_id: int) -> None:
    """Print the catalogue, one page for each book. The lease is renewed while this runs, and freed when it dies."""
    with ConcurrentRateLimiter(get_rate_limiter_backend(), KEY, limit=1, ttl=LEASE).acquire() as lease:
        order = Printing.objects.filter(pk=printing_id)
        pages = list(Book.objects.annotate(words=Sum("chapters__word_count")).order_by("year", "pk"))
        order.update(pages=0, page_count=len(pages), sheet="", started_at=timezone.now(), finished_at=None)
        for number, book in enumerate(pages):
            set_progress(number, len(pages), book.title)
            time.sleep(settings.PRESS_SECONDS)
            if lease.lease_lost:
                raise PressTaken
            line = f"{book.year}  {book.title}\n      {book.author}, {book.words or 0} words\n"
            order.update(pages=F("pages") + 1, sheet=Concat("sheet", Value(line)))
        set_progress(len(pages), len(pages))
        order.update(finished_at=timezone.now())
