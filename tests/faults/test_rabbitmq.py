"""A RabbitMQ server that is killed, starved, robbed of its queues or cut off, under trees of workers that use it."""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from django_tasks_q import Message
from django_tasks_q.errors import BrokerConnectionError
from testproject import misbehave
from tests.support import connections_of
from tests.support.ledger import Fault, Faults, Ledger, check, drain, overlaps
from tests.support.private_rabbitmq import PrivateRabbitMQ, RabbitMQCluster
from tests.support.producer import Producer
from tests.support.runworkers import KEEPER, Tree, Trees
from tests.support.stores import POSTGRES_URL, RECORDS, PostgreSQLStore, Store
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import until, within
from tests.support.worlds import FINAL, World

pytestmark = [pytest.mark.lifecycle, pytest.mark.slow]

SEED = 48
PATIENT = 1_000
"""Milliseconds after which senders of these tests give up on one call."""

A_DAY = 86_400_000

UNSETTLED = 2.0
"""Seconds for which a task may have ended without being acknowledged: then it runs again."""


@pytest.fixture(scope="module")
def server() -> Iterator[PrivateRabbitMQ]:
    with PrivateRabbitMQ() as server:
        yield server


@contextmanager
def world_on(url: str, store: Store, **options: Any) -> Iterator[World]:
    """Messages on the server at ``url``, records in ``store``."""
    world = World(store, "rabbitmq", url, **options)
    world.broker.send_timeout = PATIENT
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def world(server: PrivateRabbitMQ, store: Store) -> Iterator[World]:
    with world_on(server.url, store) as world:
        yield world


@pytest.fixture
def trees(tmp_path: Path, store: Store) -> Iterator[Trees]:
    trees = Trees(tmp_path, store)
    yield trees
    trees.clear_away()


def start(trees: Trees, world: World, *arguments: str, **settings: Any) -> Tree:
    given = {**world.settings, "SEND_TIMEOUT": PATIENT, **settings}
    return trees.start(*(arguments or ("-p", "2", "-t", "4")), settings=given)


def short() -> Message[Any]:
    return misbehave.sleep.message(0.005)


def seconds_until_resumed(tree: Tree, ledger: Ledger, since: float) -> float:
    """Until every worker process has started something that it began after ``since``."""

    def first_starts() -> dict[int, float]:
        starts: dict[int, float] = {}
        for runs in ledger.runs().values():
            for run in runs:
                if run.start > since:
                    starts[run.pid] = min(run.start, starts.get(run.pid, run.start))
        return starts

    until(lambda: set(tree.workers) <= first_starts().keys(), 20, tree.story)
    return max(first_starts()[pid] for pid in tree.workers) - since


def finish(world: World, tree: Tree, ledger: Ledger, sent: list[str], *faults: Fault) -> int:
    """Drain, stop, and hold ledger, broker and records against each other; how many runs there were too many."""
    world.sent += sent
    drain(world, 30, lambda: f"{states_of(world)}\n{tree.story()}")
    assert tree.stop() == 0, tree.story()
    check(ledger, sent, world, Faults(SEED, list(faults)))
    assert world.held() == 0
    return repeats(ledger)


def states_of(world: World) -> Counter[str]:
    return Counter(world.states().values())


def repeats(ledger: Ledger) -> int:
    return sum(len(runs) - 1 for runs in ledger.runs().values())


def goes_on(producer: Producer, tree: Tree, number: int = 50) -> None:
    """Until so many more sends were acknowledged."""
    known = len(producer.acknowledged)
    until(lambda: len(producer.acknowledged) > known + number, 20, tree.story)


# The server goes and comes back


def _kill(server: PrivateRabbitMQ) -> Callable[[], None]:
    server.kill()
    return server.start


def _stop_app(server: PrivateRabbitMQ) -> Callable[[], None]:
    server.eval("rabbit:stop()")
    return lambda: (server.eval("rabbit:start()"), server.wait_until_it_answers())[1]


