"""The little process that beats for a worker of RabbitMQ."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest

from django_tasks_q import BrokerConnectionError, Message
from django_tasks_q.brokers.rabbitmq import RabbitmqBroker, heartbeats
from django_tasks_q.brokers.rabbitmq.consumer import RabbitmqConsumer
from django_tasks_q.brokers.rabbitmq.heartbeats import FRAME
from django_tasks_q.brokers.rabbitmq.pulse import Pulse
from django_tasks_q.deliveries import Delivery, Settlement, WorkerInfo
from django_tasks_q.outcomes import DONE
from tests.support.processes import is_alive
from tests.support.rabbitmq_brokers import URL, namespaced
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import until, within

INTERVAL = 0.05
PATIENCE = 20


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection; the second one waits long for what it is to receive."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as near,
        listener.accept()[0] as far,
    ):
        far.settimeout(PATIENCE)
        yield near, far


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    with connected() as ends:
        yield ends


@pytest.fixture
def pulse(ends: tuple[socket.socket, socket.socket]) -> Iterator[Pulse]:
    pulse = Pulse(ends[0], INTERVAL)
    yield pulse
    pulse.end()


def test_a_connection_is_given_up_within_a_lease_and_never_sooner_than_within_two_seconds() -> None:
    assert heartbeats.seconds(30_000) == 10  # RabbitMQ closes after two to three times as long
    assert heartbeats.seconds(500) == 1
    assert heartbeats.seconds(30_000, alone=True) == 60


def test_it_beats_until_it_is_ended_and_the_connection_ends_with_its_owner_alone(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    near, far = ends
    pulse = Pulse(near, INTERVAL)
    assert far.recv(len(FRAME)) == FRAME
    assert far.recv(len(FRAME)) == FRAME

    pulse.end()
    near.close()

    while data := far.recv(1000):
        assert not data.replace(FRAME, b"")


def test_it_never_beats_into_the_middle_of_a_frame(pulse: Pulse, ends: tuple[socket.socket, socket.socket]) -> None:
    near, far = ends
    assert far.recv(len(FRAME)) == FRAME
    pulse.hold(1_000_000)
    time.sleep(3 * INTERVAL)  # what it was at is over
    near.send(b"half")

    far.settimeout(5 * INTERVAL)
    heard = b""
    with pytest.raises(TimeoutError):
        while True:
            heard += far.recv(1000)
    assert heard.replace(FRAME, b"") == b"half"

    far.settimeout(PATIENCE)
    near.send(b"whole")
    pulse.release()
    assert far.recv(5) == b"whole"
    assert far.recv(len(FRAME)) == FRAME


def test_a_few_bytes_are_no_reason_to_be_silent(pulse: Pulse, ends: tuple[socket.socket, socket.socket]) -> None:
    pulse.hold(100)
    for _ in range(3):
        assert ends[1].recv(len(FRAME)) == FRAME


def test_one_that_was_killed_is_replaced(pulse: Pulse, ends: tuple[socket.socket, socket.socket]) -> None:
    first = pulse._process
    first.kill()
    first.wait()
    pulse.ensure()
    assert pulse._process is not first
    until(lambda: ends[1].recv(len(FRAME)) == FRAME)


PROGRAM = """if True:
    import socket, sys, time
    from django_tasks_q.brokers.rabbitmq.pulse import Pulse
    near = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    pulse = Pulse(near, 0.05)
    print(pulse._process.pid, flush=True)
    time.sleep(60)
"""


def test_it_is_silent_while_its_worker_is_stopped_and_ends_with_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-c", PROGRAM, str(listener.getsockname()[1])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker, listener.accept()[0] as far:
            assert worker.stdout is not None
            pulse = int(worker.stdout.readline())
            far.settimeout(PATIENCE)
            assert far.recv(len(FRAME)) == FRAME

            os.kill(worker.pid, signal.SIGSTOP)
            far.settimeout(6 * INTERVAL)
            with pytest.raises(TimeoutError):
                while True:
                    far.recv(1000)

            far.settimeout(PATIENCE)
            os.kill(worker.pid, signal.SIGCONT)
            assert far.recv(len(FRAME)) == FRAME

            worker.kill()
            until(lambda: not far.recv(1000))
            until(lambda: not is_alive(pulse))


def test_a_worker_whose_thread_holds_the_interpreter_for_longer_than_its_lease_keeps_what_it_holds() -> None:
    with namespaced() as broker:
        consumer, delivery = take_one(broker)

        ctypes.PyDLL(None).poll(None, 0, 5_000)

        exchange = consumer.exchange([Settlement(delivery, DONE)], 1)
        assert not exchange.refused and not exchange.deliveries
        consumer.close()
        assert broker.reader.ready(broker.topology.work("q")) == 0


def test_what_a_worker_held_that_was_cut_off_goes_to_another_one_and_it_gives_up_itself() -> None:
    address = urlsplit(URL)
    with TcpProxy((address.hostname or "", address.port or 5672)) as network, namespaced() as broker:
        url = address._replace(netloc=f"guest:guest@{network.host}:{network.port}").geturl()
        far = RabbitmqBroker(url=url, namespace=broker.topology.namespace)
        broker.declare_queue("q")
        consumer, delivery = take_one(far)
        far.send_timeout = 500

        network.hold()
        cut = time.monotonic()

        with closing(broker.consume(WorkerInfo("w2", {"q": 1}))) as other:
            again = wait_for_one(other)
            assert again.message_id == delivery.message_id
            assert time.monotonic() - cut < within(4.5)
            with pytest.raises(BrokerConnectionError):
                while time.monotonic() - cut < within(5):
                    consumer.exchange([], 1)
                    consumer.wait(0.1)
            other.exchange([Settlement(again, DONE)], 0)
        consumer.close(give_back=False)
        network.restore()
        far.close()


def take_one(broker: RabbitmqBroker) -> tuple[RabbitmqConsumer, Delivery]:
    """A worker with the shortest lease that there is, and the message that it holds."""
    broker.lease = 1_000
    broker.declare_queue("q")
    broker.enqueue(Message("q", "work", (), {}, {}, "m1"))
    consumer = broker.consume(WorkerInfo("w1", {"q": 1}))
    return consumer, wait_for_one(consumer)


def wait_for_one(consumer: RabbitmqConsumer) -> Delivery:
    end = time.monotonic() + within(10)
    while time.monotonic() < end:
        if deliveries := consumer.exchange([], 1).deliveries:
            return deliveries[0]
        consumer.wait(0.1)
    pytest.fail("nothing came")
