"""Leases of actors in real processes: whoever is killed, stopped or busy, no two live ones are held at once."""

from __future__ import annotations

import itertools
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from testproject.exclusive import KEY, declared, exclusive
from tests.support.fixtures import BOTH
from tests.support.leases import Interval, LeaseLedger, overlaps
from tests.support.ledger import Ledger, drain
from tests.support.processes import is_alive, is_stopped
from tests.support.redis_brokers import URL
from tests.support.redis_limits import redis_limits
from tests.support.runworkers import GENERATION, Tree, Trees
from tests.support.stores import Store
from tests.support.waiting import until, within

pytestmark = pytest.mark.lifecycle

SEED = 20_240_229
MUTEXES = "django_tasks_q_ratelimitmutex"
LEASE, HELD = 2.0, 0.5
"""Seconds: of the leases that are fought for, and for which some hold theirs."""


@pytest.fixture
def leases(ledger: Ledger) -> LeaseLedger:
    return LeaseLedger(ledger)


def holders(store: Store) -> int:
    """How many leases the database knows that are not over."""
    return int(store.rows(f"SELECT COUNT(*) FROM {MUTEXES} WHERE expires_at IS NOT NULL")[0][0])


class Kept(NamedTuple):
    """Where the leases are: settings for the workers, and how many are held."""

    settings: dict[str, str]
    holders: Callable[[], int]


@pytest.fixture
def kept(request: pytest.FixtureRequest, store: Store) -> Iterator[Kept]:
    """In the database of the messages, or in Redis."""
    if request.param == "database":
        yield Kept({}, lambda: holders(store))
        return
    with redis_limits() as backend:
        namespace = backend.namespace.removesuffix("-limits")
        yield Kept({"RATE_LIMITS_URL": URL, "NAMESPACE": namespace}, lambda: len(backend.inspect()))


IN_BOTH = pytest.mark.parametrize("kept", ["database", "redis"], indirect=True)


