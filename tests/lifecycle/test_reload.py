"""New code without a restart, and old code when the new does not start."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from django_tasks_q import Message
from tests.support.ledger import Ledger
from tests.support.project import Project
from tests.support.runworkers import Tree, Trees
from tests.support.stores import Store
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle

PICKED_UP = 2.0
"""Seconds from a save until the new code runs, on a machine that starts a tree in half a second."""

BOOTS = 4
"""On a slower one (or one that has other things to do): this many times what the first start took."""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def start(trees: Trees, project: Project, *arguments: str) -> Tree:
    return trees.start("-p", "2", "-t", "2", *arguments, cwd=project.folder, variables=project.variables)


def run_version(store: Store, tree: Tree) -> str:
    """Which version of the code runs a message that is sent now."""
    before = tree.log.count("version ")
    store.send([Message("default", "version", (), {}, {})])
    until(lambda: tree.log.count("version ") > before, 10, tree.story)
    return tree.log.rpartition("version ")[2].split()[0]


@pytest.mark.parametrize("how", [[], ["--watch-use-polling"]], ids=["notified", "polling"])
def test_a_save_deep_inside_is_picked_up_and_a_broken_one_is_not(
    how: list[str], store: Store, trees: Trees, project: Project
) -> None:
    # Given workers that watch the project
    began = time.monotonic()
    tree = start(trees, project, "--watch", *how)
    bound = max(PICKED_UP, BOOTS * (time.monotonic() - began))
    assert run_version(store, tree) == "1"
    before = set(tree.workers)

    # When a nested file is saved
    saved = time.monotonic()
    project.set_version(2)

    # Then new workers have the new code within two seconds, and the old ones go
    until(lambda: "Reloaded in" in tree.output, bound, tree.story)
    took = time.monotonic() - saved
    until(lambda: len(tree.workers) == 2 and not before & set(tree.workers), 5, tree.story)
    assert run_version(store, tree) == "2"
    working = tree.workers

    # When a save does not even import
    project.nested.write_text("VERSION = (\n")
    until(lambda: "does not start" in tree.output, 5, tree.story)

    # Then the workers are the same as before, and the error was shown
    assert tree.workers == working
    assert run_version(store, tree) == "2"
    assert "SyntaxError" in tree.log

    # When it is repaired
    project.set_version(3)

    # Then that is picked up again (the old workers may take a message until they are gone)
    until(lambda: tree.output.count("Reloaded in") == 2, 5, tree.story)
    until(lambda: len(tree.workers) == 2 and not set(working) & set(tree.workers), 5, tree.story)
    assert run_version(store, tree) == "3"
    assert tree.stop() == 0
    print(f"picked up after {took:.2f} s")


def test_without_a_directory_the_project_is_watched_and_what_is_not_code_is_not(
    store: Store, trees: Trees, project: Project
) -> None:
    tree = start(trees, project, "--watch", str(project.folder))
    (project.folder / "notes.txt").write_text("not code")
    (project.folder / ".hidden").mkdir()
    (project.folder / ".hidden" / "module.py").write_text("hidden = True")
    (project.folder / "shop" / "fresh.py").write_text("fresh = True")
    until(lambda: "Reloaded in" in tree.output, 5, tree.story)
    assert tree.output.count("Files changed") == 1
    assert f"watching   {project.folder}" in tree.output
    assert tree.stop() == 0


def test_hup_runs_the_new_code_without_watching(store: Store, trees: Trees, project: Project) -> None:
    import signal

    tree = start(trees, project)
    assert run_version(store, tree) == "1"
    before = set(tree.workers)
    project.set_version(2)
    time.sleep(0.5)
    assert run_version(store, tree) == "1", "nobody asked for a reload"
    tree.signal(signal.SIGHUP)
    until(lambda: "Reloaded in" in tree.output, 5, tree.story)
    until(lambda: len(tree.workers) == 2 and not before & set(tree.workers), 5, tree.story)
    assert run_version(store, tree) == "2"
    assert tree.stop() == 0


def test_many_saves_in_a_row_end_with_the_last_one(store: Store, trees: Trees, project: Project) -> None:
    tree = start(trees, project, "--watch")
    for number in range(2, 8):
        project.set_version(number)
        time.sleep(0.15)
    until(lambda: "Reloaded in" in tree.output, 10, tree.story)
    until(lambda: run_version(store, tree) == "7", 10, tree.story)
    until(lambda: len(tree.workers) == 2 and len(tree.pids("generation")) == 1, 10, tree.story)
    assert tree.stop() == 0


def test_only_the_queues_asked_for_are_served_and_by_their_weights(
    store: Store, trees: Trees, project: Project, ledger: Ledger
) -> None:
    # Given two queues with a backlog each, and a third that nobody asked for
    for queue in ("high", "low", "default"):
        store.broker.declare_queue(queue)
    names = {"high": "urgent", "low": "patient", "default": "version"}
    sent = {queue: store.send(Message(queue, actor, (), {}, {}) for _ in range(200)) for queue, actor in names.items()}

    # When one thread serves two of them, three to one
    tree = trees.start(
        "-p", "1", "-t", "4", "-Q", "high=3", "low", cwd=project.folder, variables=project.variables
    )  # fmt: skip
    until(lambda: store.unfinished() == 200, 20, tree.story)
    assert tree.stop() == 0

    # Then the heavier one was done first, the lighter one was not left to starve, and the third not touched
    runs = [run for several in ledger.runs().values() for run in several]
    order = [run.actor for run in sorted(runs, key=lambda run: run.start)]
    assert set(order) == {"urgent", "patient"}
    share = order[:120].count("urgent") / 120
    assert 0.6 < share < 0.9, share
    assert not ledger.started() & set(sent["default"])
    assert "high=3, low" in tree.output
