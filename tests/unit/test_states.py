"""The table of moves, and whoever has to obey it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from django_tasks_q import changes
from django_tasks_q.deliveries import Delivery, Settlement
from django_tasks_q.outcomes import DONE, HANDED_BACK, REVOKED, SKIPPED, Dead, Outcome, Parked, Requeue, Retry
from django_tasks_q.states import FINAL, MOVES, State, allowed, drawing

DOCUMENTS = Path(__file__).parents[2] / "docs"
DELIVERY = Delivery(1, "m", "q", b"", 1)
OUTCOMES = [DONE, SKIPPED, REVOKED, HANDED_BACK, Retry(1), Parked("k", 1), Dead("x"), Requeue(True, True)]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
def test_every_outcome_is_a_move_from_running(outcome: Outcome) -> None:
    event = changes.settled(Settlement(DELIVERY, outcome), "w", 1)

    assert allowed(State.RUNNING, event.state)


def test_promotions_requeues_and_discards_are_moves() -> None:
    promoted = changes.promoted("m", 1, 0, 0, 0, 0).state
    requeued = changes.requeued("m", 1, 1, 1).state
    discarded = changes.discarded("m", 1, 0, 0, 0, 0).state

    assert allowed(State.DELAYED, promoted) and allowed(State.RETRYING, promoted)
    assert allowed(State.DEAD, requeued)
    assert all(allowed(State(source), discarded) for source in ("enqueued", "delayed", "retrying", "dead"))


@pytest.mark.parametrize("state", sorted(FINAL - {State.DEAD}))
def test_nothing_leads_out_of_a_final_state_but_a_requeue_of_the_dead(state: State) -> None:
    assert not any(allowed(state, target) for target in State)
    assert allowed(State.DEAD, State.ENQUEUED)
    assert not allowed(State.DEAD, State.RUNNING)


def test_whatever_is_unknown_may_turn_out_to_be_anything() -> None:
    assert all(allowed(State.UNKNOWN, target) for target in State)
    assert all(allowed(state, State.UNKNOWN) for state in State if state not in FINAL)


def test_the_moves_have_names_of_their_own_and_reach_every_state() -> None:
    assert len({move.name for move in MOVES}) == len(MOVES)
    assert {move.target for move in MOVES} | {State.PENDING} == set(State)


def test_the_drawing_shows_every_move() -> None:
    for move in MOVES:
        if move.name not in {"lose sight", "find again"}:
            assert all(f"{source} --> {move.target}: {move.name}" in drawing() for source in move.sources)


def test_the_documentation_shows_the_drawing() -> None:
    pages = "\n".join(path.read_text() for path in sorted(DOCUMENTS.glob("*.md")))
    drawings = re.findall(r"```mermaid\n(stateDiagram.*?)\n```", pages, re.DOTALL)

    assert drawings == [drawing()]
