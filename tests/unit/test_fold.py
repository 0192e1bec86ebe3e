"""Events become rows: in any order, as often as they come."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from django_tasks_q.events import Event, Kind, guard
from django_tasks_q.fold import RecordChange, fold
from django_tasks_q.states import State, allowed
from tests.support.histories import batches, disorders, histories

KINDS = [kind for kind in Kind if kind is not Kind.PENDING]
"""A message that is pending has no counters yet; its guard is below all others."""

COUNTERS = st.tuples(
    st.integers(0, 4_095), st.integers(0, 2**20 - 1), st.integers(0, 2**26 - 1), st.sampled_from(KINDS)
)


def event(counters: tuple[int, int, int, Kind]) -> Event:
    life, attempt, delivery, kind = counters
    return Event(kind, "m", State.ENQUEUED, 1, life, attempt, delivery)


def folded(events: list[Event]) -> RecordChange:
    (change,), _ = fold(events)
    return change


@given(COUNTERS, COUNTERS)
def test_the_guard_orders_events_by_life_attempt_delivery_and_kind(first: Any, second: Any) -> None:
    assert (guard(event(first)) < guard(event(second))) == (first < second)


@given(st.tuples(*[st.integers(0, 2**40)] * 3, st.sampled_from(KINDS)))
def test_the_guard_fits_into_a_bigint_whatever_the_counters(counters: Any) -> None:
    assert 0 <= guard(event(counters)) < 2**63


def test_a_pending_message_has_a_guard_below_every_other_and_above_none() -> None:
    assert guard(event((0, 0, 0, Kind.PENDING))) == -1 < guard(event((0, 0, 0, Kind.CREATED)))


@given(histories())
def test_the_guard_rises_with_every_event_of_a_life(history: list[Event]) -> None:
    guards = [guard(item) for item in history]

    assert guards == sorted(set(guards))


@given(histories())
def test_every_step_of_a_life_is_an_allowed_move(history: list[Event]) -> None:
    states = [item.state for item in history]

    for source, target in pairwise(states):
        # A run that was too short to be noted as running is between its neighbours.
        assert allowed(source, target) or (allowed(source, State.RUNNING) and allowed(State.RUNNING, target))


@given(disorders())
def test_any_order_and_any_repetition_amount_to_the_same(disorder: Any) -> None:
    history, parts = disorder

    assert folded([item for part in parts for item in part]) == folded(history)


@given(batches())
def test_a_change_says_what_its_last_event_says(cut: Any) -> None:
    history, _ = cut
    change, last = folded(history), history[-1]

    assert (change.state, change.life, change.retries, change.lost) == (last.state, last.life, last.attempt, last.lost)
    assert change.birth == history[0].birth


@given(histories("a"), histories("b"))
def test_messages_do_not_mix(first: list[Event], second: list[Event]) -> None:
    mixed = [item for pair in zip(first, second, strict=False) for item in pair]
    mixed += first[len(second) :] + second[len(first) :]

    changes, _ = fold(mixed)

    assert changes == [folded(first), folded(second)]


@given(histories())
def test_every_attempt_that_failed_or_was_lost_keeps_its_own_row(history: list[Event]) -> None:
    _, attempts = fold(history)

    named = [item for item in history if item.attempt_outcome]
    assert [(row.number, row.outcome) for row in attempts] == [(item.delivery, item.attempt_outcome) for item in named]
