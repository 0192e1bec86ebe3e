"""Redis."""

from __future__ import annotations

import redis

from .debian import state_folder
from .programs import REDIS_SERVER
from .service import Address, Service, Unavailable, address_with, detach


def start_redis(address: Address) -> None:
    """A server without a disk: what tests leave in it is gone when it ends."""
    options = {"bind": address.host, "port": str(address.port), "save": "", "appendonly": "no"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    folder = state_folder(f"redis-{address.port}")
    detach(REDIS_SERVER.path(), *words, "--dir", str(folder), log=folder / "server.log")


def check_redis(address: Address) -> str:
    """Log in and be answered."""
    try:
        with redis.Redis.from_url(address.url, socket_timeout=5) as client:
            client.ping()
            version = client.info("server")["redis_version"]
    except redis.RedisError as error:
        raise Unavailable(f"it answers at {address}, but {error}") from error
    return f"version {version} at {address}"


REDIS = Service(
    name="Redis",
    variable="DTQ_TEST_REDIS_URL",
    default="redis://127.0.0.1:6379/0",
    address=address_with(6379),
    start_package=start_redis,
    check=check_redis,
)
