"""Fixtures of the tests that start real processes; conftest files import what they need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.ledger import Ledger
from tests.support.runworkers import Trees
from tests.support.stores import Store
from tests.support.templates import OF_VENDOR

BOTH = pytest.mark.parametrize("vendor", ["sqlite", "postgresql"], indirect=True)
"""For tests that must hold on a file and on a server; the others run on SQLite."""

ALL = pytest.mark.parametrize("vendor", ["sqlite", "postgresql", "mariadb"], indirect=True)
"""For tests whose statements each vendor says in its own words."""


@pytest.fixture
def vendor(request: pytest.FixtureRequest) -> str:
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def store(vendor: str, django_db_blocker: Any, django_test_environment: None) -> Iterator[Store]:
    """An empty, migrated database of its own for each test."""
    template = OF_VENDOR[vendor]
    store = template.make()
    with django_db_blocker.unblock():
        yield store
        store.close()
    template.drop(store)


@pytest.fixture
def trees(tmp_path: Path, store: Store) -> Iterator[Trees]:
    """Starts trees; whatever a test does, none of their processes is left, and none may outlive its supervisor."""
    trees = Trees(tmp_path, store)
    yield trees
    trees.clear_away()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.jsonl")
