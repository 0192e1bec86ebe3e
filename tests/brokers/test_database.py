"""The database broker on each vendor, and what it offers beyond the common promises."""

from __future__ import annotations

from tests.brokers.conformance import Conformance


class TestSQLite(Conformance):
    broker = "default"


class TestPostgreSQL(Conformance):
    broker = "postgresql"
