"""A broker whose messages run as they are sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..broker import Broker
from ..deliveries import MessageProxy, Outgoing
from ..message import Message
from ..middleware import Middleware
from .draining import LIMIT, drain, is_drained
from .stand_in import StandIn


class ImmediateBroker(StandIn):
    """Runs what is sent before ``send()`` returns, in the sender's thread, through the whole pipeline of a worker.

    What a message sends while it runs, and what follows from it, runs after it, as in a worker; the outermost
    ``send()`` returns when all is quiet.

    Parameters:
        raise_errors: whether the sender gets the error of what failed; see :func:`drain`.
        with_delayed: whether delayed messages and retries run at once too, in the order of their times. Otherwise they
            wait for ``drain(with_delayed=True)``, or until they are due when something else is sent.
        limit: how many messages one send may cause.
    """

    def __init__(self, *, raise_errors: bool = True, with_delayed: bool = False, limit: int = LIMIT) -> None:
        super().__init__()
        self._raise_errors = raise_errors
        self._with_delayed = with_delayed
        self._limit = limit

    def enqueue(self, message: Message[Any] | MessageProxy, *, delay: int | None = None) -> Message[Any]:
        sent = super().enqueue(message, delay=delay)
        self._run()
        return sent

    def publish(self, outgoing: Sequence[Outgoing]) -> Mapping[str, str]:
        left_out = super().publish(outgoing)
        self._run()
        return left_out

    def _run(self) -> None:
        if not is_drained(self):  # else whoever drains it takes these next
            drain(broker=self, limit=self._limit, with_delayed=self._with_delayed, raise_errors=self._raise_errors)


class _ConfiguredBroker(ImmediateBroker):
    """The process's own, for its whole life, too long to remember everything that was sent."""

    remembers = False

    @property
    def address(self) -> str:
        return "immediate://"

    def _store(self, item: Outgoing) -> None:
        super()._store(item)
        self.log.clear()


def from_url(url: str, middleware: Iterable[Middleware] | None = None, **options: Any) -> Broker:
    """The broker of an ``immediate://`` URL; options as :class:`ImmediateBroker`."""
    broker = _ConfiguredBroker(**options)
    if middleware is not None:
        broker.middleware.clear()
        broker.actor_options.clear()
        for item in middleware:
            broker.add_middleware(item)
    return broker
