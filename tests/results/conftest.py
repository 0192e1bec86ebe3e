"""Stores of results: every sentence that takes one holds for each kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections

from django_tasks_q.results import ResultBackend
from tests.support.fixtures import store, trees, vendor  # noqa: F401 - pytest finds them here
from tests.support.result_stores import KINDS, open_backend


@pytest.fixture(params=KINDS)
def backend(request: pytest.FixtureRequest) -> Iterator[ResultBackend]:
    if request.param in connections.settings:
        request.getfixturevalue("databases")
    with open_backend(request.param) as backend:
        yield backend
