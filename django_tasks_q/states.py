"""The states of a message and the moves between them: the one table that code and drawing obey.

A move has a name, the states it may start from and the state it ends in. ``python -m
django_tasks_q.states`` prints the drawing that the documentation shows; a test keeps the two equal.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class State(StrEnum):
    PENDING = "pending"
    """Waits for the transaction it was sent in."""
    ENQUEUED = "enqueued"
    DELAYED = "delayed"
    """Waits for its time, or for a limit to be free."""
    RUNNING = "running"
    RETRYING = "retrying"
    """An attempt failed; the next one is planned."""
    SUCCEEDED = "succeeded"
    SKIPPED = "skipped"
    """A middleware decided that it must not run."""
    DEAD = "dead"
    """A dead letter: it will not run unless somebody requeues it."""
    REVOKED = "revoked"
    DISCARDED = "discarded"
    UNKNOWN = "unknown"
    """The journal has a gap here; nobody claims to know more."""


FINAL = frozenset({State.SUCCEEDED, State.SKIPPED, State.DEAD, State.REVOKED, State.DISCARDED})
"""States in which nothing moves by itself any more."""


class Move(NamedTuple):
    """One allowed change of state."""

    name: str
    sources: frozenset[State]
    target: State


def _move(name: str, sources: str, target: State) -> Move:
    return Move(name, frozenset(State(source) for source in sources.split()), target)


_LIVE = " ".join(state for state in State if state not in FINAL and state is not State.UNKNOWN)

MOVES: tuple[Move, ...] = (
    _move("publish", "pending", State.ENQUEUED),
    _move("postpone", "pending", State.DELAYED),
    _move("promote", "delayed retrying", State.ENQUEUED),
    _move("start", "enqueued delayed retrying", State.RUNNING),
    _move("succeed", "running", State.SUCCEEDED),
    _move("skip", "running", State.SKIPPED),
    _move("retry", "running", State.RETRYING),
    _move("park", "running", State.DELAYED),
    _move("hand back", "running", State.ENQUEUED),
    _move("bury", "running enqueued delayed retrying", State.DEAD),
    _move("requeue", "dead unknown", State.ENQUEUED),
    _move("revoke", "pending enqueued delayed retrying running dead", State.REVOKED),
    _move("discard", "pending enqueued delayed retrying dead unknown", State.DISCARDED),
    _move("lose sight", _LIVE, State.UNKNOWN),
    _move("find again", "unknown", State.UNKNOWN),
)
"""``find again`` stands for every state that a later event or the reconciler proves."""


def allowed(source: State, target: State) -> bool:
    """Whether one move leads from ``source`` to ``target``."""
    if source is State.UNKNOWN:
        return True
    return any(source in move.sources and move.target is target for move in MOVES)


def drawing() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> pending", "    [*] --> enqueued", "    [*] --> delayed"]
    for move in MOVES:
        if move.name in {"lose sight", "find again"}:
            continue
        lines += [f"    {source} --> {move.target}: {move.name}" for source in State if source in move.sources]
    lines += [f"    {state} --> [*]" for state in State if state in FINAL]
    lines.append("    note right of unknown: any live state, inside a journal gap")
    return "\n".join(lines)


if __name__ == "__main__":
    print(drawing())
