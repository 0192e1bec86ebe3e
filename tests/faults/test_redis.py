"""A Redis server that is killed, stopped, filled, emptied or far away, under trees of workers that use it.

Whatever happens here to a server happens to one of a cluster, too, but for what has no meaning there. Behind a proxy a
cluster cannot be: its nodes tell clients their own addresses. So a way that is silent or long, and the strikes by
chance, which need one, are for one server; of those strikes a cluster's node is killed, suspended and made to forget
its scripts in tests of their own. Sentinels are another way to the same failover. How many connections a process has to
a cluster, and what it asks when it is idle, is in tests/brokers/test_redis.py.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.test import override_settings

from django_tasks_q import Message
from django_tasks_q.brokers.redis import RedisBroker, link
from django_tasks_q.brokers.redis.trade import Trade
from django_tasks_q.deliveries import Settlement, WorkerInfo
from django_tasks_q.errors import BrokerConnectionError, BrokerError
from django_tasks_q.keeper.mirror_service import MirrorService
from django_tasks_q.keeper.reconciler import Reconciler
from django_tasks_q.outcomes import Done
from django_tasks_q.sql import Database
from testproject import misbehave
from tests.support import connections_of
from tests.support.ledger import Fault, Faults, Ledger, check, drain
from tests.support.private_redis import PrivateRedis, RedisCluster, RedisSentinels
from tests.support.producer import Producer
from tests.support.redis_brokers import URL, cluster_url, open_broker, redis_broker, servers
from tests.support.runworkers import KEEPER, Tree, Trees
from tests.support.stores import Store
from tests.support.tcp_proxy import Direction, TcpProxy
from tests.support.waiting import until, within
from tests.support.worlds import World

pytestmark = pytest.mark.lifecycle

SEED = int(os.environ.get("DTQ_NEMESIS_SEED", 1983))
STRIKES = 10
LEASE = 2_000
A_MINUTE = 60_000

SERVICES_LEASE = 15
"""Seconds for which a service belongs to the keeper that leads it."""
PATIENT = 1_000
"""Milliseconds after which senders and workers of these tests give up on one call."""


@pytest.fixture
def server() -> Iterator[PrivateRedis]:
    with PrivateRedis("always") as server:
        yield server


@contextmanager
def world_on(url: str, store: Store, **options: Any) -> Iterator[World]:
    """Messages on the server at ``url``, records in ``store``."""
    world = World(store, "redis", url, **options)
    world.broker.send_timeout = PATIENT
    try:
        yield world
    finally:
        world.close()


@pytest.fixture
def world(server: PrivateRedis, store: Store) -> Iterator[World]:
    with world_on(server.url, store) as world:
        yield world


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster(appendonly="always") as cluster:
        yield cluster


class Patient(NamedTuple):
    """Messages, and the server that keeps them, to be hurt: the only one, or one of a cluster's."""

    world: World
    server: PrivateRedis
    is_cluster: bool


@pytest.fixture(params=["server", "cluster"])
def patient(request: pytest.FixtureRequest, store: Store) -> Iterator[Patient]:
    if request.param == "server":
        yield Patient(request.getfixturevalue("world"), request.getfixturevalue("server"), is_cluster=False)
        return
    cluster: RedisCluster = request.getfixturevalue("cluster")
    with world_on_cluster(cluster, store) as world:
        server = cluster.master_of(a_key(world))
        yield Patient(world, server, is_cluster=True)
        server.config_set("maxmemory", 0)
        server.config_set("timeout", 0)
    cluster.wait_until_whole()


def world_on_cluster(cluster: RedisCluster, store: Store) -> AbstractContextManager[World]:
    return world_on(cluster.url.replace("redis://", "redis+cluster://"), store)


def a_key(world: World) -> str:
    return f"{world.namespace}:{{default}}:messages"


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

    until(lambda: set(tree.workers) <= first_starts().keys(), 10, tree.story)
    return max(first_starts()[pid] for pid in tree.workers) - since


def finish(world: World, tree: Tree, ledger: Ledger, sent: list[str], fault: Fault | None = None) -> int:
    """Drain, stop, and hold ledger, broker and records against each other; how many runs there were too many."""
    world.sent += sent
    drain(world, 20, tree.story)
    assert tree.stop() == 0, tree.story()
    check(ledger, sent, world, Faults(SEED, [fault] if fault else []))
    assert world.held() == 0
    return repeats(ledger)


