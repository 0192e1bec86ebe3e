"""Two hosts share their servers, and one of them is cut off: no connection is closed, but nothing arrives any more."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from testproject import misbehave
from tests.support.hosts import Hosts
from tests.support.ledger import FINAL, FOREVER, Fault, Faults, Ledger, check, overlaps
from tests.support.runworkers import Tree, Trees
from tests.support.shared_servers import SharedServers, share
from tests.support.stores import Store
from tests.support.waiting import until, within

pytestmark = [
    pytest.mark.lifecycle,
    pytest.mark.slow,
    pytest.mark.parametrize("vendor", ["postgresql"], indirect=True),
]

KINDS = ["database", "redis", "redis-cluster", "rabbitmq", "rabbitmq-quorum"]
"""As ``share`` knows them."""

LEASE = 3_000
RESCUE_SECONDS = LEASE / 1000 + 5
"""The lease, and one interval of the rescuer."""

SHORTEST_LEASE = LEASE / 1000 / 2
"""What may be left of it when the plug is pulled: it is renewed every third of it, or with RabbitMQ's heartbeats."""

AT_WORK = 150
"""Tasks that are over when the plug is pulled."""


@pytest.fixture
def network() -> Iterator[Hosts]:
    with Hosts(["left", "right"]) as hosts:
        yield hosts


@pytest.fixture
def hosts(network: Hosts) -> Iterator[Hosts]:
    """Nobody is cut off."""
    yield network
    network.heal("right")


@pytest.fixture(params=KINDS)
def servers(request: pytest.FixtureRequest, hosts: Hosts, store: Store) -> Iterator[SharedServers]:
    with share(request.param, hosts, store) as servers:
        yield servers


@pytest.fixture
def start(hosts: Hosts, servers: SharedServers, trees: Trees) -> Callable[[str], Tree]:
    """Starts a tree on a host."""
    settings = {"LEASE": LEASE, **servers.settings}

    def start(name: str) -> Tree:
        launch = partial(hosts.run, name)
        return trees.start("-p", "2", "-t", "4", settings=settings, variables=servers.variables, launch=launch)

    return start


def test_when_a_host_is_cut_off_the_other_one_finishes_everything_and_both_work_when_it_is_back(
    hosts: Hosts,
    servers: SharedServers,
    store: Store,
    start: Callable[[str], Tree],
    ledger: Ledger,
    tmp_path: Path,
) -> None:
    # Given a host at tasks that go on and on, another one, and both in the middle of short tasks
    gate = tmp_path / "gate"
    right = start("right")
    endless = servers.send([misbehave.wait_for_file.message(str(gate)) for _ in range(3)])
    until(lambda: ledger.started() == set(endless), 10, right.story)
    left = start("left")
    sent = endless + servers.send([misbehave.sleep.message(0.05) for _ in range(500)])
    story = partial(tell, left, right)
    until(lambda: len(ledger.completed()) >= AT_WORK, 20, story)

    # When the first one is cut off
    cut_off = right.workers
    before = Ledger.now()
    hosts.cut("right")
    cut = Ledger.now()

    # Then the other one begins again what that held, when the lease is over and its rescuer has come by
    until(lambda: all(len(ledger.runs()[message_id]) == 2 for message_id in endless), RESCUE_SECONDS + 2, story)
    rescued = Ledger.now() - before
    gate.touch()

    # And finishes everything, while the first one is still away
    until(lambda: finished(store, sent), 20, lambda: unfinished(store, sent, ledger) + story())
    assert completed_by(ledger, left.workers) >= set(sent) - completed_by(ledger, cut_off, cut)
    done = Ledger.now() - before

    # When it is back
    hosts.heal("right")
    healed = Ledger.now()

    # Then workers that can hear that they were declared dead make way for new ones, and both hosts work
    if servers.broker.capabilities.fenced_settle.level == "same":
        until(lambda: len(right.workers) == 2 and not set(right.workers) & set(cut_off), 20, story)
        assert "declared dead" in right.log
    count = len(sent)
    while not all(completed_by(ledger, tree.workers) & set(sent[count:]) for tree in (left, right)):
        assert Ledger.now() - healed < within(15), story()
        sent += servers.send([misbehave.sleep.message(0.05) for _ in range(20)])
        time.sleep(0.1)
    back = Ledger.now() - healed
    until(lambda: finished(store, sent), 20, lambda: unfinished(store, sent, ledger) + story())

    # And nothing was lost, nor run twice by two living owners, and the records say what happened
    assert (left.stop(), right.stop()) == (0, 0), story()
    assert servers.left() == 0
    # Who is cut off starts what it has fetched while it may have its lease; what it runs others run too after that.
    stop, twice = (
        Fault("cut off", frozenset(cut_off), before, healed, is_stop=True),
        Fault("", frozenset(), before, healed),
    )
    check(ledger, sent, store, Faults(0, [stop, twice]))
    if servers.broker.capabilities.fenced_settle.level == "same":
        theirs = [run for runs in ledger.runs().values() for run in runs if run.pid in cut_off]
        # Who is descheduled between the look at the lease and the start writes the start down a moment later.
        assert max(run.start for run in theirs) < cut + LEASE / 1000 + within(0.2)
    for first, second in [both for runs in ledger.runs().values() for both in overlaps(runs)]:
        assert second.start - before > SHORTEST_LEASE, (first, second)
    print(f"rescued after {rescued:.1f} s, all done after {done:.1f} s, at work {back:.1f} s after the cut's end")


def completed_by(ledger: Ledger, pids: list[int], moment: float = FOREVER) -> set[str]:
    runs = [run for runs in ledger.runs().values() for run in runs if run.pid in pids and run.completed]
    return {run.message_id for run in runs if run.end is not None and run.end <= moment}


def finished(store: Store, sent: list[str]) -> bool:
    """Whether the records of all of them say that they have come to their end."""
    states = store.states()
    return all(states.get(message_id) in FINAL for message_id in sent)


def unfinished(store: Store, sent: list[str], ledger: Ledger) -> str:
    """The records that are not at their end, and what really happened, for a test that fails."""
    runs, states = ledger.runs(), store.states()
    open_ = [message_id for message_id in sent if states.get(message_id) not in FINAL]
    return "\n".join(f"{message_id}: {store.record(message_id)}, {runs.get(message_id)}" for message_id in open_[:20])


def tell(*trees: Tree) -> str:
    return "\n".join(tree.story() for tree in trees)
