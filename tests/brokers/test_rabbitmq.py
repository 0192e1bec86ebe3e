"""RabbitMQ: what all brokers promise, as far as it goes there, and what is its own."""

from __future__ import annotations

from tests.brokers import weaker
from tests.brokers.conformance import Conformance


class Weaker(
    weaker.WithoutUniqueIds,
    weaker.ConnectionIsTheLease,
    weaker.DeliveriesAreNotCounted,
    weaker.OnlyRowsAreShown,
    weaker.CountsAreRough,
    weaker.WaitsAreRows,
    weaker.KeysAreRows,
):
    """What RabbitMQ promises less than the model."""


class TestRabbitMQ(weaker.FewPriorities, Weaker, Conformance):
    broker = "rabbitmq"


class TestRabbitMQQuorum(weaker.NoPriorities, weaker.BackInItsOwnOrder, Weaker, Conformance):
    broker = "rabbitmq-quorum"
