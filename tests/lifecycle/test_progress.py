"""How far messages are, told by real processes: in threads, greenlets and coroutines, on every broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from django_tasks_q import Actor
from testproject import coroutines, misbehave
from tests.support.runworkers import Trees
from tests.support.stores import RECORDS, Store
from tests.support.waiting import until
from tests.support.worlds import World

pytestmark = pytest.mark.lifecycle

STEPS = 10_000


def progress(store: Store) -> list[tuple[str, int | None, int | None, str]]:
    """State, done, total and text of each record."""
    return store.rows(f"SELECT state, progress_done, progress_total, progress_text FROM {RECORDS}")  # type: ignore[return-value]


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql", "mariadb"], indirect=True)
def test_a_task_in_a_thread_tells_how_far_it_is(store: Store, trees: Trees, tmp_path: Path) -> None:
    tree = trees.start("-p", "1", "-t", "2")

    _follow(store, tmp_path)

    assert tree.stop() == 0


def test_a_task_in_a_greenlet_tells_how_far_it_is(store: Store, trees: Trees, tmp_path: Path) -> None:
    tree = trees.start("-p", "1", "-t", "20", "--use-gevent")

    _follow(store, tmp_path)

    assert tree.stop() == 0


def test_an_async_task_tells_how_far_it_is(store: Store, trees: Trees, tmp_path: Path) -> None:
    tree = trees.start("-p", "1", "-t", "2", settings={"AUTODISCOVER": ["tasks", "coroutines"]})

    _follow(store, tmp_path, coroutines.go_ahead)

    assert tree.stop() == 0


@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_a_task_of_a_broker_elsewhere_tells_how_far_it_is(kind: str, store: Store, tmp_path: Path) -> None:
    world = World(store, kind)
    trees = Trees(tmp_path, world)
    try:
        tree = trees.start("-p", "1", "-t", "2")

        _follow(world, tmp_path)

        assert tree.stop() == 0
    finally:
        trees.clear_away()
        world.close()


def _follow(store: Store, tmp_path: Path, actor: Actor[..., None] = misbehave.advance) -> None:
    gate = tmp_path / "gate"
    store.send([actor.message(STEPS, str(gate))])
    until(lambda: progress(store) == [("running", STEPS - 1, STEPS, f"step {STEPS - 1}")], 20, lambda: progress(store))
    gate.touch()
    until(lambda: progress(store) == [("succeeded", STEPS, STEPS, "all steps")], 20, lambda: progress(store))
