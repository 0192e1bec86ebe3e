"""At full load a message costs the database a fraction of a statement: everything travels in batches."""

from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.cases import statements
from benchmarks.databases import PostgreSQLStore
from benchmarks.engines import DJANGO_TASKS_Q, Bench, prepared_database

MESSAGES = 8_000
"""Enough that a worker has learnt its pace before the counting begins, also on a machine that is busy otherwise."""


@pytest.mark.lifecycle
def test_at_most_60_statements_per_1000_messages_records_included(tmp_path: Path) -> None:
    with (
        closing(PostgreSQLStore(tmp_path)) as store,
        prepared_database(DJANGO_TASKS_Q, store, tmp_path) as database,
    ):
        bench = Bench(DJANGO_TASKS_Q, database, store.vendor, tmp_path, MESSAGES)
        count = statements.count_statements(bench, MESSAGES)
    assert count.per_thousand(count.statements.total()) <= statements.WANTED, count
