"""The shop's actors. Each notes its effect in the ledger."""

import asyncio
import time

import dramatiq
from dramatiq.errors import RateLimitExceeded, Retry
from dramatiq.middleware import CurrentMessage, Shutdown, TimeLimitExceeded
from dramatiq.rate_limits import (
    Barrier,
    BucketRateLimiter,
    ConcurrentRateLimiter,
    WindowRateLimiter,
)

from shop import config
from shop.broker import limits_backend
from shop.ledger import happened, record, room

logger = dramatiq.get_logger(__name__)


def attempt():
    """Which attempt at the current message this is, from 0."""
    return CurrentMessage.get_current_message().options.get("retries", 0)


# -- Mails: plain sending ---------------------------------------------------------------------


@dramatiq.actor
def send_welcome_mail(customer):
    record("send_welcome_mail", customer, "sent")


@dramatiq.actor(actor_name="mails.send", queue_name="mails", priority=10)
def send_mail(to, subject="News", *, copies=1):
    """Send a mail to a customer."""
    record("mails.send", to, f"{subject} x{copies}")


@dramatiq.actor(queue_name="mails", priority=0, audited=True)
def remind(key, due):
    """A mail that must not leave before `due` (epoch milliseconds)."""
    record("remind", key, "early" if time.time() * 1000 < due - 5 else "on time")


@dramatiq.actor
def trace(key):
    options = CurrentMessage.get_current_message().options
    record("trace", key, f"{options['origin']} {options.get('campaign')}")


# -- Orders: results and callbacks ------------------------------------------------------------


class OrderRejected(Exception):
    pass


@dramatiq.actor(store_results=True, max_retries=1, throws=OrderRejected, audited=True)
def place_order(order, amount=0):
    if amount > 1000:
        raise OrderRejected(f"{order} is too expensive")
    if amount < 0:
        raise ValueError("negative amount")
    record("place_order", order, f"amount {amount}")
    return {"order": order, "amount": amount}


@dramatiq.actor
def order_placed(message_data, result):
    record("order_placed", message_data["args"][0], f"amount {result['amount']}")


@dramatiq.actor(queue_name="mails")
def order_failed(message_data, exception_data):
    record("order_failed", message_data["args"][0], exception_data["type"])


@dramatiq.actor(on_success="order_placed", on_failure="order_failed", max_retries=0)
def place_gift_order(order):
    if order == "gift-bad":
        raise ValueError(order)
    return {"amount": 0}


@dramatiq.actor(store_results=True)
def add_amounts(*amounts):
    return sum(amounts)


# -- Payments: retries ------------------------------------------------------------------------


@dramatiq.actor(max_retries=3, min_backoff=20, max_backoff=100, store_results=True)
def pay(order, failures):
    """Fails `failures` times, then succeeds."""
    number = attempt()
    if number < failures:
        record("pay", order, f"attempt {number} failed")
        raise ConnectionError("the bank is away")
    record("pay", order, f"attempt {number} paid")
    return number


@dramatiq.actor
def payment_given_up(message_data, retry_data):
    counts = f"{retry_data['retries']} of {retry_data['max_retries']}"
    record("payment_given_up", message_data["args"][0], counts)


@dramatiq.actor(max_retries=2, min_backoff=20, on_retry_exhausted="payment_given_up")
def charge_lost_card(order):
    record("charge_lost_card", order, f"attempt {attempt()}")
    raise ConnectionError("no such card")


def worth_retrying(retries_so_far, exception):
    return isinstance(exception, ConnectionError) and retries_so_far < 2


@dramatiq.actor(retry_when=worth_retrying, min_backoff=20)
def fetch_rate(currency):
    record("fetch_rate", currency, f"attempt {attempt()}")
    raise ConnectionError("no line") if currency == "EUR" else LookupError(currency)


@dramatiq.actor(max_retries=5, min_backoff=60_000)
def poll_carrier(parcel):
    """Asks again at the moment it chooses itself, whatever min_backoff says."""
    number = attempt()
    record("poll_carrier", parcel, f"attempt {number}")
    if number < 2:
        raise Retry("not delivered yet", delay=50)


# -- Reports: limits on time, class-based actors, shutdown ------------------------------------


@dramatiq.actor(queue_name="reports", time_limit=400, max_retries=0, store_results=True)
def render_report(name, careful):
    try:
        while True:
            time.sleep(0.02)
    except TimeLimitExceeded:
        record("render_report", name, "time limit")
        if not careful:
            raise
        return "partial"


class Report(dramatiq.GenericActor):
    """What all reports share; not an actor itself."""

    class Meta:
        abstract = True
        queue_name = "reports"
        store_results = True

    def rows(self, customer):
        raise NotImplementedError

    def perform(self, customer):
        rows = self.rows(customer)
        record(type(self).__name__, customer, ",".join(rows))
        return len(rows)


