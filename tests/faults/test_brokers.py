"""Trees on a server of messages: what is promised of the database holds there as well, and the records tell of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from testproject import misbehave
from tests.support.ledger import Fault, Faults, Ledger, check, drain
from tests.support.runworkers import Trees
from tests.support.stores import Store
from tests.support.waiting import until, within
from tests.support.worlds import World

pytestmark = pytest.mark.lifecycle

KINDS = ["redis", "rabbitmq"]
ON = pytest.mark.parametrize("kind", KINDS)
ON_EVERY_DATABASE = pytest.mark.parametrize(
    ("kind", "vendor"), list(product(KINDS, ["sqlite", "postgresql"])), indirect=["vendor"]
)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(kind: str, store: Store) -> Iterator[World]:
    world = World(store, kind)
    yield world
    world.close()


@pytest.fixture
def trees(tmp_path: Any, world: World) -> Iterator[Trees]:
    trees = Trees(tmp_path, world)
    yield trees
    trees.clear_away()


@ON
def test_the_first_lines_name_the_server_and_never_a_password(world: World, trees: Trees) -> None:
    tree = trees.start("-p", "1", "-t", "2")

    first = tree.output.splitlines()[0]
    assert "127.0.0.1" in first
    assert "guest" not in tree.output + tree.log
    assert tree.stop() == 0


@ON_EVERY_DATABASE
def test_a_tree_works_off_what_was_sent_and_every_record_is_final(world: World, trees: Trees, ledger: Ledger) -> None:
    # Given successes, failures that are retried, failures for good, and pipelines
    messages = [
        *(misbehave.noop.message() for _ in range(200)),
        *(misbehave.fail.message(1) for _ in range(20)),
        *(misbehave.fail_always.message_with_options(max_retries=1) for _ in range(5)),
        *((misbehave.echo.message(1) | misbehave.echo.message()).messages[0] for _ in range(10)),
    ]
    sent = world.send(messages)

    # When a tree has worked everything off
    tree = trees.start("-p", "2", "-t", "4")
    drain(world, 40, tree.story)
    assert tree.stop() == 0, tree.story()

    # Then ledger, broker and records tell the same story
    check(ledger, sent, world, Faults(0))
    states = world.states()
    assert len(states) == len(sent) + 10
    assert sorted(set(states.values())) == ["dead", "succeeded"]
    assert set(world.dead().values()) == {"retries_exhausted"}
    assert world.held() == 0


@ON
def test_what_a_killed_worker_was_running_starts_again_within_two_seconds(
    world: World, trees: Trees, ledger: Ledger, tmp_path: Path
) -> None:
    # Given two processes in the middle of tasks, with many behind these
    gate = tmp_path / "gate"
    tree = trees.start("-p", "2", "-t", "8")
    sent = world.send(misbehave.wait_for_file.message(str(gate)) for _ in range(120))
    until(lambda: [len(ledger.open_runs(pid)) for pid in tree.workers] == [8, 8], 20, tree.story)

    # When one of them is killed
    victim = tree.workers[0]
    before = time.monotonic()
    tree.signal(signal.SIGKILL, victim)
    until(lambda: victim not in tree.workers)
    interrupted = ledger.open_runs(victim)
    gate.touch()

    # Then what it ran starts again at once, and everything comes to its end
    drain(world, 40, tree.story)
    assert tree.stop() == 0
    runs = ledger.runs()
    assert len(interrupted) == 8
    assert ledger.completed() == set(sent)
    recovery = max(runs[message_id][1].start for message_id in interrupted) - before
    assert recovery < within(2), f"started again after {recovery:.2f} s"
    check(ledger, sent, world, Faults(0, [Fault("kill", frozenset([victim]), before, before + 0.2)]))


@ON
def test_what_outlives_the_shutdown_time_out_goes_back_uncounted_and_runs_in_the_next_tree(
    world: World, trees: Trees, ledger: Ledger
) -> None:
    # Given a task that would run for half a minute, with others behind it
    tree = trees.start("-p", "1", "-t", "1", "--worker-shutdown-timeout", "1s")
    sent = world.send([misbehave.sleep.message(30.0), misbehave.noop.message(), misbehave.noop.message()])
    until(lambda: ledger.started() == {sent[0]}, 10, tree.story)

    # When the worker is stopped
    before = time.monotonic()
    assert tree.stop(8) == 0, tree.story()
    assert time.monotonic() - before < within(5)

    # Then nothing else has run, and the task starts again in the next tree, as if it had never begun
    assert ledger.started() == {sent[0]}
    again = trees.start("-p", "1", "-t", "3")
    until(lambda: len(ledger.runs()[sent[0]]) == 2 and len(ledger.completed()) == 2, 10, again.story)
    assert [run.attempt for run in ledger.runs()[sent[0]]] == [0, 0]
    until(lambda: world.record(sent[0])["state"] == "running", 5, again.story)
    record = world.record(sent[0])
    assert (record["retries"], record["lost"]) == (0, 0)
    assert again.stop(35) in (0, 1)


@ON
def test_a_message_that_is_due_in_a_second_starts_within_a_second_and_a_half(
    world: World, trees: Trees, ledger: Ledger
) -> None:
    tree = trees.start("-p", "1", "-t", "2")
    world.send([misbehave.noop.message()])
    until(lambda: len(ledger.completed()) == 1, 10, tree.story)

    for _ in range(3):
        before = ledger.now()
        [message_id] = world.send([misbehave.noop.message_with_options(delay=1_000)])
        until(lambda message_id=message_id: message_id in ledger.completed(), 10, tree.story)
        waited = ledger.runs()[message_id][0].start - before
        assert 1.0 <= waited < within(1.5), f"it started after {waited:.2f} s"

    drain(world, 10, tree.story)
    assert tree.stop() == 0


@ON
def test_a_task_that_lets_no_other_thread_run_keeps_what_it_holds_on_a_server(
    world: World, trees: Trees, ledger: Ledger
) -> None:
    tree = trees.start("-p", "1", "-t", "2", settings={"LEASE": 2_000})
    sent = world.send([misbehave.hold_gil.message(3.5), misbehave.noop.message()])

    drain(world, 20, tree.story)

    assert tree.stop() == 0
    assert {message_id: len(runs) for message_id, runs in ledger.runs().items()} == dict.fromkeys(sent, 1)
    assert world.all_attempts() == {}
    assert set(world.states().values()) == {"succeeded"}


@pytest.mark.parametrize(
    ("url", "kind"),
    [("redis://:secret@127.0.0.1:1/0", "redis"), ("amqp://secret:secret@127.0.0.1:1/", "rabbitmq")],
    indirect=["kind"],
)
def test_a_server_that_is_away_at_boot_is_awaited_and_then_named_without_its_password(
    url: str, world: World, trees: Trees
) -> None:
    tree = trees.start("--wait-for-broker", "5000", wait=False, settings={"BROKER_URL": url})

    assert tree.wait(20) == 3, tree.story()
    assert "Waiting for the broker" in tree.log
    assert "The broker cannot be reached" in tree.log
    assert "127.0.0.1:1" in tree.log
    assert "secret" not in tree.output + tree.log
    assert "Traceback" not in tree.log
