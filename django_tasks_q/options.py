"""Options of actors and messages: what is refused where they are declared or sent, and how middleware reads them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any

from . import stamps
from .common import check_priority
from .errors import did_you_mean
from .gather import check_gather
from .message import MAX_ID_LENGTH
from .outcomes import milliseconds
from .rate_limits import parse_rate
from .rate_limits.rate_limiter import check_limit
from .sendable import check_delay
from .stamps import OPTION
from .timetable import make_timetable
from .unique import check_unique

if TYPE_CHECKING:
    from .broker import Broker

_FOR_BOTH = frozenset({"delivery_limit", "inherit_stamps", "on_conflict", "record", "stamps", "unique", "unique_key"})
"""Options that the engine itself reads, for actors and messages alike."""

_FOR_ACTORS = _FOR_BOTH | {"gather", "on_commit", "schedule"}
"""What the engine reads of actors."""

_MESSAGE_ONLY = frozenset({"priority", "broker_priority", "message_id", "pipe_target"})
_ACTOR_ONLY = frozenset({"gather", "retry_when", "throws", "queue_name", "schedule"})
_KEYS = ("concurrency_key", "rate_limit_key", "unique_key")
_TARGETS = ("on_failure", "on_success", "on_retry_exhausted")
_DURATIONS = ("min_backoff", "max_backoff", "max_age", "time_limit", "result_ttl")
_MAY_BE_ENDLESS = ("max_age", "time_limit")


def check_actor_options(broker: Broker, options: Mapping[str, Any], what: str) -> None:
    """Raise ValueError for an option that the broker's middleware does not read or a bad number, TypeError for a
    callback that is no actor. ``what`` names who was told the options."""
    _check_numbers(options)
    _check_schedule(options, what)
    check_gather(options)
    _named_targets(options)
    _refuse_unknown(options, broker.actor_options | _FOR_ACTORS, what)


def message_options(broker: Broker, options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The options of one message in plain form; errors as of :func:`check_actor_options`."""
    if "stamped_headers" in options:
        options = _without_celery(options)
    known = (broker.actor_options | broker.message_options | _FOR_BOTH | _MESSAGE_ONLY) - _ACTOR_ONLY
    _refuse_unknown(options, known, what)
    if "broker_priority" in options:
        options = {"priority": _priority_of(options["broker_priority"]), **options}
    if "priority" in options:
        check_priority(options["priority"])
    if "message_id" in options and not 0 < len(str(options["message_id"])) <= MAX_ID_LENGTH:
        raise ValueError(f"message_id has 1 to {MAX_ID_LENGTH} characters: {options['message_id']!r:.80}")
    _check_numbers(options)
    for name in _KEYS:
        if callable(options.get(name)):
            raise ValueError(f"{name} of a message is text; only an actor's can be a callable.")
    return plain(options)


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as middleware reads them and as they fit into a message: callbacks by name, durations in milliseconds."""
    return {**options, **_named_targets(options), **_durations(options), **_stamps(options)}


def _stamps(options: Mapping[str, Any]) -> dict[str, Any]:
    """Stamps in canonical form; ValueError for what cannot be one."""
    return {OPTION: stamps.read(options[OPTION])} if options.get(OPTION) is not None else {}


def _without_celery(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with the stamps that ``stamped_headers`` names where the others are."""
    left = dict(options)
    found = stamps.from_celery(left)
    return {**left, OPTION: stamps.united(stamps.read(left.get(OPTION) or {}), found)}


def when(delay: int | timedelta | None, eta: int | datetime | None) -> dict[str, int]:
    """The option ``delay`` (milliseconds) or ``eta`` (epoch milliseconds), checked: ValueError."""
    if delay is not None and eta is not None:
        raise ValueError("Give delay= or eta=, not both.")
    if isinstance(delay, timedelta):
        delay = round(delay.total_seconds() * 1000)
    if isinstance(eta, datetime):
        if eta.tzinfo is None:
            raise ValueError(f"eta is an aware datetime or epoch milliseconds; this one has no time zone: {eta!r}")
        eta = round(eta.timestamp() * 1000)
    check_delay(delay, eta)
    if delay is not None:
        return {"delay": delay}
    return {"eta": eta} if eta is not None else {}


def _check_numbers(options: Mapping[str, Any]) -> None:
    """Raise ValueError for a number that would fail in the worker, at every attempt, or silently mean nothing."""
    for name in _DURATIONS:
        value = options.get(name)
        if isinstance(value, timedelta):
            value = value.total_seconds()
        if value is not None and (type(value) not in (int, float) or not value >= 0):
            raise ValueError(f"{name} is milliseconds, from 0 on, or a timedelta: {options[name]!r}")
        if value == inf and name not in _MAY_BE_ENDLESS:
            raise ValueError(f"{name} cannot be endless: {value!r}")
    retries = options.get("max_retries")
    if retries is not None and (type(retries) is not int or retries < 0):
        raise ValueError(f"max_retries is a whole number from 0 on, or None for ever: {retries!r}")
    _check_limits(options)
    check_unique(options)
    for name in ("record", "on_commit", "store_results", "inherit_stamps"):
        if type(options.get(name, True)) is not bool:
            raise ValueError(f"{name} is True or False: {options[name]!r}")
    _check_delivery_limit(options)


def _check_limits(options: Mapping[str, Any]) -> None:
    if options.get("concurrency") is not None:
        check_limit(options["concurrency"], "concurrency")
    if options.get("rate_limit") is not None:
        parse_rate(options["rate_limit"])
    for name in _KEYS:
        key = options.get(name)
        if key is not None and not callable(key) and (not isinstance(key, str) or not key or not key.isprintable()):
            raise ValueError(f"{name} is printable text, or a callable that makes it of the arguments: {key!r:.80}")


def _check_schedule(options: Mapping[str, Any], what: str) -> None:
    if options.get("schedule") is not None:
        try:
            make_timetable(options["schedule"])
        except ValueError as error:
            raise ValueError(f"{what}'s schedule: {error}.") from error


def _check_delivery_limit(options: Mapping[str, Any]) -> None:
    limit = options.get("delivery_limit", 3)
    if type(limit) is not int or limit < 2:
        raise ValueError(f"delivery_limit is an integer of at least 2: {limit!r}")


def _refuse_unknown(options: Mapping[str, Any], known: frozenset[str] | set[str], what: str) -> None:
    for name in options:
        if name not in known:
            raise ValueError(f"{what} has no option {name!r}.{did_you_mean(name, sorted(known))}")


def _priority_of(level: Any) -> int:
    """Dramatiq's ``broker_priority``, from 0 to 10 and the higher the sooner, as a priority."""
    if type(level) is not int or not 0 <= level <= 255:
        raise ValueError(f"broker_priority is a whole number from 0 to 10: {level!r}")
    return 100 - 20 * min(level, 10)


def _named_targets(options: Mapping[str, Any]) -> dict[str, Any]:
    """Callbacks as names: actors do not fit into a message."""
    named = {}
    for role in _TARGETS:
        target = options.get(role)
        if target is None:
            continue
        target = getattr(target, "__actor__", target)  # of a class
        name = getattr(target, "actor_name", None) if callable(target) else target  # a message has that name too
        if not isinstance(name, str):
            raise TypeError(f"{role} is an actor or the name of one: {target!r}")
        named[role] = name
    return named


def _durations(options: Mapping[str, Any]) -> dict[str, int]:
    """Durations as milliseconds, which is what middleware reads and what fits into a message."""
    return {
        name: milliseconds(value)
        for name, value in options.items()
        if isinstance(value, timedelta) and name not in _ACTOR_ONLY
    }
