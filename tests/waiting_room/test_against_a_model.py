"""Whatever is done to a waiting room, and in whatever order, it holds what a dictionary would."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from django_tasks_q import clock
from django_tasks_q.models import WaitingMessage
from django_tasks_q.waiting import DatabaseWaitingRoom
from django_tasks_q.waiting_room import Kept, Waiting
from tests.waiting_room.kept import MINUTE, dead, delayed

Key = tuple[str, int, int]

NAMES = st.sampled_from(["a", "b", "c", "d"])
SOME = st.lists(NAMES, max_size=4, unique=True)
QUEUES = st.sampled_from(["q", "other"])
WAITS = st.sampled_from([-3 * MINUTE, -2 * MINUTE, -MINUTE, MINUTE, 2 * MINUTE])
NUMBERS = st.integers(0, 2)


class Model(RuleBasedStateMachine):
    """The room, and beside it a dictionary of what waits, and the keys of what somebody publishes. No claim ends."""

    alias: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        WaitingMessage.objects.using(self.alias).all().delete()
        self.room = DatabaseWaitingRoom(self.alias, claim=3_600.0)
        self.waiting: dict[Key, Kept] = {}
        self.published: set[Key] = set()

    # Coming in

    @rule(name=NAMES, queue=QUEUES, wait=WAITS, number=NUMBERS, life=NUMBERS)
    def keep_delayed(self, name: str, queue: str, wait: int, number: int, life: int) -> None:
        self._keep(delayed(name, wait, queue_name=queue, number=number, life=life, retries=number))

    @rule(name=NAMES, queue=QUEUES, age=WAITS, number=NUMBERS, life=NUMBERS)
    def keep_dead(self, name: str, queue: str, age: int, number: int, life: int) -> None:
        self._keep(dead(name, abs(age), queue_name=queue, number=number, life=life, lost=1))

    def _keep(self, item: Kept) -> None:
        self.room.keep([item, item])
        self.waiting.setdefault(key(item), item)

    # Claims

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        now = clock.wall_ms()
        free = [one for one in self._delayed() if key(one) not in self.published]
        due = sorted(one.due_at or 0 for one in free if (one.due_at or 0) <= now)
        claimed = self.room.claim_due(limit)
        assert [one.due_at for one in claimed] == due[:limit]
        for one in claimed:
            assert one == self.waiting[key(one)] and key(one) not in self.published
            self.published.add(key(one))

    @rule(names=SOME)
    def remove(self, names: list[str]) -> None:
        gone = self._published(names)
        self.room.remove(gone)
        self._forget(gone)

    @rule(names=SOME)
    def give_up(self, names: list[str]) -> None:
        left = self._published(names)
        self.room.give_up(left)
        self.published -= set(map(key, left))

    def _published(self, names: list[str]) -> list[Kept]:
        return [self.waiting[one] for one in sorted(self.published) if one[0] in names]

    # Dead letters

    @rule(names=SOME)
    def revive(self, names: list[str]) -> None:
        letters = [one for one in self._dead() if one.message_id in names]
        overtaken = [one for one in letters if (one.message_id, one.life + 1, one.number) in self.waiting]
        revived = self.room.revive(names)
        assert as_set(revived) == {
            (one.message_id, one.life + 1, one.number) for one in letters if one not in overtaken
        }
        self._forget(letters)
        for one in revived:
            assert (one.kind, one.retries, one.lost, one.reason) == ("delay", 0, 0, "")
            self.waiting[key(one)] = one
            self.published.add(key(one))

    @rule(name=NAMES, number=st.integers())
    def replace(self, name: str, number: int) -> None:
        letters = [one for one in self._dead() if one.message_id == name]
        item = Kept(f"copy {len(self.waiting)} {number % 10_000}", "q", b"", "delay")
        if key(item) in self.waiting:
            return
        replaced = self.room.replace(name, item)
        assert (replaced in letters) if letters else replaced is None
        if letters:
            self._forget(letters)
            [self.waiting[key(item)]] = self.room.look_up([item.message_id])
            self.published.add(key(item))

    @rule(ttl=st.sampled_from([90_000, 150_000]), limit=st.integers(1, 3))
    def expire(self, ttl: int, limit: int) -> None:
        old = sorted(one.since for one in self._dead() if one.since < clock.wall_ms() - ttl)
        expired = self.room.expire(ttl, limit)
        assert [one.since for one in expired] == old[:limit]
        self._forget(expired)

    # Throwing away

    @rule(names=SOME)
    def discard(self, names: list[str]) -> None:
        mine = [one for one in self.waiting.values() if one.message_id in names and key(one) not in self.published]
        discarded = self.room.discard(names)
        assert as_set(discarded) == as_set(mine)
        self._forget(mine)

    @rule(queue=QUEUES, limit=st.integers(1, 3))
    def empty(self, queue: str, limit: int) -> None:
        mine = {key(one) for one in self.waiting.values() if one.queue_name == queue and key(one) not in self.published}
        emptied = self.room.empty(queue, limit)
        assert as_set(emptied) <= mine and len(emptied) == min(limit, len(mine))
        self._forget(emptied)

    # Always

    @invariant()
    def everything_is_there_and_nothing_else(self) -> None:
        found = {key(one): one for one in self.room.look_up(sorted({name for name, _, _ in self.waiting}))}
        assert found == self.waiting

    @invariant()
    def it_is_counted(self) -> None:
        delayed_ones = Counter(one.queue_name for one in self._delayed())
        dead_ones = Counter(one.queue_name for one in self._dead())
        queues = delayed_ones.keys() | dead_ones.keys()
        assert self.room.counts() == {name: Waiting(delayed_ones[name], dead_ones[name]) for name in queues}

    @invariant()
    def it_is_shown_in_order(self) -> None:
        for queue in ("q", "other"):
            shown = self.room.peek(queue, "delayed", 100)
            assert [one.due_at for one in shown] == sorted(
                one.due_at or 0 for one in self._delayed() if one.queue_name == queue
            )
            shown = self.room.peek(queue, "dead", 100)
            assert [one.since for one in shown] == sorted(one.since for one in self._dead() if one.queue_name == queue)

    def _delayed(self) -> list[Kept]:
        return [one for one in self.waiting.values() if one.kind != "dead"]

    def _dead(self) -> list[Kept]:
        return [one for one in self.waiting.values() if one.kind == "dead"]

    def _forget(self, gone: list[Kept]) -> None:
        for one in gone:
            del self.waiting[key(one)]
            self.published.discard(key(one))


def key(item: Kept) -> Key:
    return item.message_id, item.life, item.number


def as_set(items: list[Kept]) -> set[Key]:
    keys = set(map(key, items))
    assert len(keys) == len(items)
    return keys


def test_it_holds_what_a_dictionary_would(databases: Any, alias: str) -> None:
    machine = type("Machine", (Model,), {"alias": alias})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=60 if alias == "default" else 20, stateful_step_count=40)
    )
