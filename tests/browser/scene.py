"""A queue with a past: messages in every state, workers dead and alive, so that every page has something to show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.utils import timezone

from django_tasks_q.models import (
    ActorState,
    BulkOperation,
    MessageRecord,
    QueueState,
    RateLimitMutex,
    Revocation,
    ScheduleEntry,
    WaitingMessage,
    WorkerProcess,
)
from testproject.library.models import Book
from testproject.library.tasks import import_library
from testproject.misbehave import advance, chained_exception, echo, exception_group, fail, fail_always, noop
from tests.browser.place import ARCHIVE, Place
from tests.support.waiting import until

LONG = "a-customer-with-a-very-long-name/who-has-no-spaces-in-it/" + "0123456789" * 6
MUTEX = "customer-4711"
TOKEN = 41
STAMP = "import=catalogue=autumn"


@dataclass(frozen=True)
class Scene:
    """The ids of messages to look at, and numbers of other things."""

    dead: str
    running: str
    succeeded: str
    finished: int
    unfinished: int
    stamp: str
    revoked: str
    revocation: int


def set_up(place: Place) -> Scene:
    """Needs workers, who will be busy with some of it for ten minutes."""
    send = place.store.send
    [succeeded] = send([echo.message({"order": 17, "currency": "EUR", "note": "grüße, 世界", "key": LONG})])
    [dead] = send([fail_always.message()])
    ids = send([chained_exception.message(), exception_group.message(), import_library.message()])
    for message_id in [dead, *ids[:2]]:
        place.until_state(message_id, "dead")
    until(lambda: _library_is_done(place), 30)
    send(noop.message() for _ in range(60))
    [running] = send([advance.message(4_200, str(place.folder / "never"))])
    place.until_state(running, "running")
    later = fail.message_with_options(args=(1,), min_backoff=3_600_000, max_backoff=3_600_000)
    send([later, noop.message_with_options(delay=5_400_000), echo.message_with_options(args=(LONG,), delay=90_000)])
    place.bury(noop.message() for _ in range(300))
    place.bury([echo.message(LONG)])
    _others(place)
    _mutex(place, running)
    revoked, revocation = _batch(place)
    return Scene(dead, running, succeeded, *_operations(place), STAMP, revoked, revocation)


def _library_is_done(place: Place) -> bool:
    books = Book.objects.using(place.store.alias)
    return books.exists() and not books.filter(summarised_at=None).exists()


def _batch(place: Place) -> tuple[str, int]:
    """Messages of one stamp in many states, and what was said about it; what is paused, besides."""
    name, _sign, value = STAMP.partition("=")
    batch: dict[str, Any] = {"stamps": {name: value, "tenant": 7}}
    place.store.send(noop.message_with_options(**batch) for _ in range(17))
    place.bury(echo.message_with_options(args=(number,), **batch) for number in range(3))
    [revoked] = place.store.send([noop.message_with_options(delay=3_600_000, **batch)])
    alias, now = place.store.alias, timezone.now()
    common = {"created_by": "ada", "target": "stamp", "name": name, "value": value, "counts": {"delayed": 1}}
    conditions = {"stamps": {name: [value]}}
    make = Revocation.objects.using(alias).create
    make(conditions=conditions, created_at=now - timedelta(days=2), lifted_at=now, reason="too early", **common)
    held = make(
        conditions={**conditions, "actor": "import_everything", "match": "all"},
        created_at=now - timedelta(minutes=7),
        expires_at=now + timedelta(days=7),
        terminate=True,
        reason="the supplier sent the wrong file: " + LONG,
        **common,
    )
    MessageRecord.objects.using(alias).filter(pk=revoked).update(
        state="revoked", finished_at=now, error_type="MessageRevoked", error_message=f"Revocation {held.pk} by ada"
    )
    states = QueueState.objects.using(alias)
    states.update_or_create(queue_name=ARCHIVE, defaults={"paused_at": now - timedelta(hours=3), "sampled_at": now})
    ActorState.objects.using(alias).create(actor_name="elsewhere", paused_at=now - timedelta(minutes=3))
    return revoked, held.pk


def _operations(place: Place) -> tuple[int, int]:
    now = timezone.now()
    make = BulkOperation.objects.using(place.store.alias).create
    filters = {"state": "dead", "actor_name": "charge_customer", "created_from": "2026-01-01T00:00:00+00:00"}
    common = {"started_by": "admin", "started_at": now - timedelta(minutes=3), "updated_at": now}
    dead = {"state": "dead"}
    finished = make(action="requeue", filters=dead, total=8_214, done=8_197, skipped=17, finished_at=now, **common)
    unfinished = make(action="discard", filters=filters, total=100_000, done=38_400, skipped=2, **common)
    return finished.pk, unfinished.pk


def _mutex(place: Place, message_id: str) -> None:
    """A key that two may hold at once; one of them is a message."""
    now = timezone.now()
    since, until = (int(moment.timestamp() * 1000) for moment in (now, now + timedelta(minutes=10)))
    lease = {"since": since, "expires_at": until, "ttl": until - since}
    holders = [
        {**lease, "message_id": message_id, "worker": "web-7.example.internal-4711-0199c6b2f0", "token": TOKEN},
        {**lease, "message_id": "", "worker": "a script", "token": TOKEN + 1},
    ]
    RateLimitMutex.objects.using(place.store.alias).create(
        key=MUTEX, limit=2, holders=holders, version=TOKEN + 1, expires_at=now + timedelta(minutes=10)
    )


def _others(place: Place) -> None:
    """A worker that was lost, schedules, and a message that nobody relays."""
    alias, now = place.store.alias, timezone.now()
    schedules = ScheduleEntry.objects.using(alias)
    zone, later = {"time_zone": "Europe/Berlin", "declared_at": now}, now + timedelta(hours=3)
    schedules.create(name="nightly", actor_name="noop", spec="30 2 * * *", next_at=later, last_at=now, **zone)
    schedules.create(name=LONG[:200], actor_name="sleep", spec="*/5 * * * *; every 1:00:00", enabled=False, **zone)
    WorkerProcess.objects.using(alias).create(
        worker_id="web-7.example.internal-4711-0199c6b2f0",
        hostname="web-7.example.internal",
        pid=4711,
        queues=["default", "mail"],
        threads=8,
        started_at=now - timedelta(days=3),
        heartbeat_at=now - timedelta(seconds=50),
        rss_bytes=412 * 2**20,
        processed=1_284_113,
        failed=211,
    )
    WaitingMessage.objects.using(alias).create(
        message_id="0199c6b2-f0aa-7c11-9d51-2f0d2b7f5b1e",
        queue_name="mail",
        kind="commit",
        payload=b"{}",
        due_at=now - timedelta(minutes=4),
        created_at=now - timedelta(minutes=4),
    )
