"""Servers of Redis, for what asks one now and then; the broker has connections of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from redis import Redis, RedisCluster, Sentinel
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import ConnectionError, RedisClusterException, RedisError, TimeoutError
from redis.retry import Retry

from .errors import BrokerConnectionError
from .redis_trouble import refusal
from .redis_urls import parts_of, service_of

_BOUNDS = {"socket_timeout": 5.0, "socket_connect_timeout": 2.0, "socket_keepalive": True}
"""Seconds, where the options do not say; nothing waits for ever."""


class RedisServer:
    """One server, the master that sentinels name, or a cluster; how it is called, and what its errors mean.

    Making one opens no connection; ValueError for a URL that cannot be meant, TypeError for options that redis-py does
    not know.

    Parameters:
        url: as ``BROKER_URL`` takes them; the options alone say where it is when not given.
        client: a client of redis-py in the place of ``url``.
        options: keyword arguments of redis-py's connections.
    """

    def __init__(self, url: str | None, client: Any, options: Mapping[str, Any]) -> None:
        if url is not None and client is not None:
            raise ValueError("Give url= or client=, not both.")
        self._url = url
        self._given = client
        self._options = dict(options)
        if client is None and "+cluster" not in (url or ""):
            self._client  # noqa: B018  # for its complaints

    @cached_property
    def _client(self) -> Any:
        """Of a cluster it asks for the map of the slots when it is made, which is a connection."""
        return self._given or _make_client(self._url, self._options)

    @property
    def is_cluster(self) -> bool:
        with self.asked() as client:
            return hasattr(client, "get_default_node")

    @cached_property
    def address(self) -> str:
        """What to show people, never with a password; the same for two that are certainly one."""
        if self._url is not None:
            parts = urlsplit(self._url)
            return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        pool = getattr(self._client, "connection_pool", None)
        at = {} if pool is None else pool.connection_kwargs
        if "path" in at:
            return f"unix://{at['path']}, {at.get('db') or 0}"
        if "host" in at:
            return f"redis://{at['host']}:{at.get('port') or 6379}/{at.get('db') or 0}"
        return f"redis://{type(self._client).__name__}, {id(self._given)}"

    @contextmanager
    def asked(self) -> Iterator[Any]:
        """The client, which any thread may use. What it raises within comes as the errors that the engine knows."""
        try:
            yield self._client
        except (ConnectionError, TimeoutError, RedisClusterException, OSError) as error:
            raise BrokerConnectionError(f"Redis at {self.address} cannot be reached: {error}") from error
        except RedisError as error:
            raise refusal(error, self.address) from error

    def close(self) -> None:
        """Let go of this process's connections, unless they are the caller's."""
        if self._given is None and "_client" in vars(self):
            self._client.close()


def _make_client(url: str | None, options: Mapping[str, Any]) -> Any:
    """It answers in bytes and tries again once, because an idle connection may have been closed."""
    wishes = {**_BOUNDS, **options, "decode_responses": False}
    client = _client(url, wishes)
    if not isinstance(client, RedisCluster):
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # made and not opened, for its complaints
    return client


def _client(url: str | None, wishes: Mapping[str, Any]) -> Any:
    if url is None:
        return Redis(**{"retry": _once(), **wishes})
    scheme, _, kind = urlsplit(url).scheme.partition("+")
    if kind == "sentinel":
        return _master(url, scheme == "rediss", wishes)
    if kind == "cluster":
        return _cluster(url, scheme == "rediss", wishes)
    return Redis.from_url(url, **{"retry": _once(), **wishes})


def _once() -> Any:
    return Retry(NoBackoff(), 1)


def _master(url: str, is_secure: bool, options: Mapping[str, Any]) -> Any:
    nodes, path, credentials = parts_of(url, "sentinel")
    service, db = service_of(path)
    wishes: dict[str, Any] = {"retry": _once(), **credentials, **options, "db": db}
    if is_secure:
        wishes["ssl"] = True
    bounds = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0, "retry": _once()}
    asking = {**bounds, **wishes.pop("sentinel_kwargs", {})}
    sentinel: Any = Sentinel(nodes, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    return sentinel.master_for(service, **wishes)


def _cluster(url: str, is_secure: bool, options: Mapping[str, Any]) -> Any:
    nodes, _, credentials = parts_of(url, "cluster")
    wishes: dict[str, Any] = {**credentials, **options}
    if is_secure:
        wishes["ssl"] = True
    kind: Any = RedisCluster
    node: Any = ClusterNode
    return kind(startup_nodes=[node(host, port) for host, port in nodes], **wishes)