@pytest.mark.parametrize("go", [_kill, _stop_app])
def test_a_server_that_goes_under_load_loses_nothing_and_workers_resume_within_five_seconds_of_its_return(
    go: Callable[[PrivateRabbitMQ], Callable[[], None]],
    server: PrivateRabbitMQ,
    world: World,
    trees: Trees,
    ledger: Ledger,
) -> None:
    # Given a tree with a backlog, and somebody who goes on sending
    backlog = world.send(short() for _ in range(800))
    tree = start(trees, world)
    with Producer(world.broker, short) as producer:
        until(lambda: len(ledger.completed()) > 100, 10, tree.story)

        # When the server goes and comes back
        gone = time.monotonic()
        come_back = go(server)
        until(lambda: producer.refusals)
        come_back()
        back = time.monotonic()

        # Then all go on by themselves
        took = seconds_until_resumed(tree, ledger, back)
        goes_on(producer, tree)
    assert took < within(5)
    assert producer.longest_refusal < within(2 * PATIENT / 1000)

    # And nothing that was acknowledged is lost
    sent = [*backlog, *producer.acknowledged]
    again = finish(world, tree, ledger, sent, Fault("gone", frozenset(), gone, back + took))
    print(f"resumed after {took:.2f} s; {len(producer.acknowledged)} acknowledged, {len(producer.refusals)} refused")
    print(f"longest refusal {producer.longest_refusal:.2f} s, {again} ran twice")


def test_a_node_of_a_cluster_that_is_killed_takes_nothing_with_it(store: Store, trees: Trees, ledger: Ledger) -> None:
    with (
        RabbitMQCluster(3) as cluster,
        world_on(";".join(cluster.urls), store, queue_type="quorum") as world,
    ):
        # Given quorum queues, a tree with a backlog, and somebody who goes on sending
        backlog = world.send(short() for _ in range(400))
        tree = start(trees, world)
        with Producer(world.broker, short) as producer:
            until(lambda: len(ledger.completed()) > 100, 20, tree.story)
            for node in cluster.nodes:
                node.write_down_queues()

            # When the node is killed that our messages go to
            victim = cluster.nodes[_place_of(world, cluster)]
            victim.kill()
            took = seconds_until_resumed(tree, ledger, time.monotonic())
            goes_on(producer, tree)

        # Then nothing that was acknowledged is lost, although it does not come back
        sent = {*backlog, *producer.acknowledged}
        until(lambda: ledger.completed() >= sent, 20, lambda: f"lost: {sent - ledger.completed()} {tree.story()}")
        until(lambda: world.held() == 0, 10, tree.story)
        assert took < within(10)

        # And the records know how each ended, and of what was refused that they do not know
        until(
            lambda: are_told(world, sent) and set(states_of(world)) <= {*FINAL, "unknown"},
            20,
            lambda: f"{states_of(world)} {tree.story()}",
        )
        assert tree.stop() == 0, tree.story()
        print(f"resumed after {took:.2f} s; {len(producer.acknowledged)} acknowledged, {repeats(ledger)} ran twice")
        print(f"{len(producer.refusals)} refused, longest {producer.longest_refusal:.2f} s; {states_of(world)}")


def are_told(world: World, sent: set[str]) -> bool:
    """Whether the records say of all these messages that they succeeded."""
    states = world.states()
    return all(states.get(message_id) == "succeeded" for message_id in sent)


def _place_of(world: World, cluster: RabbitMQCluster) -> int:
    """Which node our sends go to."""
    with world.broker.publisher.connected() as connection:  # type: ignore[attr-defined]
        port = connection.params.port
    return [node.port for node in cluster.nodes].index(port)


# It takes no messages


def test_under_a_memory_alarm_senders_hear_so_in_time_and_workers_drain_what_caused_it(
    server: PrivateRabbitMQ, world: World, trees: Trees, ledger: Ledger, tmp_path: Path
) -> None:
    # Given a tree with a backlog, some of which fails at first, and somebody who goes on sending
    gate = tmp_path / "gate"
    backlog = world.send(misbehave.fail.message(1) if number % 50 == 0 else short() for number in range(500))
    backlog += world.send(misbehave.wait_for_file.message(str(gate)) for _ in range(150))
    tree = start(trees, world)
    with Producer(world.broker, short) as producer:
        until(lambda: len(ledger.completed()) > 100 and producer.acknowledged, 20, tree.story)

        # When the server runs out of memory
        server.set_memory_watermark(0)
        try:
            known = len(ledger.completed())
            gate.touch()
            until(lambda: len(ledger.completed()) > known + 100, 10, tree.story)
            drained = len(ledger.completed()) - known
            until(lambda: len(producer.refusals) > 1, 10, tree.story)
        finally:
            server.set_memory_watermark(0.4)

        # Then work went on, and afterwards all is well
        goes_on(producer, tree)
    assert producer.longest_refusal < within(1.5 * PATIENT / 1000)
    assert all(isinstance(refusal.error, BrokerConnectionError) for refusal in producer.refusals)
    sent = {*backlog, *producer.acknowledged}
    until(lambda: ledger.completed() >= sent, 30, tree.story)

    # And the records say how each ended, and of what was refused that they do not know
    until(
        lambda: are_told(world, sent) and set(states_of(world)) <= {*FINAL, "unknown"},
        20,
        lambda: str(states_of(world)),
    )
    assert world.held() == 0
    assert tree.stop() == 0, tree.story()
    print(f"{drained} drained during the alarm; longest {producer.longest_refusal:.2f} s; {states_of(world)}")


