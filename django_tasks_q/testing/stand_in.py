"""The broker in memory that takes the place of the real one for a while."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from ..actor import Actor
from ..broker import Broker, get_broker, replace_broker, set_broker
from ..brokers.stub import StubBroker
from ..deliveries import Outgoing
from ..message import Message
from ..outbox import get_outbox
from ..rate_limits.backend import known_backends
from ..rate_limits.backends import StubBackend


class StandIn(StubBroker):
    """A stub with the middleware, the limits, the queues and the actors of the broker whose place it takes.

    Attributes:
        log: everything that was sent, in order, with what messages caused; retries are not sent again.
        uncommitted: what waits for a commit, or was rolled back.
        remembers: whether ``log`` is kept.
    """

    remembers = True

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Outgoing] = []
        self.uncommitted: list[Outgoing] = []
        self._original: Broker | None = None
        self._homes: dict[str, Broker] = {}

    def __repr__(self) -> str:
        place = "" if self._original is None else f" in the place of {self._original.address}"
        return f"<{type(self).__name__}{place}>"

    # Taking the place, and giving it back

    def step_in(self) -> None:
        """Take the place of the process's broker; where there is none, be it."""
        self._original = original = _present_broker()
        if original is not None:
            # Its middleware has heard of its queues and actors, so nobody is told again.
            self.middleware = list(original.middleware)
            self.actor_options = set(original.actor_options)
            self._hooks.clear()
            self._take_values(original)
            self.queues.update({name: self._open_queue(name) for name in original.queues})
            for actor in original.actors.values():
                self._take(actor)
        set_broker(self)

    def follow(self) -> None:
        """The settings have changed: actors that moved to another broker come back here, with the new values."""
        for actor in [actor for actor in self.actors.values() if self._has_left(actor)]:
            self._original = actor.broker
            self._take(actor)
        if self._original is not None:
            self._take_values(self._original)
        for actor in self.actors.values():
            actor.take_defaults()

    def step_out(self) -> None:
        """Give actors and place back.

        Actors that modules declared meanwhile go along. What a test declared inside of a function stays behind: its
        name would be taken for ever.
        """
        for actor in self.actors.values():
            home = self._homes.get(actor.actor_name)
            if home is not None:
                actor.broker = home
            elif self._original is not None and _is_a_modules(actor.fn):
                _move(actor, self._original)
        if not isinstance(self._original, StandIn):
            _forget_leases()
        if self._original is not None:
            replace_broker(self, self._original)
        elif _present_broker() is self:
            set_broker(None)
        self._original = None

    def _has_left(self, actor: Actor[Any, Any]) -> bool:
        """Not to one that stands in for this one: the blocks of a test may be nested."""
        now = actor.broker
        stands_in = isinstance(now, StandIn) and now._original is not None
        return now is not self and (not stands_in or now is self._original)

    def _take(self, actor: Actor[Any, Any]) -> None:
        self._homes[actor.actor_name] = actor.broker
        self.actors[actor.actor_name] = actor
        actor.broker = self

    def _take_values(self, original: Broker) -> None:
        self.lease = original.lease
        self.delivery_limit = original.delivery_limit
        self.max_message_bytes = original.max_message_bytes
        self.actor_defaults = original.actor_defaults
        self.recording = original.recording

    # Sending

    def _store(self, item: Outgoing) -> None:
        super()._store(item)
        self.log.append(item)

    def enqueue_on_commit(self, messages: Iterable[Message[Any]], *, using: str | None = None) -> list[Message[Any]]:
        """As the real broker, without the rows: what is in memory is lost with the process anyway."""
        outgoing = [self.prepare(message) for message in messages]
        alias = using or DEFAULT_DB_ALIAS
        if get_outbox() is None or not connections[alias].in_atomic_block:
            left_out = self.publish(outgoing)
            return self._there(outgoing, left_out) if left_out else [item.message for item in outgoing]
        else:
            self.uncommitted += outgoing
            transaction.on_commit(lambda: self._committed(outgoing), using=alias)
        return [item.message for item in outgoing]

    def _committed(self, outgoing: list[Outgoing]) -> None:
        self.uncommitted = [item for item in self.uncommitted if item not in outgoing]
        self.publish(outgoing)


def _present_broker() -> Broker | None:
    try:
        return get_broker()
    except RuntimeError:  # neither set, nor are there settings to make it of
        return None


def _forget_leases() -> None:
    """Mutexes that a test left held, in memory as its messages were."""
    for backend in known_backends():
        if isinstance(backend, StubBackend):
            for held in backend.inspect():
                backend.force_release(held.key)


def _is_a_modules(fn: Any) -> bool:
    return bool(fn.__module__) and "<locals>" not in getattr(fn, "__qualname__", "<locals>")


def _move(actor: Actor[Any, Any], broker: Broker) -> None:
    if actor.actor_name not in broker.actors:
        actor.broker = broker
        actor.take_defaults()
        broker.declare_actor(actor)
