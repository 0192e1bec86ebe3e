"""At full load a message costs the database a fraction of a statement: everything travels in batches."""

from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.cases import statements
from benchmarks.cases.statements import Count
from benchmarks.databases import PostgreSQLStore
from benchmarks.engines import DJANGO_TASKS_Q, Bench, prepared_database
from tests.support.yardstick import slowness

MESSAGES = 8_000
"""Enough that a worker has learnt its pace before the counting begins, also on a machine that is busy otherwise."""

TRIES = 3
"""The best of three: a batch is what comes within a moment, and little comes while the machine does something else."""


@pytest.mark.lifecycle
def test_at_most_60_statements_per_1000_messages_records_included(tmp_path: Path) -> None:
    most = statements.WANTED * slowness()
    for attempt in range(TRIES):
        (folder := tmp_path / str(attempt)).mkdir()
        count = counted(folder)
        if count.per_thousand(count.statements.total()) <= most:
            return
    pytest.fail(f"more than {most:.0f}: {count}")


def counted(folder: Path) -> Count:
    with closing(PostgreSQLStore(folder)) as store, prepared_database(DJANGO_TASKS_Q, store, folder) as database:
        bench = Bench(DJANGO_TASKS_Q, database, store.vendor, folder, MESSAGES)
        return statements.count_statements(bench, MESSAGES)
