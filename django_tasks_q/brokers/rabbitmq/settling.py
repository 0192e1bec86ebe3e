"""What a settlement publishes before its message is acknowledged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ... import changes
from ...deliveries import Outgoing, Settlement
from ...events import Event
from ...outcomes import Dead, Parked, Requeue, Retry
from ...waiting_room import Kept
from . import headers
from .parcel import Item
from .topology import SOON, priority_level

if TYPE_CHECKING:
    from .store import RabbitmqStore


class Dispatch:
    """Makes items of what goes where."""

    def __init__(self, broker: RabbitmqStore) -> None:
        self._broker = broker
        self._topology = broker.topology

    def work(self, envelope: headers.Envelope) -> Item:
        """To the queue that it belongs to."""
        levels = self._broker.levels(envelope.queue_name)
        level = priority_level(envelope.priority, levels) if levels else None
        properties = headers.properties(envelope, level)
        return Item(self._topology.work(envelope.queue_name), properties, envelope.payload, envelope.queue_name)

    def suspect(self, envelope: headers.Envelope) -> Item:
        """To those that must run alone."""
        return Item(self._topology.suspects, headers.suspect_properties(envelope), envelope.payload)

    def waiting(self, kept: Kept) -> Item:
        """To the waiting room."""
        is_soon = kept.due_at is not None and kept.due_at - kept.since <= SOON
        name = self._topology.waiting_soon if is_soon else self._topology.waiting
        return Item(name, headers.waiting_properties(kept), kept.payload)

    def outgoing(self, outgoing: Outgoing, now: int) -> Item:
        """A message that is sent for the first time."""
        envelope = headers.sent(outgoing, now)
        due = changes.due_at(outgoing, now)
        if due is None:
            return self.work(envelope)
        return self.waiting(headers.kept(envelope, "delay", due, now))

    def settlement(self, settlement: Settlement, caused: Sequence[Outgoing], priority: int, now: int) -> list[Item]:
        """What must be confirmed before the message may be acknowledged; nothing for one that is done. ``caused``: what
        is sent on its account."""
        items = [self.outgoing(item, now) for item in caused]
        outcome = settlement.outcome
        if isinstance(outcome, Retry | Parked | Dead):
            items.append(self.waiting(headers.kept_after(settlement, priority, now)))
        elif isinstance(outcome, Requeue) and outcome.suspect:
            items.append(self.suspect(headers.after(settlement, priority)))
        elif isinstance(outcome, Requeue) and not goes_back(settlement):
            items.append(self.work(headers.after(settlement, priority)))
        return items


def goes_back(settlement: Settlement) -> bool:
    """Whether RabbitMQ puts the message back by itself, where it stood: nothing about it has changed."""
    outcome = settlement.outcome
    is_changed = settlement.payload not in (None, settlement.delivery.payload)
    return isinstance(outcome, Requeue) and not (outcome.lost or outcome.suspect or is_changed)


def told(
    settlement: Settlement, caused: Sequence[Outgoing], worker_id: str, now: int, kind: str | None = None
) -> Sequence[Event]:
    """What a settlement is told as, with what it has caused, as far as that is recorded; see
    :func:`recording.is_recorded`."""
    created = [changes.created(item, now) for item in caused if item.record]
    given = settlement.delivery
    if not (given.record or given.life or isinstance(settlement.outcome, Dead)):
        return created
    return [changes.settled(settlement, worker_id, now, kind), *created]
