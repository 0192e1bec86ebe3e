"""Gathered items, with many who add them and with those who die: each runs once, in runs of at most the size."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from testproject.gathering import collect
from tests.support import everywhere
from tests.support.everywhere import EVERYWHERE, ON_EACH_BROKER, program
from tests.support.ledger import Ledger, drain
from tests.support.runworkers import Trees
from tests.support.stores import ROOT, Store, environment
from tests.support.waiting import until

SENDERS = 8
ITEMS = int(os.environ.get("DTQ_GATHERED", "250"))
"""How many each sender adds."""

SIZE = collect.options["gather"].size
ROWS = "django_tasks_q_gathereditem"

pytestmark = [pytest.mark.lifecycle, pytest.mark.timeout(150)]

world = everywhere.world
trees = everywhere.trees


class Runs:
    """What the runs of the gathering actors have written down."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "ledger.jsonl.items"

    def lists(self) -> list[list[Any]]:
        if not self._path.exists():
            return []
        return [json.loads(line)["items"] for line in self._path.read_text().splitlines()]

    def items(self) -> list[Any]:
        return [item for items in self.lists() for item in items]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def left(world: Store) -> int:
    return int(world.rows(f"SELECT COUNT(*) FROM {ROWS}")[0][0])


@EVERYWHERE
def test_what_many_processes_add_at_once_runs_once_in_runs_of_at_most_the_size(
    world: Store, trees: Trees, runs: Runs
) -> None:
    # Given eight processes that add two thousand items, while two workers run
    tree = trees.start("-p", "2", "-t", "4")
    with program(world, "gathering_senders", str(ITEMS), str(SENDERS)) as process:
        assert process.wait(60) == 0

    # When there is nothing left
    until(lambda: len(runs.items()) >= SENDERS * ITEMS, 30, lambda: f"{len(runs.items())}\n{tree.story()}")
    until(lambda: left(world) == 0, 10)
    drain(world, 20, tree.story)
    assert tree.stop() == 0

    # Then each has run once, and no run got too many
    assert Counter(runs.items()) == Counter(range(SENDERS * ITEMS))
    assert max(map(len, runs.lists())) <= SIZE
    assert set(world.states().values()) <= {"succeeded", "skipped"}
    assert world.all_attempts() == {}, "somebody had to try again"


@ON_EACH_BROKER
def test_the_keeper_sends_for_items_whose_sender_was_killed_when_they_were_committed(
    world: Store, trees: Trees, runs: Runs
) -> None:
    with program(world, "gathering_senders", "die") as process:
        assert process.wait(60) == -signal.SIGKILL
    assert left(world) == 3 and world.states() == {}

    tree = trees.start("-p", "1")

    until(lambda: runs.items() == [1, 2, 3], 20, tree.story)
    until(lambda: left(world) == 0, 10)


@ON_EACH_BROKER
def test_each_item_of_a_killed_worker_runs(
    world: Store, trees: Trees, ledger: Ledger, runs: Runs, tmp_path: Path
) -> None:
    # Given items whose first run kills its worker
    fuse = tmp_path / "fuse"
    fuse.touch()
    tree = trees.start("-p", "1", "-t", "1")
    items = [str(fuse), *range(4)]
    environ = {"DTQ_ITEMS": json.dumps(items)}
    code = "import os, json, django; django.setup(); from testproject.gathering import collect_or_die; "
    code += "collect_or_die.gather_many(json.loads(os.environ['DTQ_ITEMS']))"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment(world.url, DJANGO_TASKS_Q_JSON=json.dumps(dict(world.settings)), **environ),
        check=True,
        timeout=60,
    )

    # When somebody else runs them
    until(ledger.completed, 40, tree.story)

    # Then it was the same message with the same items
    assert runs.lists() == [items]
    [attempts] = ledger.runs().values()
    assert [run.completed for run in attempts] == [False, True]
    until(lambda: left(world) == 0, 10)
