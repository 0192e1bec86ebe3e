"""Before workers start: missing tables end it, a database that is away does not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings

from django_tasks_q import BrokerConnectionError, set_broker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.errors import BrokerNotReady
from django_tasks_q.management.commands.runworkers import Command
from django_tasks_q.operations.readiness import check_records


@pytest.fixture
def records_at(
    stub: StubBroker, monkeypatch: pytest.MonkeyPatch, django_db_blocker: Any
) -> Iterator[Callable[[Path], None]]:
    """``records_at(path)``: the records are in that SQLite file, the messages elsewhere."""
    overriding = override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://", "RECORDS": {"DATABASE": "elsewhere"}})

    def place(path: Path) -> None:
        settings = {**connections.settings["default"], "NAME": path}
        monkeypatch.setitem(connections.settings, "elsewhere", settings)
        overriding.enable()
        set_broker(stub)

    with django_db_blocker.unblock():
        yield place
        overriding.disable()
        connections["elsewhere"].close()
        del connections["elsewhere"]


def test_tables_that_are_missing_are_named_with_the_next_step(
    records_at: Callable[[Path], None], stub: StubBroker, tmp_path: Path
) -> None:
    records_at(tmp_path / "empty.sqlite3")

    with pytest.raises(BrokerNotReady, match=r"run 'manage\.py migrate --database elsewhere'"):
        check_records(stub)
    with pytest.raises(BrokerNotReady):
        Command()._check_tables()


def test_workers_start_without_the_database_of_the_records_and_say_so(
    records_at: Callable[[Path], None], stub: StubBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    records_at(tmp_path / "nowhere" / "at.sqlite3")

    with pytest.raises(BrokerConnectionError):
        check_records(stub)
    with caplog.at_level(logging.WARNING):
        Command()._check_tables()
    assert "Nothing is recorded until the database can be reached" in caplog.text


@pytest.mark.django_db
def test_tables_that_are_there_are_fine(stub: StubBroker) -> None:
    check_records(stub)
