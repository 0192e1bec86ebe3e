"""The names of everything the broker keeps in Redis. All names of one queue share a hash tag, so a cluster's slot."""

from __future__ import annotations

from functools import lru_cache

from .packing import pack_parts

SENDING_KEYS, QUEUE_KEYS = 10, 14
"""How many of a queue's keys a script is given that only sends what takes no keys, and every other one."""

_NAMES = (
    "messages",
    "ready",
    "delayed",
    "lives",
    "former-lives",
    "sequence",
    "waiters",
    "journal",
    "fill",
    "claims",
    "suspects",
    "dead",
    "taken",
    "unique",
)
"""In the order in which ``lua/parts/queue.lua`` reads them."""

_SHARED = "*"
"""The tag of what belongs to no queue; no queue can be called so."""


class Keys:
    """The keys of one namespace.

    Parameters:
        namespace: ValueError for one that would break the hash tags.
    """

    def __init__(self, namespace: str) -> None:
        if not namespace or set(namespace) & set("{}") or not namespace.isprintable():
            raise ValueError(f"A namespace is printable and has neither '{{' nor '}}': {namespace!r}")
        self.namespace = namespace
        self.queues = self.named(_SHARED, "queues")
        self.leases = self.named(_SHARED, "leases")
        self.packed = lru_cache(4096)(self._pack)
        self.packed_for_sending = lru_cache(4096)(self._pack_for_sending)

    def named(self, queue_name: str, name: str) -> bytes:
        return f"{self.namespace}:{{{queue_name}}}:{name}".encode()

    def worker(self, worker_id: str, queue_name: str | None = None) -> bytes:
        """Where the number of a worker's last exchange is kept (on a cluster: with this queue).

        Without it the worker is fenced.
        """
        return self.named(queue_name or _SHARED, f"worker:{worker_id}")

    def channel(self, worker_id: str, queue_name: str | None = None) -> bytes:
        """The channel on which a worker is woken; on a cluster there is one for each queue."""
        return self.named(queue_name or _SHARED, f"wake:{worker_id}")

    def queue_in(self, key: bytes) -> str:
        """The queue that a key of it belongs to."""
        return key[key.index(b"{") + 1 : key.rindex(b"}:")].decode()

    def parked(self, queue_name: str, mark: str) -> bytes:
        """Where the line of those is kept that are parked on one key."""
        return self.named(queue_name, f"parked:{mark}")

    def of_queue(self, queue_name: str) -> list[bytes]:
        return [self.named(queue_name, name) for name in _NAMES]

    def _pack(self, queue_name: str) -> bytes:
        return pack_parts(self.of_queue(queue_name))

    def _pack_for_sending(self, queue_name: str) -> bytes:
        return pack_parts(self.of_queue(queue_name)[:SENDING_KEYS])
