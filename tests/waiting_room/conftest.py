"""A room in each vendor's database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from django_tasks_q.waiting import DatabaseWaitingRoom


@pytest.fixture(params=["default", "postgresql", "mariadb"])
def alias(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def room(databases: None, alias: str) -> Iterator[DatabaseWaitingRoom]:
    yield DatabaseWaitingRoom(alias)
    connections.close_all()
