"""What the ledger must hold after each stage, in any order."""

from collections import Counter

from shop.ledger import freeze

# actor -> [(key, outcome), …]; a third element is how often.
OPENING = {
    "announce_opening": [("fork", "open")],
    # Mails
    "send_welcome_mail": [
        ("called", "sent"),
        ("sent", "sent"),
        ("with-options", "sent"),
        ("ignoring", "sent"),
        ("dog", "sent"),
    ],
    "mails.send": [
        ("ann", "News x2"),
        ("bob", "Hi x1"),
        ("cid", "News x1"),
        ("dee", "News x1"),
        ("eve", "News x1"),
    ],
    "trace": [
        ("plain", "shop None"),
        ("copied", "shop spring"),
        ("optioned", "phone autumn"),
    ],
    "remind": [("soon", "on time"), ("later", "on time"), ("now", "on time")],
    # Orders: on_failure hears of each failing attempt
    "place_order": [("good", "amount 10")],
    "order_placed": [("good", "amount 10"), ("gift", "amount 0")],
    "order_failed": [
        ("bad", "ValueError", 2),
        ("rejected", "OrderRejected"),
        ("gift-bad", "ValueError"),
    ],
    "audit": [
        ("soon", "waits"),
        ("soon", "ok"),
        ("later", "waits"),
        ("later", "ok"),
        ("now", "ok"),
        ("too-old", "waits"),
        ("too-old", "skipped"),
        ("good", "ok"),
        ("bad", "ValueError", 2),
        ("bad", "waits"),
        ("rejected", "OrderRejected"),
        ("once", "ValueError"),
        ("cancelled", "skipped"),
    ],
    # Payments
    "pay": [
        ("failures-0", "attempt 0 paid"),
        ("failures-1", "attempt 0 failed"),
        ("failures-1", "attempt 1 paid"),
        ("failures-2", "attempt 0 failed"),
        ("failures-2", "attempt 1 failed"),
        ("failures-2", "attempt 2 paid"),
        ("hopeless", "attempt 0 failed"),
        ("hopeless", "attempt 1 failed"),
    ],
    "charge_lost_card": [("lost", f"attempt {n}") for n in range(3)],
    "payment_given_up": [("lost", "2 of 2")],
    "fetch_rate": [*(("EUR", f"attempt {n}") for n in range(3)), ("XXX", "attempt 0")],
    "poll_carrier": [("parcel", f"attempt {n}") for n in range(3)],
    # Reports
    "render_report": [("careful", "time limit"), ("careless", "time limit")],
    "SalesReport": [("ann", "sold,ann")],
    "StockReport": [("bob", "stock")],
    # Async
    "ask_suppliers": [("tea", "3 offers")],
    "wait_for_supplier": [("coffee", "cancelled")],
    # Pipelines and groups
    "store_count": [
        ("piped", 4),
        ("delayed", 4),
        ("nested", 4),
        ("ignored", 1),
        ("a", 4),
        ("b", 4),
    ],
    "make_thumbnail": [
        *(("cat", width) for width in (1, 2, 3)),
        *(("dog", width) for width in (1, 2)),
        *(("elk", width) for width in (1, 2, 3)),
        *(("album", width) for width in (1, 2, 3)),
        ("fox", 1),
    ],
    "album_ready": [("dog", "ready"), ("album", "ready"), ("pipelined", "ready")],
    # Stock
    "book_stock": [(f"article-{n}", "alone") for n in range(6)],
    "take_from_shelf": [("tea", [True, False, "exceeded"])],
    "quote": [("tea", [True, True, False] * 2)],
    "pack": [("basket", item) for item in ("tea", "cup", "pot")],
    "ship": [("basket", "shipped")],
    # What the customers saw
    "check": [
        ("get_actor", "mails 10 True"),
        ("get_actor", "ActorNotFound"),
        ("declared", ["default", "images", "mails", "reports"]),
        ("order good", 10),
        ("order bad", "ResultFailure ValueError"),
        ("order rejected", "ResultFailure OrderRejected"),
        ("order once", "ResultFailure ValueError"),
        ("order cancelled", None),
        ("never sent", "ResultMissing"),
        ("never sent", "ResultTimeout"),
        ("total", 6),
        ("total again", 6),
        ("total by backend", 6),
        ("paid", [0, 1, 2]),
        ("hopeless", "ResultFailure ConnectionError"),
        ("careful", "partial"),
        ("careless", "ResultFailure TimeLimitExceeded"),
        ("reports", [2, 1]),
        ("offers", [0, 1, 2]),
        ("piped", ["piped", 4]),
        ("piped", ["the page of piped", 4, ["piped", 4]]),
        ("piped", "3 True 3"),
        ("delayed", ["delayed", 4]),
        ("nested", "3 ['nested', 4]"),
        ("broken", ["the page of broken", "ResultFailure ValueError"]),
        ("plain", "3 True 3"),
        ("plain", [1, 2, 3]),
        ("called back", [1, 2]),
        ("failing", [1, "ResultFailure ValueError"]),
        ("pipelined", [["a", 4], ["b", 4]]),
        ("nested", [[1, 2], [3]]),
        ("waiting", "False 0"),
        ("waiting", "ResultTimeout"),
        ("barrier", True),
        ("barrier", False),
        ("lonely", [False, True]),
    ],
}

CLOSING = {
    "nightly_export": [("books", "started")],
    "closing_report": [("day", "started")],
}

# Within the worker's graceful stop
STOPPED = {
    "nightly_export": [("books", "interrupted")],
    "closing_report": [("day", "finished")],
}

# By a second worker
CLOSED = {
    "announce_opening": [("fork", "open")],
    "nightly_export": [("books", "resumed")],
    "send_welcome_mail": [("closed", "sent")],
    "mails.send": [("closed", "News x1")],
    "place_order": [("closed", "amount 1")],
    "order_placed": [("closed", "amount 1")],
    "remind": [("closed", "on time")],
    "audit": [("closed", "ok", 2), ("closed", "waits")],
}

RELOADED = {
    "announce_opening": [("fork", "open")],
    "send_welcome_mail": [(f"reloaded-{n}", "sent") for n in range(5)],
}

STAGES = {
    "opening": OPENING,
    "closing": CLOSING,
    "stopped": STOPPED,
    "closed": CLOSED,
    "reloaded": RELOADED,
}


def expected_ledger(stage="reloaded"):
    """The whole ledger at the end of `stage`: a multiset of (actor, key, outcome)."""
    expected = Counter()
    for name, effects in STAGES.items():
        for actor, entries in effects.items():
            for key, outcome, *times in entries:
                expected[freeze((actor, key, outcome))] += times[0] if times else 1
        if name == stage:
            break
    return expected
