"""Functions of middleware that run beside the workers."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.support.ledger import Ledger
from tests.support.runworkers import Trees
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle

BESIDE = {
    "MIDDLEWARE": ["testproject.beside.Beside", "django_tasks_q.middleware.Retries", "django_tasks_q.middleware.Limits"]
}


def begun(ledger: Ledger) -> dict[str, int]:
    """Which functions have begun, with their processes."""
    lines = map(json.loads, ledger.path.read_text().splitlines()) if ledger.path.exists() else ()
    return {line["actor"]: line["pid"] for line in lines}


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("how", [[], ["--use-spawn"]], ids=["forked", "spawned"])
def test_each_runs_once_beside_the_workers_and_ends_with_them(how: list[str], trees: Trees, ledger: Ledger) -> None:
    tree = trees.start("-p", "2", "-t", "1", *how, settings=BESIDE)
    until(lambda: begun(ledger).keys() == {"ends", "stays"}, 10, tree.story)
    pids = begun(ledger)
    until(lambda: not lives(pids["ends"]))

    assert lives(pids["stays"])
    assert tree.stop() == 0
    assert not lives(pids["stays"])
    assert len(ledger.path.read_text().splitlines()) == 2


def test_one_that_fails_is_started_again_and_one_that_returned_is_not(trees: Trees, ledger: Ledger) -> None:
    tree = trees.start("-p", "1", "-t", "1", settings=BESIDE)
    until(lambda: begun(ledger).keys() == {"ends", "stays"}, 10, tree.story)
    before = begun(ledger)
    until(lambda: not lives(before["ends"]))

    tree.signal(signal.SIGKILL, before["stays"])

    until(lambda: begun(ledger)["stays"] != before["stays"], 10, tree.story)
    assert begun(ledger)["ends"] == before["ends"]
    assert tree.stop() == 0
    assert not lives(begun(ledger)["stays"])


def test_one_that_does_not_listen_ends_all_the_same(trees: Trees, ledger: Ledger) -> None:
    stack = ["testproject.beside.Deaf", *BESIDE["MIDDLEWARE"][1:]]
    tree = trees.start("-p", "1", "-t", "1", settings={"MIDDLEWARE": stack})
    until(lambda: "hears_nothing" in begun(ledger), 10, tree.story)

    assert tree.stop(10) == 0, tree.story()
    assert not lives(begun(ledger)["hears_nothing"])


def test_they_do_not_outlive_a_generation_that_is_killed(trees: Trees, ledger: Ledger) -> None:
    tree = trees.start("-p", "1", "-t", "1", settings=BESIDE)
    until(lambda: "stays" in begun(ledger), 10, tree.story)

    tree.signal(signal.SIGKILL, tree.generation)

    until(lambda: not lives(begun(ledger)["stays"]), 10, tree.story)
