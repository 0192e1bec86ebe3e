"""Code that does not import, and processes that die while they boot."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.project import Project
from tests.support.runworkers import Trees
from tests.support.stores import Store
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle

DIES_AT_BOOT = """
import os

_supervisor = os.getpid()


def _die():
    if os.getppid() != _supervisor and {condition}:
        os._exit(9)


os.register_at_fork(after_in_child=_die)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def test_code_that_does_not_import_ends_at_once_and_says_where(store: Store, trees: Trees, project: Project) -> None:
    project.nested.write_text("import a_module_that_nobody_has\n")
    tree = trees.start("-p", "1", wait=False, cwd=project.folder, variables=project.variables)
    assert tree.wait(10) == 2
    assert "No module named 'a_module_that_nobody_has'" in tree.log
    assert "inside.py" in tree.log


@pytest.mark.slow
def test_workers_that_die_at_boot_are_tried_a_few_times_with_pauses_and_then_given_up(
    store: Store, trees: Trees, project: Project
) -> None:
    # Given code that ends every worker before it is connected
    project.tasks.write_text(project.tasks.read_text() + DIES_AT_BOOT.format(condition="_forks() > 1"))
    project.tasks.write_text(project.tasks.read_text().replace("import os\n", f"import os\n{COUNTER}", 1))
    before = time.monotonic()
    tree = trees.start("-p", "1", wait=False, cwd=project.folder, variables=project.variables)

    # When it has been tried often enough
    until(lambda: tree.has_ended, 50, tree.story)

    # Then it says so, with a code that is not 0, and there was no storm of forks
    assert tree.wait() == 1
    took = time.monotonic() - before
    assert took > 3, "without pauses this is over in a moment"
    deaths = tree.log.count("exited with code 9")
    assert 3 <= deaths <= 15
    assert "giving up" in tree.log
    print(f"{deaths} deaths in {took:.1f} s")


COUNTER = """

def _forks(counted=[0]):
    # The generation forks its keeper first; what it forks after that are workers.
    counted[0] += 1
    return counted[0]


os.register_at_fork(after_in_parent=_forks)
"""


def test_a_keeper_that_dies_at_boot_makes_no_storm_of_forks(store: Store, trees: Trees, project: Project) -> None:
    # Given code that ends every process with one thread below the generation: the keeper
    guard = "_generation_forks() == 0"
    project.tasks.write_text(project.tasks.read_text() + KEEPER_DIES + DIES_AT_BOOT.format(condition=guard))
    tree = trees.start("-p", "1", wait=False, cwd=project.folder, variables=project.variables)

    # When it has been dying for some seconds
    until(lambda: tree.log.count("The keeper") >= 3, 15, tree.story)
    generation = tree.generation
    count, used = tree.log.count("The keeper"), processes.cpu_seconds(generation)
    time.sleep(2)

    # Then new ones start at a pace that hurts nobody
    assert tree.log.count("The keeper") - count <= 6, tree.story()
    assert processes.cpu_seconds(generation) - used < 0.5
    tree.stop()


KEEPER_DIES = """
import sys


def _generation_forks():
    # A keeper is forked from the method that starts keepers.
    frame, names = sys._getframe(), []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return 0 if "_start_keeper" in names else 1
"""
