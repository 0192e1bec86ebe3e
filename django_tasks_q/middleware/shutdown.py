"""Actors that want to know when their worker stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..deliveries import MessageProxy
from ..errors import Shutdown
from .middleware import Middleware, option

if TYPE_CHECKING:
    from ..broker import Broker

__all__ = ["Shutdown", "ShutdownNotifications"]


class ShutdownNotifications(Middleware):
    """Has :class:`Shutdown` raised in actors that ask for it (``notify_shutdown=True``) as soon as the worker stops.

    The message goes back to the front of its queue; unlike in Dramatiq that is no failed attempt. Actors that do not
    ask are left in peace until the shutdown time-out is nearly over.
    """

    def __init__(self, notify_shutdown: bool = False) -> None:
        self.notify_shutdown = notify_shutdown

    @property
    def actor_options(self) -> set[str]:
        return {"notify_shutdown"}

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        message.notify_shutdown = bool(option(broker, message, "notify_shutdown", self.notify_shutdown))
