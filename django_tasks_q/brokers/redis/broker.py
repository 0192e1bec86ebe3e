"""The Redis broker: sending and consuming."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ... import changes, clock
from ...capabilities import Capabilities, Capability
from ...common import refuse_options
from ...deliveries import Delivery, Judge, Outgoing, Settlement, Started, WorkerInfo
from ...errors import BrokerConnectionError, ConnectionClosed, DuplicateMessage
from ...middleware.limits import check_limits
from ...outbox import seconds_left
from ...unique import held_by, take_keys, tell_of_left_out
from .burials import Burials
from .consumer import RedisConsumer
from .endpoint import is_too_late
from .entry import fence
from .journal import RedisJournal
from .keys import SENDING_KEYS
from .link import Call
from .operating import Operating
from .packing import pack_command
from .risks import find_risks
from .scripts import load
from .trade import Terms, Trade

if TYPE_CHECKING:
    from ...actor import Actor
    from ...middleware import Middleware

_NO_TRANSACTIONS = Capability("none", "Redis is no part of a database transaction; send_on_commit() waits for its end")
_UNIQUE = Capability("weaker", "an id is unique within its queue")
_KEYS = Capability("weaker", "a key is held within its queue, which is the actor's unless a message names another")

SINGLE = Capabilities(transactional_send=_NO_TRANSACTIONS, unique_ids=_UNIQUE, unique_keys=_KEYS)
CLUSTER = Capabilities(
    transactional_send=_NO_TRANSACTIONS,
    unique_ids=_UNIQUE,
    unique_keys=_KEYS,
    atomic_settle=Capability("weaker", "what a message causes in another queue is sent before it is settled"),
)

_HURRIED_COPIES = 1_200
"""Milliseconds that a commit waits for copies: the disk has everything within a second, with ``everysec``."""

_NONE_OF_OURS = {
    "maintenance_chance": "what dead workers held goes back within seconds, by no chance; leave it out.",
    "requeue_deadline": "heartbeat_timeout says how long a worker counts as alive that is not heard of.",
    "requeue_interval": "heartbeat_timeout says how long a worker counts as alive that is not heard of.",
}


class RedisBroker(Operating, Burials):
    """Keeps messages in Redis or Valkey: one server, the master that sentinels name, or a cluster.

    Parameters:
        url: ``redis://``, ``rediss://``, ``redis+sentinel://``, ``redis+cluster://`` and their ``rediss`` forms.
        client: a client of redis-py in the place of ``url``; its connections' options are used, not its connections.
        middleware: the stack; None for the default one.
        namespace: what all keys begin with.
        heartbeat_timeout: milliseconds that a worker counts as alive after its lease was last renewed (``LEASE``).
        dead_message_ttl: milliseconds that dead letters are kept; None: as long as the keeper's pruner says.
        wait_replicas: a send returns when so many replicas have it, at most ``send_timeout`` later.
        wait_aof: a send returns when it is on the disk of the master; Redis 7.2 or newer.
        redis_kwargs: options of redis-py's connections.
    """

    capabilities: Capabilities = SINGLE

    def __init__(
        self,
        *,
        url: str | None = None,
        client: Any = None,
        middleware: Iterable[Middleware] | None = None,
        namespace: str = "dtq",
        heartbeat_timeout: int | None = None,
        dead_message_ttl: int | None = None,
        wait_replicas: int = 0,
        wait_aof: bool = False,
        **redis_kwargs: Any,
    ) -> None:
        refuse_options("RedisBroker", redis_kwargs, _NONE_OF_OURS)
        if type(wait_replicas) is not int or wait_replicas < 0:
            raise ValueError(f"wait_replicas is a number of replicas, from 0 on: {wait_replicas!r:.80}")
        super().__init__(url, client, middleware, namespace, redis_kwargs)
        if self.link.is_cluster:
            self.capabilities = CLUSTER
            self.one_queue_per_limit = True
        if heartbeat_timeout is not None:
            self.lease = heartbeat_timeout
        self.dead_message_ttl = dead_message_ttl
        self.wait_replicas = wait_replicas
        self.wait_aof = wait_aof
        self._journal = RedisJournal(self)
        self._known: set[str] = set()

    @property
    def address(self) -> str:
        return f"redis://{self.link.address}, {self.keys.namespace}"

    def declare_actor(self, actor: Actor[Any, Any]) -> None:
        check_limits(self, actor)
        super().declare_actor(actor)

    # Sending

    def _enqueue(self, outgoing: Sequence[Outgoing]) -> Mapping[str, str]:
        return self._send(outgoing, b"new")

    def _send(self, outgoing: Sequence[Outgoing], mode: bytes) -> Mapping[str, str]:
        """Who holds the keys of what was left out, by its ids."""
        by_queue: dict[str, list[Outgoing]] = {}
        for item in outgoing:
            by_queue.setdefault(item.message.queue_name, []).append(item)
        left_out: dict[str, str] = {}
        for queue_name, items in by_queue.items():
            held = self._send_to(queue_name, items, mode)
            left_out.update({held[at].decode(): held[at + 1].decode() for at in range(0, len(held), 2)})
        return left_out

    def _send_to(self, queue_name: str, items: Sequence[Outgoing], mode: bytes) -> Sequence[bytes]:
        if queue_name not in self._known:
            self.make_known([queue_name])
            self._known.add(queue_name)
        if not self.clock.is_known:
            seconds, micros = self.link.command(self.keys.queues, b"TIME")
            self.clock.set(int(seconds) * 1000 + int(micros) // 1000)
        began, since = clock.monotonic(), self.clock.now()
        try:
            answer = self._store(queue_name, items, mode)
        except ConnectionClosed:
            if clock.monotonic() - began > self.send_timeout / 4000 or is_too_late():
                raise
            # There is time to send again. Nobody knows whether they arrived, so those that did are left out now.
            answer = self._store(queue_name, items, self.packer.again(since))
        now, is_short, refused, *conflicts = answer
        holder, left_out = conflicts or (b"", ())
        self.clock.set(now)
        self.journalist.heard(queue_name, is_short == 1)
        if refused and holder:
            raise held_by(items[refused - 1], holder.decode())
        if refused:
            message_id = items[refused - 1].message.message_id
            raise DuplicateMessage(f"{message_id} is still waiting, running or dead in queue {queue_name!r}.")
        return cast("Sequence[bytes]", left_out)

    def _store(self, queue_name: str, items: Sequence[Outgoing], mode: bytes) -> Any:
        args = (self.link.publish, self.budget, *self.packer.pack_all(items, mode))
        if take_keys(items):
            call = self.about("enqueue_unique", queue_name, *args)
        else:
            keys = self.keys.packed_for_sending(queue_name)
            call = Call(load("enqueue"), self.keys.named(queue_name, "messages"), keys, SENDING_KEYS, args)
        if not (self.wait_replicas or self.wait_aof):
            return self.link.call(call)
        return self._store_safely(call)

    def _store_safely(self, call: Call) -> Any:
        """Stored where it survives: on replicas, on the disk."""
        waits = []
        longest = self.send_timeout // 2  # the connection waits for the answer as long as send_timeout
        if seconds_left() is not None:
            longest = min(longest, _HURRIED_COPIES)
        timeout = b"%d" % longest
        if self.wait_replicas:
            waits.append((self.wait_replicas, pack_command(b"WAIT", b"%d" % self.wait_replicas, timeout)))
        if self.wait_aof:
            waits.append((1, pack_command(b"WAITAOF", b"1", b"0", timeout)))
        answer, *copies = self.link.call_and(call, *(command for _, command in waits))
        for (wanted, _), number in zip(waits, copies, strict=True):
            got = number[0] if isinstance(number, list) else number
            if got < wanted:
                raise BrokerConnectionError(f"Redis has the message, but only {got} of {wanted} copies within time.")
        return answer

    # Keys of which there is one message

    def _holder_of(self, queue_name: str, key: str) -> str | None:
        holder: bytes = self.call_on("holder", queue_name, key.encode())
        return holder.decode() or None

    def let_go(self, delivery: Delivery, key: str) -> None:
        begin = b"%d:%d:" % (delivery.life, delivery.number)
        self.call_on("let_go", delivery.queue_name, delivery.message_id.encode(), begin)

    # Consuming

    def consume(self, worker: WorkerInfo) -> RedisConsumer:
        for queue_name in worker.queues:
            self.check_queue(queue_name)
        return RedisConsumer(self, worker)

    def propose(self, terms: Terms, settlements: Sequence[Settlement], started: Sequence[Started]) -> list[Trade]:
        """An exchange as calls: one, or on a cluster one for each queue.

        There, what is caused in other queues is sent now, before the settlement that causes it.
        """
        if not self.link.is_cluster:
            return [self.trader.propose(terms, settlements, started)]
        elsewhere = [i for s in settlements for i in s.then if i.message.queue_name != s.delivery.queue_name]
        self.tell_of_left_out(elsewhere, self._send(elsewhere, b"caused"))
        by_queue = _by_queue(terms, settlements, started)
        trades, left = [], terms.room
        for name, (own_settlements, own_started) in by_queue.items():
            share = min(left, terms.shares[name]) if name in terms.shares else -1
            left -= max(0, share)
            shares = {name: share} if name in terms.shares else {}
            own = msgspec.structs.replace(terms, room=max(0, share), shares=shares, listen=False, queue_name=name)
            trades.append(self.trader.propose(own, own_settlements, own_started))
        return trades

    def tell_of_left_out(self, caused: Iterable[Outgoing], left_out: Mapping[str, str]) -> None:
        """Log what was caused and not sent, because its key is held."""
        if left_out:
            for item in caused:
                holder = left_out.get(item.message.message_id)
                if holder is not None:
                    tell_of_left_out(self.logger, item, holder)

    def carry_out(self, trades: Sequence[Trade]) -> list[Any]:
        """The answers to the calls of an exchange, each in its place; what failed is its error."""
        return self.link.call_many([trade.call for trade in trades])

    def listen(self, worker_id: str, queue_names: Sequence[str]) -> tuple[list[str], int | None]:
        """Have a worker of a cluster woken for work in these queues.

        Those that have some already, and when the next message is due (epoch ms by the store's clock).
        """
        calls = [self.about("listen", name, self.keys.channel(worker_id, name)) for name in queue_names]
        answers = self.link.call_many(calls)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        dues = [due for _, _, due in answers if due >= 0]
        full = [name for name, (has_work, *_) in zip(queue_names, answers, strict=True) if has_work]
        return full, min(dues, default=None)

    def note_late(self, worker_id: str, refused: Sequence[Settlement]) -> None:
        """Tell of attempts that ended after a burial had taken their messages."""
        for settlement in refused:
            event = changes.late(settlement, worker_id, self.clock.now())
            told = b"" if event is None else self.journalist.write(settlement.delivery.queue_name, event)
            if told:
                delivery = settlement.delivery
                parts = (delivery.message_id.encode(), fence(delivery, worker_id), told)
                self.call_on("late", delivery.queue_name, self.budget, self.link.publish, *parts)

    def rescue(self, judge: Judge) -> list[str]:
        if self.dead_message_ttl is not None:
            self.expire_dead_letters(self.dead_message_ttl)
        return super().rescue(judge)

    # Around

    @property
    def journal(self) -> RedisJournal:
        return self._journal

    def check_ready(self) -> None:
        self.link.command(self.keys.leases, b"PING")

    def risks(self) -> list[str]:
        waits = bool(self.wait_replicas or self.wait_aof)
        return [risk for endpoint in self.link.endpoints() for risk in find_risks(endpoint, waits_for_replicas=waits)]

    def close(self) -> None:
        self.link.close()


def _by_queue(
    terms: Terms, settlements: Sequence[Settlement], started: Sequence[Started]
) -> dict[str, tuple[list[Settlement], list[Started]]]:
    """What an exchange is about, queue by queue."""
    found: dict[str, tuple[list[Settlement], list[Started]]] = {name: ([], []) for name in terms.shares}
    for settlement in settlements:
        found.setdefault(settlement.delivery.queue_name, ([], []))[0].append(_within(settlement))
    for report in started:
        found.setdefault(report.delivery.queue_name, ([], []))[1].append(report)
    return found


def _within(settlement: Settlement) -> Settlement:
    """With only those caused messages that belong to its own queue."""
    name = settlement.delivery.queue_name
    if all(item.message.queue_name == name for item in settlement.then):
        return settlement
    here = tuple(item for item in settlement.then if item.message.queue_name == name)
    return msgspec.structs.replace(settlement, then=here)