# Its queues go


def test_queues_that_somebody_deletes_are_made_anew_and_what_is_sent_then_runs(
    server: PrivateRabbitMQ, world: World, trees: Trees, ledger: Ledger, tmp_path: Path
) -> None:
    tree = start(trees, world)
    sent: list[str] = []
    for turn, name in enumerate(("default", "waiting", "default")):
        # Given workers that run something and have nothing else to do
        enough = tmp_path / f"enough{turn}"
        sent += (running := world.send(misbehave.wait_for_file.message(str(enough)) for _ in range(4)))
        until(lambda running=running: set(world.in_flight()) >= set(running), 10, tree.story)

        # When a queue is deleted, and messages are sent at once, one of which waits a moment
        delete_queue(server, f"{world.namespace}.{name}")
        sent += (next_ones := world.send([*(short() for _ in range(20)), misbehave.fail.message(1)]))
        enough.touch()

        # Then they run
        until(lambda next_ones=next_ones: ledger.completed() >= set(next_ones), 10, tree.story)
    finish(world, tree, ledger, sent)
    assert repeats(ledger) == 3  # those that were to fail once


def delete_queue(server: PrivateRabbitMQ, name: str) -> None:
    """As an operator does."""
    queue = f'rabbit_misc:r(<<"/">>, queue, <<"{name}">>)'
    server.eval(
        f'begin {{ok, Q}} = rabbit_amqqueue:lookup({queue}), rabbit_amqqueue:delete(Q, false, false, <<"t">>) end'
    )


# It loses patience


def test_a_task_that_outlives_the_consumer_timeout_may_run_twice_and_disturbs_nobody(
    world: World, server: PrivateRabbitMQ, trees: Trees, ledger: Ledger, tmp_path: Path
) -> None:
    enough = tmp_path / "enough"
    with impatience(server, 2_000):
        # Given workers of a server that waits two seconds for an answer
        tree = start(trees, world, "-p", "2", "-t", "4")
        began = time.monotonic()

        # When one task takes longer, among many others
        [long] = sent = world.send([misbehave.wait_for_file.message(str(enough))])
        with Producer(world.broker, short, pause=0.02) as producer:
            until(lambda: len(ledger.runs().get(long, [])) > 1, 15, tree.story)
            enough.touch()
            goes_on(producer, tree)
        sent += producer.acknowledged
        again = finish(world, tree, ledger, sent, Fault("timeout", frozenset(), began, time.monotonic(), is_stop=True))
    print(f"the long one ran {len(ledger.runs()[long])} times, {again} repeats in all")
    assert not producer.refusals
    assert world.states()[long] == "succeeded"
    assert world.dead() == {}


@contextmanager
def impatience(server: PrivateRabbitMQ, milliseconds: int) -> Iterator[None]:
    """Channels opened within this have so long a ``consumer_timeout``."""
    _set(server, consumer_timeout=milliseconds, channel_tick_interval=500)
    try:
        yield
    finally:
        _set(server, consumer_timeout=1_800_000, channel_tick_interval=60_000)


def _set(server: PrivateRabbitMQ, **values: int) -> None:
    for name, value in values.items():
        server.eval(f"application:set_env(rabbit, {name}, {value})")


# It throws everybody out, or says nothing


def test_who_is_thrown_out_again_and_again_loses_nothing(
    server: PrivateRabbitMQ, world: World, trees: Trees, ledger: Ledger
) -> None:
    tree = start(trees, world)
    faults = Faults(SEED)
    with Producer(world.broker, short) as producer:
        for _ in range(8):
            goes_on(producer, tree, 30)
            before = time.monotonic()
            server.close_connections()
            # Workers that have other things to do notice later, and go on with what they have until then.
            faults.log.append(Fault("thrown out", frozenset(), before, time.monotonic() + within(UNSETTLED)))
        took = seconds_until_resumed(tree, ledger, time.monotonic())
        goes_on(producer, tree)
    assert took < within(5)
    again = finish(world, tree, ledger, producer.acknowledged, *faults.log)
    print(f"{len(producer.acknowledged)} acknowledged, {len(producer.refusals)} refused, {again} ran twice")


