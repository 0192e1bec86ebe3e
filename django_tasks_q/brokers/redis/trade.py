"""One exchange as arguments of ``exchange.lua``, and its answer as deliveries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from ... import changes
from ...deliveries import Delivery, Settlement, Started
from ...events import Event
from ...outcomes import Dead, Done, Parked, Requeue, Retry, Revoked, Skipped
from .entry import as_delivery, fence
from .keys import QUEUE_KEYS, Keys
from .link import Call
from .packing import pack_parts
from .scripts import load
from .sending import Journalist, Packer

_FINISHED = (Done, Skipped, Revoked)


class Trade(msgspec.Struct, frozen=True):
    """An exchange with one server: what is asked, and what is needed to understand the answer."""

    call: Call
    queue_names: list[str]
    settlements: list[Settlement]
    """By ordinal, as the script counts them."""
    terms: Terms


class Answer(msgspec.Struct, frozen=True):
    """``next_due``: epoch milliseconds by the store's clock, None for never.

    ``forgotten``: the server does not know of the last answer, so it is not the one that gave it.
    ``left_out``: who holds the keys of messages that were caused and not sent, by their ids.
    """

    fenced: bool
    forgotten: bool
    refused: list[Settlement]
    next_due: int | None
    deliveries: list[Delivery]
    left_out: Mapping[str, str] = {}


class Terms(msgspec.Struct, frozen=True):
    """What an exchange is made for. ``number`` 0: a burial settles in the worker's place.

    ``shares``: the queues that are asked, and for how much of the room. ``listen``: be woken when there is nothing, and
    with ``takes`` be brought what is sent then.
    ``queue_name``: the one queue that a cluster's call is about. ``answered``: the numbers of the last exchanges that
    were answered, by ``queue_name``.
    """

    worker_id: str
    number: int = 0
    room: int = 0
    shares: Mapping[str, int] = {}
    listen: bool = False
    takes: bool = False
    suspects: bool = False
    queue_name: str | None = None
    answered: Mapping[str | None, int] = {}


class _Block:
    """What is settled and noted in one queue."""

    def __init__(self) -> None:
        self.finished: list[Settlement] = []
        self.moved: list[Settlement] = []
        self.started: list[Started] = []


class Trader:
    """Makes exchanges into calls and their answers into values."""

    def __init__(
        self, keys: Keys, packer: Packer, journalist: Journalist, budget: Callable[[], int], publish: bytes
    ) -> None:
        self._keys = keys
        self._clock = packer.clock
        self._journalist = journalist
        self._budget = budget
        self._publish = publish
        self._packer = packer

    def propose(
        self,
        terms: Terms,
        settlements: Sequence[Settlement],
        started: Sequence[Started] = (),
        names: Mapping[Any, str] | None = None,
    ) -> Trade:
        """The call for an exchange; ``names`` overrides what an attempt is called, by handle."""
        blocks: dict[str, _Block] = {name: _Block() for name in terms.shares}
        for settlement in settlements:
            block = blocks.setdefault(settlement.delivery.queue_name, _Block())
            (block.finished if isinstance(settlement.outcome, _FINISHED) else block.moved).append(settlement)
            for item in settlement.then:
                blocks.setdefault(item.message.queue_name, _Block())
        for report in started:
            blocks.setdefault(report.delivery.queue_name, _Block()).started.append(report)
        ordered = list(chain.from_iterable((*block.finished, *block.moved) for block in blocks.values()))
        return Trade(self._call(terms, blocks, ordered, names or {}), list(blocks), ordered, terms)

    def _call(
        self, terms: Terms, blocks: dict[str, _Block], ordered: list[Settlement], names: Mapping[Any, str]
    ) -> Call:
        args = [
            b"%d" % terms.number,
            terms.worker_id.encode(),
            self._keys.channel(terms.worker_id, terms.queue_name) if terms.number else b"",
            b"%d" % terms.room,
            b"%d" % (terms.listen + (terms.listen and terms.takes)),
            b"1" if terms.suspects else b"0",
            b"%d" % self._budget(),
            self._publish,
            b"%d" % len(blocks),
            b"%d" % terms.answered.get(terms.queue_name, 0),
        ]
        for name, block in blocks.items():
            sizes = (terms.shares.get(name, -1), len(block.finished), len(block.moved), len(block.started))
            args += [b"%d" % size for size in sizes]
        parked: list[bytes] = []
        number = 1 + QUEUE_KEYS * len(blocks)
        for block in blocks.values():
            self._add_block(args, block, terms.worker_id, names, parked, number)
        self._add_caused(args, list(blocks), ordered)
        worker_key = self._keys.worker(terms.worker_id, terms.queue_name)
        keys = pack_parts((worker_key,)) + b"".join([self._keys.packed(name) for name in blocks]) + pack_parts(parked)
        return Call(load("exchange"), worker_key, keys, number + len(parked), args)

    def _add_block(
        self,
        args: list[bytes],
        block: _Block,
        worker_id: str,
        names: Mapping[Any, str],
        parked: list[bytes],
        keys: int,
    ) -> None:
        """Add what a queue's part of the script reads; the lines of what is parked are keys behind the others."""
        now = self._clock.now()
        finished = block.finished
        args += [s.delivery.message_id.encode() for s in finished]
        args += [fence(s.delivery, worker_id) for s in finished]
        args += [self._tell(s.delivery.queue_name, changes.settled(s, worker_id, now)) for s in finished]
        for settlement in block.moved:
            delivery = settlement.delivery
            event = changes.settled(settlement, worker_id, now, names.get(delivery.handle))
            if isinstance(settlement.outcome, Parked):
                line = self._keys.parked(delivery.queue_name, settlement.outcome.mark)
                if line not in parked:
                    parked.append(line)
                place = b"parked %d" % (keys + parked.index(line) + 1)
            else:
                place = b""
            args += (
                delivery.message_id.encode(),
                fence(delivery, worker_id),
                *_movement(settlement, place),
                settlement.payload or b"",
                self._tell(delivery.queue_name, event),
            )
        for report in block.started:
            delivery = report.delivery
            event = changes.started(report, worker_id)
            args += (
                delivery.message_id.encode(),
                fence(delivery, worker_id),
                b"%d" % report.started_at,
                self._tell(delivery.queue_name, event),
            )

    def _add_caused(self, args: list[bytes], names: list[str], ordered: list[Settlement]) -> None:
        for ordinal, settlement in enumerate(ordered, start=1):
            for item in settlement.then:
                position = names.index(item.message.queue_name) + 1
                args += (b"%d" % position, b"%d" % ordinal, *self._packer.pack(item, b"caused"))

    def _tell(self, queue_name: str, event: Event) -> bytes:
        return self._journalist.write(queue_name, event)

    def understand(self, trade: Trade, reply: Any) -> Answer:
        standing, now, refused, next_due, short_of_room, claimed, left_out = reply
        self._clock.set(now)
        for position, name in enumerate(trade.queue_names, start=1):
            self._journalist.heard(name, position in short_of_room)
        deliveries = [
            as_delivery(trade.queue_names[claimed[at] - 1], claimed[at + 1], claimed[at + 2], claimed=True)
            for at in range(0, len(claimed), 3)
        ]
        return Answer(
            standing == 1,
            standing == 2,
            [trade.settlements[ordinal - 1] for ordinal in refused],
            None if next_due < 0 else next_due,
            deliveries,
            {left_out[at].decode(): left_out[at + 1].decode() for at in range(0, len(left_out), 2)},
        )


def _movement(settlement: Settlement, parked: bytes) -> tuple[bytes, ...]:
    """Place, delay, failed attempts, losses and the reason of a death, or the mark of what it is parked on."""
    outcome = settlement.outcome
    place, delay, reason = parked or b"delayed", 0, ""
    if isinstance(outcome, Dead):
        place, reason = b"dead", outcome.reason
    elif isinstance(outcome, Requeue):
        place = b"suspects" if outcome.suspect else b"ready"
    elif isinstance(outcome, Retry):
        delay = outcome.delay
    elif isinstance(outcome, Parked):
        delay, reason = outcome.delay, outcome.mark
    retries, lost = changes.retries_after(settlement), changes.lost_after(settlement.delivery, outcome)
    return place, b"%d" % delay, b"%d" % retries, b"%d" % lost, reason.encode()