def let_go_of_services(store: Store) -> None:
    """As if the time were over for which a host that is lost next would still have the mirror and other services."""
    store.rows("UPDATE django_tasks_q_servicelease SET expires_at = 0")


def repeats(ledger: Ledger) -> int:
    return sum(len(runs) - 1 for runs in ledger.runs().values())


def test_a_redis_that_is_killed_under_load_loses_nothing_and_workers_resume_within_five_seconds(
    patient: Patient, trees: Trees, ledger: Ledger
) -> None:
    world, server, _ = patient
    # Given a tree with a backlog, and somebody who goes on sending
    backlog = world.send(short() for _ in range(800))
    tree = start(trees, world)
    with Producer(world.broker, short) as producer:
        until(lambda: len(ledger.completed()) > 100, 10, tree.story)

        # When the server is killed and comes back a moment later
        killed = time.monotonic()
        server.kill()
        until(lambda: producer.refusals)
        server.start()
        back = time.monotonic()

        # Then all go on by themselves
        took = seconds_until_resumed(tree, ledger, back)
        known = len(producer.acknowledged)
        until(lambda: len(producer.acknowledged) > known + 100, 10, tree.story)
    assert took < within(5)
    assert producer.longest_refusal < within(2 * PATIENT / 1000)

    # And nothing that was acknowledged is lost
    sent = [*backlog, *producer.acknowledged]
    again = finish(world, tree, ledger, sent, Fault("kill", frozenset(), killed, back + took))
    print(f"resumed after {took:.2f} s; {len(producer.acknowledged)} acknowledged, {len(producer.refusals)} refused")
    print(f"longest refusal {producer.longest_refusal:.2f} s, {again} ran twice")


def test_a_slot_that_moves_to_another_node_under_load_takes_everything_along(
    cluster: RedisCluster, store: Store, trees: Trees, ledger: Ledger
) -> None:
    with world_on_cluster(cluster, store) as world:
        # Given a tree with a backlog, and somebody who goes on sending
        backlog = world.send(short() for _ in range(500))
        tree = start(trees, world)
        moving = time.monotonic()
        with Producer(world.broker, short) as producer:
            until(lambda: len(ledger.completed()) > 50, 10, tree.story)

            # When the queue, and then what is common to all of them, moves to another node
            for key in (a_key(world), f"{world.namespace}:{{*}}:leases", a_key(world)):
                cluster.move(key)
                moved, known = time.monotonic(), len(producer.acknowledged)
                until(lambda known=known: len(producer.acknowledged) > known + 20, 10, tree.story)
                took = seconds_until_resumed(tree, ledger, moved)
                assert took < within(5)

        # Then nothing is lost, and nobody has been taken for dead
        fault = Fault("move", frozenset(), moving, moved + took)
        again = finish(world, tree, ledger, [*backlog, *producer.acknowledged], fault)
        assert again == 0
        assert producer.longest_refusal < within(2 * PATIENT / 1000)
        print(
            f"{len(producer.acknowledged)} acknowledged, {len(producer.refusals)} refused, resumed after {took:.2f} s"
        )


@pytest.mark.parametrize("wait_replicas", [1, 0])
def test_after_a_failover_the_system_goes_on_and_sends_that_waited_for_a_replica_are_not_lost(
    wait_replicas: int, store: Store, trees: Trees, ledger: Ledger
) -> None:
    with RedisSentinels(replicas=2, min_replicas_max_lag=10) as servers:
        hosts = ",".join(f"{host}:{port}" for host, port in servers.addresses)
        url = f"redis+sentinel://{hosts}/{servers.name}/0"
        with world_on(url, store, wait_replicas=wait_replicas) as world:
            # Given a tree with a backlog
            backlog = world.send(short() for _ in range(500))
            tree = start(trees, world, LEASE=LEASE)
            with Producer(world.broker, short) as producer:
                until(lambda: len(ledger.completed()) > 100, 10, tree.story)

                # When the master is killed, whose last words no replica has heard
                killed, old, replicas = time.monotonic(), servers.master, servers.replicas
                for replica in replicas:
                    replica.suspend()
                old.command("CLIENT", "KILL", "TYPE", "replica")
                known = len(producer.acknowledged)
                until(lambda: producer.refusals or len(producer.acknowledged) > known + 20, 10, tree.story)
                old.kill()
                for replica in replicas:
                    replica.resume()
                servers.wait_until_promoted(old)
                back = time.monotonic()

                # Then everybody finds the new one
                took = seconds_until_resumed(tree, ledger, back)
                known = len(producer.acknowledged)
                until(lambda: len(producer.acknowledged) > known + 30, 15, tree.story)
            sent = [*backlog, *producer.acknowledged]

            # And what it has comes to its end
            until(lambda: world.held() == 0, 30, tree.story)
            assert tree.stop() == 0, tree.story()
            lost = set(sent) - ledger.completed()
            print(f"promoted after {back - killed:.2f} s, resumed {took:.2f} s later; {len(sent)} acknowledged")
            print(f"{len(producer.refusals)} refused, {len(lost)} lost, {repeats(ledger)} ran twice")
            assert took < within(5)
            assert not (wait_replicas and lost)
            assert all(store.states().get(message_id) != "succeeded" for message_id in lost)


