"""What the shop's customers do: send everything, then look at what came of it.

`python -m shop.produce STAGE`; see STAGES. Each errand is a generator that sends, yields and,
once all others have sent too, checks.
"""

import sys
import time
from datetime import timedelta

import dramatiq
from dramatiq.errors import ActorNotFound
from dramatiq.message import generate_unique_id
from dramatiq.rate_limits import Barrier
from dramatiq.results import ResultFailure, ResultMissing, ResultTimeout

from shop import tasks
from shop.broker import limits_backend
from shop.ledger import record

PATIENCE = 20_000


def check(key, outcome):
    record("check", key, outcome)


def failure(fetch):
    """What kind of failure fetching a result raises."""
    try:
        return fetch()
    except ResultFailure as error:
        return f"{type(error).__name__} {error.orig_exc_type}"
    except (ResultMissing, ResultTimeout) as error:
        return type(error).__name__


def wait(message):
    return failure(lambda: message.get_result(block=True, timeout=PATIENCE))


def again(message, **attributes):
    """A message like this one, with an id of its own."""
    return message.copy(message_id=generate_unique_id(), **attributes)


def mails():
    tasks.send_welcome_mail("called")
    tasks.send_welcome_mail.send("sent")
    tasks.send_welcome_mail.send_with_options(args=("with-options",))
    tasks.send_mail.send("ann", copies=2)
    tasks.send_mail.send_with_options(args=("bob",), kwargs={"subject": "Hi"}, broker_priority=5)
    plain = tasks.trace.message("plain")
    broker = dramatiq.get_broker()
    broker.enqueue(plain)
    broker.enqueue(again(plain, args=("copied",), options={"campaign": "spring"}))
    options = {"origin": "phone", "campaign": "autumn"}
    broker.enqueue(tasks.trace.message_with_options(args=("optioned",), **options))
    yield


def messages_by_hand():
    broker = dramatiq.get_broker()
    message = dramatiq.Message(queue_name="mails", actor_name="mails.send", args=("cid",), kwargs={}, options={})
    broker.enqueue(message)
    broker.enqueue(dramatiq.Message.decode(again(message, args=("dee",)).encode()))
    broker.enqueue(again(message, args=("eve",)), delay=100)
    found = broker.get_actor("mails.send")
    check("get_actor", f"{found.queue_name} {found.priority} {found is tasks.send_mail}")
    try:
        broker.get_actor("retired")
    except ActorNotFound:
        check("get_actor", "ActorNotFound")
    # Workers don't know this one either: it goes to the dead letters and hurts nobody.
    broker.enqueue(again(message, actor_name="retired"))
    broker.declare_queue("mails")
    check("declared", sorted(broker.get_declared_queues()))
    yield


def delays():
    now = int(time.time() * 1000)
    tasks.remind.send_with_options(args=("soon", now + 300), delay=300)
    tasks.remind.send_with_options(args=("later", now + 900), delay=timedelta(milliseconds=900))
    tasks.remind.send("now", now)
    tasks.place_order.send_with_options(args=("too-old",), delay=400, max_age=100)
    yield


def orders():
    callbacks = {"on_success": tasks.order_placed, "on_failure": "order_failed"}
    good, bad, rejected = (
        tasks.place_order.send_with_options(args=args, **callbacks)
        for args in (("good", 10), ("bad", -1), ("rejected", 2000))
    )
    once = tasks.place_order.send_with_options(args=("once", -1), max_retries=0)
    cancelled = tasks.place_order.send_with_options(args=("cancelled",), cancelled=True)
    tasks.place_gift_order.send("gift")
    tasks.place_gift_order.send("gift-bad")
    yield
    check("order good", wait(good)["amount"])
    check("order bad", wait(bad))
    check("order rejected", wait(rejected))
    check("order once", wait(once))
    check("order cancelled", wait(cancelled))


def results():
    never = tasks.add_amounts.message(1)
    check("never sent", failure(never.get_result))
    total = tasks.add_amounts.send(1, 2, 3)
    yield
    check("never sent", failure(lambda: never.get_result(block=True, timeout=1000)))
    backend = dramatiq.get_broker().get_results_backend()
    check("total", total.get_result(backend=backend, block=True, timeout=PATIENCE))
    check("total again", total.get_result())
    check("total by backend", backend.get_result(total))


def payments():
    paid = [tasks.pay.send(f"failures-{n}", n) for n in range(3)]
    hopeless = tasks.pay.send_with_options(args=("hopeless", 9), max_retries=1, max_backoff=30)
    tasks.charge_lost_card.send("lost")
    tasks.fetch_rate.send("EUR")
    tasks.fetch_rate.send("XXX")
    tasks.poll_carrier.send("parcel")
    yield
    check("paid", [wait(message) for message in paid])
    check("hopeless", wait(hopeless))


def reports():
    careful = tasks.render_report.send("careful", True)
    careless = tasks.render_report.send("careless", False)
    sales = tasks.SalesReport.send("ann")
    stock = tasks.StockReport.send_with_options(args=("bob",), delay=50)
    yield
    check("careful", wait(careful))
    check("careless", wait(careless))
    check("reports", [wait(sales), wait(stock)])


def suppliers():
    offers = tasks.ask_suppliers.send("tea", 3)
    tasks.wait_for_supplier.send("coffee")
    yield
    check("offers", wait(offers))


