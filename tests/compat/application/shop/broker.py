"""The shop's broker, its middleware and its backends. Import this before the tasks."""

import dramatiq
import redis
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.encoder import JSONEncoder, PickleEncoder
from dramatiq.middleware import (
    AgeLimit,
    AsyncIO,
    Callbacks,
    CurrentMessage,
    GroupCallbacks,
    Pipelines,
    Retries,
    ShutdownNotifications,
    TimeLimit,
)
from dramatiq.rate_limits.backends import RedisBackend as RedisLimits
from dramatiq.rate_limits.backends import StubBackend as StubLimits
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend as RedisResults
from dramatiq.results.backends import StubBackend as StubResults

from shop import config
from shop.encoding import DecimalEncoder
from shop.middleware import Announcer, Audit, Cancellation, Origin

ENCODERS = {"json": JSONEncoder, "pickle": PickleEncoder, "decimal": DecimalEncoder}


def default_middleware():
    """Dramatiq's stack, with a watch close enough for short time limits and quick retries."""
    return [
        AgeLimit(),
        TimeLimit(interval=100),
        ShutdownNotifications(),
        Callbacks(),
        Pipelines(),
        Retries(max_retries=3, min_backoff=50, max_backoff=200),
    ]


def make_broker():
    if config.UNIT_TESTS:
        return StubBroker(middleware=default_middleware())
    if config.BROKER_URL.startswith("amqp"):
        return RabbitmqBroker(
            url=config.BROKER_URL,
            confirm_delivery=True,
            max_priority=10,
            middleware=default_middleware(),
        )
    return RedisBroker(url=config.BROKER_URL, namespace=config.NAMESPACE, middleware=default_middleware())


def make_client():
    """A client whose sockets outlast every blocking wait; recent redis-py give up after 5 s."""
    return redis.Redis.from_url(config.REDIS_URL, socket_timeout=60)


def make_limits():
    return StubLimits() if config.UNIT_TESTS else RedisLimits(client=make_client())


def make_results():
    if config.UNIT_TESTS:
        return StubResults()
    return RedisResults(client=make_client(), namespace=f"{config.NAMESPACE}-results")


dramatiq.set_encoder(ENCODERS[config.ENCODER]())

limits_backend = make_limits()
results_backend = make_results()

broker = make_broker()
broker.add_middleware(CurrentMessage())
broker.add_middleware(AsyncIO())
broker.add_middleware(GroupCallbacks(limits_backend))
broker.add_middleware(Results(backend=results_backend, result_ttl=60_000))
broker.add_middleware(Announcer())
broker.add_middleware(Origin(name="shop"), before=AgeLimit)
broker.add_middleware(Cancellation(), after=AgeLimit)
broker.add_middleware(Audit())
dramatiq.set_broker(broker)

if config.UNIT_TESTS:
    broker.emit_after("process_boot")
