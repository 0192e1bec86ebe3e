"""Commits while the broker says nothing: neither yes nor no."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from django.db import connections, transaction

from django_tasks_q import Actor, BrokerConnectionError, actor
from django_tasks_q.broker import Broker
from django_tasks_q.brokers.rabbitmq import RabbitmqBroker
from django_tasks_q.brokers.redis import RedisBroker
from django_tasks_q.models import WaitingMessage
from django_tasks_q.outbox import COMMIT_PATIENCE, safe
from tests.support import rabbitmq_brokers, redis_brokers
from tests.support.rabbitmq_brokers import namespaced
from tests.support.redis_brokers import redis_broker, servers
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import until, within

PATIENT = 2_500
"""Milliseconds that a send may take in tests that wait for one to fail."""


class Line(NamedTuple):
    """A broker, and what may become silent between it and this process."""

    broker: Broker
    proxy: TcpProxy
    note: Actor[[int], None]

    def commit(self, number: int) -> float:
        """Commit a transaction with a message; the seconds that it took."""
        began = time.monotonic()
        with transaction.atomic():
            self.note.send_on_commit(number)
        return time.monotonic() - began


@pytest.fixture(params=["redis", "rabbitmq"])
def line(request: pytest.FixtureRequest, databases: None) -> Iterator[Line]:
    """Through a proxy to the server that all tests share."""
    with open_line(request.param) as line:
        yield line


@contextmanager
def open_line(kind: str) -> Iterator[Line]:
    url = urlsplit(redis_brokers.URL if kind == "redis" else rabbitmq_brokers.URL)
    with ExitStack() as stack:
        proxy = stack.enter_context(TcpProxy((url.hostname or "", url.port or 0)))
        login, at, _ = url.netloc.rpartition("@")
        proxied = url._replace(netloc=f"{login}{at}{proxy.host}:{proxy.port}").geturl()
        broker = stack.enter_context(redis_broker(proxied) if kind == "redis" else namespaced(url=proxied))
        stack.callback(proxy.restore)
        stack.callback(connections.close_all)
        note: Actor[[int], None] = actor(lambda number: None, actor_name="note", broker=broker)
        yield Line(broker, proxy, note)


def waiting() -> int:
    return WaitingMessage.objects.filter(kind="commit").count()


@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "not connected"])
def test_a_commit_gives_up_on_a_silent_broker_within_2_s_and_the_next_ones_do_not_try(
    line: Line, is_connected: bool
) -> None:
    if is_connected:
        line.commit(0)
    line.proxy.hold()

    first, *others = [line.commit(number) for number in range(1, 5)]

    assert 1 < first < within(2)
    assert max(others) < within(0.5)
    assert waiting() == 4


def test_a_large_commit_gives_up_as_soon_although_the_network_does_not_even_take_it(line: Line) -> None:
    heavy = actor(lambda text: None, actor_name="heavy", broker=line.broker)
    line.commit(0)
    line.proxy.hold()

    began = time.monotonic()
    with transaction.atomic():
        for _ in range(20):
            heavy.send_on_commit("x" * 500_000)

    assert time.monotonic() - began < within(3)  # of which the rows take some
    assert waiting() == 20


def test_a_send_waits_for_all_its_time_although_commits_do_not(line: Line) -> None:
    line.broker.send_timeout = PATIENT
    line.commit(0)
    line.proxy.hold()
    line.commit(1)

    began = time.monotonic()
    with pytest.raises(BrokerConnectionError):
        line.note.send(2)

    assert PATIENT / 1000 <= time.monotonic() - began < within(2 * PATIENT / 1000)


def test_what_a_commit_has_connected_serves_sends_with_all_their_patience(line: Line) -> None:
    line.commit(0)
    line.proxy.hold()

    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        sent = pool.submit(line.note.send, 1)
        time.sleep(2.2)  # longer than any commit waits
        assert not sent.done()
        line.proxy.restore()
        sent.result(10)

    assert time.monotonic() - began > 2


@pytest.mark.parametrize("who_leads", ["the send", "the commit"])
def test_a_send_that_waits_beside_a_commit_is_not_given_up_with_it(databases: None, who_leads: str) -> None:
    with open_line("rabbitmq") as line, ThreadPoolExecutor(1) as pool:
        assert isinstance(line.broker, RabbitmqBroker)
        publisher = line.broker.publisher
        line.commit(0)
        line.proxy.hold()

        # Given a send and a commit of which one waits for the other
        if who_leads == "the send":
            sent = pool.submit(line.note.send, 1)
            until(lambda: publisher._leader is not None)
        else:
            later = threading.Thread(target=lambda: until(lambda: publisher._leader is not None))
            later.start()
            sent = pool.submit(lambda: later.join() or line.note.send(1))

        # When the commit has given up, and RabbitMQ answers again
        assert line.commit(2) < within(2)
        assert not sent.done()
        line.proxy.restore()

        # Then the send succeeds
        sent.result(10)
        until(lambda: sum(counts.ready for counts in line.broker.counts()) == 2)
        assert waiting() == 1


def test_commits_that_come_one_after_another_give_up_within_2_s_each_whoever_leads(line: Line) -> None:
    line.commit(0)
    line.proxy.hold()

    def commit(number: int) -> float:
        time.sleep(number * 0.1)  # so that each comes while others wait
        began = time.monotonic()
        with safe(COMMIT_PATIENCE), pytest.raises(BrokerConnectionError):
            line.broker.publish([line.broker.prepare(line.note.message(number))])
        return time.monotonic() - began

    with ThreadPoolExecutor(20) as pool:
        longest = max(pool.map(commit, range(20)))

    assert longest < within(2)


def test_commits_reuse_one_connection_to_redis(databases: None) -> None:
    with redis_broker(client_name="commits") as broker:
        line = Line(broker, None, actor(lambda number: None, actor_name="note", broker=broker))  # type: ignore[arg-type]
        line.commit(0)
        before = clients("commits")
        for number in range(1, 5):
            line.commit(number)

        assert len(before) == 1
        assert clients("commits") == before
        connections.close_all()


def clients(name: str) -> list[Any]:
    """The ids of the connections of that name."""
    with servers(redis_brokers.URL) as (server, *_):
        return sorted(client["id"] for client in server.client_list() if client["name"] == name)


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of a host that drops what comes: nobody can connect, and nobody is refused."""
    with ExitStack() as held:
        listener = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(3):  # Linux takes one more than the backlog says
            full = held.enter_context(socket.socket())
            full.setblocking(False)
            full.connect_ex(address)
        yield f"127.0.0.1:{address[1]}"


@pytest.mark.parametrize(
    "url",
    [
        "redis://{0}/0",
        "redis+cluster://{0},localhost:{1}",
        "redis+sentinel://{0},localhost:{1},127.0.0.2:1/service",
        "amqp://guest:guest@{0}/",
        "amqp://guest:guest@{0}/;amqp://guest:guest@{0}/",
    ],
)
def test_a_commit_gives_up_within_2_s_on_hosts_that_do_not_even_accept(databases: None, deaf: str, url: str) -> None:
    address = url.format(deaf, deaf.rpartition(":")[2])
    broker = RedisBroker(url=address) if address.startswith("redis") else RabbitmqBroker(url=address.split(";"))
    line = Line(broker, None, actor(lambda number: None, actor_name="note", broker=broker))  # type: ignore[arg-type]

    first, second = line.commit(1), line.commit(2)

    assert first < within(2)
    assert second < within(0.5)
    assert waiting() == 2
    broker.close()
    connections.close_all()
