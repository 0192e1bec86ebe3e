"""Results in Redis or Valkey: one server, the master that sentinels name, or a cluster."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ... import clock
from ...common import refuse_options
from ...deliveries import Result
from ...encoder import Encoder
from ...errors import BrokerConnectionError
from ...redis_clients import RedisServer
from ..backend import ResultBackend

_STORE = """
if ARGV[3] == '0' and redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('DEL', KEYS[1])
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
"""
"""Keys: of the result. Arguments: payload, milliseconds, whether to replace what is there. Atomic: one result."""

_LONGEST_BLOCK = 2.0
_PAUSE = 0.1


class RedisBackend(ResultBackend):
    """One list of one element for each result: who waits is woken by the server, and moves the element to where it is,
    so that everybody gets it and nobody takes it away. Redis 6.2 or newer.

    Parameters:
        url: ``redis://``, ``rediss://``, ``redis+sentinel://``, ``redis+cluster://`` and their ``rediss`` forms.
        client: a client of redis-py in the place of ``url``.
        redis_kwargs: options of redis-py's connections.
    """

    def __init__(
        self,
        *,
        url: str | None = None,
        client: Any = None,
        namespace: str = "dtq-results",
        encoder: Encoder | None = None,
        **redis_kwargs: Any,
    ) -> None:
        refuse_options("RedisBackend", redis_kwargs, {"use_namespace_prefix_keys": "its keys always begin with it."})
        super().__init__(namespace=namespace, encoder=encoder)
        self._server = RedisServer(url, client, redis_kwargs)

    @property
    def address(self) -> str:
        return self._server.address

    def store(self, results: Sequence[Result], *, replace: bool = True) -> None:
        with self._server.asked() as client:
            pipeline = client.pipeline(transaction=False)
            for result in results:
                pipeline.execute_command("EVAL", _STORE, 1, result.key, result.payload, result.ttl, int(replace))
            pipeline.execute()

    def load(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        with self._server.asked() as client:
            if len(keys) == 1:
                found = [client.lindex(keys[0], 0)]
            else:
                pipeline = client.pipeline(transaction=False)
                for key in keys:
                    pipeline.lindex(key, 0)
                found = pipeline.execute()
        return {key: _plain(payload) for key, payload in zip(keys, found, strict=True) if payload is not None}

    def wait(self, key: str, timeout: float) -> bytes | None:
        """A server that goes away meanwhile may come back within the time, as a replica does that becomes master."""
        until = clock.monotonic() + timeout
        while True:
            left = until - clock.monotonic()
            if left <= 0:
                return self.load([key]).get(key)
            try:
                found = self._block(key, min(left, self._longest_block))
            except BrokerConnectionError:
                if until - clock.monotonic() <= _PAUSE:
                    raise
                time.sleep(_PAUSE)
                continue
            if found is not None:
                return found

    def _block(self, key: str, seconds: float) -> bytes | None:
        with self._server.asked() as client:
            # 0 would be for ever.
            found = client.blmove(key, key, max(0.001, round(seconds, 3)), "LEFT", "LEFT")
        return None if found is None else _plain(found)

    @cached_property
    def _longest_block(self) -> float:
        """Seconds; less than the connection waits for an answer. It also bounds how long a cut link goes unnoticed."""
        with self._server.asked() as client:
            if self._server.is_cluster:
                client = client.get_redis_connection(client.get_default_node())
            timeout = client.connection_pool.connection_kwargs.get("socket_timeout")
        return _LONGEST_BLOCK if timeout is None else min(_LONGEST_BLOCK, timeout / 2)

    def remove(self, keys: Sequence[str]) -> None:
        with self._server.asked() as client:
            pipeline = client.pipeline(transaction=False)
            for key in keys:
                pipeline.delete(key)
            pipeline.execute()

    def close(self) -> None:
        """Let go of this process's connections."""
        self._server.close()


def _plain(payload: Any) -> bytes:
    """A client that was given may decode what it reads."""
    return payload.encode() if isinstance(payload, str) else bytes(payload)


def from_url(url: str | None, namespace: str, **options: Any) -> RedisBackend:
    """The backend of a ``redis://`` URL, or of one of its relatives. ``options`` as of :class:`RedisBackend`."""
    return RedisBackend(url=url, namespace=namespace, **options)
