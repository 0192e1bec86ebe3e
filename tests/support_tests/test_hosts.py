"""Several hosts on one machine reach each other until one is cut off, and are gone afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.hosts import Hosts
from tests.support.private_redis import PrivateRedis
from tests.support.processes import is_alive
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with Hosts(["left", "right"]) as hosts:
        yield hosts


def test_a_server_is_reached_from_every_host_until_its_plug_is_pulled(hosts: Hosts) -> None:
    with PrivateRedis(host=hosts.address) as server:
        assert pinged(hosts, "left", server)
        assert pinged(hosts, "right", server)
        hosts.cut("left")
        assert not pinged(hosts, "left", server)
        assert pinged(hosts, "right", server)
        hosts.heal("left")
        until(lambda: pinged(hosts, "left", server))


def test_a_program_runs_on_a_host_with_its_address_and_environment(hosts: Hosts) -> None:
    program = ["sh", "-c", "ip -brief address show eth0; echo $WHO"]
    with hosts.run("right", program, {"WHO": "me"}, stdout=subprocess.PIPE, text=True) as process:
        said = process.communicate(timeout=60)[0]
    assert hosts.address_of("right") in said
    assert said.endswith("me\n")


def test_nothing_is_left_when_the_hosts_are_removed() -> None:
    with Hosts(["one"]) as hosts:
        process = hosts.run("one", ["sleep", "60"])
        assert str(os.getpid()) in ours()
    assert process.wait(60) == -signal.SIGKILL
    assert hosts._bridge not in ours()


def test_what_a_killed_test_run_left_is_removed_by_the_next() -> None:
    program = """if True:
        import time
        from tests.support.hosts import Hosts
        with Hosts(["one"]) as hosts:
            print(hosts.run("one", ["sleep", "60"]).pid, flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        sleeper = int(run.stdout.readline())
        assert f"dtq{run.pid}" in ours()
        os.kill(run.pid, signal.SIGKILL)
    with Hosts(["one"]):
        assert f"dtq{run.pid}" not in ours()
    until(lambda: not is_alive(sleeper))


def pinged(hosts: Hosts, name: str, server: PrivateRedis) -> bool:
    """Whether a client on a host reaches the server."""
    command = ["timeout", "1", "redis-cli", "-h", server.host, "-p", str(server.port), "PING"]
    with hosts.run(name, command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        return "PONG" in process.communicate()[0]


def ours() -> str:
    """The namespaces and links of test runs."""
    commands = (["ip", "netns", "list"], ["ip", "-brief", "link"])
    listings = [subprocess.run(command, capture_output=True, text=True).stdout for command in commands]
    return "\n".join(line for listing in listings for line in listing.splitlines() if line.startswith("dtq"))