class SalesReport(Report):
    def rows(self, customer):
        return ["sold", customer]


class StockReport(Report):
    class Meta:
        actor_name = "stock_report"
        queue_name = "reports"
        store_results = True

    def rows(self, customer):
        return ["stock"]


@dramatiq.actor(queue_name="reports", notify_shutdown=True, max_retries=1, min_backoff=100)
def nightly_export(name):
    """Interrupted by the first shutdown; the next worker resumes it."""
    if happened("nightly_export", name, "interrupted"):
        record("nightly_export", name, "resumed")
        return
    record("nightly_export", name, "started")
    try:
        while True:
            time.sleep(0.02)
    except Shutdown:
        record("nightly_export", name, "interrupted")
        raise


@dramatiq.actor(queue_name="reports")
def closing_report(name):
    """Did not ask for the notice, so a shutdown waits for it."""
    record("closing_report", name, "started")
    time.sleep(1.5)
    record("closing_report", name, "finished")


# -- Async actors -----------------------------------------------------------------------------


@dramatiq.actor(store_results=True)
async def ask_suppliers(article, count):
    async def ask(supplier):
        await asyncio.sleep(0.05)
        return supplier

    offers = await asyncio.gather(*(ask(supplier) for supplier in range(count)))
    record("ask_suppliers", article, f"{len(offers)} offers")
    return offers


@dramatiq.actor(time_limit=400, max_retries=0)
async def wait_for_supplier(article):
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        record("wait_for_supplier", article, "cancelled")
        raise


# -- Pages and thumbnails: pipelines and groups -----------------------------------------------


@dramatiq.actor(store_results=True)
def fetch_page(url):
    return f"the page of {url}"


@dramatiq.actor(store_results=True)
def count_words(text):
    return len(text.split())


@dramatiq.actor(store_results=True)
def store_count(url, count):
    record("store_count", url, count)
    return [url, count]


@dramatiq.actor(store_results=True, max_retries=0)
def break_page(text):
    raise ValueError("broken page")


@dramatiq.actor(queue_name="images", store_results=True)
def make_thumbnail(photo, width):
    if width <= 0:
        raise ValueError("no width")
    record("make_thumbnail", photo, width)
    return width


@dramatiq.actor
def album_ready(album):
    record("album_ready", album, "ready")


@dramatiq.actor
def make_album(album, count):
    """A pipeline's last step that fans out; the group's callback goes on from there."""
    thumbnails = dramatiq.group(make_thumbnail.message(album, n + 1) for n in range(count))
    thumbnails.add_completion_callback(album_ready.message(album))
    thumbnails.run()


# -- Stock: rate limits and barriers ----------------------------------------------------------


def limit_key(name):
    return f"{config.NAMESPACE}-limit-{name}"


stock_mutex = ConcurrentRateLimiter(limits_backend, limit_key("stock"), limit=1, ttl=60_000)
shelf = ConcurrentRateLimiter(limits_backend, limit_key("shelf"), limit=1, ttl=60_000)
hourly = BucketRateLimiter(limits_backend, limit_key("hourly"), limit=2, bucket=3_600_000)
recent = WindowRateLimiter(limits_backend, limit_key("recent"), limit=2, window=30)


@dramatiq.actor(max_retries=500, min_backoff=20, max_backoff=100)
def book_stock(article):
    """Many are sent at once; those that find the mutex taken are retried."""
    with stock_mutex.acquire(), room("stock") as outcome:
        time.sleep(0.03)
        record("book_stock", article, outcome)


@dramatiq.actor
def take_from_shelf(article):
    with shelf.acquire(raise_on_failure=False) as first:
        with shelf.acquire(raise_on_failure=False) as second:
            outcome = [first, second]
        try:
            with shelf.acquire():
                outcome.append(True)
        except RateLimitExceeded:
            outcome.append("exceeded")
    record("take_from_shelf", article, outcome)


@dramatiq.actor
def quote(article):
    """Each limiter lets two of three through."""
    outcome = []
    for limiter in (hourly, recent):
        for _ in range(3):
            with limiter.acquire(raise_on_failure=False) as acquired:
                outcome.append(acquired)
    record("quote", article, outcome)


def packing_barrier(order):
    return Barrier(limits_backend, limit_key(f"packing-{order}"), ttl=60_000)


@dramatiq.actor
def pack(order, item):
    record("pack", order, item)
    if packing_barrier(order).wait(block=False):
        logger.info("Order %s is packed.", order)
        ship.send(order)


@dramatiq.actor
def ship(order):
    record("ship", order, "shipped")
