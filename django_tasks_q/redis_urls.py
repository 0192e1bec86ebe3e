"""URLs of Redis that name several hosts: sentinels, or nodes of a cluster."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_PORTS = {"sentinel": 26379, "cluster": 6379}


def parts_of(url: str, kind: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
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


def service_of(path: str) -> tuple[str, int]:
    """The service that sentinels are asked for, and its database. ValueError when the path of the URL names none."""
    service, _, db = path.partition("/")
    if not service or (db and not db.isdigit()):
        raise ValueError(
            "A sentinel URL names the service, and perhaps a database: redis+sentinel://host:26379/service/0"
        )
    return service, int(db or 0)
