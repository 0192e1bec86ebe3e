"""``kill -9`` between any two statements of a settlement."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.fixtures import BOTH
from tests.support.runworkers import Trees
from tests.support.stores import QUEUE, ROOT, Store, environment

pytestmark = pytest.mark.lifecycle

MESSAGES = 7
"""How many messages one round of the script sends."""


@BOTH
def test_queue_and_record_agree_wherever_a_settlement_was_cut_off(store: Store, trees: Trees) -> None:
    # Given a process that settles one batch of every outcome, and kills itself at the 1st, 2nd, 3rd … statement
    outcome = subprocess.run(
        [sys.executable, "-m", "tests.support.cut_off"],
        cwd=ROOT,
        env=environment(store.url),
        capture_output=True,
        text=True,
        timeout=200,
    )

    # When every round was looked at: either all of the batch was settled, or none of it
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    rounds = [line.split() for line in outcome.stdout.splitlines()]
    assert [verdict for _, verdict in rounds] == ["nothing"] * (len(rounds) - 1) + ["everything"]
    assert len(rounds) >= 5, "a settlement of every outcome takes several statements"

    # Then a fresh worker finishes everything
    store.rows(f"UPDATE {QUEUE} SET queue_name = 'default' WHERE queue_name = 'aside'")
    trees.finish()
    assert store.unfinished() == 0
    assert set(store.dead().values()) == {"retries_exhausted"}
    states = list(store.states().values())
    assert states.count("dead") == len(rounds)
    assert states.count("succeeded") == len(states) - len(rounds)
    assert len(states) == len(rounds) * (MESSAGES + 1), "each pipeline caused its second step once"
