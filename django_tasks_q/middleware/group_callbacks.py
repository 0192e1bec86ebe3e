"""What follows when all members of a group have ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..deliveries import MessageProxy, Result
from ..errors import BrokerError, DecodeError, ResultError
from ..logging import get_logger
from ..message import Message
from ..outcomes import Dead, Done, Outcome, Parked, Requeue, Retry, Skipped, milliseconds
from .membership import GROUP, is_counted, levels, next_messages, read_member_name, takes_results
from .middleware import Middleware

if TYPE_CHECKING:
    from ..broker import Broker
    from ..rate_limits import RateLimiterBackend
    from ..results import ResultBackend

logger = get_logger(__name__)

_TRIES, _PAUSE = 4, 0.1
_WAIT, _LONGEST_WAIT = 5_000, 300_000
"""Milliseconds until a member runs again whose end could not be told to its group: longer with each time."""

DAY = 86_400_000


class GroupCallbacks(Middleware):
    """Counts the members of groups that somebody waits for, and sends what follows when the last one has ended.

    Members are counted by their ids, before they are settled: one that is delivered twice is one. What follows is part
    of the settlement of the member that completed the group. It may stand anywhere in the stack.

    Parameters:
        rate_limiter_backend: where it is kept who has ended; the settings' (``RATE_LIMITS_URL``) when not given.
        barrier_ttl: milliseconds, or a timedelta, for which a group is remembered after its last member that ended.
    """

    def __init__(
        self, rate_limiter_backend: RateLimiterBackend | None = None, *, barrier_ttl: int | timedelta = DAY
    ) -> None:
        self._backend = rate_limiter_backend
        self.barrier_ttl = max(1, milliseconds(barrier_ttl))

    @property
    def rate_limiter_backend(self) -> RateLimiterBackend:
        if self._backend is not None:
            return self._backend
        from ..rate_limits import get_rate_limiter_backend

        return get_rate_limiter_backend()

    def after_result(self, broker: Broker, message: MessageProxy, *, outcome: Outcome) -> None:
        options = message.options
        if "group_size" not in options or not is_counted(options) or isinstance(outcome, Retry | Parked | Requeue):
            return
        goes_on = bool(options.get("pipe_target"))
        if goes_on and isinstance(outcome, Done):
            return  # the rest of a pipeline belongs to the group in its place
        ok = isinstance(outcome, Done) or (isinstance(outcome, Skipped) and not goes_on)
        was_told = message.delivery is not None and message.delivery.life > 0
        try:
            if ok:
                self._store_result(broker, message)
            caused = self._tell(broker, options, ok=ok, was_told=was_told)
        except BrokerError as error:
            logger.error("%s runs again, since its group cannot be told of its end: %s", message.actor_name, error)
            message.outcome = Parked(f"group:{options['group_id']}", _wait(message))
        except Exception as error:  # results that are gone, options that mean nothing, a fault of the backend's
            is_missing = isinstance(error, ResultError | DecodeError)
            logger.error("The group of %s cannot go on: %s", message.actor_name, error, exc_info=not is_missing)
            if ok:
                message.outcome = Dead("results_missing" if is_missing else "group_error")
        else:
            for follower in caused:
                message.cause(follower)

    def ended(self, broker: Broker, options: Mapping[str, Any]) -> list[Message[Any]]:
        """A member failed where no hook heard of it: what follows. Told twice, it answers the same.

        Raises BrokerError when it cannot be told.
        """
        return list(self._following(broker, options, ok=False))

    def _tell(self, broker: Broker, options: Mapping[str, Any], *, ok: bool, was_told: bool) -> list[Message[Any]]:
        """As often as needed, within reason: to run the member once more is worse than to wait for a moment."""
        for attempt in range(1, _TRIES):
            try:
                return list(self._following(broker, options, ok=ok, was_told=was_told))
            except BrokerError:
                time.sleep(_PAUSE * attempt)
        return list(self._following(broker, options, ok=ok, was_told=was_told))

    def _following(
        self, broker: Broker, options: Mapping[str, Any], *, ok: bool, was_told: bool = False
    ) -> Iterator[Message[Any]]:
        """What is sent because a member has ended, from its group outwards as far as groups end with it.

        ``was_told``: it has failed before, in another life, and so has its group, of which has been told.
        """
        backend = self.rate_limiter_backend
        for level in levels(options):
            group_id, name = level["group_id"], level["group_member"]
            was_told = was_told or bool(level.get("group_told"))
            arrival = backend.arrive(_key(group_id), name, ok, level["group_size"], self.barrier_ttl)
            if not arrival.is_completer:
                return
            ok = not arrival.failed
            if ok:
                yield from _messages(level.get("group_completion_callbacks", ()))
                target = level.get("group_target")
                if target:
                    passed = (self._results(broker, group_id),) if takes_results(target) else ()
                    yield from next_messages(level.get("group_outer", {}), target, passed)
                    return  # the rest of the pipeline belongs to the outer group in the place of this one
            elif not was_told:
                yield from _messages(level.get("group_failure_callbacks", ()))

    # Results that the next step of a pipeline is given

    def _store_result(self, broker: Broker, message: MessageProxy) -> None:
        """Before anybody is told that the member has ended: who hears of it looks for the result.

        He looks where the member that was sent would have it, and this may be an edited copy of that.
        """
        result: Result | None = message.result
        targets = [level["group_target"] for level in levels(message.options) if level.get("group_target")]
        if result is None or not any(map(takes_results, targets)):
            return
        store = broker.get_results_backend()
        place = store.key_of(read_member_name(message.options["group_member"])[2])
        ttl = max(result.ttl, self.barrier_ttl)
        store.store([Result(key, result.payload, ttl) for key in {result.key, place}])
        message.result = None

    def _results(self, broker: Broker, group_id: str) -> list[Any]:
        """What the members returned, in their order, lists for groups among them. ResultError when one is missing."""
        from ..results import Missing

        store = broker.get_results_backend()
        tree = self._tree(group_id)
        ids = list(_leaves(tree))
        found = dict(zip(ids, _peek(store, ids), strict=True))
        for value in found.values():
            if isinstance(value, ResultError):
                raise value
        missing = [message_id for message_id, value in found.items() if value is Missing]
        if missing:
            raise ResultError(f"{len(missing)} of its results are not stored, for example that of {missing[0]}.")
        return _filled(tree, found)

    def _tree(self, group_id: str) -> list[Any]:
        names = sorted(map(read_member_name, self.rate_limiter_backend.arrived(_key(group_id))))
        if not names:
            raise ResultError(f"It is not known any more who was in the group {group_id}.")
        return [self._tree(member) if kind == GROUP else member for _, kind, member in names]


def _wait(message: MessageProxy) -> int:
    """Its runs that did not count as attempts are, as a rule, those after which its group could not be told."""
    delivery = message.delivery
    before = 0 if delivery is None else max(0, delivery.number - delivery.retries - 1)
    return int(min(_LONGEST_WAIT, _WAIT * 2 ** min(before, 10)))


def _key(group_id: str) -> str:
    return f"group:{group_id}"


def _messages(wires: Any) -> list[Message[Any]]:
    return [Message.from_dict(dict(wire)) for wire in wires]


def _peek(store: ResultBackend, ids: list[str]) -> list[Any]:
    return store.peek([Message("", "", message_id=message_id) for message_id in ids])


def _leaves(tree: list[Any]) -> Iterator[str]:
    for member in tree:
        if isinstance(member, list):
            yield from _leaves(member)
        else:
            yield member


def _filled(tree: list[Any], found: Mapping[str, Any]) -> list[Any]:
    return [_filled(member, found) if isinstance(member, list) else found[member] for member in tree]
