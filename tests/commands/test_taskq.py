"""What every subcommand of ``taskq`` prints, does, and ends with."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management.base import OutputWrapper
from django.utils import timezone
from msgspec.structs import replace

from django_tasks_q import Message, Progress, actor
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.events import Event, Kind
from django_tasks_q.management.taskq import show
from django_tasks_q.management.taskq.output import Output
from django_tasks_q.mirror import RecordWriter
from django_tasks_q.models import BulkOperation, MessageRecord, ScheduleEntry, WorkerProcess
from django_tasks_q.operations.filters import records
from django_tasks_q.recording import Recording
from django_tasks_q.sql import Database
from django_tasks_q.states import State
from django_tasks_q.waiting import WaitingRows
from tests.commands.conftest import Taskq
from tests.support.dead_letters import bury


def order(broker: DatabaseBroker, number: int = 1, **options: object) -> Message[None]:
    return broker.actors["charge"].message_with_options(args=(number,), **options)


def hire(broker: DatabaseBroker, *queues: str) -> None:
    WorkerProcess.objects.using(broker.using).create(
        worker_id=f"host:7:{queues}",
        hostname="a-host-with-a-long-name.example.org",
        pid=4_194_304,
        queues=list(queues),
        threads=8,
        started_at=timezone.now() - timedelta(hours=5),
        heartbeat_at=timezone.now(),
        current=[{"message_id": "x", "queue_name": "shop", "since": 0}],
        rss_bytes=200 * 2**20,
        processed=123_456_789,
    )


# stats


def test_stats_prints_the_documented_json(broker: DatabaseBroker, taskq: Taskq) -> None:
    bury(broker, [order(broker)])
    hire(broker, "shop")

    ending = taskq("stats", "--json")

    assert ending.code == 0
    assert {name: ending.json[name] for name in ("workers", "outbox", "mirror_lag_ms")} == {
        "workers": 1,
        "outbox": 0,
        "mirror_lag_ms": 0,
    }
    assert ending.json["queues"][1] == {
        "queue_name": "shop",
        "ready": 0,
        "in_flight": 0,
        "delayed": 0,
        "dead": 1,
        "oldest_ms": 0,
        "paused": False,
        "consumers": 1,
        "per_minute": 1,
    }


def test_stats_for_people_is_a_table_of_80_columns(broker: DatabaseBroker, taskq: Taskq) -> None:
    broker.declare_queue("a-queue-whose-name-is-longer-than-anybody-would-like-it-to-be")
    broker.enqueue_many([order(broker, number) for number in range(12)])

    lines = taskq("stats").out.splitlines()

    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["QUEUE", "READY", "RUNNING", "DELAYED", "DEAD", "OLDEST", "PER", "MIN", "WORKERS"]
    assert lines[1].startswith("a-queue-whose-name-") and "…" in lines[1]
    assert next(line for line in lines if line.startswith("shop")).split()[1] == "12"


# messages and show


def test_messages_lists_the_newest_that_fit(broker: DatabaseBroker, taskq: Taskq) -> None:
    dead = bury(broker, [order(broker, 1), order(broker, 2)])
    broker.enqueue(broker.actors["mail"].message("a@b.c"))

    listed = taskq("messages", "--state", "dead", "--actor", "charge", "--queue", "shop", "--json").json
    limited = taskq("messages", "--limit", "1", "--json").json

    assert {record["message_id"] for record in listed} == set(dead)
    assert [record["actor_name"] for record in limited] == ["mail"]


def test_messages_and_repairs_are_found_by_a_stamp(broker: DatabaseBroker, taskq: Taskq) -> None:
    batch = bury(broker, [order(broker, 1, stamps={"batch": "a=b"}), order(broker, 2, stamps={"batch": ["a=b", "c"]})])
    bury(broker, [order(broker, 3, stamps={"batch": "c"})])

    listed = taskq("messages", "--stamp", "batch=a=b")
    requeued = taskq("requeue", "--stamp", "batch=a=b", "--actor", "charge")

    assert {line.split()[0] for line in listed.out.splitlines()[1:]} == set(batch)
    assert listed.err == ""
    assert requeued == (0, "2 requeued\n", "")
    assert taskq("messages", "--stamp", "batch=nobody").code == 1
    assert records().filter(state="dead").count() == 1


def test_messages_have_the_public_field_names_in_json(broker: DatabaseBroker, taskq: Taskq) -> None:
    broker.enqueue(order(broker, 7, message_id="order-7"))

    [record] = taskq("messages", "--json").json

    assert set(record) == {field.name for field in MessageRecord._meta.concrete_fields}
    assert (record["args"], record["correlation_id"], record["state"]) == ([7], "order-7", "enqueued")
    assert datetime.fromisoformat(record["created_at"]).tzinfo is not None


def test_messages_for_people_fit_80_columns_and_show_whole_ids(broker: DatabaseBroker, taskq: Taskq) -> None:
    name = "an_actor_whose_name_nobody_would_want_to_type_twice_in_a_row"

    def fn() -> None: ...

    sent = broker.enqueue(actor(fn, broker=broker, actor_name=name, queue_name="a-rather-long-queue-name").message())

    lines = taskq("messages").out.splitlines()

    assert max(map(len, lines)) <= 80
    assert lines[1].startswith(sent.message_id)


def test_messages_that_do_not_exist_are_code_one(broker: DatabaseBroker, taskq: Taskq) -> None:
    broker.enqueue(order(broker))

    assert taskq("messages", "--state", "dead")[:2] == (1, "")
    assert taskq("messages", "--state", "dead", "--json")[:2] == (1, "[]\n")


def test_show_tells_everything_of_a_message_and_its_attempts(broker: DatabaseBroker, taskq: Taskq) -> None:
    [dead] = bury(broker, [order(broker, 7, message_id="order-7")])

    told = taskq("show", dead, "--json").json
    read = taskq("show", "order-7").out

    assert (told["message_id"], told["state"], told["dead_reason"]) == (dead, "dead", "retries_exhausted")
    assert [(attempt["number"], attempt["error_type"]) for attempt in told["attempts"]] == [(1, "ValueError")]
    assert dead in read and "Traceback …" in read


def test_show_knows_messages_without_a_record_but_not_their_arguments(broker: DatabaseBroker, taskq: Taskq) -> None:
    sent = broker.enqueue(order(broker, 7, record=False))

    assert taskq("show", sent.message_id, "--json").json == {
        "message_id": sent.message_id,
        "queue_name": "shop",
        "state": "enqueued",
        "actor_name": "charge",
        "attempts": [],
    }


def test_what_a_message_says_does_not_steer_the_terminal(broker: DatabaseBroker, taskq: Taskq) -> None:
    # No send takes such a name; a record may have it from elsewhere.
    [dead] = bury(broker, [order(broker)])
    records().filter(pk=dead).update(actor_name="evil\x1b[2J\nactor", error_message="\x1b]0;title\x07")

    shown, listed = taskq("show", dead).out, taskq("messages").out

    assert "\x1b" not in shown + listed
    assert "\\x1b]0;title\\x07" in shown
    assert len(listed.splitlines()) == 2


@pytest.mark.parametrize("hides", [False, True])
def test_bytes_that_nobody_can_redact_are_hidden_where_arguments_are(
    broker: DatabaseBroker, taskq: Taskq, hides: bool
) -> None:
    broker.recording = Recording(arguments=not hides)
    [dead] = bury(broker, [order(broker)])
    records().filter(pk=dead).update(raw=b'["secret')

    for told in (taskq("show", dead, "--json").json, *taskq("messages", "--json").json):
        assert b64decode(told["raw"]) == (b"<hidden>" if hides else b'["secret')
    assert ("secret" in taskq("show", dead).out) is not hides


def runs(message: Message[None], deliveries: int = 1) -> None:
    """The message is said to run."""
    records().filter(pk=message.message_id).update(state="running", deliveries=deliveries)


def says(message: Message[None], done: int, total: int | None, text: str, report: int) -> None:
    """Its worker has told of its progress."""
    told = Event(Kind.STARTED, message.message_id, State.RUNNING, 0, delivery=1, report=report)
    told = replace(told, progress=Progress(done, total, text))
    RecordWriter(Database(records().db)).write([told])


def test_show_watches_how_far_a_message_is_until_it_has_ended(
    broker: DatabaseBroker, taskq: Taskq, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = broker.enqueue(order(broker))
    moments: Iterator[Callable[[], object]] = iter(
        [
            lambda: runs(message),
            lambda: None,
            lambda: says(message, 5, 10, "half\x1b way", 1),
            lambda: says(message, 6, None, "", 2),
            lambda: records().filter(pk=message.message_id).update(state="succeeded"),
        ]
    )
    monkeypatch.setattr(show.time, "sleep", lambda seconds: next(moments)())

    lines = taskq("show", message.message_id, "--watch").out.splitlines()

    assert lines[:5] == [
        "enqueued",
        "running",
        "running [############            ]  50% 5/10 half\\x1b way",
        "running 6",
        "succeeded 6",
    ]
    assert lines[5].split() == ["message_id", message.message_id]


def test_show_tells_programs_how_far_a_message_is_line_by_line(
    broker: DatabaseBroker, taskq: Taskq, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = broker.enqueue(order(broker))
    runs(message)
    says(message, 5, 10, "half way", 1)
    monkeypatch.setattr(
        show.time, "sleep", lambda seconds: records().filter(pk=message.message_id).update(state="succeeded")
    )

    first, last = map(json.loads, taskq("show", message.message_id, "--watch", "--json").out.splitlines())

    assert first == {
        "message_id": message.message_id,
        "state": "running",
        "is_over": False,
        "progress": {"done": 5, "total": 10, "text": "half way", "percent": 50},
    }
    assert last == {**first, "state": "succeeded", "is_over": True}


def test_show_ends_quietly_when_who_watches_has_seen_enough(
    broker: DatabaseBroker, taskq: Taskq, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(show.time, "sleep", interrupt)

    assert taskq("show", broker.enqueue(order(broker)).message_id, "--watch") == (0, "enqueued\n", "")
    assert taskq("show", "nobody", "--watch").code == 1


def test_show_tells_nothing_of_the_progress_of_an_attempt_that_is_over(broker: DatabaseBroker, taskq: Taskq) -> None:
    message = broker.enqueue(order(broker))
    runs(message)
    says(message, 5, 10, "half way", 1)
    assert taskq("show", message.message_id, "--json").json["progress_text"] == "half way"

    runs(message, deliveries=2)

    told = taskq("show", message.message_id, "--json").json
    assert (told["progress_done"], told["progress_total"], told["progress_text"]) == (None, None, "")


def test_a_line_is_written_over_where_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "20")
    screen = Terminal()
    out = Output(OutputWrapper(StringIO()), OutputWrapper(screen), as_json=False)
    out.status("on two\nlines")
    out.status("longer than the screen is", is_over=True)

    assert screen.getvalue() == "\r\x1b[Kon two lines\r\x1b[Klonger than the scr\n"


def test_show_of_nobody_is_code_one(broker: DatabaseBroker, taskq: Taskq) -> None:
    assert taskq("show", "nobody") == (1, "", "No message nobody is known.\n")
    assert taskq("show", "nobody", "--json").json is None
    broker.enqueue(order(broker))
    assert taskq("show", "").code == 1


def test_show_tells_the_stamps(broker: DatabaseBroker, taskq: Taskq) -> None:
    sent = broker.enqueue(order(broker, stamps={"batch_id": [7, "a=b"], "tenant": "x"}))

    assert taskq("show", sent.message_id, "--json").json["stamps"] == {"batch_id": ["7", "a=b"], "tenant": ["x"]}
    assert "batch_id=7, batch_id=a=b, tenant=x" in taskq("show", sent.message_id).out


# send


def test_send_sends(broker: DatabaseBroker, taskq: Taskq) -> None:
    ending = taskq("send", "charge", "--args", "[7]", "--kwargs", '{"currency": "CHF"}', "--queue", "mails")

    [waiting] = broker.peek("mails")
    message = Message.decode(waiting.payload)
    assert ending == (0, f"{message.message_id}\n", "")
    assert (message.actor_name, message.args, message.kwargs) == ("charge", (7,), {"currency": "CHF"})


def test_send_takes_a_delay_and_options(broker: DatabaseBroker, taskq: Taskq) -> None:
    words = ("--delay", "10m", "--option", "max_retries=3", "--option", 'message_id="order-7"')

    sent = taskq("send", "charge", "--args", "[7]", *words, "--json").json

    assert sent["options"] == {"max_retries": 3, "message_id": "order-7", "delay": 600_000}
    assert [delivery.message_id for delivery in broker.peek("shop", "delayed")] == [sent["message_id"]]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["chrage"], "No actor is called 'chrage'. Did you mean 'charge'?"),
        (["charge"], "missing a required argument: 'order'"),
        (["charge", "--args", "[1"], "not JSON"),
        (["charge", "--args", "7"], "a JSON list is wanted"),
        (["charge", "--kwargs", "[]"], "a JSON object is wanted"),
        (["charge", "--args", "[1]", "--delay", "soon"], "a duration is"),
        (["charge", "--args", "[1]", "--delay", "400d"], "a year"),
        (["charge", "--args", "[1]", "--queue", "shpo"], "No queue is called 'shpo'"),
        (["charge", "--args", "[1]", "--option", "max_retris=3"], "Did you mean 'max_retries'?"),
        (["charge", "--args", "[1]", "--option", "max_retries"], "an option is NAME=JSON"),
    ],
)
def test_a_mistake_in_what_to_send_is_code_two_in_words(
    broker: DatabaseBroker, taskq: Taskq, words: list[str], text: str
) -> None:
    ending = taskq("send", *words)

    assert (ending.code, ending.out) == (2, "")
    assert text in ending.err and "Traceback" not in ending.err
    assert broker.peek("shop") == []


# requeue and discard


def test_requeue_by_id_tells_what_was_skipped(broker: DatabaseBroker, taskq: Taskq) -> None:
    [dead] = bury(broker, [order(broker)])

    assert taskq("requeue", dead, "nobody") == (0, "1 requeued, 1 skipped\n", "nobody: nothing to requeue.\n")
    assert taskq("requeue", dead, "--json").json == {
        "action": "requeue",
        "done": 0,
        "skipped": 1,
        "dry_run": False,
        "skipped_ids": [dead],
    }
    assert taskq("requeue", dead).code == 1


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (["--all"], 3),
        (["--actor", "charge"], 2),
        (["--queue", "mails"], 1),
        (["--reason", "retries_exhausted"], 3),
        (["--state", "dead", "--limit", "2"], 2),
        (["--actor", "charge", "--queue", "mails"], 0),
    ],
)
def test_requeue_of_what_fits(broker: DatabaseBroker, taskq: Taskq, words: list[str], number: int) -> None:
    bury(broker, [order(broker, 1), order(broker, 2), broker.actors["mail"].message("a@b.c")])

    rehearsal = taskq("requeue", *words, "--dry-run", "--json")
    assert (rehearsal.json["done"], rehearsal.json["dry_run"]) == (number, True)
    assert records().filter(state="dead").count() == 3

    ending = taskq("requeue", *words)
    assert ending == (0 if number else 1, f"{number} requeued\n", "")
    assert records().filter(state="enqueued").count() == number


def test_requeue_leaves_an_operation_that_people_can_look_up(broker: DatabaseBroker, taskq: Taskq) -> None:
    bury(broker, [order(broker)])

    taskq("requeue", "--actor", "charge")

    [operation] = BulkOperation.objects.using(broker.using)
    assert (operation.filters, operation.done) == ({"state": "dead", "actor_name": "charge"}, 1)


def test_discard_throws_away_what_waits_too(broker: DatabaseBroker, taskq: Taskq) -> None:
    bury(broker, [order(broker)])
    broker.enqueue_many([order(broker, 2, delay=60_000), order(broker, 3)])

    assert taskq("discard", "--state", "delayed", "--dry-run").out == "1 would be discarded\n"
    assert taskq("discard", "--state", "delayed").out == "1 discarded\n"
    assert taskq("discard", "--all").out == "1 discarded\n"
    assert [record.args for record in records().exclude(state="discarded")] == [[3]]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "Name message ids, or filters, or --all"),
        (["some-id", "--all"], "one of the three"),
        (["--actor", "charge", "--all"], "one of the three"),
        (["--state", "succeeded"], "requeue is for what is dead, unknown; not 'succeeded'"),
        (["--state", "ded"], "Did you mean 'dead'?"),
        (["--stamp", "batch"], "stamp: name=value is wanted"),
        (["--stamp", "batch="], "stamp: stamps['batch']: a value has 1 to 255"),
        (["--actor", "chrage"], "Did you mean 'charge'?"),
        (["--queue", "nowhere"], "Known are: mails, shop."),
        (["--all", "--limit", "0"], "a whole number from 1 on"),
        (["--all", "--limit", "9" * 20], "a whole number from 1 on"),
        (["no-\udcff-utf-8"], "This is no text"),
        (["--actor", "\udcff"], "This is no text"),
        (["--queue", "\udcff"], "This is no text"),
    ],
)
def test_a_mistake_in_what_to_requeue_is_code_two_in_words(
    broker: DatabaseBroker, taskq: Taskq, words: list[str], text: str
) -> None:
    [dead] = bury(broker, [order(broker)])

    ending = taskq("requeue", *words)

    assert (ending.code, ending.out) == (2, "")
    assert text in ending.err and "Traceback" not in ending.err
    assert records().get(pk=dead).state == "dead"


def test_an_actor_that_is_gone_can_still_be_asked_for(broker: DatabaseBroker, taskq: Taskq) -> None:
    bury(broker, [Message("shop", "ship", (1,))])

    assert taskq("requeue", "--actor", "ship").out == "1 requeued\n"


# workers and health


def test_workers_lists_those_that_are_alive(broker: DatabaseBroker, taskq: Taskq) -> None:
    assert taskq("workers") == (1, "", "No worker is alive; manage.py runworkers starts some.\n")
    hire(broker, "shop", "mails")

    ending = taskq("workers")
    [worker] = taskq("workers", "--json").json

    assert ending.code == 0
    assert max(map(len, ending.out.splitlines())) <= 80
    assert "4194304" in ending.out and " 5h " in ending.out
    assert set(worker) == {field.name for field in WorkerProcess._meta.concrete_fields}
    assert worker["queues"] == ["shop", "mails"]


def test_schedules_lists_what_runs_again_and_again(broker: DatabaseBroker, taskq: Taskq) -> None:
    nothing = "No schedule was seen yet; manage.py runworkers notes those that the code declares.\n"
    assert taskq("schedules") == (1, "", nothing)
    at = datetime(2026, 6, 1, 12, tzinfo=UTC)
    common = {"actor_name": "charge", "spec": "0 * * * *", "time_zone": "Europe/Berlin", "declared_at": at}
    schedules = ScheduleEntry.objects.using(broker.using)
    schedules.create(name="hourly", next_at=at, **common)
    schedules.create(name="never", enabled=False, last_at=at, **common)

    ending = taskq("schedules")
    hourly, never = taskq("schedules", "--json").json

    assert ending.code == 0
    assert max(map(len, ending.out.splitlines())) <= 80
    assert [line.split()[-2:] for line in ending.out.splitlines()[1:]] == [
        ["2026-06-01", "12:00:00"],
        ["2026-06-01", "12:00:00"],
    ]
    assert "disabled" in ending.out.splitlines()[2] and "disabled" not in ending.out.splitlines()[1]
    assert set(hourly) == {field.name for field in ScheduleEntry._meta.concrete_fields}
    assert (hourly["next_at"], never["enabled"]) == ("2026-06-01T12:00:00Z", False)


def test_health_wants_a_live_worker_for_every_queue(broker: DatabaseBroker, taskq: Taskq) -> None:
    assert taskq("health")[:2] == (1, "No worker is alive.\n")

    hire(broker, "shop")
    assert taskq("health")[:2] == (1, "No worker serves the queue 'mails'.\n")
    assert taskq("health", "--json").json == {"healthy": False, "problems": ["No worker serves the queue 'mails'."]}

    hire(broker, "mails", "shop")
    assert taskq("health") == (0, "healthy\n", "")
    assert taskq("health", "--json").json == {"healthy": True, "problems": []}


def test_health_asks_no_database_that_only_has_rows_that_wait(
    broker: DatabaseBroker, taskq: Taskq, monkeypatch: pytest.MonkeyPatch
) -> None:
    hire(broker, "mails", "shop")
    monkeypatch.setattr(WaitingRows, "count", lambda *args: pytest.fail("it may be away, and connecting takes minutes"))

    assert taskq("health") == (0, "healthy\n", "")


# purge-records


def test_purge_records_deletes_what_finished_before(broker: DatabaseBroker, taskq: Taskq) -> None:
    old, new = bury(broker, [order(broker, 1), order(broker, 2)])
    week_ago = timezone.now() - timedelta(days=7)
    records().filter(pk=old).update(finished_at=week_ago, created_at=week_ago)

    assert taskq("purge-records", "--before", "8d") == (1, "0 records deleted\n", "")
    assert taskq("purge-records", "--before", "6d") == (0, "1 records deleted\n", "")
    assert [record.message_id for record in records()] == [new]
    assert taskq("purge-records", "--before", "2999-01-01", "--json").json == {
        "deleted": 1,
        "before": datetime(2999, 1, 1, tzinfo=UTC).isoformat().replace("+00:00", "Z"),
    }


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "--before"),
        (["--before", "soon"], "a time like 2026-01-31"),
        (["--before", "999999d"], "there were no records"),
        (["--before", "99999999999999d"], "there were no records"),
        (["--before", "0001-01-01T00:00:00+14:00"], "a time like 2026-01-31"),
        (["--before", "9999-12-31T23:59:59-14:00"], "a time like 2026-01-31"),
    ],
)
def test_a_mistake_in_what_to_purge_is_code_two_in_words(
    broker: DatabaseBroker, taskq: Taskq, words: list[str], text: str
) -> None:
    ending = taskq("purge-records", *words)

    assert ending.code == 2
    assert text in ending.err


def test_no_subcommand_and_an_unknown_one_are_code_two(taskq: Taskq) -> None:
    assert taskq().code == taskq("stast").code == 2


def test_every_subcommand_speaks_json(broker: DatabaseBroker, taskq: Taskq) -> None:
    [dead] = bury(broker, [order(broker)])
    calls = ["stats", "messages", f"show {dead}", "send charge --args [1]", f"requeue {dead}", "discard --all"]
    calls += ["workers", "schedules", "health", "purge-records --before 9d"]
    calls += [
        "revoke --stamp a=1",
        "lift 1",
        "revocations",
        "pause --queue shop",
        "resume --actor charge",
        "purge --queue shop --yes",
    ]

    for call in calls:
        assert json.loads(taskq(*call.split(), "--json").out) is not None


def test_a_bar_is_drawn_where_somebody_watches() -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    out = Output(OutputWrapper(StringIO()), OutputWrapper(screen), as_json=False)
    out.progress(5, 10)
    out.progress(10, 10, is_over=True)

    assert screen.getvalue() == f"\r[{'#' * 12:<24}]  50% 5\r[{'#' * 24}] 100% 10\n"