@pytest.mark.parametrize("silence", ["suspended", "half-open"])
def test_a_silent_server_makes_senders_fail_in_time_and_workers_wait(
    silence: str, server: PrivateRabbitMQ, store: Store, trees: Trees, ledger: Ledger
) -> None:
    with TcpProxy(server.address) as proxy, world_on(f"amqp://guest:guest@{proxy.host}:{proxy.port}/", store) as world:
        # Given a tree at work, and somebody who goes on sending
        tree = start(trees, world)
        with Producer(world.broker, short) as producer:
            until(lambda: len(ledger.completed()) > 50, 20, tree.story)

            # When nobody is answered for longer than they are ready to wait
            silent = time.monotonic()
            end, begin = (server.resume, server.suspend) if silence == "suspended" else (proxy.restore, proxy.hold)
            begin()
            until(lambda: len(producer.refusals) > 1)
            end()
            back = time.monotonic()
            took = seconds_until_resumed(tree, ledger, back)
            goes_on(producer, tree)

        # Then each send has failed in its time, and all go on
        assert producer.longest_refusal < within(1.5 * PATIENT / 1000)
        assert took < within(5)
        again = finish(world, tree, ledger, producer.acknowledged, Fault("silence", frozenset(), silent, back + took))
        print(f"longest refusal {producer.longest_refusal:.2f} s, resumed after {took:.2f} s, {again} ran twice")


# The workers go


def test_what_a_killed_worker_was_running_starts_again_within_two_seconds_and_nothing_else_does(
    world: World, trees: Trees, ledger: Ledger, tmp_path: Path
) -> None:
    # Given two processes of eight threads, all of which are in the middle of a task, with many behind these
    gate = tmp_path / "gate"
    tree = start(trees, world, "-p", "2", "-t", "8")
    sent = world.send(misbehave.wait_for_file.message(str(gate)) for _ in range(200))
    until(lambda: [len(ledger.open_runs(pid)) for pid in tree.workers] == [8, 8], 20, tree.story)

    # When one of them is killed
    victim = random.Random(SEED).choice(tree.workers)
    before = time.monotonic()
    tree.signal(signal.SIGKILL, victim)
    until(lambda: victim not in tree.workers)
    interrupted = ledger.open_runs(victim)
    gate.touch()

    # Then only what it ran runs again, soon, and the records say why
    again = finish(world, tree, ledger, [], Fault("kill", frozenset([victim]), before, before + 0.5))
    runs = ledger.runs()
    assert ledger.completed() == set(sent)
    assert len(interrupted) == 8
    assert {message_id for message_id, several in runs.items() if len(several) > 1} == interrupted
    recovery = max(runs[message_id][1].start for message_id in interrupted) - before
    assert recovery < within(2), f"started again after {recovery:.2f} s"
    for message_id in interrupted:
        [(outcome, text)] = world.attempts(message_id)
        assert outcome == "lost" and "killed by signal 9" in text
        record = world.record(message_id)
        assert (record["state"], record["lost"], record["retries"]) == ("succeeded", 1, 0)
    print(f"recovery {recovery * 1000:.0f} ms, {again} interrupted")


@pytest.mark.parametrize("poison", [misbehave.segfault, misbehave.kill_self])
def test_poison_among_a_hundred_innocents_is_the_only_one_convicted(
    poison: misbehave.Actor[[], None], world: World, trees: Trees, ledger: Ledger
) -> None:
    # Given a hundred innocents with a task in the middle that kills whoever runs it
    tree = start(trees, world, "-p", "2", "-t", "8")
    messages = [misbehave.sleep.message(0.05) for _ in range(100)]
    messages.insert(50, poison.message())
    sent = world.send(messages)
    culprit = sent[50]

    # When all of them have come to their end
    drain(world, 40, tree.story)
    assert tree.stop() == 0

    # Then there is one dead letter, and a hundred successes, none of which ran twice at the same time
    assert world.dead() == {culprit: "delivery_limit"}
    states = world.states()
    assert [message_id for message_id in sent if states[message_id] != "succeeded"] == [culprit]
    assert not [pair for runs in ledger.runs().values() for pair in overlaps(runs)]
    assert [outcome for outcome, _ in world.attempts(culprit)] == ["lost"] * 3
    assert len(ledger.runs()[culprit]) == 3
    assert world.record(culprit)["lost"] == 3


