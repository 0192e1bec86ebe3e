"""The conformance suite over a broker whose delayed and dead messages are in a waiting room: it keeps the promises."""

from __future__ import annotations

import pytest

from tests.brokers.conformance import Conformance


@pytest.mark.usefixtures("databases")
class TestOnSQLite(Conformance):
    broker = "room-default"


@pytest.mark.usefixtures("databases")
class TestOnPostgreSQL(Conformance):
    broker = "room-postgresql"