def test_a_full_redis_refuses_to_send_at_once_and_empties_itself(
    patient: Patient, trees: Trees, ledger: Ledger
) -> None:
    world, server, _ = patient
    # Given a server that is full of messages
    sent = world.send(misbehave.echo.message("x" * 4_000) for _ in range(600))
    server.config_set("maxmemory", server.info("memory")["used_memory"] - 500_000)
    with pytest.raises(BrokerError, match="out of memory"):
        world.broker.enqueue(short())

    # When workers come while somebody goes on trying
    with Producer(world.broker, short) as producer:
        until(lambda: producer.refusals)
        tree = start(trees, world)
        began = time.monotonic()
        until(lambda: len(producer.acknowledged) > 50, 20, tree.story)
        took = time.monotonic() - began

    # Then they make room, and sending works again
    assert producer.longest_refusal < within(1.5)
    finish(world, tree, ledger, [*sent, *producer.acknowledged])
    assert repeats(ledger) == 0
    print(f"longest refusal {producer.longest_refusal:.2f} s, sending again after {took:.2f} s of work")


@pytest.mark.parametrize("budget", [None, 2_000])
def test_what_a_redis_that_was_emptied_has_forgotten_is_lost_or_unknown_and_never_green(
    budget: int | None, patient: Patient, store: Store
) -> None:
    world, server, _ = patient
    broker = world.broker
    broker.journal_max_bytes = budget or broker.journal_max_bytes
    with override_settings(DJANGO_TASKS_Q={"RECORDS": {"DATABASE": store.alias}}):
        # Given messages that wait, and records of them; with a small budget, of the last ones only
        mirror = MirrorService(broker, "me")
        world.send(misbehave.noop.message() for _ in range(40))
        world.send(misbehave.noop.message_with_options(delay=60_000) for _ in range(5))
        until(lambda: mirror.work() or not world.broker.journal.partitions())
        before = Counter(store.states().values())

        # When the server forgets everything
        server.command("FLUSHALL")
        reconciler = Reconciler(broker, Database(store.alias), "me", quiet=0)
        until(lambda: reconciler.work() or not set(store.states().values()) & {"enqueued", "delayed"})

    # Then the records say so
    after = Counter(store.states().values())
    print(f"{dict(before)} became {dict(after)}")
    assert after["dead"] == before["enqueued"] + before["delayed"]
    assert set(after) <= {"dead", "unknown"}
    assert set(world.dead().values()) == {"lost"}


def test_workers_of_a_redis_that_was_emptied_are_replaced_and_take_what_comes_then(
    patient: Patient, trees: Trees, ledger: Ledger
) -> None:
    world, server, _ = patient
    # Given a tree that runs something, with something else that waits
    tree = start(trees, world, "-p", "1", "-t", "2")
    running, delayed = world.send([misbehave.sleep.message(1.0), misbehave.noop.message_with_options(delay=60_000)])
    until(lambda: running in ledger.started(), 10, tree.story)
    until(lambda: world.states().get(delayed) == "delayed", 10, tree.story)

    # When the server forgets everything and another message is sent
    server.command("FLUSHALL")
    began = time.monotonic()
    [later] = world.send([misbehave.noop.message()])

    # Then it runs, and nothing that is gone looks as if it had been done
    until(lambda: later in ledger.completed(), 10, tree.story)
    took = time.monotonic() - began
    until(lambda: world.states().get(later) == "succeeded", 5, tree.story)
    assert tree.stop() == 0, tree.story()
    assert world.states()[delayed] != "succeeded"
    print(f"took the next message after {took:.2f} s")