@pytest.mark.parametrize(
    ("vendor", "number", "kept"),
    [("sqlite", 2_000, "database"), ("postgresql", 500, "database"), ("sqlite", 2_000, "redis")],
    indirect=["vendor", "kept"],
)
@pytest.mark.slow
def test_no_two_hold_a_key_at_once_and_it_is_free_soon_when_its_holder_is_killed_or_stopped(
    number: int, kept: Kept, store: Store, trees: Trees, ledger: Ledger, leases: LeaseLedger
) -> None:
    # Given eight processes, and many messages that need one key, some of which take a little longer
    chance = random.Random(SEED)
    lengths = [HELD if index % (number // 24) == 10 else 0.0 for index in range(number)]
    sent = store.send(exclusive.message(length, round(LEASE * 1000)) for length in lengths)
    spared = {message_id for message_id, length in zip(sent, lengths, strict=True) if not length}
    began = time.monotonic()
    tree = trees.start("-p", "8", "-t", "1", settings=kept.settings)

    # When who holds it is killed or stopped, again and again, and the stopped ones go on when another one was in
    faults = [*[signal.SIGKILL] * 7, *[signal.SIGSTOP] * 3]
    chance.shuffle(faults)
    killed: dict[int, float] = {}
    stopped: dict[int, float] = {}
    while faults:
        victim = _wait_for_victim(leases, spared, tree)
        at = time.monotonic()
        holder = _strike(tree, leases, victim.pid, faults[-1])
        if holder:
            spared.add(holder.message_id)
            (killed if faults.pop() == signal.SIGKILL else stopped)[holder.token] = max(at, holder.entered)
            until(lambda holder=holder: leases.newest() != holder, LEASE + 5, tree.story)  # type: ignore[misc]
        tree.signal(signal.SIGCONT, victim.pid)
        time.sleep(chance.uniform(0, 0.3))

    # Then no two live leases were there at once, and the next one was in soon after each fault
    drain(store, 60, tree.story)
    took = time.monotonic() - began
    assert tree.stop() == 0
    intervals = leases.intervals()
    lapsed = {interval.token: interval.entered + 0.75 * LEASE for interval in intervals if interval.lost}
    assert not overlaps(intervals, killed | lapsed)
    assert {interval.message_id for interval in intervals if interval.left} == set(sent) == ledger.completed()
    assert {interval.token for interval in intervals if interval.left is None} == set(killed)
    entered = [interval.entered for interval in intervals]
    assert entered == sorted(entered)
    assert [interval.token for interval in intervals] == sorted(interval.token for interval in intervals)
    free = [min(at for at in entered if at > death) - death for death in killed.values()]
    assert max(free) < within(2)
    assert kept.holders() == 0

    # And who was stopped past its lease knows that it has lost it, and is refused with its token
    left = {interval.token: interval.left or 0 for interval in intervals}
    stopped_inside = {token for token, at in stopped.items() if left[token] > at}
    assert stopped_inside
    assert stopped_inside <= {interval.token for interval in intervals if interval.lost and interval.refused}
    taken = [min(at for at in entered if at > stop) - stop for stop in stopped.values()]
    assert max(taken) < within(LEASE + 1)
    print(
        f"{store.vendor}: {len(intervals)} leases in {took:.1f} s, {len(killed)} holders killed and {len(stopped)} "
        f"stopped; free again after {statistics.median(free) * 1000:.0f} ms, at most {max(free) * 1000:.0f} ms, and "
        f"{max(taken):.2f} s after a stop at most, leases being of {LEASE} s; {len(lapsed)} leases lost"
    )


def _strike(tree: Tree, leases: LeaseLedger, pid: int, fault: signal.Signals) -> Interval | None:
    """Kill or stop a process, and say what it was in."""
    tree.signal(fault, pid)
    if fault == signal.SIGKILL:
        until(lambda: not is_alive(pid), 5, tree.story)
    else:
        until(lambda: is_stopped(pid), 5, tree.story)
    return leases.held_by(pid)


def _wait_for_victim(leases: LeaseLedger, spared: set[str], tree: Tree) -> Interval:
    """Somebody who is in and not about to leave. Who was killed before is spared: three deaths make a dead letter."""
    found: list[Interval] = []

    def look() -> bool:
        holder = leases.inside()
        if holder and holder.message_id not in spared and 0.03 < time.monotonic() - holder.entered < 0.2:
            found.append(holder)
        return bool(found)

    until(look, 30, tree.story)
    return found[0]


@BOTH
def test_a_lease_outlives_its_time_while_its_actor_runs_even_if_it_lets_nobody_else_run(
    store: Store, trees: Trees, ledger: Ledger, leases: LeaseLedger
) -> None:
    # Given an actor that holds the key, and the interpreter, for almost three times its lease
    tree = trees.start("-p", "2", "-t", "1")
    first = store.send([exclusive.message(7, ttl=2_500, hold_gil=True)])[0]
    until(lambda: leases.inside() is not None, 10, tree.story)

    # When another one wants it
    second = store.send([exclusive.message(0, ttl=2_500)])[0]
    drain(store, 20, tree.story)

    # Then that one had to wait until the first had left
    assert tree.stop() == 0
    intervals = leases.intervals()
    assert [interval.message_id for interval in intervals] == [first, second]
    assert not overlaps(intervals, {})
    assert not any(interval.lost or interval.refused for interval in intervals)


@BOTH
@IN_BOTH
def test_a_holder_stopped_past_its_lease_has_lost_it_and_cannot_harm_the_next_one(
    kept: Kept, store: Store, trees: Trees, ledger: Ledger, leases: LeaseLedger
) -> None:
    # Given a holder that is stopped
    tree = trees.start("-p", "2", "-t", "1", settings=kept.settings)
    first = store.send([exclusive.message(1, ttl=1_500)])[0]
    until(lambda: leases.inside() is not None, 10, tree.story)
    holder = leases.inside()
    assert holder is not None
    tree.signal(signal.SIGSTOP, holder.pid)

    # When another one takes over after the lease, and the first goes on meanwhile
    second = store.send([exclusive.message(2.5, ttl=60_000)])[0]
    until(lambda: len(leases.intervals()) == 2, 10, tree.story)
    took_over = time.monotonic() - holder.entered
    tree.signal(signal.SIGCONT, holder.pid)
    until(lambda: leases.intervals()[0].left is not None, 10, tree.story)

    # Then it sees that it has lost the lease, its token is refused, and its release is nobody else's
    stopped, other = leases.intervals()
    assert (stopped.message_id, other.message_id) == (first, second)
    assert 1.4 <= took_over < within(1.5 + 1.5)  # the lease, perhaps renewed once just before, and a second
    assert stopped.lost and stopped.refused
    until(lambda: first in ledger.completed())
    assert other.left is None and kept.holders() == 1
    drain(store, 20, tree.story)
    assert tree.stop() == 0
    other = leases.intervals()[1]
    assert other.left is not None and not other.lost and not other.refused
    assert other.token > stopped.token
    assert "was over before it was released" in tree.log
    print(f"{store.vendor}: taken over {took_over:.2f} s after a lease of 1.5 s began")


@BOTH
def test_the_leases_of_a_lost_host_are_freed_when_its_workers_are_found_dead(
    store: Store, trees: Trees, ledger: Ledger, leases: LeaseLedger
) -> None:
    # Given a host that is lost in one moment, while one of its actors holds the key for a minute
    settings = {"LEASE": 2_000}
    tree = trees.start("-p", "1", "-t", "1", settings=settings)
    store.send([exclusive.message(30, ttl=60_000)])
    until(lambda: leases.inside() is not None, 10, tree.story)
    tree.kill_everything()
    lost = time.monotonic()
    assert holders(store) == 1

    # When the keeper of another one finds its workers' leases over
    other: Tree = trees.start("-p", "1", "-t", "1", settings=settings)

    # Then the key is free, long before its own lease is over
    until(lambda: len(leases.intervals()) == 2, 20, other.story)
    assert time.monotonic() - lost < within(15)
    other.kill_everything()


def test_a_worker_without_a_keeper_keeps_its_lease_and_those_of_its_actors_beside_the_keeper_of_another_host(
    store: Store, trees: Trees, ledger: Ledger, leases: LeaseLedger
) -> None:
    # Given a worker of a tree that has no keeper, whose actor holds the key
    settings = {"LEASE": 2_000}
    tree = trees.start("-p", "1", "-t", "1", "--no-maintenance", settings=settings)
    [worker] = tree.workers
    [message_id] = store.send([exclusive.message(10, ttl=3_000)])
    until(lambda: leases.inside() is not None, 10, tree.story)

    # When the keeper of another one looks for who is dead
    other = trees.start("-p", "1", "-t", "1", settings=settings)
    drain(store, 30, tree.story)

    # Then it finds nobody, and the key was held all the time
    assert tree.workers == [worker]
    [interval] = leases.intervals()
    assert (interval.message_id, interval.pid) == (message_id, worker)
    assert not interval.lost and not interval.refused
    assert len(ledger.runs()[message_id]) == 1
    assert tree.stop() == other.stop() == 0


@BOTH
@pytest.mark.parametrize("number", [200])
def test_the_place_of_a_killed_worker_is_given_on_to_who_is_parked(
    number: int, store: Store, trees: Trees, ledger: Ledger, leases: LeaseLedger
) -> None:
    # Given many messages of which one may run at a time, and four workers
    slow = set(range(10, number, number // 4))
    sent = store.send(declared.message(0.4 if index in slow else 0.001) for index in range(number))
    tree = trees.start("-p", "4", "-t", "2")

    # When who runs one is killed, twice
    killed: dict[int, float] = {}
    victims: set[str] = set()
    while len(killed) < 2:
        victim = _wait_for_victim(leases, victims, tree)
        at = time.monotonic()
        if holder := _strike(tree, leases, victim.pid, signal.SIGKILL):
            killed[holder.token] = max(at, holder.entered)
            victims.add(holder.message_id)
            until(lambda holder=holder: leases.inside() != holder, 5, tree.story)  # type: ignore[misc]

    # Then no two ran at once, and the next one ran soon after each kill
    drain(store, 60, tree.story)
    assert tree.stop() == 0
    intervals = leases.intervals()
    assert not overlaps(intervals, killed)
    assert {interval.message_id for interval in intervals if interval.left} == set(sent) == ledger.completed()
    entered = [interval.entered for interval in intervals]
    free = [min(at for at in entered if at > death) - death for death in killed.values()]
    assert max(free) < within(2)
    gaps = [after.entered - before.left for before, after in itertools.pairwise(intervals) if before.left is not None]
    assert holders(store) == 0
    print(
        f"{store.vendor}: {len(intervals)} runs, handed on in {statistics.median(gaps) * 1000:.1f} ms, at most "
        f"{max(gaps) * 1000:.0f}; free after a kill in {max(free) * 1000:.0f} ms at most"
    )


def test_the_leases_of_a_tree_without_its_head_are_freed_before_it_is_gone(
    store: Store, trees: Trees, leases: LeaseLedger
) -> None:
    tree = trees.start("-p", "1", "-t", "1", "--worker-shutdown-timeout", "1s")
    store.send([exclusive.message(60)])
    until(lambda: leases.inside() is not None, 10, tree.story)
    tree.kill(GENERATION)
    tree.wait_gone(10)
    assert holders(store) == 0


def test_the_name_of_the_key_is_what_people_see(store: Store, trees: Trees, leases: LeaseLedger) -> None:
    tree = trees.start("-p", "1", "-t", "1")
    (message_id,) = store.send([exclusive.message(1)])
    until(lambda: leases.inside() is not None, 10, tree.story)
    [(key, text)] = store.rows(f"SELECT key, holders FROM {MUTEXES}")
    assert key == KEY
    assert message_id in text and store.leases()[0] in text
    assert tree.stop() == 0


def test_two_that_are_in_at_once_are_really_found() -> None:
    """The harness itself."""
    first, second = Interval(1, "a", 1, 10.0, 12.0), Interval(2, "b", 2, 12.5, 13.0)
    early = Interval(3, "c", 3, 11.9, 12.2)
    nobody_knows = Interval(4, "d", 4, 14.0)
    assert overlaps([second, first], {}) == []
    assert overlaps([first, early], {}) == [(first, early)]
    after = Interval(5, "e", 5, 15.0, 16.0)
    assert overlaps([nobody_knows, after], {}) == overlaps([nobody_knows, after], {4: 15.1}) == [(nobody_knows, after)]
    assert overlaps([nobody_knows, after], {4: 14.5}) == []
