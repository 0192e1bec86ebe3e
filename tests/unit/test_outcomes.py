"""What becomes of an attempt: the pure function that decides it, as a table."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_tasks_q import errors
from django_tasks_q.common import compute_backoff
from django_tasks_q.outcomes import (
    DONE,
    HANDED_BACK,
    MAX_BACKOFF,
    Dead,
    ErrorInfo,
    Outcome,
    Parked,
    Requeue,
    Retry,
    RetryPolicy,
    decide,
    decide_lost,
    decide_unknown_actor,
    milliseconds,
)

AT_ONCE = {"min_backoff": 0, "max_backoff": 0}


@pytest.mark.parametrize(
    ("exception", "retries", "policy", "outcome"),
    [
        (None, 0, {}, DONE),
        (None, 99, {"max_retries": 0}, DONE),
        (errors.Shutdown(), 99, {"max_retries": 0}, HANDED_BACK),
        (ValueError(), 0, {}, Retry(0)),
        (ValueError(), 19, {}, Retry(0)),
        (ValueError(), 20, {}, Dead("retries_exhausted")),
        (ValueError(), 0, {"max_retries": 0}, Dead("retries_exhausted")),
        (ValueError(), 10**6, {"max_retries": None}, Retry(0)),
        (errors.TimeLimitExceeded(), 0, {}, Retry(0)),
        (errors.TimeLimitExceeded(), 20, {}, Dead("time_limit")),
        (errors.BadArguments(), 0, {}, Retry(0)),
        (errors.BadArguments(), 20, {}, Dead("bad_arguments")),
        (ValueError(), 0, {"throws": (ValueError,)}, Dead("throws")),
        (UnicodeError(), 0, {"throws": (KeyError, ValueError)}, Dead("throws")),
        (KeyError(), 0, {"throws": (ValueError,)}, Retry(0)),
        (ValueError(), 99, {"retry_when": lambda retries, error: True}, Retry(0)),
        (ValueError(), 0, {"retry_when": lambda retries, error: False}, Dead("retries_exhausted")),
        (ValueError(), 3, {"retry_when": lambda retries, error: retries < 3}, Dead("retries_exhausted")),
        (errors.Retry(delay=7), 0, {}, Retry(7)),
        (errors.Retry(delay=timedelta(seconds=2)), 0, {}, Retry(2_000)),
        (errors.Retry(delay=-5), 0, {}, Retry(0)),
        (errors.Retry(), 0, {}, Retry(0)),
        (errors.Retry(delay=7), 20, {}, Dead("retries_exhausted")),
        (SystemExit(), 0, {}, Retry(0)),
        (KeyboardInterrupt(), 20, {}, Dead("retries_exhausted")),
        (errors.RateLimitExceeded(), 0, {}, Retry(0)),
    ],
)
def test_the_table_of_decisions(exception: Any, retries: int, policy: dict[str, Any], outcome: Outcome) -> None:
    assert decide(exception, retries, RetryPolicy(**{**AT_ONCE, **policy})) == outcome


def test_the_wait_lies_between_the_bounds_of_the_policy() -> None:
    policy = RetryPolicy(min_backoff=1_000, max_backoff=60_000)
    waits = [decide(ValueError(), retries, policy).delay for retries in range(20) for _ in range(50)]  # type: ignore[union-attr]

    assert min(waits) >= 1_000 and max(waits) <= 60_000


def test_no_policy_waits_longer_than_a_week() -> None:
    policy = RetryPolicy(max_retries=None, min_backoff=10**12, max_backoff=10**12)

    assert decide(ValueError(), 5, policy).delay <= MAX_BACKOFF  # type: ignore[union-attr]


@given(st.integers(0, 10_000), st.integers(1, 10**7), st.integers(1, 10**10), st.booleans())
def test_the_backoff_stays_in_its_bounds(attempts: int, factor: int, most: int, jitter: bool) -> None:
    following, wait = compute_backoff(attempts, factor=factor, max_backoff=most, jitter=jitter)

    assert following == attempts + 1
    assert 0 <= wait <= most
    assert wait >= min(factor, most // 2)


def test_the_backoff_without_jitter_doubles() -> None:
    assert [compute_backoff(n, factor=5, jitter=False)[1] for n in range(10)] == [
        5, 10, 20, 40, 80, 160, 320, 640, 1280, 2000,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lost", "limit", "outcome"),
    [
        (0, 3, Requeue(lost=True)),
        (1, 3, Requeue(lost=True, suspect=True)),
        (2, 3, Dead("delivery_limit")),
        (7, 3, Dead("delivery_limit")),
        (0, 2, Requeue(lost=True, suspect=True)),
        (1, 2, Dead("delivery_limit")),
        (7, 10, Requeue(lost=True)),
    ],
)
def test_who_is_lost_too_often_is_suspected_first_and_convicted_then(lost: int, limit: int, outcome: Outcome) -> None:
    assert decide_lost(lost, limit) == outcome


def test_an_unknown_actor_is_waited_for_as_long_as_the_grace() -> None:
    waits, retries = [], 0
    while isinstance(outcome := decide_unknown_actor(retries, 600_000), Retry):
        waits.append(outcome.delay)
        retries += 1

    assert outcome == Dead("unknown_actor")
    assert 600_000 <= sum(waits) < 700_000
    assert max(waits) <= 60_000
    assert decide_unknown_actor(0, 0) == Dead("unknown_actor")


@pytest.mark.parametrize(
    ("duration", "expected"), [(5, 5), (5.9, 5), (-5, 0), (timedelta(minutes=1), 60_000), (timedelta(-1), 0)]
)
def test_durations_are_milliseconds_or_timedeltas(duration: Any, expected: int) -> None:
    assert milliseconds(duration) == expected


def test_what_a_middleware_asks_for_is_bounded() -> None:
    assert Retry(10**30).delay == Parked("k", 10**30).delay == 366 * 86_400_000
    assert Retry(-1).delay == 0
    assert Dead("x" * 100).reason == "x" * 40
    assert Dead("line\nbreak\x00").reason == "line?break?"


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")

    __repr__ = __str__


class Fatal(Exception):
    def __str__(self) -> str:
        raise SystemExit("no text, and no process either")


def _raised(exception: BaseException) -> BaseException:
    try:
        raise exception
    except BaseException as caught:
        return caught


def _deep(depth: int) -> None:
    if depth:
        _deep(depth - 1)
    raise ValueError("deep")


def test_an_exception_whose_text_ends_the_process_is_described_anyway() -> None:
    assert ErrorInfo.of(_raised(Fatal())).message == "<its text raised SystemExit>"


def test_an_exception_that_cannot_be_shown_is_described_anyway() -> None:
    info = ErrorInfo.of(_raised(Hostile()))

    assert info.type.endswith("test_outcomes.Hostile")
    assert "RuntimeError" in info.message
    assert "test_outcomes.py" in info.traceback


def test_texts_of_errors_are_bounded() -> None:
    info = ErrorInfo.of(_raised(ValueError("x" * 10_000_000)))

    assert len(info.message) <= 2_000 and len(info.traceback) <= 16_001


def test_a_deep_traceback_is_cut() -> None:
    try:
        _deep(500)
    except ValueError as error:
        info = ErrorInfo.of(error)

    assert len(info.traceback) <= 16_001 and info.traceback.rstrip().endswith("ValueError: deep")


def test_a_cycle_of_causes_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    assert "first" in ErrorInfo.of(_raised(first)).traceback


def test_groups_are_described_with_their_members() -> None:
    group = ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("one")]), KeyError("two")])

    assert "one" in ErrorInfo.of(_raised(group)).traceback
