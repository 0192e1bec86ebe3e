"""What becomes of a delivery, as a value, and the one pure function that decides it."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

import msgspec

from .common import compute_backoff
from .errors import BadArguments, MessageRevoked, Shutdown, TimeLimitExceeded
from .errors import Retry as RetryRequest

MAX_BACKOFF = 7 * 86_400_000
"""Milliseconds; the longest wait between two attempts, as in Dramatiq."""

_TRACEBACK_FRAMES, _TRACEBACK_CHARACTERS, _TEXT_CHARACTERS, _REASON_CHARACTERS = 30, 16_000, 2_000, 40

_LONGEST_DELAY = 366 * 86_400_000


def _bound_delay(outcome: Retry | Parked) -> None:
    """No store has to cope with a wait that overflows its clock, whatever an actor or a middleware asked for."""
    if not 0 <= outcome.delay <= _LONGEST_DELAY:
        msgspec.structs.force_setattr(outcome, "delay", min(max(outcome.delay, 0), _LONGEST_DELAY))


class Done(msgspec.Struct, frozen=True):
    """The actor returned."""


class Skipped(msgspec.Struct, frozen=True):
    """A middleware decided that it must not run; nothing failed."""


class Retry(msgspec.Struct, frozen=True):
    """The attempt failed and is counted; the next one is due ``delay`` milliseconds from now, by the store's clock."""

    delay: int

    def __post_init__(self) -> None:
        _bound_delay(self)


class Parked(msgspec.Struct, frozen=True):
    """It must wait ``delay`` milliseconds, or until ``key`` is free; no attempt is counted."""

    key: str
    delay: int

    @property
    def mark(self) -> str:
        """What a broker finds by which is parked on this key."""
        return mark_of(self.key)

    def __post_init__(self) -> None:
        _bound_delay(self)


class Dead(msgspec.Struct, frozen=True):
    """A dead letter, with the reason (see the list in the documentation); a middleware's own is kept in short."""

    reason: str

    def __post_init__(self) -> None:
        if len(self.reason) > _REASON_CHARACTERS or not self.reason.isprintable():
            short = "".join(character if character.isprintable() else "?" for character in self.reason)
            msgspec.structs.force_setattr(self, "reason", short[:_REASON_CHARACTERS])


class Requeue(msgspec.Struct, frozen=True):
    """Back to the front of its queue, no attempt counted.

    ``lost``: it had started when its worker died. ``suspect``: it runs alone from now on.
    """

    lost: bool = False
    suspect: bool = False


class Revoked(msgspec.Struct, frozen=True):
    """Somebody called it off."""


def mark_of(key: str) -> str:
    """A key as 32 characters, whatever it is made of."""
    return blake2b(key.encode("utf-8", "replace"), digest_size=16).hexdigest()


Outcome = Done | Skipped | Retry | Parked | Dead | Requeue | Revoked

UNDECODABLE = Dead("undecodable")
DONE, SKIPPED, HANDED_BACK, REVOKED = Done(), Skipped(), Requeue(), Revoked()


class ErrorInfo(msgspec.Struct, frozen=True, array_like=True):
    """An exception as text, bounded, made without trusting it."""

    type: str
    message: str
    traceback: str = ""

    @classmethod
    def of(cls, exception: BaseException) -> ErrorInfo:
        kind = type(exception)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        return cls(name[:_TEXT_CHARACTERS], _safely(lambda: str(exception)), _format_traceback(exception))


def _safely(make: Callable[[], str]) -> str:
    """The text of an exception whose own code may raise, hang on to cycles, or be endless."""
    try:
        return make()[:_TEXT_CHARACTERS]
    except BaseException as error:
        return f"<its text raised {type(error).__name__}>"


def _format_traceback(exception: BaseException) -> str:
    try:
        lines = traceback.format_exception(exception, limit=-_TRACEBACK_FRAMES)
    except Exception:
        lines = traceback.format_tb(exception.__traceback__, limit=-_TRACEBACK_FRAMES)
        lines.append(f"{type(exception).__name__}: {_safely(lambda: str(exception))}\n")
    text = "".join(lines)
    return text if len(text) <= _TRACEBACK_CHARACTERS else "…" + text[-_TRACEBACK_CHARACTERS:]


class RetryPolicy(msgspec.Struct, frozen=True):
    """How failures of one message are answered.

    Parameters:
        max_retries: how often it may run again; ``None`` for ever.
        min_backoff, max_backoff: milliseconds; see :func:`common.compute_backoff`.
        retry_when: ``(retries so far, exception) -> bool``, instead of ``max_retries``.
        throws: exceptions that are expected and end the message at once.
    """

    max_retries: int | None = 20
    min_backoff: int = 15_000
    max_backoff: int = MAX_BACKOFF
    retry_when: Callable[[int, BaseException], bool] | None = None
    throws: tuple[type[BaseException], ...] = ()


def decide(exception: BaseException | None, retries: int, policy: RetryPolicy) -> Outcome:
    """What becomes of an attempt that ended with ``exception`` (None: it returned) after ``retries`` failed ones."""
    if exception is None:
        return DONE
    if isinstance(exception, Shutdown):
        return HANDED_BACK
    if isinstance(exception, MessageRevoked):
        return REVOKED
    if policy.throws and isinstance(exception, policy.throws):
        return Dead("throws")
    if policy.retry_when is not None:
        again = policy.retry_when(retries, exception)
    else:
        again = policy.max_retries is None or retries < policy.max_retries
    if not again:
        return Dead(_reason(exception))
    return Retry(_wait(exception, retries, policy))


def decide_unknown_actor(retries: int, grace: int) -> Outcome:
    """A message whose actor is not known here: it waits for a rolling deploy, at most ``grace`` milliseconds in all."""
    waited = sum(_unknown_actor_step(attempt) for attempt in range(retries))
    return Dead("unknown_actor") if waited >= grace else Retry(_unknown_actor_step(retries))


def _unknown_actor_step(attempt: int) -> int:
    return int(min(1_000 * 2 ** min(attempt, 6), 60_000))


def decide_lost(lost: int, limit: int, *, alone: bool = True) -> Outcome:
    """A delivery whose worker died while it ran, having been lost ``lost`` times before; ``limit`` is at least 2.

    Only who died ``alone`` is convicted: beside others, which happens to a suspect that was handed back or failed an
    attempt meanwhile, it may have been one of them.
    """
    if alone and lost + 1 >= limit:
        return Dead("delivery_limit")
    return Requeue(lost=True, suspect=lost + 2 >= limit)


def _reason(exception: BaseException) -> str:
    if isinstance(exception, TimeLimitExceeded):
        return "time_limit"
    if isinstance(exception, BadArguments):
        return "bad_arguments"
    return "retries_exhausted"


def _wait(exception: BaseException, retries: int, policy: RetryPolicy) -> int:
    if isinstance(exception, RetryRequest) and exception.delay is not None:
        return milliseconds(exception.delay)
    ceiling = min(policy.max_backoff, MAX_BACKOFF)
    _, backoff = compute_backoff(retries, factor=policy.min_backoff, max_backoff=ceiling)
    return backoff


def milliseconds(duration: Any) -> int:
    """A duration given as milliseconds or as a ``timedelta``; negative ones count as none."""
    seconds = getattr(duration, "total_seconds", None)
    return max(0, int(duration if seconds is None else seconds() * 1000))
