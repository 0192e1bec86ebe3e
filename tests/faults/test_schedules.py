"""Four supervisors with a schedule of every second, and two are killed: no slot is missing, and none runs twice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.fixtures import ALL
from tests.support.ledger import Faults, Ledger
from tests.support.project import Project
from tests.support.runworkers import Tree, Trees
from tests.support.stores import Store
from tests.support.waiting import until

SECONDS = int(os.environ.get("DTQ_SCHEDULE_SECONDS", "20"))
"""How long it goes on; a minute is what the guarantee was written for."""

TASKS = """\
from django_tasks_q import actor
from testproject.ledger import recorded


@actor
@recorded
def tick():
    pass
"""
SETTINGS = {
    "LEASE": 5_000,
    "SCHEDULES": {"tick": {"actor": "tick", "schedule": "* * * * * *", "catch_up": "all"}},
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200 + SECONDS)]


@pytest.fixture
def start(trees: Trees, tmp_path: Path) -> Callable[[], Tree]:
    project = Project(tmp_path / "project")
    project.tasks.write_text(TASKS)

    def start() -> Tree:
        return trees.start(
            *("-p", "1", "-t", "2"),
            wait=False,
            settings=SETTINGS,
            variables=project.variables,
            cwd=project.folder,
        )

    return start


@ALL
def test_four_supervisors_of_whom_two_are_killed_run_each_second_once(
    store: Store, ledger: Ledger, start: Callable[[], Tree]
) -> None:
    faults = Faults(seed=0)
    trees = [start() for _ in range(4)]
    for tree in trees:
        tree.wait_ready(60)
    for part in (1, 2):
        wait_for_slots(store, SECONDS * part // 3, trees)
        victim = leader(store, trees)
        began, pids = time.monotonic(), [process.pid for process in victim.living()]
        victim.kill_everything()
        faults.note("killed", pids, began)
        trees.remove(victim)
    wait_for_slots(store, SECONDS, trees)
    store.rows("UPDATE django_tasks_q_scheduleentry SET enabled = FALSE, next_at = NULL")
    until(lambda: store.unfinished() == 0, 30, trees[0].story)
    for tree in trees:
        assert tree.stop() == 0, tree.story()

    found = slots(store)
    first, runs = min(found), ledger.runs()
    assert sorted(found) == [first + timedelta(seconds=number) for number in range(len(found))]
    assert len(found) >= SECONDS
    assert set(runs) == set(found.values()), "each row has a message that ran, and what ran has a row"
    assert len(set(found.values())) == len(found)
    repeated = {message_id: several for message_id, several in runs.items() if len(several) > 1}
    assert all(faults.touch(several[0]) for several in repeated.values()), "only what was running at a kill runs again"


def leader(store: Store, trees: list[Tree]) -> Tree:
    """The tree whose keeper schedules."""
    found: list[Tree] = []

    def look() -> bool:
        [(owner,)] = store.rows("SELECT owner FROM django_tasks_q_servicelease WHERE name = 'schedules'")
        found[:] = [tree for tree in trees if f"-{tree.generation}-" in owner]
        return bool(found)

    until(look, 30)
    return found[0]


def wait_for_slots(store: Store, number: int, trees: list[Tree]) -> None:
    until(lambda: len(slots(store)) >= number, number + 30, lambda: "\n".join(tree.story() for tree in trees))


def slots(store: Store) -> dict[datetime, str]:
    """The message of each slot that has a row."""
    rows = store.rows("SELECT slot, message_id FROM django_tasks_q_schedulerun")
    return {_aware(slot): message_id for slot, message_id in rows}


def _aware(slot: datetime | str) -> datetime:
    moment = slot if isinstance(slot, datetime) else datetime.fromisoformat(slot)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
