"""From URLs, clients and keyword arguments to a link."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from redis import ConnectionPool, Redis, RedisCluster, Sentinel, SSLConnection
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.retry import Retry

from ...redis_urls import parts_of, service_of
from .cluster import ClusterLink
from .endpoint import Endpoint
from .link import Link, SingleLink, connector

Timeout = Callable[[], float]


def make_link(url: str | None, client: Any, options: Mapping[str, Any], timeout: Timeout) -> Link:
    """The link that ``RedisBroker``'s arguments describe. ValueError when they cannot be meant together."""
    if url is not None and client is not None:
        raise ValueError("Give url= or client=, not both.")
    if client is not None:
        return _link_of_client(client, timeout)
    if url is None:
        return _link_of_pool(Redis(**options).connection_pool, timeout)
    scheme, _, kind = urlsplit(url).scheme.partition("+")
    if kind:
        makers = {"sentinel": _sentinel_link, "cluster": _cluster_link}
        if kind not in makers or scheme not in ("redis", "rediss"):
            raise ValueError(f"Not a Redis URL: {scheme}+{kind}://")
        return makers[kind](url, scheme == "rediss", options, timeout)
    return _link_of_pool(ConnectionPool.from_url(url, **options), timeout)


def _link_of_client(client: Any, timeout: Timeout) -> Link:
    if isinstance(client, RedisCluster):
        known: list[Any] = list(_untyped(client).get_nodes())
        pool = client.get_redis_connection(known[0]).connection_pool
        nodes = [(node.host, int(node.port)) for node in known]
        return _cluster_of(nodes, pool.connection_class, pool.connection_kwargs, timeout)
    return _link_of_pool(client.connection_pool, timeout)


def _link_of_pool(pool: Any, timeout: Timeout) -> SingleLink:
    options = pool.connection_kwargs
    service = getattr(pool, "service_name", None)
    if service is not None:
        where = f"{service} (by sentinels)"
    else:
        where = str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")
    endpoint = Endpoint(connector(pool.connection_class, options, timeout), f"{where}/{options.get('db') or 0}")
    return SingleLink(endpoint, timeout)


def _untyped(thing: Any) -> Any:
    """What the client library has no types for."""
    return thing


def _sentinel_link(url: str, is_secure: bool, options: Mapping[str, Any], timeout: Timeout) -> Link:
    """``redis+sentinel://[user:password@]host[:port][,host[:port]…]/service[/db]``: the password is the master's."""
    nodes, path, credentials = parts_of(url, "sentinel")
    service, db = service_of(path)
    bound = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5, "retry": Retry(NoBackoff(), 0)}  # there are others
    wishes = {**credentials, **options, "db": db, **({"ssl": True} if is_secure else {})}
    sentinel_options = {**bound, **wishes.pop("sentinel_kwargs", {})}
    sentinel = _untyped(Sentinel)(nodes, sentinel_kwargs=sentinel_options)
    return _link_of_pool(sentinel.master_for(service, **wishes).connection_pool, timeout)


def _cluster_link(url: str, is_secure: bool, options: Mapping[str, Any], timeout: Timeout) -> Link:
    """``redis+cluster://[user:password@]host[:port][,host[:port]…]``: a cluster has no other database than 0."""
    nodes, path, credentials = parts_of(url, "cluster")
    if path not in ("", "0"):
        raise ValueError("A Redis Cluster has no other database than 0.")
    return _cluster_of(nodes, SSLConnection if is_secure else Connection, {**credentials, **options}, timeout)


def _cluster_of(
    nodes: list[tuple[str, int]], connection_class: type, options: Mapping[str, Any], timeout: Timeout
) -> ClusterLink:
    def connect_to(address: tuple[str, int]) -> Endpoint:
        host, port = address
        return Endpoint(connector(connection_class, {**options, "host": host, "port": port}, timeout), f"{host}:{port}")

    connect_to(nodes[0])  # for its complaints
    return ClusterLink(nodes, connect_to, timeout)
