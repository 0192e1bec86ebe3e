"""Lives of messages as the engine could have noted them, for tests that shuffle, repeat and split them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from django_tasks_q import Message, Progress, changes
from django_tasks_q.deliveries import Delivery, Outgoing, Settlement, Started
from django_tasks_q.events import Event
from django_tasks_q.outcomes import DONE, HANDED_BACK, Dead, ErrorInfo, Outcome, Parked, Requeue, Retry
from django_tasks_q.states import FINAL

EPOCH = 1_700_000_000_000
BOOM = ErrorInfo("ValueError", "boom", "Traceback")
ENDINGS: list[Outcome] = [DONE, HANDED_BACK, Requeue(lost=True), Retry(500), Parked("limit", 500), Dead("throws")]

PROGRESS = st.none() | st.builds(Progress, st.integers(0, 9), st.none() | st.integers(0, 9), st.text(max_size=3))


@st.composite
def histories(
    draw: st.DrawFn, message_id: str = "m", most: int = 6, life: int = 0, sent_at: int = EPOCH
) -> list[Event]:
    """The events of one message, in the order in which they happened; a second apart, delays and waits with them."""
    retries = lost = number = 0
    args = (1, f"sent in life {life}")
    message: Message[Any] = Message("q", "work", args, {"a": [2]}, {"message_id": "mine"}, message_id, sent_at)
    delay = draw(st.sampled_from([None, 500]))
    outgoing = Outgoing(message, b"", 3, delay, app_label="app", parent_id="parent")
    events = [changes.created(outgoing, sent_at, life)]

    def now() -> int:
        return sent_at + len(events) * 1_000

    waits = delay is not None
    for _ in range(draw(st.integers(0, most))):
        if waits and draw(st.booleans()):
            events.append(changes.promoted(message_id, now(), life, retries, number, lost))
        number += 1
        delivery = Delivery(1, message_id, "q", b"", number, retries, lost, life)
        began = now()
        if draw(st.booleans()):
            events.append(changes.started(Started(delivery, began, draw(PROGRESS)), f"worker {number}"))
        outcome = draw(st.sampled_from(ENDINGS))
        error = None if outcome in (DONE, HANDED_BACK) else BOOM
        settlement = Settlement(delivery, outcome, error, started_at=began, finished_at=now(), progress=draw(PROGRESS))
        events.append(changes.settled(settlement, f"worker {number}", now()))
        retries, lost = changes.retries_after(settlement), changes.lost_after(delivery, outcome)
        waits = isinstance(outcome, Retry | Parked)
        if outcome == DONE:
            break
        if isinstance(outcome, Dead):
            life, retries, lost = life + 1, 0, 0
            events.append(changes.requeued(message_id, now(), life, number))
    if draw(st.booleans()) and events[-1].state in ("enqueued", "delayed", "retrying", "dead"):
        events.append(changes.discarded(message_id, now(), life, retries, number, lost))
    return events


@st.composite
def disorders(draw: st.DrawFn) -> tuple[list[Event], list[list[Event]]]:
    """A history, and the same in any order, with repetitions, cut into batches. Some ids are sent again later."""
    history = draw(histories(most=4))
    if history[-1].state in FINAL and draw(st.booleans()):
        last = history[-1]
        history += draw(histories(most=3, life=last.life + 1, sent_at=last.at + 1_000))
    shuffled = draw(st.permutations(history + draw(st.lists(st.sampled_from(history), max_size=5))))
    return history, draw(_cut(shuffled))


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[Event], list[list[Event]]]:
    """A history, and the same in its order cut into batches."""
    history = draw(histories())
    return history, draw(_cut(history))


@st.composite
def _cut(draw: st.DrawFn, events: list[Event]) -> list[list[Event]]:
    cuts = sorted(draw(st.sets(st.integers(1, len(events)), max_size=4)) | {0, len(events)})
    return [events[start:end] for start, end in pairwise(cuts)]
