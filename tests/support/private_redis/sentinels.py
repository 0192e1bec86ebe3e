"""Redis with sentinels that promote a replica when the master has gone."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from tests.support.private import Private
from tests.support.private_redis.server import START_SECONDS, PrivateRedis
from tests.support.waiting import until

SENTINELS = 3
MAJORITY = 2


class _Sentinel(PrivateRedis):
    """A server that keeps no data but watches ``master``."""

    def __init__(self, name: str, master: PrivateRedis, down_after: int) -> None:
        super().__init__()
        self.settings = {
            f"sentinel monitor {name}": f"{master.host} {master.port} {MAJORITY}",
            f"sentinel down-after-milliseconds {name}": down_after,
            f"sentinel failover-timeout {name}": 2 * down_after,
        }

    def arguments(self) -> list[str]:
        return ["--sentinel"]


class RedisSentinels(Private):
    """A master with replicas, and three sentinels; the master is taken for dead after ``down_after`` milliseconds.

    Usable when ``with`` begins: the replicas follow and the sentinels know them and each other.
    """

    name = "main"
    """What the sentinels call the master."""

    def __init__(self, replicas: int = 1, down_after: int = 1_000, **settings: Any) -> None:
        super().__init__()
        self.servers = [PrivateRedis(**{"repl_diskless_sync_delay": 0, **settings}) for _ in range(1 + replicas)]
        self.sentinels: list[PrivateRedis] = [
            _Sentinel(self.name, self.servers[0], down_after) for _ in range(SENTINELS)
        ]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where the sentinels are."""
        return [sentinel.address for sentinel in self.sentinels]

    @property
    def master(self) -> PrivateRedis:
        """Whom clients are sent to, as the first sentinel that answers tells."""
        return self._named_by(next(sentinel for sentinel in self.sentinels if sentinel.answers()))

    @property
    def replicas(self) -> list[PrivateRedis]:
        """Everybody else, dead or alive."""
        master = self.master
        return [server for server in self.servers if server is not master]

    def wait_until_promoted(self, old: PrivateRedis, seconds: float = START_SECONDS) -> PrivateRedis:
        """The new master, as soon as all sentinels that answer name it and it takes itself for one."""
        until(lambda: self._is_replaced(old), seconds, lambda: f"the master is still at {old.port}")
        return self.master

    def enter(self, held: ExitStack) -> None:
        master, *replicas = self.servers
        for server in self.servers:
            server.prepare(held)
            server.launch()
        for server in self.servers:
            server.wait_until_it_answers()
        for replica in replicas:
            replica.command("REPLICAOF", master.host, master.port)
        for replica in replicas:
            until(lambda replica=replica: replica.info("replication")["master_link_status"] == "up", START_SECONDS)
        for sentinel in self.sentinels:
            sentinel.prepare(held)
            sentinel.launch()
        for sentinel in self.sentinels:
            until(lambda sentinel=sentinel: self._knows_all(sentinel), START_SECONDS)

    def _knows_all(self, sentinel: PrivateRedis) -> bool:
        if not sentinel.answers():
            return False
        state = self._state(sentinel)
        known = int(state["num-slaves"]), int(state["num-other-sentinels"])
        return state["flags"] == "master" and known == (len(self.servers) - 1, SENTINELS - 1)

    def _is_replaced(self, old: PrivateRedis) -> bool:
        named = {self._named_by(sentinel) for sentinel in self.sentinels if sentinel.answers()}
        if len(named) != 1 or old in named:
            return False
        new = named.pop()
        return new.answers() and new.info("replication")["role"] == "master"

    def _named_by(self, sentinel: PrivateRedis) -> PrivateRedis:
        port = int(sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[1])
        return next(server for server in self.servers if server.port == port)

    def _state(self, sentinel: PrivateRedis) -> dict[str, str]:
        """What a sentinel knows of the master."""
        words = sentinel.command("SENTINEL", "MASTER", self.name)
        return words if isinstance(words, dict) else dict(zip(words[::2], words[1::2], strict=True))
