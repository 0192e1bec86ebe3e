"""``taskq revoke``, ``lift``, ``revocations``, ``pause``, ``resume`` and ``purge``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO

import pytest
from django.utils import timezone

from django_tasks_q import Message, Worker, clock, pause_actor, pause_queue, revoke
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.models import ActorState, QueueState, Revocation, WorkerProcess
from django_tasks_q.operations.filters import records
from tests.commands.conftest import Taskq
from tests.support.dead_letters import bury
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def nothing_said(broker: DatabaseBroker) -> Iterator[None]:
    yield
    for model in (Revocation, ActorState, QueueState):
        model.objects.using(broker.using).all().delete()


def order(broker: DatabaseBroker, number: int = 1, **options: object) -> Message[None]:
    return broker.actors["charge"].message_with_options(args=(number,), **options)


def states() -> dict[str, int]:
    found: dict[str, int] = {}
    for state in records().values_list("state", flat=True):
        found[state] = found.get(state, 0) + 1
    return found


# revoke


def test_revoke_by_stamp_splits_at_the_first_sign_and_takes_a_name_twice(broker: DatabaseBroker, taskq: Taskq) -> None:
    for value in ("a=b", "c", "d"):
        broker.enqueue(order(broker, stamps={"batch": value}))

    ending = taskq(
        "revoke", "--stamp", "batch=a=b", "--stamp", "batch=c", "--reason", "a mistake", "--expires", "never"
    )

    [row] = Revocation.objects.using(broker.using)
    assert ending == (0, f"revocation {row.pk}: 2 enqueued\n", "")
    assert states() == {"revoked": 2, "enqueued": 1}
    assert row.conditions["stamps"] == {"batch": ["a=b", "c"]}
    assert (row.reason, row.created_by, row.expires_at) == ("a mistake", "taskq", None)


def test_revoke_by_id_actor_and_queue(broker: DatabaseBroker, taskq: Taskq) -> None:
    first, _, delayed = broker.enqueue_many([order(broker), order(broker, 2), order(broker, 3, delay=60_000)])
    broker.enqueue(broker.actors["mail"].message("a@b.c"))

    by_id = taskq("revoke", first.message_id, delayed.message_id, "--json").json
    by_all = taskq("revoke", "--actor", "charge", "--queue", "mails", "--match", "all", "--json")
    by_any = taskq("revoke", "--actor", "charge", "--queue", "mails", "--match", "any", "--json").json

    assert (by_id["counts"], by_id["total"], by_id["unreached"]) == ({"enqueued": 1, "delayed": 1}, 2, [])
    assert (by_all.code, by_all.json["counts"]) == (1, {})
    assert by_any["counts"] == {"enqueued": 2}
    assert states() == {"revoked": 4}


def test_a_rehearsal_of_revoke_writes_nothing_down(broker: DatabaseBroker, taskq: Taskq) -> None:
    broker.enqueue(order(broker))

    assert taskq("revoke", "--queue", "shop", "--dry-run") == (0, "1 enqueued would be called off\n", "")
    assert taskq("revoke", "--queue", "mails", "--dry-run")[:2] == (1, "no messages would be called off\n")
    assert taskq("revoke", "--queue", "shop", "--dry-run", "--json").json == {
        "id": None,
        "counts": {"enqueued": 1},
        "total": 1,
        "unreached": [],
        "confirmed": True,
        "dry_run": True,
    }
    assert not Revocation.objects.using(broker.using).exists()


def test_what_nobody_has_sent_yet_is_revoked_too_with_code_one(broker: DatabaseBroker, taskq: Taskq) -> None:
    ending = taskq("revoke", "--stamp", "batch=7", "--expires", "2h", "--terminate")

    [row] = Revocation.objects.using(broker.using)
    assert ending == (1, f"revocation {row.pk}: no messages\n", "")
    assert row.terminate and row.expires_at - row.created_at == timedelta(hours=2)


def test_revoke_names_the_workers_that_do_not_obey(broker: DatabaseBroker, taskq: Taskq) -> None:
    broker.enqueue(order(broker))
    now = timezone.now()
    WorkerProcess.objects.using(broker.using).create(
        worker_id="host:7:stands-still", threads=1, started_at=now, heartbeat_at=now + timedelta(minutes=1)
    )

    ending = taskq("revoke", "--queue", "shop")

    assert ending.code == 0
    assert ending.err == "Not obeyed yet by host:7:stands-still: cut off, or standing still.\n"


def test_revoke_takes_all_that_was_sent_and_nothing_that_comes(broker: DatabaseBroker, taskq: Taskq) -> None:
    bury(broker, [order(broker)])
    broker.enqueue_many([order(broker, 2), order(broker, 3, delay=60_000)])
    broker.enqueue(broker.actors["mail"].message("a@b.c"))

    assert taskq("revoke", "--all", "--dry-run") == (0, "1 delayed, 2 enqueued would be called off\n", "")
    ending = taskq("revoke", "--all", "--no-input")
    [row] = Revocation.objects.using(broker.using)
    assert ending == (0, f"revocation {row.pk}: 1 delayed, 2 enqueued\n", "")
    assert states() == {"dead": 1, "revoked": 3}
    assert taskq("revocations").out.splitlines()[1].split()[:4] == [str(row.pk), "everything", "3", "taskq"]

    until(lambda: clock.wall_ms() > row.created_at.timestamp() * 1000 + 1)
    broker.enqueue(order(broker, 4))
    worker = Worker(broker, worker_timeout=20, worker_threads=1)
    worker.start()
    try:
        until(lambda: states() == {"dead": 1, "revoked": 3, "succeeded": 1}, 20, lambda: str(states()))
    finally:
        worker.stop(5_000)


@pytest.mark.parametrize(("answer", "code", "revoked"), [("y\n", 0, 2), ("n\n", 1, 0), ("", 1, 0)])
def test_revoke_of_all_asks_who_sits_at_a_terminal(
    broker: DatabaseBroker, taskq: Taskq, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, revoked: int
) -> None:
    broker.enqueue_many([order(broker), order(broker, 2)])
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    ending = taskq("revoke", "--all")

    assert ending.code == code
    assert ending.err.startswith("2 enqueued\nCall all of them off? [y/N] ")
    assert states().get("revoked", 0) == revoked


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "Name message ids, --stamp, --actor or --queue, or --all alone."),
        (["--all", "--yes", "--queue", "shop"], "or --all alone"),
        (["--all", "--yes", "--future"], "--future is for --actor and --queue"),
        (["--all"], "say --yes"),
        (["--actor", "charge", "--queue", "shop"], "actor, queue: say --match all"),
        (["--actor", "chrage"], "Did you mean 'charge'?"),
        (["--queue", "nowhere"], "Known are: mails, shop."),
        (["--stamp", "batch"], "name=value is wanted"),
        (["--stamp", "=7"], "The name of a stamp"),
        (["--stamp", "a batch=7"], "The name of a stamp"),
        (["--stamp", "batch="], "1 to 255 printable characters"),
        ([word for number in range(40) for word in ("--stamp", f"a={number}")], "at most 32 values"),
        (["x" * 65], "A message id has 1 to 64"),
        (["--stamp", "a=1", "--future"], "--future is for --actor and --queue"),
        (["--stamp", "a=1", "--expires", "soon"], "a duration is"),
        (["--stamp", "a=1", "--expires", "0"], "or never"),
        (["--stamp", "a=1", "--expires", "99999999999999d"], "or never"),
        (["--stamp", "a=1", "--match", "some"], "invalid choice"),
        (["--stamp", "a=\udcff"], "printable"),
    ],
)
def test_a_mistake_in_what_to_revoke_is_code_two_in_words(
    broker: DatabaseBroker, taskq: Taskq, words: list[str], text: str
) -> None:
    broker.enqueue(order(broker))

    ending = taskq("revoke", *words)

    assert (ending.code, ending.out) == (2, "")
    assert text in ending.err and "Traceback" not in ending.err
    assert states() == {"enqueued": 1}


# lift and revocations


def test_lift_ends_a_revocation_once(broker: DatabaseBroker, taskq: Taskq) -> None:
    number = revoke(stamps={"batch": 7}).id

    assert taskq("lift", str(number)) == (0, f"revocation {number} lifted\n", "")
    assert taskq("lift", str(number)) == (1, "", f"No revocation {number} holds.\n")
    assert taskq("lift", str(number), "--json").json == {"id": number, "lifted": False}
    assert taskq("lift", "seven").code == taskq("lift").code == 2


def test_revocations_lists_those_that_hold_and_with_all_the_others_too(broker: DatabaseBroker, taskq: Taskq) -> None:
    assert taskq("revocations") == (1, "", "No revocation holds.\n")
    assert taskq("revocations", "--all", "--json")[:2] == (1, "[]\n")
    broker.enqueue(order(broker))
    expired = revoke(ids=["a"], expires=1).id
    lifted = revoke(actor="charge").id
    taskq("lift", str(lifted))
    holding = revoke(stamps={"batch": 7}, reason="an import of last week that nobody wants any more", by="ann").id
    until(lambda: len(taskq("revocations", "--json").json) == 1)

    lines = taskq("revocations").out.splitlines()
    all_lines = taskq("revocations", "--all").out.splitlines()
    [row] = taskq("revocations", "--json").json

    assert max(map(len, all_lines)) <= 80
    assert lines[0].split() == ["ID", "WHAT", "FOUND", "BY", "AGE", "HOLDS", "REASON"]
    assert lines[1].split()[:6] == [str(holding), "stamp", "batch=7", "0", "ann", "0s"]
    assert [line.split()[0] for line in all_lines[1:]] == [str(holding), str(lifted), str(expired)]
    assert "lifted" in all_lines[2] and "expired" in all_lines[3]
    assert set(row) == {field.name for field in Revocation._meta.concrete_fields}
    assert len(taskq("revocations", "--all", "--limit", "2", "--json").json) == 2


# pause and resume


@pytest.mark.parametrize(("kind", "name"), [("queue", "shop"), ("actor", "charge")])
def test_pause_and_resume_say_whether_anything_changed(
    broker: DatabaseBroker, taskq: Taskq, kind: str, name: str
) -> None:
    words = (f"--{kind}", name)

    assert taskq("pause", *words) == (0, f"{kind} {name} paused\n", "")
    assert taskq("pause", *words) == (1, "", "Nothing to pause.\n")
    assert taskq("resume", *words) == (0, f"{kind} {name} resumed\n", "")
    assert taskq("resume", *words, "--json").json == {"action": "resume", f"{kind}_name": name, "changed": False}


def test_what_is_paused_does_not_run_until_it_is_resumed(broker: DatabaseBroker, taskq: Taskq) -> None:
    taskq("pause", "--queue", "shop")
    broker.enqueue(order(broker))
    broker.enqueue(broker.actors["mail"].message("a@b.c"))
    worker = Worker(broker, worker_timeout=20, worker_threads=1)
    worker.start()
    try:
        until(lambda: states() == {"enqueued": 1, "succeeded": 1}, 20, lambda: str(states()))
        taskq("resume", "--queue", "shop")
        until(lambda: states() == {"succeeded": 2}, 20, lambda: str(states()))
    finally:
        worker.stop(5_000)


@pytest.mark.parametrize("name", ["pause", "resume"])
@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "Name --queue or --actor: one of the two."),
        (["--queue", "shop", "--actor", "charge"], "one of the two"),
        (["--queue", "shpo"], "No queue is called 'shpo'. Did you mean 'shop'?"),
        (["--actor", "chrage"], "No actor is called 'chrage'. Did you mean 'charge'?"),
    ],
)
def test_a_mistake_in_what_to_pause_is_code_two_in_words(
    broker: DatabaseBroker, taskq: Taskq, name: str, words: list[str], text: str
) -> None:
    ending = taskq(name, *words)

    assert (ending.code, ending.out) == (2, "")
    assert text in ending.err and "Traceback" not in ending.err


def test_stats_tells_what_is_paused(broker: DatabaseBroker, taskq: Taskq) -> None:
    pause_queue("shop")
    pause_actor("mail")

    told, read = taskq("stats", "--json").json, taskq("stats").out

    assert {queue["queue_name"]: queue["paused"] for queue in told["queues"]} == {"mails": False, "shop": True}
    assert "shop (paused)" in read
    assert read.splitlines()[-2:] == ["paused queues: shop", "paused actors: mail"]


# purge


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def fill(broker: DatabaseBroker) -> None:
    bury(broker, [order(broker)])
    broker.enqueue_many([order(broker, 2, delay=60_000), order(broker, 3), order(broker, 4)])
    broker.enqueue(broker.actors["mail"].message("a@b.c"))


def test_purge_empties_one_queue(broker: DatabaseBroker, taskq: Taskq) -> None:
    fill(broker)

    assert taskq("purge", "--queue", "shop", "--dry-run") == (0, "shop: 2 ready, 1 delayed, 1 dead\n", "")
    assert states() == {"dead": 1, "delayed": 1, "enqueued": 3}
    assert taskq("purge", "--queue", "shop", "--yes") == (0, "shop: 2 ready, 1 delayed, 1 dead: purged\n", "")
    assert states() == {"discarded": 4, "enqueued": 1}
    assert taskq("purge", "--queue", "shop", "--yes").code == 1


def test_purge_empties_all_queues(broker: DatabaseBroker, taskq: Taskq) -> None:
    fill(broker)

    assert taskq("purge", "--all", "--yes", "--json").json == {
        "action": "purge",
        "queues": [
            {"queue_name": "mails", "ready": 1, "delayed": 0, "dead": 0},
            {"queue_name": "shop", "ready": 2, "delayed": 1, "dead": 1},
        ],
        "dry_run": False,
    }
    assert states() == {"discarded": 5}


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 2), ("\n", 1, 2), ("", 1, 2)])
def test_purge_asks_who_sits_at_a_terminal(
    broker: DatabaseBroker, taskq: Taskq, monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: int
) -> None:
    fill(broker)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    ending = taskq("purge", "--queue", "shop")

    assert ending.code == code
    assert ending.err.startswith("shop: 2 ready, 1 delayed, 1 dead\nThrow them away for good? [y/N] ")
    assert len(broker.peek("shop")) == left


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "Name --queue, or --all: one of the two."),
        (["--queue", "shop", "--all"], "one of the two"),
        (["--queue", "shpo", "--yes"], "No queue is called 'shpo'. Did you mean 'shop'?"),
        (["--queue", "shop"], "say --yes"),
        (["--all"], "say --yes"),
    ],
)
def test_a_mistake_in_what_to_purge_is_code_two_in_words(
    broker: DatabaseBroker, taskq: Taskq, monkeypatch: pytest.MonkeyPatch, words: list[str], text: str
) -> None:
    fill(broker)
    monkeypatch.setattr(sys, "stdin", StringIO("y\n"))

    ending = taskq("purge", *words)

    assert (ending.code, ending.out) == (2, "")
    assert text in ending.err and "Traceback" not in ending.err
    assert len(broker.peek("shop")) == 2
