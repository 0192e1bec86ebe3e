"""TERM at any moment: nothing is lost, and nothing that had not started is counted."""

from __future__ import annotations

import itertools
import random
import time

import pytest

from testproject import misbehave
from tests.support.ledger import Fault, Faults, Ledger, check
from tests.support.runworkers import Trees
from tests.support.stores import RECORDS, Store
from tests.support.waiting import within

pytestmark = [pytest.mark.lifecycle, pytest.mark.slow]

SEED = 48
SHUTDOWN = 5
"""Seconds. Tasks are much shorter, so a stop that takes as long has waited for something else."""


@pytest.mark.parametrize(
    ("vendor", "moments", "seed"),
    [*[("sqlite", 10, seed) for seed in range(SEED, SEED + 5)], ("postgresql", 8, SEED)],
    indirect=["vendor"],
)
def test_a_stop_at_a_random_moment_loses_nothing_and_counts_nothing(
    moments: int, seed: int, store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given a queue that never runs dry, of tasks shorter and longer than a moment
    chance = random.Random(seed)
    sent: list[str] = []
    faults = Faults(seed)
    lengths = itertools.cycle([0.0, 0.01, 0.05, 0.25])
    shutdown, longest = round(within(SHUTDOWN)), 0.0

    # When workers are started and stopped again and again
    for _ in range(moments):
        sent += store.send(misbehave.sleep.message(next(lengths)) for _ in range(40))
        tree = trees.start("-p", "2", "-t", "4", "--worker-shutdown-timeout", f"{shutdown}s")
        time.sleep(chance.uniform(0, 0.3))
        before = time.monotonic()
        assert tree.stop() == 0, tree.story()
        faults.log.append(Fault("TERM", frozenset(), before, time.monotonic()))
        longest = max(longest, time.monotonic() - before)
        assert store.in_flight() == [] and store.leases() == []
    trees.finish()

    # Then everything ran once, and neither a failure, a loss nor an attempt was counted
    assert ledger.completed() == set(sent)
    assert {len(runs) for runs in ledger.runs().values()} == {1}
    assert store.rows(f"SELECT COUNT(*) FROM {RECORDS} WHERE lost > 0 OR retries > 0") == [(0,)]
    assert store.all_attempts() == {}
    check(ledger, sent, store, faults)
    assert longest < shutdown
    print(f"the longest of {moments} stops took {longest:.1f} s")
