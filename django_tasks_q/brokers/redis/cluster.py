"""A Redis Cluster as calls find their way through it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from redis.crc import key_slot
from redis.exceptions import AskError, MovedError

from ...errors import BrokerError, ConnectionFailed
from .endpoint import Endpoint, ask_one
from .link import Link
from .packing import pack_command

Address = tuple[str, int]


class ClusterLink(Link):
    """The masters of a cluster, by slot. The map is fetched when it is needed and when a node says that it is old.

    Parameters:
        seeds: nodes to ask for the others.
        connect_to: makes an endpoint for an address.
    """

    is_cluster = True
    publish, subscribe = b"spublish", "SSUBSCRIBE"

    def __init__(
        self, seeds: Sequence[Address], connect_to: Callable[[Address], Endpoint], timeout: Callable[[], float]
    ) -> None:
        super().__init__(timeout)
        self._seeds = list(seeds)
        self._connect_to = connect_to
        self._known: dict[Address, Endpoint] = {}
        self._slots: list[tuple[int, int, Address]] = []
        self.address = ",".join(f"{host}:{port}" for host, port in seeds)

    # Finding nodes

    def endpoint_for(self, slot_key: bytes) -> Endpoint:
        slot = key_slot(slot_key)
        if not self._slots:
            self._fetch_map()
        for first, last, address in self._slots:
            if first <= slot <= last:
                return self._endpoint(address)
        self._slots = []
        raise ConnectionFailed(f"No node of the cluster at {self.address} serves slot {slot} just now.")

    def _endpoint(self, address: Address) -> Endpoint:
        # No lock: a thread of the parent may have held it at a fork, and what one too many costs is nothing.
        known = self._known.get(address)
        return self._known.setdefault(address, self._connect_to(address)) if known is None else known

    def _fetch_map(self) -> None:
        error: BrokerError = ConnectionFailed(f"No node of the cluster at {self.address} can be reached.")
        addresses = list(dict.fromkeys([*self._known, *self._seeds]))
        for address in random.sample(addresses, len(addresses)):  # a commit has time for one that does not answer
            try:
                rows = ask_one(self._endpoint(address), pack_command(b"CLUSTER", b"SLOTS"))
            except BrokerError as failed:
                error = failed
                continue
            self._slots = [
                (first, last, (master[0].decode() or address[0], master[1])) for first, last, master, *_ in rows
            ]
            return
        raise error

    def look_around(self) -> None:
        self._slots = []

    def endpoints(self) -> list[Endpoint]:
        if not self._slots:
            self._fetch_map()
        return [self._endpoint(address) for address in dict.fromkeys(address for _, _, address in self._slots)]

    def close(self) -> None:
        for endpoint in list(self._known.values()):
            endpoint.close()

    # Calling

    def _ask(self, slot_key: bytes, packed: bytes) -> Any:
        reply = self.endpoint_for(slot_key).ask(packed, 1)[0]
        return self._follow(reply, packed) if isinstance(reply, AskError) else reply

    def _follow(self, reply: AskError, packed: bytes) -> Any:
        """The slot has moved, or is about to: nothing has happened yet."""
        there = self._endpoint((reply.host, reply.port))
        if isinstance(reply, MovedError):
            self._slots = []  # fetched anew when it is needed: other nodes may not have heard of it yet
            return there.ask(packed, 1)[0]
        return there.ask(pack_command(b"ASKING") + packed, 2)[1]
