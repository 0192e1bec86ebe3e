"""What every part of the Redis broker stands on: the link, the names of the keys, the clock, the journalist."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...broker import Broker
from ...errors import BrokerError, QueueNotFound
from .keys import QUEUE_KEYS, Keys
from .link import Call, Link
from .packing import pack_parts
from .scripts import load
from .sending import Journalist, Packer, StoreClock
from .trade import Trader
from .urls import make_link

if TYPE_CHECKING:
    from ...middleware import Middleware


class RedisStore(Broker):
    """Calls of scripts, by the queue that they are about."""

    def __init__(
        self,
        url: str | None,
        client: Any,
        middleware: Iterable[Middleware] | None,
        namespace: str,
        redis_kwargs: Mapping[str, Any],
    ) -> None:
        super().__init__(middleware)
        self.keys = Keys(namespace)
        self.link: Link = make_link(url, client, redis_kwargs, lambda: self.send_timeout / 1000)
        self.clock = StoreClock()
        self.journalist = Journalist()
        self.packer = Packer(self.clock, self.journalist)
        self.trader = Trader(self.keys, self.packer, self.journalist, lambda: self.journal_max_bytes, self.link.publish)

    def known_queues(self) -> list[str]:
        """The queues that anybody ever used, and those declared here, by name."""
        used = self.link.command(self.keys.queues, b"SMEMBERS", self.keys.queues)
        return sorted({*self.queues, *(name.decode() for name in used)})

    def make_known(self, queue_names: Iterable[str]) -> None:
        """Note queues where others find them."""
        names = [name.encode() for name in queue_names]
        if names:
            self.call_with("make_known", self.keys.queues, *names)

    def call_on(self, script: str, queue_name: str, *args: bytes) -> Any:
        """The answer of a script about one queue."""
        return self.link.call(self.about(script, queue_name, *args))

    def call_on_each(self, script: str, queue_names: Sequence[str], *args: bytes) -> list[Any]:
        """The answers of one script about many queues. Raises the first error."""
        replies = self.link.call_many([self.about(script, name, *args) for name in queue_names])
        for reply in replies:
            if isinstance(reply, BrokerError):
                raise reply
        return replies

    def about(self, script: str, queue_name: str, *args: bytes) -> Call:
        keys = self.keys.packed(queue_name)
        return Call(load(script), self.keys.named(queue_name, "messages"), keys, QUEUE_KEYS, args)

    def call_with(self, script: str, key: bytes, *args: bytes) -> Any:
        """The answer of a script that has one key only."""
        return self.link.call(Call(load(script), key, pack_parts([key]), 1, args))

    @property
    def budget(self) -> bytes:
        """Of each queue's journal, as scripts take it."""
        return b"%d" % self.journal_max_bytes

    def check_queue(self, queue_name: str) -> None:
        """QueueNotFound unless somebody in this process declared it."""
        if queue_name not in self.queues:
            raise QueueNotFound(f"No queue is called {queue_name!r}.")