def test_a_killed_keeper_is_replaced_and_nobody_notices(world: World, trees: Trees, ledger: Ledger) -> None:
    tree = start(trees, world)
    sent = world.send([*(misbehave.sleep.message(0.1) for _ in range(100)), *(_soon() for _ in range(20))])
    until(lambda: len(ledger.completed()) >= 8, 20, tree.story)

    victim = tree.kill(KEEPER)
    until(lambda: tree.pids(KEEPER) not in ([], [victim]), 5, tree.story)

    assert finish(world, tree, ledger, sent) == 0
    assert world.all_attempts() == {}


def _soon() -> Message[Any]:
    return misbehave.noop.message_with_options(delay=1_000)


def test_ten_stops_at_random_moments_lose_nothing_and_count_nothing(world: World, trees: Trees, ledger: Ledger) -> None:
    # Given a queue that never runs dry
    chance = random.Random(SEED)
    lengths = itertools.cycle([0.0, 0.01, 0.05, 0.25])
    sent: list[str] = []
    faults = Faults(SEED)

    # When workers are started and stopped again and again
    for _ in range(10):
        sent += world.send(misbehave.sleep.message(next(lengths)) for _ in range(40))
        tree = start(trees, world, "-p", "2", "-t", "4", "--worker-shutdown-timeout", "5s")
        time.sleep(chance.uniform(0, 0.3))
        before = time.monotonic()
        assert tree.stop() == 0, tree.story()
        faults.note("TERM", [], before)
    assert finish(world, start(trees, world), ledger, sent, *faults.log) == 0

    # Then everything ran once, and neither a failure, a loss nor an attempt was counted
    assert world.rows(f"SELECT COUNT(*) FROM {RECORDS} WHERE lost > 0 OR retries > 0") == [(0,)]
    assert world.all_attempts() == {}


# The database goes


@pytest.mark.parametrize("vendor", ["postgresql"], indirect=True)
def test_work_goes_on_without_the_database_and_everything_lands_in_it_afterwards(
    world: World, store: PostgreSQLStore, trees: Trees, ledger: Ledger
) -> None:
    # Given a tree at work
    tree = start(trees, world)
    sent = world.send(short() for _ in range(20))
    until(lambda: states_of(world) == {"succeeded": 20}, 10, tree.story)

    # When the database is gone for a while
    with database_away(store):
        began = time.monotonic()
        quick = world.send(short() for _ in range(200))
        dead = world.send([misbehave.fail_always.message_with_options(max_retries=0)])
        slow = world.send([misbehave.noop.message_with_options(delay=3_000), misbehave.fail.message(1)])
        until(lambda: ledger.completed() >= set(quick) and ledger.started() >= {dead[0], slow[1]}, 10, tree.story)
        took = time.monotonic() - began
        until(lambda: world.broker.reader.ready(f"{world.namespace}.waiting") is not None)  # type: ignore[attr-defined]

    # Then what is quick has run meanwhile, and what had to wait lands in rows
    until(lambda: ledger.completed() >= set(slow), 15, tree.story)
    finish(world, tree, ledger, [*sent, *quick, *dead, *slow])
    assert world.dead() == {dead[0]: "retries_exhausted"}
    assert took < within(5)
    print(f"{len(quick)} ran within {took:.1f} s without a database")


@contextmanager
def database_away(store: PostgreSQLStore) -> Iterator[None]:
    """Nobody gets into the database, and who was in it is thrown out."""
    with psycopg.connect(POSTGRES_URL, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{store.name}" ALLOW_CONNECTIONS false')  # type: ignore[arg-type]
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [store.name])
        try:
            yield
        finally:
            connection.execute(f'ALTER DATABASE "{store.name}" ALLOW_CONNECTIONS true')  # type: ignore[arg-type]


# What a worker needs


def test_a_worker_process_has_two_connections(
    server: PrivateRabbitMQ, world: World, trees: Trees, ledger: Ledger
) -> None:
    tree = start(trees, world)
    sent = world.send(
        [*(misbehave.multiply.message(3) for _ in range(4)), *(misbehave.fail.message(1) for _ in range(4))]
    )
    most: Counter[int] = Counter()

    def look() -> bool:
        for pid in tree.workers:
            most[pid] = max(most[pid], len(connections_of.local_ports(pid, server.port)))
        return world.unfinished() == 0

    until(look, 20, tree.story)
    finish(world, tree, ledger, sent)
    assert most and max(most.values()) == 2
