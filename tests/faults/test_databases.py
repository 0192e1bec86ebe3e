"""A database that is locked, or whose server hangs up."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest

from testproject import misbehave
from tests.support.ledger import Fault, Faults, Ledger, check, drain
from tests.support.runworkers import Trees
from tests.support.stores import LEASES, POSTGRES_URL, MariaDBStore, PostgreSQLStore, SQLiteStore, Store
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import until, within

pytestmark = pytest.mark.lifecycle

LEASE = 3_000


@contextmanager
def locked(store: SQLiteStore) -> Iterator[None]:
    connection = sqlite3.connect(store.name, timeout=20, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_a_locked_file_delays_everything_and_breaks_nothing(store: Store, trees: Trees, ledger: Ledger) -> None:
    # Given workers in the middle of many tasks
    tree = trees.start("-p", "2", "-t", "4")
    sent = store.send(misbehave.sleep.message(0.05) for _ in range(300))
    until(lambda: len(ledger.completed()) >= 20)
    workers = tree.workers

    # When somebody locks the file for seconds
    assert isinstance(store, SQLiteStore)
    with locked(store):
        time.sleep(4)

    # Then the same workers finish, each task once
    drain(store, 30, tree.story)
    assert tree.workers == workers
    assert tree.stop() == 0
    check(ledger, sent, store, Faults(0))
    assert {len(runs) for runs in ledger.runs().values()} == {1}


def hang_up(store: PostgreSQLStore) -> int:
    """End every connection to the database but the one that asks; how many there were."""
    sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ? AND pid <> pg_backend_pid()"
    return len(store.rows(sql, [store.name]))


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
def test_workers_resume_by_themselves_after_the_server_hung_up(store: Store, trees: Trees, ledger: Ledger) -> None:
    # Given a tree under load, with leases so short that a keeper that cannot renew them is noticed
    assert isinstance(store, PostgreSQLStore)
    tree = trees.start("-p", "2", "-t", "4", settings={"LEASE": LEASE})
    sent = store.send(misbehave.sleep.message(0.02) for _ in range(1000))
    until(lambda: len(ledger.completed()) >= 50)
    workers, faults = tree.workers, Faults(0)

    # When all connections are ended again and again
    longest = 0.0
    for _ in range(3):
        before = time.monotonic()
        assert hang_up(store) >= 1
        faults.log.append(Fault("hang up", frozenset(), before, time.monotonic()))
        count = len(ledger.started())
        until(lambda count=count: len(ledger.started()) >= count + 8, 5, tree.story)
        longest = max(longest, time.monotonic() - before)
    store.close()
    sent += store.send(misbehave.sleep.message(0.02) for _ in range(50))

    # Then the same workers go on within seconds, with their leases, and nothing is lost
    drain(store, 30, tree.story)
    time.sleep(LEASE / 1000 + 0.5)
    sent += store.send([misbehave.noop.message()])
    drain(store, 5, tree.story)
    assert tree.workers == workers, "nobody was fenced for a lease that nobody renewed"
    assert len(store.leases_left()) == 2 and min(store.leases_left()) > 0, tree.story()
    assert tree.stop() == 0
    check(ledger, sent, store, faults)
    print(f"resumed after {longest:.2f} s")


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
def test_an_idle_worker_hears_of_new_work_after_the_server_hung_up(store: Store, trees: Trees, ledger: Ledger) -> None:
    assert isinstance(store, PostgreSQLStore)
    tree = trees.start("-p", "1", "-t", "2")
    store.send([misbehave.noop.message()])
    drain(store, 10, tree.story)
    hang_up(store)
    store.close()
    before = time.monotonic()
    [message_id] = store.send([misbehave.noop.message()])
    until(lambda: message_id in ledger.completed(), 5, tree.story)
    print(f"heard after {time.monotonic() - before:.2f} s")
    assert tree.stop() == 0


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
def test_a_database_that_takes_no_connections_for_a_while_is_waited_for(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given workers whose database goes away, as a server does that is started again
    assert isinstance(store, PostgreSQLStore)
    tree = trees.start("-p", "2", "-t", "2", settings={"LEASE": LEASE})
    sent = store.send(misbehave.sleep.message(0.05) for _ in range(200))
    until(lambda: len(ledger.completed()) >= 10)
    store.close()
    before = time.monotonic()
    _allow_connections(store, False)
    try:
        _hang_up_from_outside(store)
        time.sleep(2)
    finally:
        _allow_connections(store, True)
    came_back, count = time.monotonic(), len(ledger.started())

    # Then they go on within seconds of its return
    until(lambda: len(ledger.started()) >= count + 4, 5, tree.story)
    print(f"resumed {time.monotonic() - came_back:.2f} s after its return")
    drain(store, 30, tree.story)
    assert tree.stop() == 0
    check(ledger, sent, store, Faults(0, [Fault("away", frozenset(), before, came_back)]))


@pytest.mark.parametrize("vendor", ["postgresql", "mariadb"], indirect=True)
def test_a_host_that_is_cut_off_in_the_middle_of_a_settlement_keeps_nobody_waiting(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given two hosts at work
    assert isinstance(store, PostgreSQLStore | MariaDBStore)
    server = urlsplit(store.url)
    port = 5432 if isinstance(store, PostgreSQLStore) else 3306
    with TcpProxy((server.hostname or "", server.port or port)) as network:
        there = server._replace(netloc=f"{server.username}@{network.host}:{network.port}").geturl()
        near = trees.start("-p", "1", "-t", "4", settings={"LEASE": LEASE})
        far = trees.start("-p", "2", "-t", "8", settings={"LEASE": LEASE}, variables={"DATABASE_URL": there})
        sent = store.send(misbehave.sleep.message(0.02) for _ in range(1000))
        until(lambda: len(ledger.completed()) >= 50, 20, far.story)
        # Both keepers have looked at their workers: who was never told of a lease does not know that it is over.
        until(lambda: store.rows("SELECT COUNT(*) FROM django_tasks_q_workerprocess") == [(3,)], 20, far.story)

        # When one of them is cut off while a transaction of its holds locks
        before, lost = time.monotonic(), set(far.workers)
        until(lambda: _is_cut_in_a_transaction(network, store), 20)
        cut = time.monotonic()
        lost |= set(far.workers)  # a cut that came at another moment may have cost one, too

        # Then the server ends that transaction, and the other host does the rest
        until(lambda: ledger.completed() == set(sent) and store.unfinished() == 0, 25, near.story)
        print(f"all done {time.monotonic() - cut:.1f} s after the cut")
        network.restore()
        until(lambda: not lost & set(far.workers), 15, far.story)
        healed = time.monotonic()
    assert near.stop() == 0
    far.kill_everything()
    store.rows(f"DELETE FROM {LEASES}")  # of workers that have started anew since
    check(ledger, sent, store, Faults(0, [Fault("cut off", frozenset(lost), before, healed, is_stop=True)]))


_WAITING = {
    "postgresql": "SELECT pid FROM pg_stat_activity "
    "WHERE datname = ? AND state = 'idle in transaction' AND query !~ '^BEGIN'",
    "mariadb": "SELECT id FROM information_schema.processlist JOIN information_schema.innodb_trx "
    "ON trx_mysql_thread_id = id WHERE db = ? AND command = 'Sleep' AND trx_rows_modified > 0",
}


def _is_cut_in_a_transaction(network: TcpProxy, store: PostgreSQLStore | MariaDBStore) -> bool:
    """Hold everything back, and let go again unless a transaction has begun to lock rows and cannot go on."""
    network.hold()
    time.sleep(0.1)  # longer than any transaction of these waits for its worker
    if store.rows(_WAITING[store.vendor], [store.name]):
        return True
    network.restore()
    time.sleep(0.02)
    return False


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
@pytest.mark.parametrize("stops", [1, 2])
def test_workers_stop_while_their_database_is_away(stops: int, store: Store, trees: Trees, ledger: Ledger) -> None:
    # Given a task that outlives the shutdown time-out, and a database that has gone away
    assert isinstance(store, PostgreSQLStore)
    tree = trees.start("-p", "1", "-t", "2", "--worker-shutdown-timeout", "1s", settings={"LEASE": LEASE})
    sent = store.send([misbehave.block.message(5.0)])
    until(lambda: ledger.started() == set(sent))
    store.close()
    before = time.monotonic()
    _allow_connections(store, False)
    try:
        _hang_up_from_outside(store)
        # When the workers are stopped, patiently or not
        for _ in range(stops):
            tree.signal(signal.SIGTERM)
            time.sleep(0.2)
        # Then they end, although nobody can say what became of the task
        tree.wait(1 + 5 + 4)
        assert not tree.living()
    finally:
        _allow_connections(store, True)

    # And when the lease has run out, it is run again
    trees.finish(seconds=30)
    assert ledger.completed() == set(sent)
    check(ledger, sent, store, Faults(0, [Fault("away", frozenset(), before, time.monotonic())]))


def _allow_connections(store: PostgreSQLStore, allowed: bool) -> None:
    _administer(f'ALTER DATABASE "{store.name}" WITH ALLOW_CONNECTIONS {allowed}')


def _hang_up_from_outside(store: PostgreSQLStore) -> None:
    _administer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{store.name}'")


def _administer(statement: str) -> None:

    with psycopg.connect(POSTGRES_URL, autocommit=True) as connection:
        connection.execute(statement)


def test_a_web_request_that_writes_at_the_same_time_gets_its_turn(store: Store, trees: Trees, ledger: Ledger) -> None:
    # Given workers that settle as fast as they can
    assert isinstance(store, SQLiteStore)
    tree = trees.start("-p", "2", "-t", "4")
    sent: list[str] = []
    for _ in range(3):
        sent += store.send(misbehave.noop.message() for _ in range(1000))
    longest = 0.0

    # When somebody else writes now and then
    while store.unfinished():
        before = time.monotonic()
        store.rows("INSERT INTO auth_group (name) VALUES (?)", [f"group {before}"])
        longest = max(longest, time.monotonic() - before)

    # Then he never waits long
    assert longest < within(2), f"waited {longest:.2f} s"
    assert tree.stop() == 0
    check(ledger, sent, store, Faults(0))
    print(f"waited {longest * 1000:.0f} ms at most")
