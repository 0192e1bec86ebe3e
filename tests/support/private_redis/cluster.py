"""A Redis Cluster on one machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tests.support.ports import free_port
from tests.support.private import Private
from tests.support.private_redis.server import START_SECONDS, PrivateRedis
from tests.support.waiting import until

SLOTS = 16384


class RedisCluster(Private):
    """Masters that share the slots evenly, each with as many replicas as asked for; a dead one is noticed in a second.

    Usable when ``with`` begins: all know each other and every slot is served. That takes two seconds, as a master
    refuses everything during its first two.
    """

    def __init__(self, masters: int = 3, replicas: int = 0, **settings: Any) -> None:
        super().__init__()
        self.nodes = [_node(settings) for _ in range(masters * (1 + replicas))]
        self._first_masters, self._first_replicas = self.nodes[:masters], self.nodes[masters:]

    @property
    def url(self) -> str:
        """Of one node, from which a client finds the others."""
        return self.nodes[0].url

    def masters(self) -> list[PrivateRedis]:
        """Those who run and take themselves for masters."""
        return [node for node in self._running() if node.info("replication")["role"] == "master"]

    def master_of(self, key: str) -> PrivateRedis:
        """Who serves a key now, as the first node that answers tells."""
        teller = self._running()[0]
        slot = teller.command("CLUSTER", "KEYSLOT", key)
        for line in teller.command("CLUSTER", "SLOTS"):
            first, last, (_, port, *_), *_ = line
            if first <= slot <= last:
                return self._at(port)
        raise AssertionError(f"nobody serves slot {slot}")

    def replicas_of(self, master: PrivateRedis) -> list[PrivateRedis]:
        """Those who have copied everything from it and follow it."""
        followers = [value for name, value in master.info("replication").items() if name.startswith("slave")]
        return [self._at(each["port"]) for each in followers if isinstance(each, dict) and each["state"] == "online"]

    def move(self, key: str) -> PrivateRedis:
        """Have another master serve a key, and all that are in its slot; returns that master.

        As operators do it: key by key, while clients go on.
        """
        with self.moving(key) as new:
            return new

    @contextmanager
    def moving(self, key: str) -> Iterator[PrivateRedis]:
        """The same, standing still while half of the keys have moved; they all have at the end."""
        old = self.master_of(key)
        new = next(master for master in self.masters() if master is not old)
        slot = self.slot(key)
        old_id, new_id = old.command("CLUSTER", "MYID"), new.command("CLUSTER", "MYID")

        def migrate(keys: list[str]) -> None:
            for one in keys:
                old.command("MIGRATE", new.host, new.port, one, 0, 5_000)

        new.command("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
        old.command("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
        migrate(old.command("CLUSTER", "GETKEYSINSLOT", slot, old.command("CLUSTER", "COUNTKEYSINSLOT", slot) // 2))
        yield new
        while keys := old.command("CLUSTER", "GETKEYSINSLOT", slot, 10):
            migrate(keys)
        for node in (new, old, *self.masters()):
            node.command("CLUSTER", "SETSLOT", slot, "NODE", new_id)

    def slot(self, key: str) -> int:
        return int(self.nodes[0].command("CLUSTER", "KEYSLOT", key))

    def wait_until_whole(self, seconds: float = START_SECONDS) -> None:
        """Until all nodes that run agree that every slot is served."""
        until(self._is_whole, seconds, lambda: str([_state(node) for node in self._running()]))

    def enter(self, held: ExitStack) -> None:
        for node in self.nodes:
            node.prepare(held)
            node.launch()
        for node in self.nodes:
            node.wait_until_it_answers()
        self._share_slots()
        self._meet()
        self._attach_replicas()
        self.wait_until_whole()

    def _share_slots(self) -> None:
        share = SLOTS / len(self._first_masters)
        for number, master in enumerate(self._first_masters):
            master.command("CLUSTER", "ADDSLOTSRANGE", round(number * share), round((number + 1) * share) - 1)

    def _meet(self) -> None:
        """Everybody meets the first; epochs of their own spare them from finding out whose slots are whose."""
        first = self.nodes[0]
        for number, node in enumerate(self.nodes, start=1):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", number)
        for node in self.nodes[1:]:
            node.command("CLUSTER", "MEET", first.host, first.port, first.settings["cluster-port"])
        until(lambda: all(int(_state(node)["cluster_known_nodes"]) == len(self.nodes) for node in self.nodes))

    def _attach_replicas(self) -> None:
        for number, replica in enumerate(self._first_replicas):
            master = self._first_masters[number % len(self._first_masters)]
            replica.command("CLUSTER", "REPLICATE", master.command("CLUSTER", "MYID"))
        until(lambda: sum(len(self.replicas_of(each)) for each in self._first_masters) == len(self._first_replicas))

    def _is_whole(self) -> bool:
        states = [_state(node) for node in self._running()]
        return all(state["cluster_state"] == "ok" and int(state["cluster_slots_ok"]) == SLOTS for state in states)

    def _running(self) -> list[PrivateRedis]:
        return [node for node in self.nodes if node.answers()]

    def _at(self, port: int) -> PrivateRedis:
        return next(node for node in self.nodes if node.port == port)


def _node(settings: dict[str, Any]) -> PrivateRedis:
    cluster = {"cluster_enabled": "yes", "cluster_port": free_port(), "cluster_node_timeout": 1_000}
    return PrivateRedis(**{**cluster, "repl_diskless_sync_delay": 0, **settings})


def _state(node: PrivateRedis) -> dict[str, str]:
    with node.client() as client:
        return client.cluster("INFO")
