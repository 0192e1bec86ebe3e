"""Revocations and pauses in real trees of processes: what was called off never runs, whoever is started anew."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from django_tasks_q import (
    Message,
    pause_queue,
    records_database,
    resume_queue,
    revoke,
    revoke_by_stamped_headers,
    set_broker,
)
from testproject import misbehave
from tests.support.ledger import Ledger, drain
from tests.support.runworkers import Trees
from tests.support.stores import RECORDS, Store
from tests.support.waiting import until, within
from tests.support.worlds import World

SIZE = int(os.environ.get("DTQ_REVOKE_SIZE", "1000"))
"""Messages that wait, and as many that are delayed; 10,000 take about four times as long."""

KINDS = pytest.mark.parametrize(
    ("vendor", "kind"),
    [("sqlite", ""), ("postgresql", ""), ("mariadb", ""), ("sqlite", "redis"), ("postgresql", "rabbitmq")],
    ids=["sqlite", "postgresql", "mariadb", "redis", "rabbitmq"],
    indirect=["vendor"],
)

RETRYING, RUNNING = 50, 16
BATCH = "a=b=42"

pytestmark = [pytest.mark.lifecycle, pytest.mark.slow, pytest.mark.timeout(300 + SIZE // 20)]


@pytest.fixture
def place(kind: str, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Where messages are; this process revokes them there."""
    world = World(store, kind) if kind else store
    set_broker(world.broker)
    monkeypatch.setattr(records_database, "alias", lambda broker: world.alias)
    yield world
    if kind:
        world.close()


@pytest.fixture
def trees(tmp_path: Path, place: Store) -> Iterator[Trees]:
    trees = Trees(tmp_path, place)
    yield trees
    trees.clear_away()


def states(place: Store) -> dict[str, int]:
    return dict(place.rows(f"SELECT state, COUNT(*) FROM {RECORDS} GROUP BY state"))


def stamped(message: Message[Any], **stamps: Any) -> Message[Any]:
    """With a second name that nobody asks for."""
    return message.stamp({"another": "one", **(stamps or {"batch_id": BATCH})})


