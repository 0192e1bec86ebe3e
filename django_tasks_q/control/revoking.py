"""Calling messages off."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from .. import clock
from ..broker import get_broker
from ..errors import BrokerError
from ..logging import get_logger
from ..outcomes import milliseconds
from ..rules import Conditions, ControlStore, Rule
from ..rules.conditions import Match
from .place import store_of
from .removing import Removal

logger = get_logger(__name__)

WEEK = timedelta(days=7)

PATIENCE = 2.0
"""Seconds for which who revokes waits for live workers to obey, and meanwhile removes what waits."""

_LONGEST = 100 * 365 * 86_400_000
_LONGEST_REASON, _LONGEST_BY = 2_000, 200
_UNKEPT = re.compile(r"[\0\ud800-\udfff]")
"""What some databases refuse."""

_LOOK = 0.02


class Revocation(msgspec.Struct):
    """What somebody called off.

    ``id`` is that of its row, None when nothing was done; ``counts`` says how many messages it was about, by the state
    in which they were; ``unreached`` are the live workers that did not obey it within two seconds: they are cut off or
    stand still, and read it when they go on. ``is_confirmed`` is False when the database went away after it was
    written down: it holds, but who obeys it by now is not known.
    """

    id: int | None
    counts: dict[str, int]
    unreached: list[str] = []
    lifted_at: datetime | None = None
    is_confirmed: bool = True

    @property
    def total(self) -> int:
        """How many messages it was about."""
        return sum(self.counts.values())


def revoke(
    *,
    ids: Iterable[str] = (),
    stamps: Mapping[str, Any] | None = None,
    actor: str = "",
    queue: str = "",
    match: Match | None = None,
    terminate: bool = False,
    reason: str = "",
    expires: int | timedelta | None = WEEK,
    future: bool = False,
    everything: bool = False,
    dry_run: bool = False,
    by: str = "",
) -> Revocation:
    """Call messages off: they end ``revoked``, are never retried and are no dead letters.

    It is written down first, so that it reaches workers that start later as well. What waits is removed at once where
    the broker can do that, and else when a worker gets it. What runs goes on and is not retried, or is interrupted
    with ``terminate``: by :class:`MessageRevoked`, and if that does not end it within ``TIME_LIMIT_GRACE`` by the end
    of its process. Dead letters stay what they are. Within an open transaction of the records' database it holds when
    that has committed.

    Parameters:
        ids: of messages.
        stamps: values by name, one or several; a message that has one of them under that name. It reaches what is sent
            later too, until it expires or is lifted.
        actor, queue: names. Only what was sent before, unless ``future``.
        match: "any" or "all" of these, and of the names of stamps; "any" when not given. It must be said where
            conditions of several kinds are given.
        reason: for people.
        expires: milliseconds, or a timedelta; None for never.
        everything: all that was sent before, instead of any of these.
        dry_run: only count.
        by: who wants it, for people.

    Raises:
        ValueError: no condition, or one that cannot be; a time that is over or more than a hundred years away; a text
            that cannot be kept.
        TypeError: one id where a list is wanted.
        BrokerConnectionError: the database cannot be reached; nothing was done.
        RuntimeError: there is no database.
    """
    conditions = Conditions.of(ids, stamps, actor, queue, match, future, everything)
    wait = _checked_time(expires)
    _check_text("reason", reason, _LONGEST_REASON)
    _check_text("by", by, _LONGEST_BY)
    if type(terminate) is not bool:
        raise ValueError(f"terminate is True or False: {terminate!r:.80}")
    store = store_of(get_broker())
    counts = store.count(conditions)
    if dry_run:
        return Revocation(None, counts)
    rule = store.add(Rule(0, conditions, terminate, reason=reason, created_by=by), wait, counts)
    revocation = Revocation(rule.id, counts)
    if store.waits_for_commit:
        store.when_committed(lambda: _carry_out(store, rule))
    else:
        unreached = _carry_out(store, rule)
        revocation.is_confirmed = unreached is not None
        revocation.unreached = unreached or []
    return revocation


def revoke_by_stamped_headers(headers: Mapping[str, Any], terminate: bool = False, **options: Any) -> Revocation:
    """:func:`revoke` by stamps, as Celery calls it: ``revoke_by_stamped_headers({"batch_id": [1, 2]})``.

    ``options`` are those of :func:`revoke`.
    """
    return revoke(stamps=headers, terminate=terminate, **options)


def lift(revocation: Revocation | int) -> bool:
    """End a revocation, given or by its id: what is sent from now on runs, and so does what waits and was not reached.

    It waits until every live worker knows, two seconds at most. False when it was over already. Errors as
    :func:`revoke`.
    """
    number = revocation if isinstance(revocation, int) else revocation.id
    if number is None:
        return False
    store = store_of(get_broker())
    if not store.lift(number):
        return False
    if isinstance(revocation, Revocation):
        revocation.lifted_at = clock.as_datetime(clock.wall_ms())
    if not store.waits_for_commit:
        wait_for_workers(store)
    return True


def _checked_time(expires: Any) -> int | None:
    """Milliseconds from now."""
    if expires is None:
        return None
    try:
        wait = milliseconds(expires)
    except (TypeError, ValueError, OverflowError):
        wait = 0
    if isinstance(expires, bool) or not 0 < wait <= _LONGEST:
        raise ValueError(
            f"expires is milliseconds or a timedelta, more than 0 and at most 100 years; None is never: {expires!r:.80}"
        )
    return wait


def _check_text(name: str, text: Any, most: int) -> None:
    if not isinstance(text, str) or len(text) > most or _UNKEPT.search(text):
        raise ValueError(f"{name} is text of at most {most} characters that a database can keep: {text!r:.80}")


def _carry_out(store: ControlStore, rule: Rule) -> list[str] | None:
    """Remove what waits, and wait for the workers; who did not obey in time. What is left a keeper does.

    It is written down by now, and holds whatever fails here: None when the database went and nobody knows who obeys.
    """
    until = clock.monotonic() + PATIENCE
    try:
        version = store.version()
        _sweep(store, rule, until)
        return await_obedience(store, version, until)
    except BrokerError as error:
        logger.warning("Revocation %d is written down and holds, but who obeys it is not known: %s", rule.id, error)
        return None


def _sweep(store: ControlStore, rule: Rule, until: float) -> None:
    try:
        store.sweep(rule, until, Removal(get_broker(), rule))
    except BrokerError as error:  # a keeper removes what waits once the broker is there again
        logger.warning("What revocation %d is about cannot be removed yet: %s", rule.id, error)


def wait_for_workers(store: ControlStore) -> None:
    """Wait for a moment until the workers obey what was written down just now, which holds whether they do or not."""
    try:
        await_obedience(store, store.version(), clock.monotonic() + PATIENCE)
    except BrokerError as error:
        logger.warning("It is written down and holds, but who obeys it is not known: %s", error)


def await_obedience(store: ControlStore, version: int, until: float) -> list[str]:
    """Wait until all live workers obey that version, or ``until`` (monotonic seconds); who does not."""
    while (unreached := store.unreached(version)) and clock.monotonic() < until:
        time.sleep(_LOOK)
    return list(unreached)
