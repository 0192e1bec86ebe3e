"""What every part of the Redis broker stands on: the link, the names of the keys, the clock, the journalist."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ... import clock
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

NAMES_AGE = 6.0
"""Seconds for which the names of queues that a rescue was told are good: the keeper rescues every five."""

QUEUES_AT_ONCE = 16
"""Queues that one script counts or looks after, where one may: on a cluster each is in a slot of its own."""


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
        self.server = (url, client, dict(redis_kwargs))
        """As it was given; for others who keep something there."""
        self.link: Link = make_link(url, client, redis_kwargs, lambda: self.send_timeout / 1000)
        self.clock = StoreClock()
        self.journalist = Journalist()
        self.packer = Packer(self.clock, self.journalist)
        self._names: list[str] = []
        self._names_until = 0.0
        self.trader = Trader(self.keys, self.packer, self.journalist, lambda: self.journal_max_bytes, self.link.publish)

    def known_queues(self) -> list[str]:
        """The queues that anybody ever used, and those declared here, by name."""
        if clock.monotonic() < self._names_until:
            used = self._names
        else:
            members = self.link.command(self.keys.queues, b"SMEMBERS", self.keys.queues)
            used = [name.decode() for name in members]
        return sorted({*self.queues, *used})

    def remember_queues(self, names: Iterable[bytes]) -> None:
        """Who rescues is told the queues each time; so nothing else in the keeper asks for them."""
        self._names = [name.decode() for name in names]
        self._names_until = clock.monotonic() + NAMES_AGE

    def forget_queues(self) -> None:
        """There is a new one: ask the next time."""
        self._names_until = 0.0

    def make_known(self, queue_names: Iterable[str]) -> None:
        """Note queues where others find them."""
        names = [name.encode() for name in queue_names]
        if names:
            self.call_with("make_known", [self.keys.queues], self.link.publish, *names)
            self.forget_queues()

    def call_on(self, script: str, queue_name: str, *args: bytes) -> Any:
        """The answer of a script about one queue."""
        return self.link.call(self.about(script, queue_name, *args))

    def ask_about(self, script: str, queue_names: Sequence[str], *args: bytes) -> list[Any]:
        """What a script that takes several queues answers for each of them."""
        most = 1 if self.link.is_cluster else QUEUES_AT_ONCE
        groups = [queue_names[start : start + most] for start in range(0, len(queue_names), most)]
        replies = self._answers([self._about_all(script, names, args) for names in groups])
        return [answer for reply in replies for answer in reply]

    def _about_all(self, script: str, queue_names: Sequence[str], args: Sequence[bytes]) -> Call:
        keys = b"".join([self.keys.packed(name) for name in queue_names])
        slot_key = self.keys.named(queue_names[0], "messages")
        return Call(load(script), slot_key, keys, QUEUE_KEYS * len(queue_names), args)

    def ask_about_ids(
        self, script: str, queue_names: Sequence[str], ids: Sequence[bytes], *args: bytes
    ) -> Iterator[tuple[str, Any]]:
        """What a script answers about ids, with the queue. Where it has read enough it is asked about the others."""
        done = dict.fromkeys(queue_names, 0)
        while names := [name for name, looked in done.items() if looked < len(ids)]:
            calls = [self.about(script, name, *args, *ids[done[name] :]) for name in names]
            for name, (looked, rows) in zip(names, self._answers(calls), strict=True):
                done[name] += looked
                yield name, rows

    def _answers(self, calls: Sequence[Call]) -> list[Any]:
        """Raises the first error."""
        replies = self.link.call_many(calls)
        for reply in replies:
            if isinstance(reply, BrokerError):
                raise reply
        return replies

    def about(self, script: str, queue_name: str, *args: bytes) -> Call:
        return self._about_all(script, [queue_name], args)

    def call_with(self, script: str, keys: Sequence[bytes], *args: bytes) -> Any:
        """The answer of a script that is about no queue."""
        return self.link.call(Call(load(script), keys[0], pack_parts(keys), len(keys), args))

    @property
    def budget(self) -> bytes:
        """Of each queue's journal, as scripts take it."""
        return b"%d" % self.journal_max_bytes

    def check_queue(self, queue_name: str) -> None:
        """QueueNotFound unless somebody in this process declared it."""
        if queue_name not in self.queues:
            raise QueueNotFound(f"No queue is called {queue_name!r}.")