def pages(url):
    """The messages of the pipeline that counts a page's words."""
    return [
        tasks.fetch_page.message(url),
        tasks.count_words.message(),
        tasks.store_count.message(url),
    ]


def pipelines():
    fetch, count, store = pages("piped")
    piped = (fetch | count | store).run()
    delayed = dramatiq.pipeline(pages("delayed")).run(delay=200)
    nested = dramatiq.pipeline([tasks.fetch_page.message("nested"), dramatiq.pipeline(pages("nested")[1:])])
    nested.run()
    welcome = tasks.send_welcome_mail.message_with_options(args=("ignoring",), pipe_ignore=True)
    (tasks.store_count.message("ignored", 1) | welcome).run()
    broken = tasks.fetch_page.message("broken") | tasks.break_page.message()
    broken = (broken | tasks.store_count.message("broken")).run()
    dramatiq.pipeline([tasks.add_amounts.message(1, 2), tasks.make_album.message("album")]).run()
    yield
    check("piped", piped.get_result(block=True, timeout=PATIENCE))
    check("piped", list(piped.get_results(block=True, timeout=PATIENCE)))
    check("piped", f"{len(piped)} {piped.completed} {piped.completed_count}")
    check("delayed", delayed.get_result(block=True, timeout=PATIENCE))
    check("nested", f"{len(nested)} {nested.get_result(block=True, timeout=PATIENCE)}")
    broken = broken.get_results(block=True, timeout=PATIENCE)
    check("broken", [next(broken), failure(lambda: next(broken))])


def groups():
    def thumbnails(photo, *widths):
        return [tasks.make_thumbnail.message(photo, width) for width in widths]

    plain = dramatiq.group(thumbnails("cat", 1, 2, 3)).run()
    called_back = dramatiq.group(thumbnails("dog", 1, 2))
    called_back.add_completion_callback(tasks.album_ready.message("dog"))
    called_back.add_completion_callback(tasks.send_welcome_mail.message("dog"))
    called_back.run(delay=100)
    failing = dramatiq.group(
        [
            tasks.make_thumbnail.message("fox", 1),
            tasks.make_thumbnail.message_with_options(args=("fox", 0), max_retries=0),
        ]
    )
    failing.add_completion_callback(tasks.album_ready.message("fox"))
    failing.run()
    pipelined = dramatiq.group(dramatiq.pipeline(pages(url)) for url in ("a", "b"))
    pipelined.add_completion_callback(tasks.album_ready.message("pipelined"))
    pipelined.run()
    nested = dramatiq.group([dramatiq.group(thumbnails("elk", 1, 2)), dramatiq.group(thumbnails("elk", 3))]).run()
    waiting = dramatiq.group([tasks.add_amounts.message(1)])
    yield
    plain.wait(timeout=PATIENCE)
    check("plain", f"{len(plain)} {plain.completed} {plain.completed_count}")
    check("plain", list(plain.get_results()))
    check("called back", list(called_back.get_results(block=True, timeout=PATIENCE)))
    failing = failing.get_results(block=True, timeout=PATIENCE)
    check("failing", [next(failing), failure(lambda: next(failing))])
    check("pipelined", list(pipelined.get_results(block=True, timeout=PATIENCE)))
    check("nested", [list(r) for r in nested.get_results(block=True, timeout=PATIENCE)])
    check("waiting", f"{waiting.completed} {waiting.completed_count}")
    check("waiting", failure(lambda: waiting.wait(timeout=1000)))


def stock():
    for n in range(6):
        tasks.book_stock.send(f"article-{n}")
    tasks.take_from_shelf.send("tea")
    tasks.quote.send("tea")
    check("barrier", tasks.packing_barrier("basket").create(parties=3))
    check("barrier", tasks.packing_barrier("basket").create(parties=3))
    for item in ("tea", "cup", "pot"):
        tasks.pack.send("basket", item)
    yield
    lonely = Barrier(limits_backend, tasks.limit_key("lonely"), ttl=60_000)
    lonely.create(parties=2)
    check("lonely", [lonely.wait(timeout=1000), lonely.wait(block=False)])


def opening():
    errands = [
        errand()
        for errand in (
            mails,
            messages_by_hand,
            delays,
            orders,
            results,
            payments,
            reports,
            suppliers,
            pipelines,
            groups,
            stock,
        )
    ]
    for errand in errands:
        next(errand)
    for errand in errands:
        for _ in errand:
            pass


def closing():
    """Sent shortly before the worker is told to stop."""
    tasks.nightly_export.send("books")
    tasks.closing_report.send("day")


def closed():
    """Sent while no worker runs."""
    tasks.send_welcome_mail.send("closed")
    now = int(time.time() * 1000)
    tasks.send_mail.send_with_options(args=("closed",), delay=200)
    tasks.place_order.send_with_options(args=("closed", 1), on_success=tasks.order_placed)
    tasks.remind.send_with_options(args=("closed", now + 100), delay=100)


def reloaded():
    """Sent around a worker's SIGHUP."""
    for n in range(5):
        tasks.send_welcome_mail.send(f"reloaded-{n}")


STAGES = {stage.__name__: stage for stage in (opening, closing, closed, reloaded)}

if __name__ == "__main__":
    STAGES[sys.argv[1]]()
    dramatiq.get_broker().close()
