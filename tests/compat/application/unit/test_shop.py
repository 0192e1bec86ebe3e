"""What the shop's actors do."""

import time
from collections import Counter

import dramatiq
import pytest
from dramatiq.middleware import CurrentMessage
from dramatiq.results import ResultFailure, ResultMissing, ResultTimeout
from shop import ledger, tasks


def drain(broker, worker, *queues, fail_fast=False):
    for queue in queues or ("default",):
        broker.join(queue, timeout=10_000, fail_fast=fail_fast)
    worker.join()


def happened(actor):
    return Counter({entry[1:]: count for entry, count in ledger.read().items() if entry[0] == actor})


def test_an_actor_can_be_called():
    tasks.send_mail("ann", subject="Hi")

    assert happened("mails.send") == {("ann", "Hi x1"): 1}


def test_a_sent_message_is_processed(stub_broker, stub_worker):
    tasks.send_welcome_mail.send("ann")

    stub_broker.join(tasks.send_welcome_mail.queue_name)
    stub_worker.join()

    assert happened("send_welcome_mail") == {("ann", "sent"): 1}


def test_sent_messages_wait_in_the_queue(stub_broker):
    tasks.send_mail.send("ann")
    tasks.send_mail.send_with_options(args=("bob",), delay=60_000)

    assert stub_broker.queues["mails"].qsize() == 1
    assert stub_broker.queues["mails.DQ"].qsize() == 1
    stub_broker.flush("mails")
    assert stub_broker.queues["mails"].qsize() == 0


def test_delayed_messages_wait(stub_broker, stub_worker):
    due = int(time.time() * 1000) + 200
    tasks.remind.send_with_options(args=("soon", due), delay=200)

    drain(stub_broker, stub_worker, "mails")
    assert happened("remind") == {("soon", "on time"): 1}


def test_fail_fast_reraises_what_the_actor_raised(stub_broker, stub_worker):
    tasks.place_order.send_with_options(args=("bad", -1), max_retries=0)

    with pytest.raises(ValueError, match="negative amount"):
        stub_broker.join("default", timeout=10_000, fail_fast=True)


def test_without_fail_fast_join_only_waits(stub_broker, stub_worker):
    tasks.place_order.send_with_options(args=("bad", -1), max_retries=0)

    drain(stub_broker, stub_worker)

    assert [m.actor_name for m in stub_broker.dead_letters] == ["place_order"]


def test_failures_are_retried(stub_broker, stub_worker):
    tasks.pay.send("order", 2)

    drain(stub_broker, stub_worker, fail_fast=True)

    assert happened("pay") == {
        ("order", "attempt 0 failed"): 1,
        ("order", "attempt 1 failed"): 1,
        ("order", "attempt 2 paid"): 1,
    }


def test_exhausted_retries_are_reported(stub_broker, stub_worker):
    tasks.charge_lost_card.send("order")

    drain(stub_broker, stub_worker)

    assert sum(happened("charge_lost_card").values()) == 3
    assert happened("payment_given_up") == {("order", "2 of 2"): 1}


def test_callbacks_follow_their_message(stub_broker, stub_worker):
    tasks.place_gift_order.send("gift")
    tasks.place_gift_order.send("gift-bad")

    drain(stub_broker, stub_worker, "default", "mails")

    assert happened("order_placed") == {("gift", "amount 0"): 1}
    assert happened("order_failed") == {("gift-bad", "ValueError"): 1}


def test_results_can_be_awaited(stub_broker, stub_worker):
    message = tasks.add_amounts.send(1, 2)

    assert message.get_result(block=True, timeout=10_000) == 3


def test_failures_are_results_too(stub_broker, stub_worker):
    message = tasks.place_order.send_with_options(args=("bad", -1), max_retries=0)

    with pytest.raises(ResultFailure) as raised:
        message.get_result(block=True, timeout=10_000)
    assert raised.value.orig_exc_type == "ValueError"
    assert raised.value.orig_exc_msg == "negative amount"


def test_results_that_never_come(stub_broker):
    message = tasks.add_amounts.send(1, 2)

    with pytest.raises(ResultMissing):
        message.get_result()
    with pytest.raises(ResultTimeout):
        message.get_result(block=True, timeout=100)


def test_pipelines_hand_results_on(stub_broker, stub_worker):
    pipe = tasks.fetch_page.message("url") | tasks.count_words.message()
    pipe.run()

    assert pipe.get_result(block=True, timeout=10_000) == 4
    assert list(pipe.get_results()) == ["the page of url", 4]


def test_groups_call_back_when_all_are_done(stub_broker, stub_worker):
    thumbnails = dramatiq.group(tasks.make_thumbnail.message("cat", n) for n in (1, 2))
    thumbnails.add_completion_callback(tasks.album_ready.message("cat"))
    thumbnails.run()

    assert list(thumbnails.get_results(block=True, timeout=10_000)) == [1, 2]
    drain(stub_broker, stub_worker, "images", "default")
    assert happened("album_ready") == {("cat", "ready"): 1}


def test_generic_actors_inherit_their_options(stub_broker, stub_worker):
    assert tasks.SalesReport.queue_name == "reports"
    assert tasks.StockReport.actor_name == "stock_report"

    message = tasks.SalesReport.send("ann")

    assert message.get_result(block=True, timeout=10_000) == 2


def test_async_actors(stub_broker, stub_worker):
    message = tasks.ask_suppliers.send("tea", 2)

    assert message.get_result(block=True, timeout=10_000) == [0, 1]


def test_a_time_limit_interrupts(stub_broker, stub_worker):
    message = tasks.render_report.send("careful", True)

    assert message.get_result(block=True, timeout=10_000) == "partial"


def test_cancelled_messages_are_skipped(stub_broker, stub_worker):
    tasks.place_order.send_with_options(args=("order",), cancelled=True)

    drain(stub_broker, stub_worker, fail_fast=True)

    assert happened("audit") == {("order", "skipped"): 1}
    assert not happened("place_order")


def test_there_is_no_current_message_outside_of_actors():
    assert CurrentMessage.get_current_message() is None


def test_the_mutex_lets_one_in_at_a_time(stub_broker, stub_worker):
    for n in range(4):
        tasks.book_stock.send(f"article-{n}")

    drain(stub_broker, stub_worker, fail_fast=True)

    assert happened("book_stock") == {(f"article-{n}", "alone"): 1 for n in range(4)}


def test_limiters(stub_broker, stub_worker):
    tasks.take_from_shelf.send("tea")
    tasks.quote.send("tea")

    drain(stub_broker, stub_worker, fail_fast=True)

    assert happened("take_from_shelf") == {("tea", (True, False, "exceeded")): 1}
    assert happened("quote") == {("tea", (True, True, False) * 2): 1}


def test_the_last_at_the_barrier_ships(stub_broker, stub_worker):
    assert tasks.packing_barrier("order").create(parties=2)
    tasks.pack.send("order", "tea")
    tasks.pack.send("order", "cup")

    drain(stub_broker, stub_worker, fail_fast=True)

    assert happened("ship") == {("order", "shipped"): 1}
