"""For tests of real processes that must hold on every broker: a module says ``world = everywhere.world``, and so on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.runworkers import Trees
from tests.support.stores import ROOT, Store, environment
from tests.support.worlds import World

EVERYWHERE = pytest.mark.parametrize(
    ("kind", "vendor"),
    [
        ("database", "sqlite"),
        ("database", "postgresql"),
        ("database", "mariadb"),
        ("redis", "sqlite"),
        ("rabbitmq", "postgresql"),
    ],
    indirect=["vendor"],
)
ON_EACH_BROKER = pytest.mark.parametrize("kind", ["database", "redis", "rabbitmq"])


@pytest.fixture
def world(kind: str, store: Store) -> Iterator[Store]:
    world = store if kind == "database" else World(store, kind)
    yield world
    if world is not store:
        world.close()


@pytest.fixture
def trees(tmp_path: Path, world: Store) -> Iterator[Trees]:
    trees = Trees(tmp_path, world)
    yield trees
    trees.clear_away()


def program(world: Store, module: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A program of ``tests.support`` that sends to the broker of a world."""
    return subprocess.Popen(
        [sys.executable, "-m", f"tests.support.{module}", *arguments],
        cwd=ROOT,
        env=environment(world.url, DJANGO_TASKS_Q_JSON=json.dumps(dict(world.settings))),
    )
