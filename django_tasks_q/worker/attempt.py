"""An attempt that outlives its thread."""

from __future__ import annotations

from contextvars import Context
from typing import TYPE_CHECKING, Any, NamedTuple

from ..deliveries import Delivery, MessageProxy
from .slot import Slot

if TYPE_CHECKING:
    from ..actor import Actor


class Attempt:
    """One attempt between its hooks, all of which run in its context, as the actor does.

    ``grace`` is milliseconds between its time limit and the end of the process.
    """

    __slots__ = ("actor", "context", "grace", "proxy", "slot")

    def __init__(self, proxy: MessageProxy, actor: Actor[Any, Any], context: Context, slot: Slot, grace: int) -> None:
        self.proxy = proxy
        self.actor = actor
        self.context = context
        self.slot = slot
        self.grace = grace

    @property
    def delivery(self) -> Delivery:
        delivery = self.proxy.delivery
        assert delivery is not None
        return delivery


class Returned(NamedTuple):
    """The coroutine of an attempt has ended; its last hooks have not run."""

    attempt: Attempt
    result: Any
    exception: BaseException | None
