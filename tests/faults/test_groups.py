"""Groups whose members are killed at every step of their last moments."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from django_tasks_q import Actor, Broker, actor, group, set_broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.redis import RedisBroker
from django_tasks_q.deliveries import Settlement, WorkerInfo
from django_tasks_q.judge import make_judge
from django_tasks_q.middleware import GroupCallbacks
from django_tasks_q.rate_limits import RateLimiterBackend
from django_tasks_q.rate_limits.backends import DatabaseBackend, RedisBackend
from django_tasks_q.results import ResultBackend, Results
from django_tasks_q.results.backends import DatabaseBackend as DatabaseResults
from django_tasks_q.results.backends import RedisBackend as RedisResults
from django_tasks_q.testing import drain
from django_tasks_q.worker.board import Board
from django_tasks_q.worker.executor import Executor
from django_tasks_q.worker.slot import Slot
from tests.support.redis_brokers import URL, redis_broker, remove_keys

pytestmark = pytest.mark.lifecycle

SEED = 20_240_229
GROUPS = 50
MOMENTS = 9
"""Steps of two members from their claim on: each of the hundred kills is before one of them."""

Calls = list[tuple[str, Any]]


class Side:
    """One process's view of a broker, its actors, and the stores beside it."""

    def __init__(self, broker: Broker, limits: RateLimiterBackend, results: ResultBackend, calls: Calls) -> None:
        self.broker = broker
        self.limits = limits
        self.results = results
        broker.add_middleware(Results(backend=results, store_results=True))
        broker.add_middleware(GroupCallbacks(limits))
        self.work = self._declare(lambda n: n, "work", "members")
        self.total = self._declare(lambda *args: calls.append(("total", args)), "total", "after")
        self.note = self._declare(lambda n: calls.append(("note", n)), "note", "after")

    def _declare(self, fn: Callable[..., Any], name: str, queue: str) -> Actor[Any, Any]:
        declared: Actor[Any, Any] = actor(fn, actor_name=name, queue_name=queue, broker=self.broker)
        return declared


@contextmanager
def open_sides(kind: str, calls: Calls) -> Iterator[Callable[[], Side]]:
    """What opens the same broker again, as another process does."""
    if kind == "default":
        yield lambda: Side(DatabaseBroker(), DatabaseBackend(), DatabaseResults(), calls)
        return
    with redis_broker() as broker:
        name = broker.keys.namespace

        def redis_side() -> Side:
            limits = RedisBackend(url=URL, namespace=f"{name}-limits")
            results = RedisResults(url=URL, namespace=f"{name}-results")
            return Side(RedisBroker(url=URL, namespace=name), limits, results, calls)

        yield redis_side
        for part in ("limits", "results"):
            remove_keys(URL, f"{name}-{part}")


def die_before(moment: int, side: Side, consumer: Any) -> None:
    """Kill this process before one of the calls that make up the end of a member."""
    left = moment

    def mortal(owner: Any, name: str, counts: Callable[..., bool] = lambda *_: True) -> None:
        call = getattr(owner, name)

        def step(*args: Any, **options: Any) -> Any:
            nonlocal left
            if counts(*args):
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **options)

        setattr(owner, name, step)

    mortal(side.limits, "arrive")
    mortal(side.limits, "arrived")
    mortal(side.results, "store")
    mortal(consumer, "exchange", lambda settlements, *_: bool(settlements))


def live(open_side: Callable[[], Side], worker_id: str, moment: int) -> None:
    """Run members until there is none, or the moment has come."""
    side = open_side()
    consumer = side.broker.consume(WorkerInfo(worker_id, {"members": 1}, threads=1))
    die_before(moment, side, consumer)
    executor, slot = Executor(side.broker, worker_id=worker_id), Slot(Board(1, 1).regions[0], 0)
    settlements: list[Settlement] = []
    while True:
        deliveries = consumer.exchange(settlements, 1).deliveries
        if not deliveries:
            os.kill(os.getpid(), signal.SIGKILL)
        slot.begin(deliveries[0])
        settlements = [executor.process(deliveries[0], slot).settlement]
        slot.end()


@pytest.mark.parametrize("kind", ["default", "redis"])
def test_of_groups_whose_last_members_are_killed_each_ends_exactly_once(kind: str, databases: None) -> None:
    """A pair of workers for each group, which have its members at the same time; each dies at a moment of its own."""
    chance = random.Random(SEED)
    calls: Calls = []
    with open_sides(kind, calls) as open_side:
        side = open_side()
        set_broker(side.broker)
        judge = make_judge(side.broker)
        for number in range(GROUPS):
            members = group([side.work.message(number), side.work.message(number)])
            members.add_completion_callback(side.note.message(number))
            (members | side.total.message()).run()
            side.results.release_thread()
            connections.close_all()
            pids = {}
            for twin in range(2):
                worker_id = f"{number}-{twin}"
                moment = chance.randrange(MOMENTS)
                pid = os.fork()
                if pid == 0:
                    try:
                        live(open_side, worker_id, moment)
                    finally:
                        os._exit(1)
                pids[pid] = worker_id
            for pid, worker_id in pids.items():
                _, status = os.waitpid(pid, 0)
                assert os.WIFSIGNALED(status), f"{worker_id} did not live until it was killed"
                side.broker.bury(worker_id, [], judge)
        drain(broker=side.broker, limit=10 * GROUPS)
        side.broker.close()
    assert Counter(calls_of("note", calls)) == Counter(range(GROUPS))
    assert Counter(map(str, calls_of("total", calls))) == Counter(f"([{n}, {n}],)" for n in range(GROUPS))


def calls_of(name: str, calls: Calls) -> list[Any]:
    return [argument for called, argument in calls if called == name]
