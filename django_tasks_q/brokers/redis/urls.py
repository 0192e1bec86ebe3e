"""From URLs, clients and keyword arguments to a link."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis import ConnectionPool, Redis, RedisCluster, Sentinel, SSLConnection
from redis.connection import Connection

from .cluster import ClusterLink
from .endpoint import Endpoint
from .link import Link, SingleLink, connector

_PORTS = {"sentinel": 26379, "cluster": 6379}

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
    nodes, path, credentials = _parts(url, "sentinel")
    service, _, db = path.partition("/")
    if not service or (db and not db.isdigit()):
        raise ValueError(
            "A sentinel URL names the service, and perhaps a database: redis+sentinel://host:26379/service/0"
        )
    bound = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}
    wishes = {**credentials, **options, "db": int(db or 0), **({"ssl": True} if is_secure else {})}
    sentinel_options = {**bound, **wishes.pop("sentinel_kwargs", {})}
    sentinel = _untyped(Sentinel)(nodes, sentinel_kwargs=sentinel_options)
    return _link_of_pool(sentinel.master_for(service, **wishes).connection_pool, timeout)


def _cluster_link(url: str, is_secure: bool, options: Mapping[str, Any], timeout: Timeout) -> Link:
    """``redis+cluster://[user:password@]host[:port][,host[:port]…]``: a cluster has no other database than 0."""
    nodes, path, credentials = _parts(url, "cluster")
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


def _parts(url: str, kind: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """Nodes, path, and user, password and query of a URL that names several hosts."""
    split = urlsplit(url)
    login, _, hosts = split.netloc.rpartition("@")
    nodes = [_node(part, _PORTS[kind]) for part in hosts.split(",") if part]
    if not nodes:
        raise ValueError(f"redis+{kind}:// names at least one host.")
    user, _, password = login.partition(":")
    credentials: dict[str, Any] = {"username": unquote(user), "password": unquote(password)}
    named = {name: value for name, value in credentials.items() if value}
    return nodes, split.path.strip("/"), {**named, **dict(parse_qsl(split.query))}


def _node(text: str, port: int) -> tuple[str, int]:
    host, separator, after = text.rpartition(":")
    if not separator or after.endswith("]"):
        return text.strip("[]"), port
    if not after.isdigit():
        raise ValueError("What follows the colon behind a host is no port.")  # it may be half a password
    return host.strip("[]"), int(after)
