"""Redis servers of a test's own do what tests do to them, and leave nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.support.private_redis import PrivateRedis, RedisCluster, RedisSentinels
from tests.support.processes import is_alive
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle


def test_what_was_answered_survives_a_kill_when_every_write_goes_to_disk() -> None:
    with PrivateRedis(appendonly="always") as server:
        server.command("SET", "key", "value")
        server.kill()
        assert not server.answers()
        server.start()
        assert server.command("GET", "key") == "value"


def test_a_server_without_a_disk_comes_back_empty() -> None:
    with PrivateRedis(appendonly="no") as server:
        server.command("SET", "key", "value")
        server.kill()
        server.start()
        assert server.command("GET", "key") is None


def test_a_suspended_server_is_connected_and_silent_until_it_goes_on() -> None:
    with PrivateRedis() as server:
        server.suspend()
        with redis.Redis(port=server.port, socket_timeout=0.2, retry=None) as client, pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert server.command("PING")


def test_a_setting_is_changed_while_the_server_runs() -> None:
    with PrivateRedis(maxmemory="100mb") as server:
        server.config_set("maxmemory", "1")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            server.command("SET", "key", "value")


def test_a_server_is_gone_when_its_test_is_over_even_a_suspended_one() -> None:
    with PrivateRedis() as server:
        server.suspend()
    assert not is_alive(server.pid)


def test_a_server_is_gone_when_the_test_run_was_killed(tmp_path: Path) -> None:
    program = """if True:
        import time
        from tests.support.private_redis import PrivateRedis
        with PrivateRedis() as server:
            print(server.pid, flush=True)
            time.sleep(60)
    """
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        pid = int(run.stdout.readline())
        assert is_alive(pid)
        os.kill(run.pid, signal.SIGKILL)
    until(lambda: not is_alive(pid))


def test_a_cluster_serves_every_key_and_comes_back_after_a_kill() -> None:
    with RedisCluster() as cluster, redis.RedisCluster.from_url(cluster.url) as client:
        for key in ("a", "b", "c", "d", "e", "f"):
            client.set(key, key)
        assert {cluster.master_of(key) for key in ("a", "b", "c", "d", "e", "f")} == set(cluster.nodes)
        killed = cluster.master_of("a")
        killed.kill()
        killed.start()
        cluster.wait_until_whole()
        client.set("a", "again")


def test_a_replica_takes_over_from_a_killed_master_of_a_cluster() -> None:
    with RedisCluster(replicas=1) as cluster:
        master = cluster.master_of("a")
        (replica,) = cluster.replicas_of(master)
        master.kill()
        until(lambda: cluster.master_of("a") is replica, 20)
        cluster.wait_until_whole()
        assert len(cluster.masters()) == 3


def test_sentinels_promote_a_replica_when_the_master_was_killed() -> None:
    with RedisSentinels() as system:
        old, (replica,) = system.master, system.replicas
        old.kill()
        assert system.wait_until_promoted(old) is replica
        assert redis.Sentinel(system.addresses).discover_master(system.name) == replica.address
