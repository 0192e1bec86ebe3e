"""RabbitMQ as a broker: durable queues, confirmed messages, on many hosts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

try:
    import pika  # noqa: F401
except ImportError as error:
    raise ImportError('The RabbitMQ broker needs pika: pip install "django-tasks-q[rabbitmq]"') from error

from .broker import RabbitmqBroker

if TYPE_CHECKING:
    from ...middleware import Middleware

__all__ = ["RabbitmqBroker", "from_url"]


def from_url(url: str, middleware: Iterable[Middleware] | None = None, **options: Any) -> RabbitmqBroker:
    """The broker of an ``amqp://`` or ``amqps://`` URL; several nodes are several URLs with ``;`` between them."""
    return RabbitmqBroker(url=url, middleware=middleware, **options)