@KINDS
def test_a_batch_that_waits_is_delayed_retries_and_runs_is_revoked_whoever_starts_anew(
    place: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a batch of which some retry, some run, many wait and many are delayed; and others that have nothing to do
    # with it, though their stamps look alike
    tree = trees.start("-p", "2", "-t", "8")
    place.send(
        stamped(misbehave.fail_always.message_with_options(min_backoff=600_000, max_backoff=600_000))
        for _ in range(RETRYING)
    )
    until(lambda: states(place) == {"retrying": RETRYING}, 60, lambda: f"{states(place)} {tree.story()}")
    running = place.send(stamped(misbehave.sleep.message(120.0), batch_id=[41, BATCH]) for _ in range(RUNNING))
    until(lambda: states(place).get("running") == RUNNING, 30, lambda: f"{states(place)} {tree.story()}")
    waiting = place.send(stamped(misbehave.noop.message()) for _ in range(SIZE))
    due_soon = misbehave.noop.message_with_options(delay=30_000)
    delayed = place.send(
        stamped(
            (misbehave.noop.message_with_options(delay=600_000) if number % 10 else due_soon).copy(
                message_id=f"d{number}"
            )
        )
        for number in range(SIZE)
    )
    innocent = place.send(
        [stamped(misbehave.noop.message(), batch_id="a"), stamped(misbehave.noop.message(), another_id=BATCH)] * 1
    )
    wanted = {"enqueued": SIZE + 2, "delayed": SIZE, "retrying": RETRYING, "running": RUNNING}
    until(lambda: states(place) == wanted, 120, lambda: f"{states(place)} {tree.story()}")
    ran_before = ledger.started()

    # When it is revoked, by two names of which only the second fits
    began = time.monotonic()
    revocation = revoke_by_stamped_headers({"nobody": 1, "batch_id": [7, BATCH]}, terminate=True, reason="a mistake")
    took = time.monotonic() - began

    # Then the counts are right, what runs has ended within the grace, and nothing that waited runs
    assert revocation.counts == {"enqueued": SIZE, "delayed": SIZE, "retrying": RETRYING, "running": RUNNING}
    assert revocation.unreached == []
    until(lambda: not ledger.open_runs(), 10, tree.story)
    ended = time.monotonic() - began
    assert set(running) == {run for run in ledger.started() if run in running}

    # And after a restart of everything the rest is what it should be, too
    assert tree.stop() == 0, tree.story()
    again = trees.start("-p", "2", "-t", "8")
    late = place.send([stamped(misbehave.noop.message()), stamped(misbehave.noop.message_with_options(delay=500))])
    total = {"revoked": 2 * SIZE + RETRYING + RUNNING + 2, "succeeded": 2}
    until(lambda: states(place) == total, 120, lambda: f"{states(place)} {again.story()}")
    drain(place, 30, again.story)
    assert again.stop() == 0, again.story()
    assert ledger.started() - ran_before == set(innocent)
    assert not {*waiting, *delayed, *late} & ledger.started()
    print(f"revoke() returned after {took:.2f} s; all {RUNNING} that ran had ended after {ended:.2f} s")


@KINDS
def test_who_does_not_end_takes_its_process_along_and_nobody_else_is_to_blame(
    place: Store, trees: Trees, ledger: Ledger, tmp_path: Path
) -> None:
    # Given two that run side by side, one of which ends for nobody
    gate = tmp_path / "gate"
    tree = trees.start("-p", "1", "-t", "4", settings={"TIME_LIMIT_GRACE": 1_000})
    [stubborn] = place.send([misbehave.swallow.message(300.0)])
    [neighbour] = place.send([misbehave.wait_for_file.message(str(gate))])
    until(lambda: states(place) == {"running": 2}, 20, lambda: f"{states(place)} {tree.story()}")
    worker = tree.workers

    # When it is called off
    began = time.monotonic()
    assert revoke(ids=[stubborn], terminate=True).counts == {"running": 1}
    until(lambda: tree.workers not in (worker, []), 20, tree.story)
    took = time.monotonic() - began
    gate.touch()

    # Then it has ended with its process, once its neighbour had had the grace as well, which runs again uncounted
    until(lambda: states(place) == {"revoked": 1, "succeeded": 1}, 30, lambda: f"{states(place)} {tree.story()}")
    assert tree.stop() == 0
    assert took < within(5)
    record = place.record(neighbour)
    assert (record["retries"], record["lost"], record["state"]) == (0, 0, "succeeded")
    record = place.record(stubborn)
    assert (record["state"], record["dead_reason"]) == ("revoked", "")
    assert [outcome for outcome, _ in place.attempts(stubborn)] == ["revoked"]
    assert Counter(run.message_id for runs in ledger.runs().values() for run in runs) == {stubborn: 1, neighbour: 2}


@KINDS
def test_a_pause_holds_within_a_second_on_all_workers_and_over_a_restart_of_everything(
    place: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given two trees at work on many short tasks
    first, second = trees.start("-p", "2", "-t", "4"), trees.start("-p", "1", "-t", "4")
    sent = place.send(misbehave.sleep.message(0.05) for _ in range(600))
    until(lambda: len(ledger.completed()) > 20, 30, first.story)

    # When the queue is paused
    began = ledger.now()
    assert pause_queue("default")
    took = ledger.now() - began

    # Then nothing starts any more after a second
    until(lambda: not ledger.open_runs(), 10)
    starts = [run.start for runs in ledger.runs().values() for run in runs]
    assert max(starts) - began < within(1), f"one started {max(starts) - began:.2f} s after the pause"
    number = len(ledger.started())
    assert number < len(sent)

    # Not even when everything is started anew
    assert first.stop() == second.stop() == 0
    third = trees.start("-p", "2", "-t", "4")
    place.send([misbehave.noop.message()])
    time.sleep(1.5)  # in which a worker that has forgotten the pause would have begun
    assert len(ledger.started()) == number

    # And everything runs, once, when it is resumed
    assert resume_queue("default")
    drain(place, 60, third.story)
    assert third.stop() == 0
    assert len(ledger.completed()) == len(sent) + 1
    assert {len(runs) for runs in ledger.runs().values()} == {1}
    print(f"obeyed after {took * 1000:.0f} ms; the last start was {(max(starts) - began) * 1000:.0f} ms after the call")