def _stop(server: PrivateRedis, proxy: TcpProxy) -> Callable[[], None]:
    server.suspend()
    return server.resume


def _hold(server: PrivateRedis, proxy: TcpProxy) -> Callable[[], None]:
    proxy.hold()
    return proxy.restore


@pytest.mark.parametrize("silence", [_stop, _hold])
def test_a_silent_redis_makes_senders_fail_in_time_and_workers_wait(
    silence: Callable[[PrivateRedis, TcpProxy], Callable[[], None]],
    server: PrivateRedis,
    store: Store,
    trees: Trees,
    ledger: Ledger,
) -> None:
    with TcpProxy(server.address) as proxy, world_on(f"redis://{proxy.host}:{proxy.port}/0", store) as world:
        # Given a tree at work, and somebody who goes on sending
        tree = start(trees, world)
        with Producer(world.broker, short) as producer:
            until(lambda: len(ledger.completed()) > 50, 10, tree.story)

            # When nobody is answered for longer than they are ready to wait
            silent = time.monotonic()
            end = silence(server, proxy)
            until(lambda: producer.refusals)
            end()
            back = time.monotonic()
            took = seconds_until_resumed(tree, ledger, back)
            known = len(producer.acknowledged)
            until(lambda: len(producer.acknowledged) > known + 50, 10, tree.story)

        # Then each send has failed in its time, and all go on
        assert producer.longest_refusal < within(1.5 * PATIENT / 1000)
        assert took < within(5)
        again = finish(world, tree, ledger, producer.acknowledged, Fault("silence", frozenset(), silent, back + took))
        assert again == 0
        print(f"longest refusal {producer.longest_refusal:.2f} s, resumed after {took:.2f} s, {again} ran twice")


def test_a_silent_node_makes_senders_fail_in_time_and_workers_wait(
    cluster: RedisCluster, store: Store, trees: Trees, ledger: Ledger
) -> None:
    with world_on_cluster(cluster, store) as world:
        tree = start(trees, world)
        with Producer(world.broker, short) as producer:
            until(lambda: len(ledger.completed()) > 50, 10, tree.story)

            # When the node of the queue says nothing until the others take it for dead
            node, silent = cluster.master_of(a_key(world)), time.monotonic()
            node.suspend()
            until(lambda: len(producer.refusals) > 1, 10)
            node.resume()
            cluster.wait_until_whole()
            back = time.monotonic()
            took = seconds_until_resumed(tree, ledger, back)

        assert producer.longest_refusal < within(2 * PATIENT / 1000)
        assert took < within(5)
        fault = Fault("silence", frozenset(), silent, back + took)
        assert finish(world, tree, ledger, producer.acknowledged, fault) == 0
        print(f"longest refusal {producer.longest_refusal:.2f} s, resumed after {took:.2f} s")


def test_a_redis_that_is_far_away_costs_time_and_nothing_else(
    server: PrivateRedis, world: World, trees: Trees, ledger: Ledger
) -> None:
    with TcpProxy(server.address) as proxy:
        # Given workers with short leases whose every call takes 200 ms
        tree = start(trees, world, BROKER_URL=f"redis://{proxy.host}:{proxy.port}/0", LEASE=LEASE)
        proxy.delay(100)

        # When they work for longer than two leases, and than it takes the rescuer to come twice
        began = time.monotonic()
        sent = world.send([misbehave.sleep.message(5.5), *(misbehave.sleep.message(0.2) for _ in range(60))])
        until(lambda: len(ledger.completed()) == len(sent), 20, tree.story)
        took = time.monotonic() - began
        proxy.restore()

        # Then nobody was taken for dead, and nothing ran twice
        finish(world, tree, ledger, sent)
        assert repeats(ledger) == 0
        assert "is gone" not in tree.log and "declared dead" not in tree.log
        print(f"{len(sent)} messages in {took:.1f} s")


