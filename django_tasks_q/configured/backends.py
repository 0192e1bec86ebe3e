"""The stores of results and of rate limits that the settings describe."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from threading import Lock
from typing import Any, Generic, TypeVar

from .. import conf, records_database
from ..broker import Broker, get_broker
from ..rate_limits import RateLimiterBackend
from ..results import ResultBackend
from .addresses import BACKENDS, check_scheme

Backend = TypeVar("Backend")


class _Configured(Generic[Backend]):
    """The backend of a URL in the settings, else the one that fits the broker; the same one for the same store.

    Parameters:
        key: the URL's in the settings.
        ending: what is added to ``NAMESPACE``.
    """

    def __init__(self, key: str, ending: str) -> None:
        self._key = key
        self._ending = ending
        self._lock = Lock()
        self._named = lru_cache(maxsize=4)(self._make)
        self._beside: tuple[Any, Backend] | None = None

    def __call__(self) -> Backend:
        url = conf.get(self._key)
        namespace = conf.get("NAMESPACE") + self._ending
        with self._lock:  # two stubs would not know of each other
            if url is not None:
                return self._named(url, namespace)
            broker = get_broker()
            server = getattr(broker, "server", None)
            return self._named(_url_for(broker), namespace) if server is None else self._on(server, namespace)

    def _make(self, url: str, namespace: str) -> Backend:
        return self._maker(check_scheme(url, self._key, list(BACKENDS[self._key])))(url, namespace)

    def _maker(self, scheme: str) -> Callable[..., Backend]:
        maker: Callable[..., Backend] = conf.load(BACKENDS[self._key][scheme], self._key)
        return maker

    def _on(self, server: tuple[Any, Any, dict[str, Any]], namespace: str) -> Backend:
        """On the server of the last broker that was asked for; its options cannot be hashed."""
        if self._beside is None or self._beside[0] != (server, namespace):
            url, client, options = server
            self._beside = (server, namespace), self._maker("redis")(url, namespace, client=client, **options)
        return self._beside[1]


def _url_for(broker: Broker) -> str:
    """Its own database, or that of the records, which every process shares; memory for a broker in memory."""
    if not broker.capabilities.survives_restart:
        return "stub://"
    return f"database://{getattr(broker, 'using', None) or records_database.alias(broker)}"


result_backend: _Configured[ResultBackend] = _Configured("RESULTS_URL", ":results")
rate_limiter_backend: _Configured[RateLimiterBackend] = _Configured("RATE_LIMITS_URL", "-limits")
