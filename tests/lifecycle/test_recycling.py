"""Workers that have served long enough are replaced, and nobody notices."""

from __future__ import annotations

import pytest

from testproject import misbehave
from tests.support.ledger import Faults, Ledger, check
from tests.support.runworkers import Trees
from tests.support.stores import Store
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--max-messages", "40"], "messages"),
        (["--max-age", "1"], "s old"),
        (["--max-memory", "1"], "MiB"),
    ],
    ids=["messages", "age", "memory"],
)
def test_a_worker_is_replaced_without_losing_or_doubling_anything(
    arguments: list[str], reason: str, store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given workers under load that may not grow old
    tree = trees.start("-p", "2", "-t", "4", *arguments)
    first = set(tree.workers)
    sent = store.send(misbehave.sleep.message(0.05) for _ in range(400))

    # When the work is done
    until(lambda: store.unfinished() == 0, 30, tree.story)
    until(lambda: not first & set(tree.workers), 10, tree.story)
    assert tree.stop() == 0

    # Then it was done by more processes than there may be at once, and each message once
    pids = {run.pid for runs in ledger.runs().values() for run in runs}
    assert len(pids) > 2
    check(ledger, sent, store, Faults(0))
    assert {len(runs) for runs in ledger.runs().values()} == {1}
    assert store.all_attempts() == {}
    assert "is replaced: it" in tree.log and reason in tree.log
    assert "exited with code" not in tree.log
