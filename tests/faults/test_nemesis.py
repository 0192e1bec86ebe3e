"""A nemesis with a seed hurts workers for a while; then everything must be as if nothing had happened.

``DTQ_NEMESIS_SECONDS`` makes it last longer, ``DTQ_NEMESIS_SEED`` makes it another one.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from django_tasks_q import Message
from testproject import misbehave
from tests.support.fixtures import BOTH
from tests.support.ledger import Fault, Faults, Ledger, check
from tests.support.runworkers import GENERATION, KEEPER, SUPERVISOR, WORKER, Tree, Trees
from tests.support.stores import Store
from tests.support.waiting import until, within

SECONDS = float(os.environ.get("DTQ_NEMESIS_SECONDS", 20))
SEED = int(os.environ.get("DTQ_NEMESIS_SEED", 1960))

pytestmark = [pytest.mark.lifecycle, pytest.mark.slow, pytest.mark.timeout(SECONDS + 300)]

LEASE = 2_000
BACKLOG = 120
SHORT_STOP, LONG_STOP = 0.5, 5.0
"""Seconds that a worker stands still: within its lease, and well beyond it and the rescuer's interval."""


class Nemesis:
    """One tree at a time, and something bad for it every moment."""

    def __init__(self, trees: Trees, seed: int) -> None:
        self.trees = trees
        self.chance = random.Random(seed)
        self.faults = Faults(seed)
        self.tree = self._start()
        self._paused: dict[int, tuple[float, float]] = {}

    def strike(self) -> None:
        """One fault, by chance."""
        name = self.chance.choice(["worker"] * 4 + ["keeper"] * 2 + ["stop"] * 2 + ["TERM", "supervisor", "generation"])
        deeds: dict[str, Callable[[], None]] = {
            "worker": lambda: self._kill(WORKER),
            "keeper": lambda: self._kill(KEEPER),
            "stop": self._pause,
            "TERM": self._restart,
            "supervisor": lambda: self._behead(SUPERVISOR),
            "generation": lambda: self._behead(GENERATION),
        }
        deeds[name]()

    def heal(self) -> None:
        self.go_on(everybody=True)
        self.tree.stop(20)

    def go_on(self, *, everybody: bool = False) -> None:
        """Wake who has been standing still for long enough."""
        now = time.monotonic()
        for pid, (since, until_then) in list(self._paused.items()):
            if everybody or now >= until_then:
                del self._paused[pid]
                self.tree.signal(signal.SIGCONT, pid)
                # It may go on with people's code until it hears that it was declared dead.
                self.faults.log.append(Fault("STOP", frozenset([pid]), since, now + 2, is_stop=True))

    def _start(self) -> Tree:
        return self.trees.start("-p", "2", "-t", "4", "--worker-shutdown-timeout", "2s", settings={"LEASE": LEASE})

    def _kill(self, role: str) -> None:
        before = time.monotonic()
        pid = self.tree.kill(role, self.chance)
        if pid is not None:
            self._paused.pop(pid, None)
            self.faults.log.append(Fault(role, frozenset([pid]), before, before + 0.2))

    def _pause(self) -> None:
        workers = [pid for pid in self.tree.workers if pid not in self._paused]
        if not workers:
            return
        pid = self.chance.choice(workers)
        now = time.monotonic()
        self.tree.signal(signal.SIGSTOP, pid)
        self._paused[pid] = (now, now + self.chance.choice([SHORT_STOP, SHORT_STOP, LONG_STOP]))

    def _restart(self) -> None:
        before = time.monotonic()
        self.go_on(everybody=True)
        assert self.tree.stop(20) == 0, self.tree.story()
        self.faults.log.append(Fault("TERM", frozenset(), before, time.monotonic()))
        self.tree = self._start()

    def _behead(self, role: str) -> None:
        before = time.monotonic()
        self.go_on(everybody=True)
        self.tree.kill(role, self.chance)
        self.tree.wait_gone(10)
        self.faults.log.append(Fault(role, frozenset(), before, time.monotonic()))
        self.tree = self._start()


def some_message(chance: random.Random) -> Message[None]:
    kind = chance.random()
    if kind < 0.5:
        return misbehave.sleep.message(chance.choice([0.0, 0.01, 0.05, 0.3]))
    if kind < 0.65:
        return misbehave.fail.message(chance.choice([1, 2]))
    if kind < 0.7:
        return misbehave.fail_always.message_with_options(max_retries=1)
    if kind < 0.85:
        # The callback gets arguments that it does not take, so it becomes a dead letter: an end like any other.
        return misbehave.sleep.message_with_options(args=(0.02,), on_success="noop")
    return (misbehave.echo.message(1) | misbehave.echo.message()).messages[0]


@BOTH
def test_whatever_happens_to_the_workers_every_message_comes_to_its_end(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    nemesis = Nemesis(trees, SEED)
    sent: list[str] = []
    end = time.monotonic() + SECONDS

    # Given a backlog that never runs dry, and a nemesis
    while time.monotonic() < end:
        if store.unfinished() < BACKLOG:
            sent += store.send(some_message(chance) for _ in range(BACKLOG))
        nemesis.strike()
        pause = time.monotonic() + chance.uniform(0.2, 0.8)
        until(lambda pause=pause: time.monotonic() >= pause)
        nemesis.go_on()

    # When it is over and the rest is done
    nemesis.heal()
    began = time.monotonic()
    trees.finish(seconds=40)
    took = time.monotonic() - began

    # Then the ledger, the queue and the records tell the same story
    check(ledger, sent, store, nemesis.faults)
    assert took < within(40)
    print(f"{nemesis.faults}; {len(sent)} messages, drained in {took:.1f} s")
