"""One broker and one PostgreSQL that all hosts of a test share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from django_tasks_q import Message
from django_tasks_q.broker import Broker
from tests.support.hosts import Hosts
from tests.support.private_rabbitmq import PrivateRabbitMQ, RabbitMQCluster
from tests.support.private_redis import PrivateRedis, RedisCluster
from tests.support.rabbitmq_brokers import waiting_in_memory
from tests.support.stores import Store
from tests.support.tcp_proxy import TcpProxy

NAMESPACE = "shared"


@dataclass
class SharedServers:
    """Reached at the address that this machine has in the hosts' network.

    ``broker`` sends from this process; ``settings`` and ``variables`` are what processes on the hosts need.
    """

    broker: Broker
    variables: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)

    def send(self, messages: list[Message[Any]]) -> list[str]:
        """Send; returns the ids, all of which are acknowledged."""
        return [message.message_id for message in self.broker.enqueue_many(messages)]

    def left(self) -> int:
        """Messages that wait or run, as far as the broker can tell."""
        return sum(each.ready + each.in_flight + each.delayed for each in self.broker.counts())


@contextmanager
def share(kind: str, hosts: Hosts, store: Store) -> Iterator[SharedServers]:
    """``database``, ``redis``, ``rabbitmq``, ``redis-cluster`` or ``rabbitmq-quorum``; records are in ``store``."""
    with ExitStack() as held:
        address = urlsplit(store.url)
        database = held.enter_context(TcpProxy((address.hostname or "", address.port or 5432), hosts.address))
        reached = address._replace(netloc=f"{address.username}@{database.host}:{database.port}")
        variables = {"DATABASE_URL": reached.geturl()}
        if kind == "database":
            yield SharedServers(store.broker, variables)
            return
        if kind.startswith("rabbitmq"):
            held.enter_context(waiting_in_memory())  # this process has not the project's database
        url, options = _start(kind, hosts, held)
        module = import_module(f"django_tasks_q.brokers.{kind.partition('-')[0]}")
        broker = module.from_url(url, namespace=NAMESPACE, **options)
        held.callback(broker.close)
        broker.declare_queue("default")
        settings = {"BROKER_URL": url, "NAMESPACE": NAMESPACE, "BROKER_OPTIONS": options}
        yield SharedServers(broker, variables, settings)


def _start(kind: str, hosts: Hosts, held: ExitStack) -> tuple[str, dict[str, Any]]:
    """The URL and the options of a broker on servers of its own."""
    if kind == "redis":
        return held.enter_context(PrivateRedis("always", host=hosts.address)).url, {}
    if kind == "redis-cluster":
        cluster = held.enter_context(RedisCluster(appendonly="always", host=hosts.address))
        return cluster.url.replace("redis://", "redis+cluster://"), {}
    if kind == "rabbitmq":
        return held.enter_context(PrivateRabbitMQ(host=hosts.address)).url, {}
    return ";".join(held.enter_context(RabbitMQCluster(3, host=hosts.address)).urls), {"queue_type": "quorum"}
