"""URLs of servers, judged by their text alone. What they say of users and passwords is never repeated."""

from __future__ import annotations

import re
from importlib.util import find_spec
from urllib.parse import SplitResult, urlsplit

from .. import conf
from ..conf import WrongSetting

REDIS = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
RABBITMQ = ("amqp", "amqps")

_CLIENTS = {**dict.fromkeys(REDIS, ("redis", "redis")), **dict.fromkeys(RABBITMQ, ("pika", "rabbitmq"))}
"""By scheme: the module of the client library, and the extra of ours that installs it."""

_EXAMPLES = {"redis": "redis://localhost:6379/0", "pika": "amqp://guest:guest@localhost:5672/"}
_SEVERAL = {
    "redis": "redis+sentinel://one,two,three/service or redis+cluster://one,two,three",
    "pika": "Several URLs: amqp://one/;amqp://two/",
}
_NEXT_URL = re.compile(r";(?=amqps?://)")


def split(url: str, key: str) -> SplitResult:
    """The parts of a URL that is the value of ``key``. WrongSetting when it has none."""
    try:
        return urlsplit(url)
    except ValueError as error:  # brackets that do not belong together
        raise WrongSetting(f"{conf.NAME}: {key} is no URL: {error}.", "E015") from error


def check_client(scheme: str, key: str) -> None:
    """WrongSetting when the library that speaks with such a server is not installed."""
    module, extra = _CLIENTS[scheme]
    if find_spec(module) is None:
        raise WrongSetting(
            f"{conf.NAME}: {key} begins with {scheme}://, which needs the package {module!r}; it is not installed.",
            "E016",
            f'pip install "django-tasks-q[{extra}]"',
        )


def check_server_url(url: str, key: str) -> None:
    """WrongSetting when the value of ``key`` names no host, no port or no database that a server could have.

    Several sentinels or nodes of a Redis Cluster are separated by commas; of RabbitMQ several URLs by semicolons.
    """
    for one in _NEXT_URL.split(url):
        parts = split(one, key)
        _check_quoting(parts, key)
        hosts = parts.netloc.rpartition("@")[2].split(",")
        if len(hosts) > 1 and "+" not in parts.scheme:
            raise _wrong(key, parts.scheme, "names several hosts", _SEVERAL[_CLIENTS[parts.scheme][0]])
        for host in hosts:
            _check_host(host, parts.scheme, key)
        if parts.scheme in REDIS:
            _check_redis_path(parts, key)


def _check_quoting(parts: SplitResult, key: str) -> None:
    """A password with a slash would be cut there, and one half of it be taken for a port, and told."""
    if "@" in parts.path + parts.query + parts.fragment:
        raise _wrong(
            key,
            parts.scheme,
            "has an @ behind its hosts",
            "Write / ? # @ in a password as %2F %3F %23 %40 (urllib.parse.quote(password, safe='')).",
        )


def _check_host(host: str, scheme: str, key: str) -> None:
    name, port = _host_and_port(host)
    if not name:
        raise _wrong(key, scheme, "names no host", f"As in {_EXAMPLES[_CLIENTS[scheme][0]]}")
    if port is not None and not (port.isdecimal() and 1 <= int(port) <= 65_535):
        raise _wrong(key, scheme, f"has a port that is none: {port!r:.40}", "A port is a number from 1 to 65535.")


def _host_and_port(host: str) -> tuple[str, str | None]:
    """``[::1]:6379`` as ``("::1", "6379")``; without a colon there is no port."""
    bracketed = re.fullmatch(r"\[([^\]]*)\](?::(.*))?", host)
    if bracketed is not None:
        return bracketed[1], bracketed[2]
    name, colon, port = host.partition(":")
    return name, port if colon else None


def _check_redis_path(parts: SplitResult, key: str) -> None:
    """Sentinels are asked for a name, and a database may follow; a cluster has but one."""
    names = parts.path.strip("/").split("/")
    database = "".join(names[1:]) if "sentinel" in parts.scheme else "/".join(names)
    if database and not database.isdecimal():
        raise _wrong(key, parts.scheme, f"names a database that is none: {database!r:.40}", "It is a number, as in /0.")
    if "cluster" in parts.scheme and int(database or 0):
        raise _wrong(key, parts.scheme, f"names database {database}", "A Redis Cluster has only database 0.")


def _wrong(key: str, scheme: str, what: str, hint: str) -> WrongSetting:
    return WrongSetting(f"{conf.NAME}: {key}, {scheme}://…, {what}.", "E015", hint)
