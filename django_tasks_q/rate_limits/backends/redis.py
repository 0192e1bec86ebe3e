"""Leases, admissions and gatherings in Redis or Valkey: one server, the master that sentinels name, or a cluster."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from ...redis_clients import RedisServer
from ..admissions import SLACK, Span
from ..backend import Held, RateLimiterBackend
from ..gathering import Arrival, unexpected
from ..mutex import Holder, Owner

_FOLDER = Path(__file__).with_name("lua")
_PARTS = {
    "mutex": ("acquire", "release", "renew", "remaining", "held"),
    "gathering": ("expect", "gathered", "arrive"),
}

_KEPT_IDLE = 86_400_000
"""Milliseconds for which a key is kept that nobody holds, so that its tokens rise even when the clock goes back."""

_LISTED_IDLE = 60_000
"""Milliseconds for which such a key stays in the list of those to look at. A call that was on its way that long, and
acquires after all, is not seen by anybody who looks; it ends after its time."""

_PAGE = 1_000


class _Holder(msgspec.Struct, frozen=True, array_like=True):
    """As ``lua/mutex.lua`` packs one."""

    message_id: str
    worker: str
    since: int
    token: int
    expires_at: int
    ttl: int
    nonce: str

    def holder(self) -> Holder:
        return Holder(self.message_id, self.worker, self.since, self.token, self.expires_at, self.ttl)


class _Mutex(msgspec.Struct, frozen=True, array_like=True):
    version: int
    limit: int
    holders: tuple[_Holder, ...]


class RedisBackend(RateLimiterBackend):
    """One key of Redis for each key here, changed by scripts, by the clock of the server that has it.

    Tokens rise as long as that clock does, and for a day after the last use also when it goes back. On a failover what
    the new master has not heard of is gone, leases too: that is what the tokens are for.

    Parameters:
        url: ``redis://``, ``rediss://``, ``redis+sentinel://``, ``redis+cluster://`` and their ``rediss`` forms.
        client: a client of redis-py in the place of ``url``; it has to answer in bytes.
        namespace: what all keys begin with; without braces.
        redis_kwargs: options of redis-py's connections.
    """

    def __init__(
        self, *, client: Any = None, url: str | None = None, namespace: str = "dtq-limits", **redis_kwargs: Any
    ) -> None:
        if not namespace or set(namespace) & set("{}") or not namespace.isprintable():
            raise ValueError(f"A namespace is printable and has neither '{{' nor '}}': {namespace!r}")
        super().__init__()
        self.namespace = namespace
        self._server = RedisServer(url, client, redis_kwargs)
        self._index = f"{namespace}:{{*}}:mutexes"

    @property
    def address(self) -> str:
        return f"{self._server.address}, {self.namespace}"

    # Leases

    def acquire(self, key: str, owner: Owner, limit: int, ttl: int) -> int | None:
        keys = [self._named("mutex", key)]
        if self._server.is_cluster:  # before, so that whoever looks sees it; with the script when that can do both
            with self._server.asked() as client:
                client.zadd(self._index, {key: self._now()})
        else:
            keys.append(self._index)
        token = self._run("acquire", keys, limit, ttl, *owner, uuid4().hex, _KEPT_IDLE, key)
        return None if token is None else int(token)

    def release(self, key: str, token: int) -> bool:
        return self.force_release(key, token) == 1

    def force_release(self, key: str, token: int | None = None) -> int:
        return int(self._run("release", [self._named("mutex", key)], "" if token is None else token, _KEPT_IDLE))

    def remaining(self, key: str, token: int) -> int | None:
        left = self._run("remaining", [self._named("mutex", key)], token)
        return None if left is None else int(left)

    def held(self, key: str) -> int:
        return int(self._run("held", [self._named("mutex", key)]))

    def renew(self, leases: Collection[tuple[str, int]]) -> int:
        tokens: defaultdict[str, list[int]] = defaultdict(list)
        for key, token in leases:
            tokens[key].append(token)
        return sum(
            int(self._run("renew", [self._named("mutex", key)], _KEPT_IDLE, *several))
            for key, several in tokens.items()
        )

    def inspect(self) -> list[Held]:
        """On a cluster what is left of a lease goes by the clock of one server, and ends by that of another."""
        now = self._now()
        found: list[Held] = []
        with self._server.asked() as client:
            names = sorted(_text(name) for name in client.zrange(self._index, 0, -1))
        for start in range(0, len(names), _PAGE):
            page = names[start : start + _PAGE]
            idle = []
            for key, mutex in zip(page, self._read(page), strict=True):
                held = [] if mutex is None else [holder for holder in mutex.holders if holder.expires_at > now]
                found += [Held(key, mutex.limit, one.holder(), one.expires_at - now) for one in held if mutex]
                if not held:
                    idle.append(key)
            self._unlist(idle, now)
        return found

    def _read(self, names: Sequence[str]) -> list[_Mutex | None]:
        keys = [self._named("mutex", name) for name in names]
        with self._server.asked() as client:
            packed = client.mget_nonatomic(keys) if self._server.is_cluster else client.mget(keys)
        return [None if value is None else msgspec.msgpack.decode(value, type=_Mutex) for value in packed]

    def _unlist(self, names: list[str], now: int) -> None:
        """Look no more at keys that nobody has acquired for a while."""
        if not names:
            return
        with self._server.asked() as client:
            scores = client.zmscore(self._index, names)
            old = [name for name, used in zip(names, scores, strict=True) if used and used < now - _LISTED_IDLE]
            if old:
                client.zrem(self._index, *old)

    def forget_idle(self, idle: int, limit: int = 1_000) -> int:
        """Nothing: Redis itself forgets, each key a day after its last use."""
        return 0

    # Admissions and gatherings

    def admit(self, key: str, limit: int, span: Span, *, queues: bool = False) -> int:
        terms = (limit, span.width, span.window, int(queues), str(SLACK))
        return int(self._run("admit", [self._named("admissions", key)], *terms))

    def expect(self, key: str, parties: int, ttl: int) -> bool:
        return bool(self._run("expect", [self._named("gathering", key)], parties, ttl))

    def gathered(self, key: str) -> Arrival | None:
        return _arrival(self._run("gathered", [self._named("gathering", key)]))

    def arrive(self, key: str, member: str, ok: bool, parties: int, ttl: int) -> Arrival:
        arrival = _arrival(self._run("arrive", [self._named("gathering", key)], member, int(ok), parties, ttl))
        if arrival is None:
            raise unexpected(key)
        return arrival

    def arrived(self, key: str) -> list[str]:
        with self._server.asked() as client:
            fields = client.hkeys(self._named("gathering", key))
        return [field[1:] for field in map(_text, fields) if field.startswith(":")]

    # Redis

    def close(self) -> None:
        self._server.close()

    def _named(self, kind: str, key: str) -> str:
        return f"{self.namespace}:{{{key}}}:{kind}"

    def _now(self) -> int:
        with self._server.asked() as client:
            if self._server.is_cluster:
                seconds, micros = client.time(target_nodes=client.get_node_from_key(self._index))
            else:
                seconds, micros = client.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def _run(self, name: str, keys: Sequence[str], *args: str | int) -> Any:
        with self._server.asked() as client:
            return client.register_script(_source(name))(keys=keys, args=args)


@cache
def _source(name: str) -> str:
    """A script, behind what it needs."""
    parts = [part for part, users in _PARTS.items() if name in users]
    return "\n".join((_FOLDER / f"{one}.lua").read_text(encoding="utf-8") for one in (*parts, name))


def _arrival(reply: Any) -> Arrival | None:
    return None if reply is None else Arrival(*(value == 1 for value in reply))


def _text(name: bytes | str) -> str:
    return name if isinstance(name, str) else name.decode()


def from_url(url: str | None, namespace: str, **options: Any) -> RedisBackend:
    """The backend of a ``redis://`` URL, or of one of its relatives. ``options`` as of :class:`RedisBackend`."""
    return RedisBackend(url=url, namespace=namespace, **options)
