"""Leases of actors in real processes: whoever is killed, stopped or busy, no two live ones are held at once."""

from __future__ import annotations

import random
import signal
import statistics
import time

import pytest

from testproject.exclusive import KEY, exclusive
from tests.support.fixtures import BOTH
from tests.support.leases import Interval, LeaseLedger, overlaps
from tests.support.ledger import Ledger, drain
from tests.support.runworkers import GENERATION, Tree, Trees
from tests.support.stores import Store
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle

SEED = 20_240_229
MUTEXES = "django_tasks_q_ratelimitmutex"


@pytest.fixture
def leases(ledger: Ledger) -> LeaseLedger:
    return LeaseLedger(ledger)


def holders(store: Store) -> int:
    """How many leases the database knows that are not over."""
    return int(store.rows(f"SELECT COUNT(*) FROM {MUTEXES} WHERE expires_at IS NOT NULL")[0][0])


@pytest.mark.parametrize(("vendor", "number"), [("sqlite", 2_000), ("postgresql", 500)], indirect=["vendor"])
@pytest.mark.slow
@pytest.mark.timeout(120)
def test_no_two_hold_a_key_at_once_and_it_is_free_within_two_seconds_when_its_holder_is_killed(
    number: int, store: Store, trees: Trees, ledger: Ledger, leases: LeaseLedger
) -> None:
    # Given eight processes, and many messages that need one key, twenty of which take a little longer
    chance = random.Random(SEED)
    sent = store.send(exclusive.message(0.3 if index % (number // 20) == 10 else 0.0) for index in range(number))
    began = time.monotonic()
    tree = trees.start("-p", "8", "-t", "1")

    # When who holds it is killed, again and again
    killed: dict[int, float] = {}
    victims: set[str] = set()
    while len(killed) < 10:
        holder = _wait_for_victim(leases, victims, tree)
        at = time.monotonic()
        tree.signal(signal.SIGKILL, holder.pid)
        until(lambda pid=holder.pid: pid not in tree.workers, 5, tree.story)  # type: ignore[misc]
        if leases.find(holder.token).left is None:
            killed[holder.token] = at
            victims.add(holder.message_id)
        until(lambda holder=holder: leases.inside() != holder, 5, tree.story)  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.3))

    # Then no two were in at once, and the next one was in soon after each kill
    drain(store, 60, tree.story)
    took = time.monotonic() - began
    assert tree.stop() == 0
    intervals = leases.intervals()
    assert not overlaps(intervals, killed)
    assert {interval.message_id for interval in intervals if interval.left} == set(sent) == ledger.completed()
    assert {interval.token for interval in intervals if interval.left is None} == set(killed)
    assert not [interval for interval in intervals if interval.lost or interval.refused]
    entered = [interval.entered for interval in intervals]
    assert entered == sorted(entered)
    assert [interval.token for interval in intervals] == sorted(interval.token for interval in intervals)
    free = [min(at for at in entered if at > death) - death for death in killed.values()]
    assert max(free) < 2
    assert holders(store) == 0
    print(
        f"{store.vendor}: {len(intervals)} leases in {took:.1f} s, {len(killed)} holders killed; "
        f"free again after {statistics.median(free) * 1000:.0f} ms, at most {max(free) * 1000:.0f} ms"
    )


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
def test_a_holder_stopped_past_its_lease_has_lost_it_and_cannot_harm_the_next_one(
    store: Store, trees: Trees, ledger: Ledger, leases: LeaseLedger
) -> None:
    # Given a holder that is stopped
    tree = trees.start("-p", "2", "-t", "1")
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
    assert took_over >= 1.4
    assert stopped.lost and stopped.refused
    until(lambda: first in ledger.completed())
    assert other.left is None and holders(store) == 1
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
    assert time.monotonic() - lost < 15
    other.kill_everything()


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
