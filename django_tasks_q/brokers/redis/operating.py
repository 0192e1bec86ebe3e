"""Looking at messages, and operating on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ...broker import MAX_BATCH, refuse_one_id
from ...deliveries import Delivery, Held, Outgoing, QueueCounts
from ...errors import ConnectionClosed, DuplicateMessage
from ...outcomes import mark_of
from ...states import State
from ...unique import held_by
from .entry import as_delivery, owner_in
from .link import Call
from .packing import pack_parts
from .scripts import load
from .store import RedisStore

_BATCH = 500


class Operating(RedisStore):
    """What people and the keeper ask for; ids are asked for in every queue, for nobody says where they are."""

    def counts(self) -> list[QueueCounts]:
        names = self.known_queues()
        rows = self.ask_about("counts", names)
        return [QueueCounts(name, *row) for name, row in zip(names, rows, strict=True)]

    def peek(
        self, queue_name: str, state: Literal["ready", "delayed", "in_flight", "dead"] = "ready", limit: int = 100
    ) -> list[Delivery]:
        if limit <= 0:
            return []
        is_claimed = state == "in_flight"
        place = b"claims" if is_claimed else state.encode()
        found: dict[bytes, Delivery] = {}
        over, most = 0, min(limit, MAX_BATCH)
        while over < most:
            looked, rows = self.call_on("peek", queue_name, place, b"%d" % over, b"%d" % (most - over))
            for at in range(0, len(rows), 2):
                found[rows[at]] = as_delivery(queue_name, rows[at], rows[at + 1], claimed=is_claimed)
            if not looked:
                break
            over += looked
        return list(found.values())

    def look_up(self, message_ids: Sequence[str]) -> dict[str, Held]:
        refuse_one_id(message_ids)
        found: dict[str, Held] = {}
        names = self.known_queues() if message_ids else []
        for batch in _batches(message_ids):
            for queue_name, rows in self.ask_about_ids("look_up", names, batch):
                for at in range(0, len(rows), 5):
                    held = _held(queue_name, *rows[at : at + 5])
                    found.setdefault(held.delivery.message_id, held)
        return found

    def requeue(self, message_ids: Sequence[str]) -> list[str]:
        return self._in_each_queue("requeue", message_ids, self.budget, self.link.publish)

    def _withdraw(self, message_ids: Sequence[str], state: State) -> list[str]:
        return self._in_each_queue("withdraw", message_ids, self.budget, self.link.publish, state.encode())

    def _in_each_queue(self, script: str, message_ids: Sequence[str], *args: bytes) -> list[str]:
        """The ids that a script did something to, wherever they were."""
        refuse_one_id(message_ids)
        done: list[str] = []
        names = self.known_queues() if message_ids else []
        for batch in _batches(message_ids):
            for _, rows in self.ask_about_ids(script, names, batch, *args):
                done += [row.decode() for row in rows]
        return done

    def _replace(self, message_id: str, outgoing: Outgoing) -> bool:
        held = self.look_up([message_id]).get(message_id)
        if held is None or held.state != "dead":
            return False
        where, to = held.delivery.queue_name, outgoing.message.queue_name
        if self.link.is_cluster and where != to:
            # Two slots share no script: the dead letter goes last, so nothing is lost, but two may be sent for one.
            self._enqueue([outgoing])
            return bool(self.discard([message_id]))
        whole = self.about("replace", where)
        keys = whole.keys + self.keys.packed(to)
        item = self.packer.pack(outgoing, b"new")
        args = (self.link.publish, self.budget, message_id.encode(), *item)
        now, answer, holder = self.link.call(Call(load("replace"), whole.slot_key, keys, 2 * whole.number, args))
        self.clock.set(now)
        if answer < 0 and holder:
            raise held_by(outgoing, holder.decode())
        if answer < 0:
            raise DuplicateMessage(f"{outgoing.message.message_id} is still waiting, running or dead.")
        return bool(answer)

    unparks = True

    def unpark(self, key: str, number: int, queue_names: Sequence[str]) -> int:
        unparked = 0
        for queue_name in queue_names:
            if unparked < number:
                unparked += self._unpark(mark_of(key), number - unparked, queue_name)
        return unparked

    def _unpark(self, mark: str, number: int, queue_name: str) -> int:
        of_queue = self.about("unpark", queue_name)
        keys = of_queue.keys + pack_parts((self.keys.parked(queue_name, mark),))
        args = (self.budget, self.link.publish, mark.encode(), b"%d" % number)
        call = Call(of_queue.script, of_queue.slot_key, keys, of_queue.number + 1, args)
        return int(self.link.call(call))

    def expire_dead_letters(self, ttl: int, limit: int = MAX_BATCH) -> int:
        expired = 0
        for queue_name in self.known_queues():
            if expired < limit:
                most = b"%d" % min(limit - expired, MAX_BATCH)
                args = (self.budget, self.link.publish, b"%d" % ttl, most)
                expired += self.call_on("expire", queue_name, *args)
        return expired

    def flush(self, queue_name: str) -> None:
        self.check_queue(queue_name)
        while True:
            try:
                if not self.call_on("flush", queue_name, self.budget, self.link.publish, b"%d" % _BATCH):
                    return
            except ConnectionClosed:
                continue  # whether or not this batch is gone, the next call takes what is there


def _batches(message_ids: Sequence[str]) -> list[list[bytes]]:
    encoded = [message_id.encode("utf-8", "replace") for message_id in message_ids]
    return [encoded[start : start + _BATCH] for start in range(0, len(encoded), _BATCH)]


def _held(queue_name: str, message_id: bytes, entry: bytes, place: bytes, due: bytes, claim: bytes) -> Held:
    state: Literal["ready", "delayed", "in_flight", "dead"]
    state = place.decode()  # type: ignore[assignment]
    delivery = as_delivery(queue_name, message_id, entry, claimed=bool(claim))
    return Held(delivery, state, int(float(due or 0)), owner_in(claim))
