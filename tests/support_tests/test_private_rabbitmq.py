"""RabbitMQ servers of a test's own do what tests do to them, and leave nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pika
import pika.exceptions
import pytest

from tests.support.private_rabbitmq import PrivateRabbitMQ, RabbitMQCluster
from tests.support.waiting import until

pytestmark = [pytest.mark.lifecycle, pytest.mark.slow]


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateRabbitMQ]:
    with PrivateRabbitMQ(consumer_timeout=500, channel_tick_interval=200) as server:
        yield server


def test_what_was_confirmed_survives_a_kill(server: PrivateRabbitMQ) -> None:
    with closing(connected(server)) as connection:
        publish(connection, "kept", b"message")
    server.write_down_queues()
    server.kill()
    assert not server.answers()
    server.start()
    with closing(connected(server)) as connection:
        assert connection.channel().basic_get("kept", auto_ack=True)[2] == b"message"


def test_a_server_stops_in_order_and_starts_again(server: PrivateRabbitMQ) -> None:
    connection = connected(server)
    server.stop()
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker):
        connection.process_data_events(5)
    server.start()
    connected(server).close()


def test_a_suspended_server_is_silent_until_it_goes_on(server: PrivateRabbitMQ) -> None:
    server.suspend()
    assert not server.answers()
    server.resume()
    until(server.answers)


def test_a_delivery_that_is_held_for_too_long_closes_its_channel(server: PrivateRabbitMQ) -> None:
    with closing(connected(server)) as connection:
        publish(connection, "held", b"message")
        channel = connection.channel()
        channel.basic_consume("held", lambda *delivery: None)
        until(lambda: connection.process_data_events(0.1) or channel.is_closed, 10)


def test_whoever_publishes_is_blocked_while_memory_is_short(server: PrivateRabbitMQ) -> None:
    blocked = []
    with closing(connected(server)) as connection:
        connection.add_on_connection_blocked_callback(lambda *method: blocked.append("blocked"))
        connection.add_on_connection_unblocked_callback(lambda *method: blocked.append("free"))
        server.set_memory_watermark(0)
        connection.channel().basic_publish("", "nowhere", b"")
        until(lambda: connection.process_data_events(0.1) or blocked == ["blocked"])
        server.set_memory_watermark(0.4)
        until(lambda: connection.process_data_events(0.1) or blocked == ["blocked", "free"])


def test_everybody_is_thrown_out(server: PrivateRabbitMQ) -> None:
    connection = connected(server)
    server.close_connections()
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker):
        connection.process_data_events(5)


def test_rabbitmqctl_talks_to_this_server_and_no_other(server: PrivateRabbitMQ) -> None:
    assert server.name in server.ctl("eval", "node().")


def test_nothing_is_left_when_the_test_run_was_killed(tmp_path: Path) -> None:
    program = """if True:
        import time
        from tests.support.private_rabbitmq import PrivateRabbitMQ
        with PrivateRabbitMQ() as server:
            print(server.pid, flush=True)
            time.sleep(60)
    """
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        run.stdout.readline()
        assert len(started_in(tmp_path)) > 2
        os.kill(run.pid, signal.SIGKILL)
    until(lambda: not started_in(tmp_path), 20, lambda: f"left: {started_in(tmp_path)}")


def test_a_cluster_goes_on_without_one_node_and_takes_it_back() -> None:
    with RabbitMQCluster() as cluster:
        killed, *others = cluster.nodes
        killed.kill()
        until(lambda: all(cluster.running(node) == {node.name for node in others} for node in others), 20)
        with closing(connected(others[0])) as connection:
            publish(connection, "shared", b"message")
        killed.start()
        cluster.wait_until_whole()
        with closing(connected(killed)) as connection:
            assert connection.channel().basic_get("shared", auto_ack=True)[2] == b"message"


def connected(server: PrivateRabbitMQ) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(server.url))


def publish(connection: pika.BlockingConnection, queue: str, body: bytes) -> None:
    """To a durable queue of every node, and confirmed."""
    channel = connection.channel()
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    channel.confirm_delivery()
    channel.basic_publish("", queue, body)


def started_in(folder: Path) -> list[int]:
    """The processes with ``folder`` in their environment, whatever they are."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _mentions(entry, folder)]


def _mentions(process: Path, folder: Path) -> bool:
    try:
        return bytes(folder) in (process / "environ").read_bytes()
    except OSError:
        return False
