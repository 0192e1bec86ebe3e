"""What an application that was written for Dramatiq gives to brokers and backends: taken, or refused in words."""

from __future__ import annotations

from typing import Any

import pika
import pytest

from django_tasks_q.brokers.rabbitmq import RabbitmqBroker
from django_tasks_q.brokers.redis import RedisBroker
from django_tasks_q.rate_limits.backends import RedisBackend as RedisLimits
from django_tasks_q.results.backends import RedisBackend as RedisResults

URL = "redis://127.0.0.1:6379/0"


@pytest.mark.parametrize("where", [{}, {"url": URL}, {"host": "127.0.0.1"}], ids=["default", "url", "host"])
@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("maintenance_chance", "leave it out"),
        ("requeue_deadline", "heartbeat_timeout"),
        ("requeue_interval", "heartbeat_timeout"),
    ],
)
def test_an_option_that_has_no_meaning_here_is_refused_with_what_has(
    where: dict[str, Any], option: str, instead: str
) -> None:
    with pytest.raises(ValueError, match=f"RedisBroker has no {option}: .*{instead}"):
        RedisBroker(**where, **{option: 1_000})


def test_keys_of_results_need_no_option_to_begin_with_their_namespace() -> None:
    with pytest.raises(ValueError, match="RedisBackend has no use_namespace_prefix_keys"):
        RedisResults(url=URL, use_namespace_prefix_keys=True)


@pytest.mark.parametrize("kind", [RedisBroker, RedisResults, RedisLimits])
@pytest.mark.parametrize("url", [URL, "redis+sentinel://one,two/main"])
def test_an_option_that_nobody_knows_is_named_before_anybody_connects(kind: Any, url: str) -> None:
    with pytest.raises(TypeError, match="'colour'"):
        kind(url=url, colour="red")


def test_nodes_of_rabbitmq_may_be_dicts_of_what_pika_takes() -> None:
    nodes = [{"host": "one", "port": 5673}, pika.ConnectionParameters(host="two")]

    broker = RabbitmqBroker(parameters=nodes, middleware=[])

    assert broker.address == "amqp://one:5673,two:5672"
    assert RabbitmqBroker(parameters={"host": "three"}, middleware=[]).address == "amqp://three:5672"


@pytest.mark.parametrize("given", [{"pasword": "secret"}, {"parameters": [{"pasword": "secret"}]}], ids=["own", "node"])
def test_an_option_that_pika_does_not_know_is_named_without_its_value(given: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'pasword'") as refused:
        RabbitmqBroker(**given)

    assert "secret" not in str(refused.value)
