"""The broker that the settings describe."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from . import conf
from .broker import Broker
from .errors import did_you_mean
from .message import set_encoder
from .middleware import Middleware, default_middleware

_SCHEMES = {
    "database": "django_tasks_q.brokers.database.from_url",
    "stub": "django_tasks_q.brokers.stub.from_url",
}


def make_broker() -> Broker:
    """The broker of ``BROKER_URL`` with the middleware of the settings; no connection is made."""
    url = conf.get("BROKER_URL")
    scheme = urlsplit(url).scheme
    if scheme not in _SCHEMES:
        raise ImproperlyConfigured(
            f"BROKER_URL begins with {scheme + '://'!r}; known are "
            f"{', '.join(name + '://' for name in _SCHEMES)}.{did_you_mean(scheme, list(_SCHEMES))}"
        )
    set_encoder(conf.load(conf.get("ENCODER"))())
    broker: Broker = conf.load(_SCHEMES[scheme])(url, make_middleware(), **conf.get("BROKER_OPTIONS"))
    broker.lease = conf.get("LEASE")
    broker.delivery_limit = _at_least("DELIVERY_LIMIT", 2)
    broker.max_message_bytes = conf.get("MAX_MESSAGE_BYTES")
    broker.actor_defaults = conf.get("ACTOR_DEFAULTS")
    return broker


def _at_least(key: str, minimum: int) -> int:
    value = conf.get(key)
    if type(value) is not int or value < minimum:
        raise ImproperlyConfigured(f"{key} is an integer of at least {minimum}: {value!r}")
    return value


def make_middleware() -> list[Middleware]:
    """The stack of the settings: the care of database connections around everything, then the default one."""
    paths = conf.get("MIDDLEWARE")
    if paths is None:
        connections: type[Middleware] = conf.load("django_tasks_q.middleware.database_connections.DatabaseConnections")
        return [connections(), *(kind() for kind in default_middleware)]
    return [conf.load(path)() if isinstance(path, str) else path for path in paths]