def test_forgotten_scripts_and_closed_connections_cost_nothing(patient: Patient, trees: Trees, ledger: Ledger) -> None:
    world, server, _ = patient
    # Given a tree at work, and somebody who goes on sending
    tree = start(trees, world)
    began = time.monotonic()
    with Producer(world.broker, short) as producer:
        until(lambda: len(ledger.completed()) > 20, 10, tree.story)

        # When an operator does what operators do
        server.config_set("timeout", 1)
        for _ in range(5):
            server.command("SCRIPT", "FLUSH")
            for kind in ("normal", "pubsub"):
                server.command("CLIENT", "KILL", "TYPE", kind)
            known = len(ledger.completed())
            until(lambda known=known: len(ledger.completed()) > known + 30, 10, tree.story)

    # And the last one comes after everybody was idle for longer than the server allows
    until(lambda: len(ledger.completed()) >= len(producer.acknowledged), 10, tree.story)
    until(lambda: not connected_normally(server), 5)
    [last] = world.send([short()])

    # Then everything ran, and once
    fault = Fault("operator", frozenset(), began, time.monotonic())
    again = finish(world, tree, ledger, [*producer.acknowledged, last], fault)
    assert again == 0
    print(f"{len(producer.acknowledged)} acknowledged, {len(producer.refusals)} refused, {again} ran twice")


@pytest.mark.slow
def test_whatever_happens_to_redis_and_to_the_way_there_every_message_runs_once(
    server: PrivateRedis, store: Store, trees: Trees, ledger: Ledger
) -> None:
    print(f"seed {SEED}")
    chance = random.Random(SEED)
    with TcpProxy(server.address) as proxy, world_on(f"redis://{proxy.host}:{proxy.port}/0", store) as world:
        # Given a tree with a backlog, and somebody who goes on sending
        backlog = world.send(short() for _ in range(500))
        tree = start(trees, world)

        # When one thing after another happens
        with Producer(world.broker, short) as producer:
            struck = Counter(_strike(chance, server, proxy) for _ in range(STRIKES))
            known = len(producer.acknowledged)
            until(lambda: len(producer.acknowledged) > known + 30, 10, tree.story)

        # Then it is as if nothing had
        again = finish(world, tree, ledger, [*backlog, *producer.acknowledged])
        assert again == 0
        assert producer.longest_refusal < within(1.5 * PATIENT / 1000)
        print(f"{dict(struck)}; {len(producer.acknowledged)} acknowledged, {len(producer.refusals)} refused")


def _strike(chance: random.Random, server: PrivateRedis, proxy: TcpProxy) -> str:
    """One fault by chance, after a moment of peace; those that last are over at the end. Returns its name."""
    deeds: dict[str, tuple[Callable[[], object], Callable[[], object] | None]] = {
        "kill": (server.kill, server.start),
        "suspend": (server.suspend, server.resume),
        "cut": (proxy.cut, proxy.restore),
        "hold": (proxy.hold, proxy.restore),
        "hold one way": (lambda: proxy.hold(chance.choice(list(Direction))), proxy.restore),
        "reset": (proxy.reset_connections, None),
        "forget scripts": (lambda: server.command("SCRIPT", "FLUSH"), None),
    }
    name = chance.choice(list(deeds))
    begin, end = deeds[name]
    _let_pass(chance.uniform(0.1, 0.5))
    begin()
    if end is not None:
        _let_pass(chance.uniform(0, 1.5 * PATIENT / 1000))
        end()
    return name


def _let_pass(seconds: float) -> None:
    over = time.monotonic() + seconds
    until(lambda: time.monotonic() >= over)


def connected_normally(server: PrivateRedis) -> list[Any]:
    """Clients that the server lost sight of, or would for being idle: all but who waits, and who asks this."""
    with server.client() as client:
        return [each for each in client.client_list() if each["cmd"] != "client|list" and int(each["idle"]) >= 2]


def test_a_killed_keeper_and_a_killed_worker_are_replaced_at_once_and_everything_else_runs_once(
    patient: Patient, trees: Trees, ledger: Ledger
) -> None:
    world = patient.world
    tree = start(trees, world, LEASE=LEASE)
    sent = world.send(misbehave.sleep.message(0.2) for _ in range(60))
    until(lambda: len(ledger.completed()) > 8, 10, tree.story)

    victim, before = tree.kill(KEEPER), time.monotonic()
    until(lambda: tree.pids(KEEPER) not in ([], [victim]), 5, tree.story)
    took = time.monotonic() - before

    # What the worker runs when it is killed runs again, and only that
    until(lambda: any(ledger.open_runs(pid) for pid in tree.workers), 10, tree.story)
    worker, killed = next(pid for pid in tree.workers if ledger.open_runs(pid)), time.monotonic()
    tree.signal(signal.SIGKILL, worker)

    finish(world, tree, ledger, sent, Fault("kill", frozenset([worker]), killed, killed + 1))
    assert repeats(ledger) <= 4
    drained = time.monotonic() - before
    print(f"new keeper after {took:.2f} s, records final after {drained:.1f} s")
    assert drained < within(SERVICES_LEASE), "the new keeper waited for the old one's leases"


