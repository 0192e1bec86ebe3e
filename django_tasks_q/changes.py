"""What a broker does to a message, told as events. Every broker tells it the same way because it tells it here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from .deliveries import Casualty, Delivery, Held, Outgoing, Settlement, Started
from .errors import DecodeError, HardTimeLimit, LostWorker, MessageRevoked
from .events import Birth, Event, Kind, guard
from .fold import LATE
from .message import MAX_ID_LENGTH, Message
from .outcomes import UNDECODABLE, Dead, Done, ErrorInfo, Outcome, Parked, Requeue, Retry, Revoked, Skipped
from .stamps import of_options
from .states import State

_STATES: dict[type, State] = {
    Done: State.SUCCEEDED,
    Skipped: State.SKIPPED,
    Retry: State.RETRYING,
    Parked: State.DELAYED,
    Dead: State.DEAD,
    Requeue: State.ENQUEUED,
    Revoked: State.REVOKED,
}


def created(outgoing: Outgoing, now: int, life: int = 0) -> Event:
    """A message was sent; ``now`` is the store's time in epoch milliseconds."""
    due = due_at(outgoing, now)
    return Event(
        Kind.CREATED,
        outgoing.message.message_id,
        State.ENQUEUED if due is None else State.DELAYED,
        now,
        life=max(life, outgoing.life),
        eta=due,
        birth=birth(outgoing),
        record=outgoing.record,
    )


def pending(outgoing: Outgoing, now: int) -> Event:
    """A message's transaction has committed, and its broker cannot be reached."""
    message_id = outgoing.message.message_id
    return Event(Kind.PENDING, message_id, State.PENDING, now, birth=birth(outgoing), record=outgoing.record)


def due_at(outgoing: Outgoing, now: int) -> int | None:
    """When a message may run, in epoch milliseconds of the store's clock; None: at once."""
    due = now + outgoing.delay if outgoing.delay is not None else outgoing.eta
    return due if due is not None and due > now else None


def birth(outgoing: Outgoing) -> Birth:
    message: Message[object] = outgoing.message
    options = message.options
    return Birth(
        message.queue_name,
        message.actor_name,
        message.message_timestamp,
        outgoing.priority,
        outgoing.app_label,
        message.args,
        message.kwargs,
        options,
        str(options["message_id"]) if "message_id" in options else "",
        outgoing.parent_id,
        _group_id(options),
        stamps=dict(of_options(options)),
    )


def _group_id(options: Mapping[str, Any]) -> str:
    """The composition that a message belongs to; people may put anything into options."""
    group_id = options.get("group_id", "")
    is_id = isinstance(group_id, str) and len(group_id) <= MAX_ID_LENGTH and group_id.isprintable()
    return group_id if is_id else ""


def promoted(
    message_id: str, now: int, life: int, retries: int, deliveries: int, lost: int, record: bool = True
) -> Event:
    """A delayed message's time has come; the promotion belongs to the delivery that it makes possible."""
    return Event(Kind.PROMOTED, message_id, State.ENQUEUED, now, life, retries, deliveries + 1, lost, record=record)


def discarded(
    message_id: str,
    now: int,
    life: int,
    retries: int,
    deliveries: int,
    lost: int,
    record: bool = True,
    state: State = State.DISCARDED,
) -> Event:
    """Somebody threw away a message that was waiting or dead, or called it off; ``state`` says which."""
    return Event(Kind.WITHDRAWN, message_id, state, now, life, retries, deliveries + 1, lost, record=record)


class Numbers(NamedTuple):
    """The counters of a message, as its record has them."""

    life: int
    retries: int
    deliveries: int
    lost: int


def missed(message_id: str, now: int, numbers: Numbers, above: int, started_at: int | None, worker: str) -> Event:
    """The broker does not know a message any more that nobody saw end; ``now`` is the time of who noticed.

    ``above``: the guard of what was heard of it last.
    """
    error = ErrorInfo("MessageLost", "The broker does not know this message any more.")
    event = Event(
        Kind.MISSED, message_id, State.DEAD, now, *numbers,
        started_at=started_at, worker=worker, reason="lost", error=error,
    )  # fmt: skip
    if guard(event) > above:
        return event
    # The last that was heard of it is its promotion, which belongs to the delivery that never came.
    return msgspec.structs.replace(event, delivery=numbers.deliveries + 1)


def given_up(message_id: str, now: int, numbers: Numbers, above: int) -> Event:
    """Somebody crossed off a message of which nobody knows whether it will ever run; if it does, that counts."""
    event = Event(Kind.MISSED, message_id, State.DISCARDED, now, *numbers)
    if guard(event) > above:
        return event
    # Below everything that the next delivery would tell.
    return msgspec.structs.replace(event, kind=Kind.PROMOTED, delivery=numbers.deliveries + 1)


def doubted(birth: Event) -> Event:
    """A birth was told of a message of which nobody knows whether its broker has it; whatever becomes of it wins."""
    return msgspec.structs.replace(birth, kind=Kind.MISSED, state=State.UNKNOWN)


def found(held: Held, now: int) -> Event | None:
    """A message whose record does not know any more what became of it, as its broker holds it.

    None while a worker has it, whose answer is on its way.
    """
    delivery = held.delivery
    if held.state == "dead":
        return found_dead(delivery, now)
    if held.state == "in_flight":
        return None
    numbers = (delivery.life, delivery.retries, delivery.number, delivery.lost)
    if held.state == "ready":
        return promoted(delivery.message_id, now, *numbers, delivery.record)
    kind = Kind.SETTLED if delivery.number else Kind.CREATED
    state = State.RETRYING if delivery.retries else State.DELAYED
    return Event(kind, delivery.message_id, state, now, *numbers, eta=held.due_at, record=delivery.record)


