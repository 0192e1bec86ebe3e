"""The broker in memory, and what it offers beyond the common promises."""

from __future__ import annotations

from tests.brokers.conformance import Conformance


class TestStub(Conformance):
    broker = "stub"