def test_what_a_lost_host_held_is_run_by_another_one_within_its_lease_and_a_rescue_interval(
    patient: Patient, store: Store, trees: Trees, ledger: Ledger, tmp_path: Path
) -> None:
    world = patient.world
    # Given two hosts in the middle of tasks, with more behind these
    gate = tmp_path / "gate"
    lost, other = (start(trees, world, "-p", "1", "-t", "4", LEASE=LEASE) for _ in range(2))
    sent = world.send(misbehave.wait_for_file.message(str(gate)) for _ in range(24))
    [victim] = lost.workers
    until(lambda: len(ledger.open_runs(victim)) == 4, 10, lost.story)
    held = ledger.open_runs(victim)

    # When everything of it ends in one moment
    let_go_of_services(store)
    before = time.monotonic()
    lost.kill_everything()
    gate.touch()

    # Then the other one runs what it held
    limit = LEASE / 1000 + 6
    until(lambda: all(len(ledger.runs()[message_id]) == 2 for message_id in held), limit + 2, other.story)
    took = max(ledger.runs()[message_id][1].start for message_id in held) - before
    assert took < within(limit)
    finish(world, other, ledger, sent, Fault("host lost", frozenset([victim]), before, before + 1))
    print(f"rescued after {took:.1f} s")


def test_a_process_has_two_connections_and_says_next_to_nothing_when_idle(
    server: PrivateRedis, world: World, trees: Trees, ledger: Ledger
) -> None:
    tree = start(trees, world)
    workers, keeper = tree.workers, tree.keeper

    def connections(pid: int) -> set[int]:
        return connections_of.local_ports(pid, server.port)

    # Under load
    most: Counter[int] = Counter()
    sent = world.send(misbehave.noop.message() for _ in range(1_000))
    while len(ledger.completed()) < len(sent):
        for pid in (*workers, keeper):
            most[pid] = max(most[pid], len(connections(pid)))
    drain(world, 10, tree.story)

    # And idle, for longer than anybody rests
    seconds = 5.0
    for _ in range(3):  # what the load left to be done may take a while
        owners = {port: pid for pid in (*workers, keeper) for port in connections(pid)}
        asked = Counter(owners.get(port) for port in commands_within(server, seconds))
        if all(asked[pid] < seconds for pid in (*workers, keeper)):
            break
    idle = {pid: len(connections(pid)) for pid in (*workers, keeper)}
    print(f"connections under load {dict(most)}, idle {idle}; keeper {keeper}; commands in {seconds} s {dict(asked)}")
    assert all(idle[pid] <= 2 and most[pid] <= 2 for pid in workers)
    assert all(asked[pid] < seconds for pid in (*workers, keeper))

    # And what comes then is in the records as soon as ever
    began = time.monotonic()
    [last] = world.send([misbehave.noop.message()])
    until(lambda: world.states().get(last) == "succeeded", 5, tree.story)
    took = time.monotonic() - began
    print(f"recorded after {took:.2f} s")
    assert took < within(1)
    assert tree.stop() == 0


def commands_within(server: PrivateRedis, seconds: float) -> list[int]:
    """The client's port for each command that the server is given within this time; not what scripts do."""
    end = f"end-{os.getpid()}"
    ports = []
    with server.client() as client, client.monitor() as monitor:
        _let_pass(seconds)
        server.command("ECHO", end)
        while end not in (heard := monitor.next_command())["command"]:
            if heard["client_type"] != "lua":
                ports.append(int(heard["client_port"]))
    return ports


# Below the level of trees


@pytest.fixture(params=["redis", "redis-cluster"])
def broker(request: pytest.FixtureRequest) -> Iterator[RedisBroker]:
    with open_broker(request.param) as broker:
        broker.declare_queue("default")
        yield broker