def found_dead(delivery: Delivery, now: int, app_label: str = "") -> Event:
    """A dead letter was found that has no record; why it died is not known any more."""
    try:
        born = birth(Outgoing(Message.decode(delivery.payload), b"", app_label=app_label))
    except DecodeError:
        born = _raw_birth(delivery, now)
    return Event(
        Kind.SETTLED, delivery.message_id, State.DEAD, now, delivery.life, delivery.retries, delivery.number,
        delivery.lost, birth=born,
    )  # fmt: skip


def requeued(message_id: str, now: int, life: int, deliveries: int, record: bool = True) -> Event:
    """A dead letter was given a new life, in which it has neither failed nor been lost."""
    return Event(Kind.CREATED, message_id, State.ENQUEUED, now, life, 0, deliveries, record=record)


def started(report: Started, worker_id: str) -> Event:
    """A delivery has been running for longer than a moment."""
    delivery = report.delivery
    return Event(
        Kind.STARTED,
        delivery.message_id,
        State.RUNNING,
        report.started_at,
        delivery.life,
        delivery.retries,
        delivery.number,
        delivery.lost,
        started_at=report.started_at,
        worker=worker_id,
        record=delivery.record,
        progress=report.progress,
        report=report.number if report.progress is not None else 0,
    )


def settled(settlement: Settlement, worker_id: str, now: int, attempt_outcome: str | None = None) -> Event:
    """A delivery came to its end; ``attempt_outcome`` overrides what its attempt is called."""
    delivery, outcome = settlement.delivery, settlement.outcome
    kind = Kind.HANDED_BACK if type(outcome) is Requeue else Kind.SETTLED
    name = attempt_name(settlement) if attempt_outcome is None else attempt_outcome
    return Event(
        kind,
        delivery.message_id,
        _STATES[type(outcome)],
        settlement.finished_at or now,
        delivery.life,
        retries_after(settlement),
        delivery.number,
        lost_after(delivery, outcome),
        now + outcome.delay if isinstance(outcome, Retry | Parked) else None,
        settlement.started_at,
        worker_id,
        outcome.reason if isinstance(outcome, Dead) else "",
        name,
        settlement.error or settlement.result_error,
        _late_birth(settlement, now),
        delivery.record,
        settlement.progress,
    )


def late(settlement: Settlement, worker_id: str, now: int) -> Event | None:
    """An attempt that ended after its message had been taken from its worker; None where nothing had run.

    It moves nobody's record (see :func:`fold.fold`), whatever the worker believes.
    """
    delivery = settlement.delivery
    if settlement.started_at is None or isinstance(settlement.outcome, Requeue):
        return None
    return Event(
        Kind.SETTLED,
        delivery.message_id,
        State.RUNNING,
        settlement.finished_at or now,
        delivery.life,
        delivery.retries,
        delivery.number,
        delivery.lost,
        started_at=settlement.started_at,
        worker=worker_id,
        attempt_outcome=LATE,
        error=settlement.error,
        record=delivery.record,
    )


def _late_birth(settlement: Settlement, now: int) -> Birth | None:
    """What the record of a dead letter needs that had none until now, or that nobody could read."""
    delivery, outcome = settlement.delivery, settlement.outcome
    if outcome == UNDECODABLE:
        return _raw_birth(delivery, now)
    if delivery.record or not isinstance(outcome, Dead):
        return None
    try:
        message = Message.decode(delivery.payload)
    except DecodeError:
        return _raw_birth(delivery, now)
    return birth(Outgoing(message, b"", app_label=settlement.app_label))


def _raw_birth(delivery: Delivery, now: int) -> Birth:
    """All that is known of a message that nobody can read: where it was, and its bytes."""
    return Birth(delivery.queue_name, "", now, raw=delivery.payload)


def attempt_name(settlement: Settlement) -> str:
    """What the attempt that ended is called in the history; empty when it deserves no row of its own."""
    outcome = settlement.outcome
    if isinstance(outcome, Requeue):
        return "lost" if outcome.lost else "interrupted" if settlement.started_at is not None else ""
    if settlement.error is None:
        return ""
    if isinstance(outcome, Revoked):
        return "revoked" if settlement.started_at is not None else ""
    return "failed"


def retries_after(settlement: Settlement) -> int:
    """Attempts that failed, this one included if it did. Being lost with a worker is no failure."""
    delivery, outcome = settlement.delivery, settlement.outcome
    failed = isinstance(outcome, Retry) or (
        isinstance(outcome, Dead)
        and outcome.reason != "delivery_limit"
        and settlement.error is not None
        and settlement.started_at is not None
    )
    return delivery.retries + failed


def lost_after(delivery: Delivery, outcome: Outcome) -> int:
    """Deliveries that had started when their worker died, this one included if it was."""
    lost = (isinstance(outcome, Requeue) and outcome.lost) or (
        isinstance(outcome, Dead) and outcome.reason == "delivery_limit"
    )
    return delivery.lost + lost


def buried(delivery: Delivery, casualty: Casualty, outcome: Outcome, now: int) -> Settlement:
    """The settlement that the keeper makes for a delivery that was running when its worker died."""
    error = casualty_error(casualty)
    return Settlement(delivery, outcome, error, started_at=casualty.started_at or now, finished_at=now)


def casualty_error(casualty: Casualty) -> ErrorInfo | None:
    """What a burial says of a delivery that was running; nothing of one that was only interrupted."""
    kind = _KINDS.get(casualty.kind)
    return None if kind is None else ErrorInfo(kind.__name__, casualty.detail)


_KINDS: Mapping[str, type[BaseException]] = {
    "time_limit": HardTimeLimit,
    "lost": LostWorker,
    "revoked": MessageRevoked,
}
