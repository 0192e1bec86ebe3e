"""A hundred thousand messages that are due tomorrow are in nobody's way: no memory, no wait, no slower start."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_tasks_q import Message
from testproject import misbehave
from tests.support.ledger import Ledger
from tests.support.runworkers import Tree, Trees
from tests.support.stores import RECORDS, Store
from tests.support.waiting import until
from tests.support.worlds import World
from tests.support.yardstick import evenly

MANY = 100_000
A_DAY = 86_400_000
MOST_MEMORY = 5 * 1024
"""KiB by which one worker process may grow."""

LATEST = 0.5
"""Seconds after its time at which a delayed message has started."""

SLOWER = 1.2
BOOTS = 4

pytestmark = [pytest.mark.slow, pytest.mark.lifecycle]


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """Of the broker."""
    return str(request.param)


@pytest.fixture
def place(kind: str, store: Store) -> Iterator[Store]:
    """Where the messages are."""
    if kind == "database":
        yield store
        return
    world = World(store, kind)
    yield world
    world.close()


@pytest.fixture
def trees(tmp_path: Path, place: Store) -> Iterator[Trees]:
    trees = Trees(tmp_path, place)
    yield trees
    trees.clear_away()


@pytest.mark.parametrize(
    ("kind", "vendor"),
    [("database", "sqlite"), ("database", "postgresql"), ("redis", "sqlite"), ("rabbitmq", "sqlite")],
    indirect=True,
)
def test_what_is_due_tomorrow_costs_nothing_today(place: Store, trees: Trees, ledger: Ledger) -> None:
    # Given the time that an empty store takes, and workers that have run something
    empty = _first_task(place, trees, ledger)
    tree = trees.start("-p", "2")
    _run_one(place, ledger)
    before = _memory(tree)

    # When very many messages are sent that are due in a day, and right behind them one that is due in a second
    place.send(_noop(delay=A_DAY) for _ in range(MANY))
    began = ledger.now()
    (soon,) = place.send([_noop(delay=1_000)])

    # Then that one is on time, no worker has grown, and a start takes no longer than before
    until(lambda: soon in ledger.started(), 10, tree.story)
    waited = ledger.runs()[soon][0].start - began
    until(lambda: _waiting(place) == MANY, 60, tree.story)
    time.sleep(2)  # whoever wanted to fetch them has begun
    grown = {pid: kib - before[pid] for pid, kib in _memory(tree).items()}
    assert tree.stop() == 0
    full = _first_task(place, trees, ledger)
    print(f"started after {waited:.2f} s; workers grew by {grown} KiB; first task {full:.2f} s, empty {empty:.2f} s")
    assert 1.0 <= waited < 1.0 + LATEST
    assert max(grown.values()) < MOST_MEMORY
    assert full <= SLOWER * empty


def _noop(**options: int) -> Message[None]:
    return misbehave.noop.message_with_options(**options)


def _first_task(store: Store, trees: Trees, ledger: Ledger) -> float:
    """Seconds from the launch of the workers to the start of a task that was there before: the best of some."""
    return min(evenly(lambda: _boot(store, trees, ledger)) for _ in range(BOOTS))


def _boot(store: Store, trees: Trees, ledger: Ledger) -> float:
    (sent,) = store.send([_noop()])
    began = ledger.now()
    tree = trees.start("-p", "2", wait=False)
    until(lambda: sent in ledger.started(), 20, tree.story)
    took = ledger.runs()[sent][0].start - began
    tree.wait_ready()
    assert tree.stop() == 0
    return took


def _run_one(store: Store, ledger: Ledger) -> None:
    (sent,) = store.send([_noop()])
    until(lambda: sent in ledger.completed(), 10)


def _waiting(store: Store) -> int:
    """How many are at rest: where they wait, and recorded."""
    [[recorded]] = store.rows(f"SELECT COUNT(*) FROM {RECORDS} WHERE state = 'delayed'")
    return min(int(recorded), sum(counts.delayed for counts in store.broker.counts()))


def _memory(tree: Tree) -> dict[int, int]:
    """What each worker process has of its own, in KiB."""
    return {pid: _private(pid) for pid in tree.workers}


def _private(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Dirty", "Swap:")))
