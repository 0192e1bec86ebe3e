"""Brokers whose servers are reached by TLS: messages are sent, run and recorded, and nobody else is trusted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from django_tasks_q.errors import BrokerError
from testproject import misbehave
from tests.support.certificate import Certificate
from tests.support.ledger import Faults, Ledger, check, drain
from tests.support.ports import free_port
from tests.support.private_rabbitmq import PrivateRabbitMQ
from tests.support.private_redis import PrivateRedis
from tests.support.runworkers import Trees
from tests.support.stores import Store
from tests.support.waiting import until, within
from tests.support.worlds import World

Worlds = Callable[[Store, Certificate], AbstractContextManager[tuple[World, World]]]

pytestmark = pytest.mark.lifecycle


@contextmanager
def redis_worlds(store: Store, certificate: Certificate) -> Iterator[tuple[World, World]]:
    """One that trusts the certificate, and one that knows nothing of it."""
    port = free_port()
    settings = {"tls_port": port, "tls_cert_file": certificate.path, "tls_key_file": certificate.key}
    with PrivateRedis(tls_ca_cert_file=certificate.path, tls_auth_clients="no", **settings):
        url = f"rediss://127.0.0.1:{port}/0"
        yield World(store, "redis", url, ssl_ca_certs=str(certificate.path)), World(store, "redis", url)


@contextmanager
def rabbitmq_worlds(store: Store, certificate: Certificate) -> Iterator[tuple[World, World]]:
    port = free_port()
    settings = {
        "listeners.ssl.default": f"127.0.0.1:{port}",
        "ssl_options.cacertfile": certificate.path,
        "ssl_options.certfile": certificate.path,
        "ssl_options.keyfile": certificate.key,
        "ssl_options.verify": "verify_none",
    }
    with PrivateRabbitMQ(settings=settings):
        url = f"amqps://guest:guest@127.0.0.1:{port}/"
        trusting = f"{url}?ssl_options={{'cafile': '{certificate.path}'}}"
        yield World(store, "rabbitmq", trusting), World(store, "rabbitmq", url)


@pytest.mark.parametrize("worlds", [redis_worlds, rabbitmq_worlds], ids=["rediss", "amqps"])
def test_messages_are_sent_run_and_recorded_by_tls_and_only_by_who_is_trusted(
    worlds: Worlds, store: Store, tmp_path: Path, trees: Trees, ledger: Ledger
) -> None:
    with worlds(store, Certificate(tmp_path)) as (world, stranger), closing(world):
        # Given a tree that works, with answers longer than what TLS hands on at once
        sent = world.send(misbehave.echo.message("x" * (40_000 if number % 10 == 0 else 1)) for number in range(300))
        tree = trees.start("-p", "2", "-t", "4", settings=world.settings)
        until(lambda: len(ledger.completed()) == len(sent), 20, tree.story)

        # When it rests, and one more is sent
        drain(world, 20, tree.story)
        began = time.monotonic()
        sent += world.send([misbehave.echo.message("last")])
        until(lambda: sent[-1] in ledger.completed(), 5, tree.story)
        took = time.monotonic() - began

        # Then it runs at once, and everything is recorded
        drain(world, 20, tree.story)
        assert tree.stop() == 0, tree.story()
        check(ledger, sent, world, Faults(0, []))
        print(f"the last one ran after {took:.3f} s")
        assert took < within(1)

        # And who does not trust the server says nothing to it
        stranger.broker.send_timeout = 1_000
        with pytest.raises(BrokerError, match="certificate"):
            stranger.broker.enqueue(misbehave.echo.message("secret"))
        stranger.broker.close()