def test_what_a_worker_has_settled_comes_back_when_the_server_has_forgotten_it(broker: RedisBroker) -> None:
    # Given a worker that runs one message and has settled another, of which a replica has not heard
    broker.enqueue_many(misbehave.noop.message() for _ in range(2))
    consumer = broker.consume(WorkerInfo("w"))
    settled, running = consumer.exchange([], 2).deliveries
    replica = Snapshot(broker)
    consumer.exchange([Settlement(settled, Done())], 0)

    # When that one takes over
    replica.restore()
    consumer.exchange([], 0)

    # Then only what nobody runs is there to be run again
    [again] = consumer.exchange([], 2).deliveries
    assert again.message_id == settled.message_id
    answer = consumer.exchange([Settlement(again, Done()), Settlement(running, Done())], 2)
    assert not answer.refused and not answer.deliveries
    consumer.close()


def test_a_call_of_a_waiting_worker_that_arrives_late_claims_nothing(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker that has asked in vain, and a copy of its call that is still on its way
    calls: list[Trade] = []
    carry_out = broker.carry_out

    def overheard(trades: Sequence[Trade]) -> list[Any]:
        calls.extend(trades)
        return carry_out(trades)

    monkeypatch.setattr(broker, "carry_out", overheard)
    consumer = broker.consume(WorkerInfo("w"))
    assert not consumer.exchange([], 1).deliveries
    late = list(calls)

    # When it arrives after messages, of which none was brought to the worker because there are several
    broker.enqueue_many([misbehave.noop.message(), misbehave.noop.message()])
    carry_out(late)

    # Then they are there for whoever asks now
    assert broker.counts()[0].ready == 2
    until(lambda: consumer.exchange([], 1).deliveries, 2)
    consumer.close()


def test_while_a_slot_moves_its_queue_is_a_broker_that_is_away_and_nothing_is_lost(
    cluster: RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "PATIENCE", 0.3)
    # Given a queue of a cluster with one message that waits, one that is delayed, and one at work
    with redis_broker(cluster.url.replace("redis://", "redis+cluster://")) as broker:
        broker.declare_queue("default")
        broker.declare_queue("elsewhere")
        sent = [misbehave.noop.message() for _ in range(2)]
        broker.enqueue_many(sent)
        broker.enqueue(misbehave.noop.message_with_options(delay=A_MINUTE))
        consumer = broker.consume(WorkerInfo("w", {"default": 1}))
        [running] = consumer.exchange([], 1).deliveries
        before = held(broker)
        assert before == (1, 1, 1)
        key = f"{broker.keys.namespace}:{{default}}:messages"

        # When its slot stands still halfway: Redis answers TRYAGAIN to whatever needs keys of both nodes
        with cluster.moving(key):
            with pytest.raises(BrokerConnectionError, match="moving its data"):
                broker.enqueue(misbehave.noop.message())
            with pytest.raises(BrokerConnectionError, match="moving its data"):
                consumer.exchange([Settlement(running, Done())], 1)
            with pytest.raises(BrokerConnectionError):
                broker.counts()
            # Then other queues go on
            if cluster.slot(key) != cluster.slot(f"{broker.keys.namespace}:{{elsewhere}}:messages"):
                broker.enqueue(Message("elsewhere", "noop", (), {}, {}))

        # And when it has moved everything is there, and settled once
        assert held(broker) == before
        answer = consumer.exchange([Settlement(running, Done())], 2)
        assert [one.message_id for one in answer.deliveries] == [
            one.message_id for one in sent if one.message_id != running.message_id
        ]
        assert not answer.refused
        broker.enqueue(misbehave.noop.message())
        assert held(broker) == (1, 1, 1)
        consumer.close()


def held(broker: RedisBroker) -> tuple[int, int, int]:
    """What the queue has ready, at work and delayed."""
    [counts] = [one for one in broker.counts() if one.queue_name == "default"]
    return counts.ready, counts.in_flight, counts.delayed


class Snapshot:
    """Everything that a broker keeps, as it is now."""

    def __init__(self, broker: RedisBroker) -> None:
        self._url = URL if not broker.link.is_cluster else cluster_url()
        self._pattern = f"{broker.keys.namespace}:*"
        with servers(self._url) as clients:
            self._kept = [{key: client.dump(key) for key in client.scan_iter(self._pattern)} for client in clients]

    def restore(self) -> None:
        with servers(self._url) as clients:
            for client, kept in zip(clients, self._kept, strict=True):
                for key in list(client.scan_iter(self._pattern)):
                    client.delete(key)
                for key, value in kept.items():
                    client.restore(key, 0, value)
