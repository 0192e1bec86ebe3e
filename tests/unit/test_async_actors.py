"""Async actors: many at once on one event loop, and everything an actor may rely on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, sync_to_async
from django.db import connection, connections
from django.db.backends.signals import connection_created

from django_tasks_q import (
    Message,
    Middleware,
    Shutdown,
    TimeLimitExceeded,
    Worker,
    actor,
    get_current_message,
    get_message_id,
    get_retry_count,
    pipeline,
)
from django_tasks_q.asyncio import EventLoopThread, async_to_sync, get_event_loop_thread
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.middleware import AsyncIO
from django_tasks_q.middleware.database_connections import DatabaseConnections
from tests.support.waiting import until, within

Work = Callable[..., AbstractContextManager[Worker]]


def test_a_thousand_that_wait_take_no_longer_than_a_few(stub: StubBroker, work: Work) -> None:
    done: list[int] = []

    @actor(broker=stub)
    async def wait(number: int) -> None:
        await asyncio.sleep(0.1)
        done.append(number)

    for number in range(1_000):
        wait.send(number)
    began = time.monotonic()
    with work(stub):
        stub.join("default", timeout=10_000)
        took = time.monotonic() - began

    assert sorted(done) == list(range(1_000))
    assert took < within(2)


def test_they_take_no_thread_from_the_others(stub: StubBroker, work: Work) -> None:
    gate = threading.Event()

    @actor(broker=stub)
    async def wait() -> None:
        while not gate.is_set():
            await asyncio.sleep(0.01)

    @actor(broker=stub, queue_name="others")
    def other() -> None: ...

    with work(stub, worker_threads=1) as worker:
        for _ in range(20):
            wait.send()
        until(lambda: sum(slot.busy for slot in worker.slots) == 20)
        other.send()
        stub.join("others", timeout=5_000)
        gate.set()
        stub.join("default", timeout=5_000)


def test_with_all_places_taken_the_threads_go_on_and_the_rest_waits_where_others_find_it(
    stub: StubBroker, work: Work
) -> None:
    gate = threading.Event()
    ran: list[str] = []

    @actor(broker=stub)
    async def wait(number: int) -> None:
        while not gate.is_set():
            await asyncio.sleep(0.01)
        ran.append(f"async {number}")

    @actor(broker=stub, queue_name="others")
    def other(number: int) -> None:
        ran.append(f"other {number}")

    for number in range(5):
        wait.send(number)
    with work(stub, async_concurrency=2) as worker:
        until(lambda: sum(slot.busy for slot in worker.slots) == 2)
        until(lambda: held(stub, "default") == (3, 2))
        for number in range(5):
            other.send(number)
        stub.join("others", timeout=5_000)
        until(lambda: held(stub, "default") == (3, 2))  # one that came before its kind was known has been given back
        assert not worker.exhausted
        gate.set()
        stub.join("default", timeout=5_000)

    assert sorted(ran) == [f"{kind} {number}" for kind in ("async", "other") for number in range(5)]


def test_a_place_that_comes_free_is_filled_at_once(stub: StubBroker, work: Work) -> None:
    @actor(broker=stub)
    async def quick() -> None: ...

    began = time.monotonic()
    with work(stub, async_concurrency=1, worker_timeout=60_000):
        for _ in range(20):
            quick.send()
        stub.join("default", timeout=20_000)

    assert time.monotonic() - began < within(10)


def held(broker: StubBroker, queue_name: str) -> tuple[int, int]:
    """How many messages wait in a queue, and how many workers have."""
    (counts,) = [counts for counts in broker.counts() if counts.queue_name == queue_name]
    return counts.ready, counts.in_flight


def test_no_more_run_at_once_than_they_may(stub: StubBroker, work: Work) -> None:
    running, most = 0, 0

    @actor(broker=stub)
    async def count() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1

    for _ in range(20):
        count.send()
    with work(stub, async_concurrency=3):
        stub.join("default", timeout=10_000)

    assert most == 3


def test_each_knows_its_own_message_wherever_it_waits(stub: StubBroker, work: Work) -> None:
    seen: dict[str, set[Any]] = {}

    async def helper() -> str | None:
        await asyncio.sleep(0)
        return get_message_id()

    @actor(broker=stub)
    async def look() -> None:
        ids = {get_message_id()}
        for _ in range(3):
            await asyncio.sleep(0.005)
            ids |= {get_message_id(), await helper(), await asyncio.create_task(helper())}
        ids.add(await asyncio.to_thread(get_message_id))
        seen[get_message_id() or ""] = ids

    sent = [look.send().message_id for _ in range(20)]
    with work(stub):
        stub.join("default", timeout=10_000)

    assert seen == {message_id: {message_id} for message_id in sent}


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "ordinary"])
def test_hooks_and_actor_share_a_context_and_the_next_message_has_another(
    stub: StubBroker, work: Work, is_async: bool
) -> None:
    mark: ContextVar[str] = ContextVar("mark", default="")
    heard: list[str] = []

    class Marking(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            heard.append(f"before {mark.get()}")
            self.token = mark.set("hook")

        def after_process_message(self, broker: Any, message: Any, **facts: Any) -> None:
            heard.append(f"after {mark.get()}")
            mark.reset(self.token)

    def run() -> None:
        heard.append(f"actor {mark.get()}")
        mark.set("actor")

    async def arun() -> None:
        run()

    stub.add_middleware(Marking())
    look = actor(arun if is_async else run, broker=stub, actor_name="look")
    for _ in range(2):
        look.send()
    with work(stub, worker_threads=1):
        stub.join("default", timeout=5_000)

    assert heard == ["before ", "actor hook", "after actor"] * 2


def test_what_outlives_its_message_and_sends_it_again_sends_a_message(stub: StubBroker, work: Work) -> None:
    runs: list[str | None] = []
    gate, sent = threading.Event(), threading.Event()
    kept: list[asyncio.Task[None]] = []

    async def again() -> None:
        while not gate.is_set():
            await asyncio.sleep(0.01)
        message = get_current_message()
        assert message is not None
        stub.enqueue(message)
        sent.set()

    @actor(broker=stub)
    async def once_more() -> None:
        runs.append(get_message_id())
        if len(runs) == 1:
            kept.append(asyncio.create_task(again()))

    first = once_more.send().message_id
    with work(stub):
        stub.join("default", timeout=5_000)
        gate.set()
        assert sent.wait(5)
        stub.join("default", timeout=5_000)

    assert runs == [first, first]


def test_hooks_run_in_a_worker_thread_with_the_message_at_hand(stub: StubBroker, work: Work) -> None:
    heard: list[tuple[str, bool, str | None]] = []

    class Listener(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            self._hear("before")

        def after_process_message(self, broker: Any, message: Any, **facts: Any) -> None:
            self._hear(f"after {facts['result']}")

        def _hear(self, what: str) -> None:
            heard.append((what, threading.current_thread() is get_event_loop_thread(), get_message_id()))

    stub.add_middleware(Listener())

    @actor(broker=stub)
    async def answer() -> int:
        assert threading.current_thread() is get_event_loop_thread()
        return 42

    sent = answer.send().message_id
    with work(stub):
        stub.join("default", timeout=5_000)

    assert heard == [("before", False, sent), ("after 42", False, sent)]


def test_one_that_fails_is_tried_again(stub: StubBroker, work: Work) -> None:
    attempts: list[int | None] = []

    @actor(broker=stub, min_backoff=1, max_backoff=1)
    async def fail_twice() -> None:
        await asyncio.sleep(0)
        attempts.append(get_retry_count())
        if len(attempts) < 3:
            raise ValueError("not yet")

    fail_twice.send()
    with work(stub):
        stub.join("default", timeout=5_000)

    assert attempts == [0, 1, 2]


@pytest.mark.parametrize("is_async", [True, False], ids=["an async actor", "an ordinary one with a loop"])
def test_the_thread_that_coroutines_share_for_the_database_is_looked_after_too(
    stub: StubBroker, work: Work, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(connections, "close_all", lambda: closed.append(threading.current_thread().name))

    def query() -> None:
        assert threading.current_thread().name == "beside_0"
        connection_created.send(type(connections["default"]), connection=connections["default"])
        connection.queries_log.append({"sql": "SELECT 1", "time": "0"})

    async def use_database() -> None:
        await sync_to_async(query)()

    stub.add_middleware(AsyncIO())
    stub.add_middleware(DatabaseConnections())
    fn = use_database if is_async else lambda: async_to_sync(use_database)()
    actor(fn, broker=stub, actor_name="use").send()
    with ThreadPoolExecutor(1, thread_name_prefix="beside") as beside:
        monkeypatch.setattr(SyncToAsync, "single_thread_executor", beside)
        with work(stub):
            stub.join("default", timeout=5_000)
            until(lambda: not beside.submit(lambda: len(connection.queries_log)).result())

    assert "beside_0" in closed


@pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt, asyncio.CancelledError, ValueError])
def test_whatever_it_raises_is_its_own_failure(stub: StubBroker, work: Work, exception: type[BaseException]) -> None:
    @actor(broker=stub, max_retries=0)
    async def fail() -> None:
        raise exception

    @actor(broker=stub, queue_name="others")
    async def other() -> None:
        await asyncio.sleep(0.01)

    fail.send()
    with work(stub):
        stub.join("default", timeout=5_000, fail_fast=False)
        other.send()
        stub.join("others", timeout=5_000)

    (letter,) = stub.dead_letters
    assert type(letter.exception) is exception


@pytest.mark.parametrize("end", ["exit in a task of its own", "stop the loop"])
def test_none_ends_the_loop_that_others_run_on(stub: StubBroker, work: Work, end: str) -> None:
    async def leave() -> None:
        sys.exit(1)

    @actor(broker=stub, max_retries=0)
    async def other(gate: str) -> None:
        while gate == "closed" and not ended:
            await asyncio.sleep(0.01)

    @actor(broker=stub, max_retries=0)
    async def bad() -> None:
        loop = asyncio.get_running_loop()
        if end == "stop the loop":
            loop.stop()
        else:
            await asyncio.wait([loop.create_task(leave())])
        ended.append(end)

    ended: list[str] = []
    for message in (other.message("closed"), bad.message()):
        stub.enqueue(message)
    with work(stub):
        until(lambda: ended)
        other.send("open")
        stub.join("default", timeout=5_000)


def test_a_loop_that_stumbles_goes_on_with_those_that_run_on_it(
    stub: StubBroker, work: Work, caplog: pytest.LogCaptureFixture
) -> None:
    @actor(broker=stub, max_retries=0)
    async def other() -> None:
        until_closed = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.2, until_closed.set_result, None)
        await until_closed

    with work(stub) as worker:
        assert worker._loop is not None
        loop = worker._loop._loop
        other.send()
        until(lambda: any(slot.busy for slot in worker.slots))
        stumble = _stumbling(loop._selector.select)  # type: ignore[attr-defined]
        loop._selector.select = stumble  # type: ignore[attr-defined]
        stub.join("default", timeout=5_000)
        other.send()
        stub.join("default", timeout=5_000)

    assert "The event loop stumbled, and goes on." in caplog.messages


def test_one_that_cancels_all_tasks_of_the_loop_makes_its_neighbours_fail_and_none_is_lost(
    stub: StubBroker, work: Work
) -> None:
    runs: list[int] = []

    @actor(broker=stub, max_retries=0)
    async def cancel_all() -> None:
        until(lambda: sum(slot.busy for slot in workers[0].slots) == 6)
        await asyncio.sleep(0)  # now they are tasks, and none has made its first step
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()

    @actor(broker=stub, max_retries=1, min_backoff=1, max_backoff=1)
    async def other(number: int) -> None:
        runs.append(number)

    workers: list[Worker] = []
    with work(stub) as worker:
        workers.append(worker)
        cancel_all.send()
        until(lambda: any(slot.busy for slot in worker.slots[2:]))
        for number in range(5):
            other.send(number)
        stub.join("default", timeout=10_000)

    assert sorted(runs) == [0, 1, 2, 3, 4]


def _stumbling(select: Callable[..., Any]) -> Callable[..., Any]:
    """Fails once."""
    errors: list[Exception] = [MemoryError()]

    def stumble(timeout: float | None = None) -> Any:
        if errors:
            raise errors.pop()
        return select(timeout)

    return stumble


def test_a_coroutine_that_nobody_awaits_is_no_success(stub: StubBroker, work: Work) -> None:
    async def work_hard() -> None: ...

    @actor(broker=stub, max_retries=0)
    def hidden() -> Any:
        return work_hard()

    hidden.send()
    with work(stub):
        stub.join("default", timeout=5_000, fail_fast=False)

    (letter,) = stub.dead_letters
    assert "hidden returned a coroutine that nobody awaits" in str(letter.exception)


def test_a_function_that_yields_is_no_actor(stub: StubBroker) -> None:
    def some() -> Any:
        yield 1

    async def more() -> Any:
        yield 1

    for fn in (some, more):
        with pytest.raises(TypeError, match=f"{fn.__name__} yields"):
            actor(fn, broker=stub)


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_child_that_one_forks_does_not_go_on_with_the_others(stub: StubBroker, work: Work) -> None:
    children: list[int] = []

    @actor(broker=stub)
    async def fork() -> None:
        if pid := os.fork():
            children.append(pid)

    fork.send()
    with work(stub):
        stub.join("default", timeout=5_000)
        (child,) = children
        try:
            until(lambda: os.waitpid(child, os.WNOHANG)[0], 5)
        except BaseException:
            os.kill(child, signal.SIGKILL)
            raise


def test_wrong_arguments_are_found_before_it_runs(stub: StubBroker, work: Work) -> None:
    @actor(broker=stub, max_retries=0)
    async def two(a: int, b: int) -> None: ...

    stub.enqueue(Message("default", "two", (1,)))
    with work(stub):
        stub.join("default", timeout=5_000, fail_fast=False)

    assert stub.dead_letters[0].outcome.reason == "bad_arguments"


def test_its_time_limit_cancels_it_and_lets_it_clean_up(stub: StubBroker, work: Work) -> None:
    cleaned: list[str] = []

    @actor(broker=stub, time_limit=50, max_retries=0)
    async def endless() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    endless.send()
    with work(stub):
        stub.join("default", timeout=5_000, fail_fast=False)

    (letter,) = stub.dead_letters
    assert cleaned == ["up"]
    assert type(letter.exception) is TimeLimitExceeded
    assert letter.outcome.reason == "time_limit"


def test_a_stop_interrupts_it_and_gives_it_back_uncounted(stub: StubBroker, work: Work) -> None:
    heard: list[str] = []

    @actor(broker=stub, notify_shutdown=True)
    async def long() -> None:
        heard.append("begun")
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            heard.append("cancelled")
            raise

    long.send()
    with work(stub):
        until(lambda: heard == ["begun"])

    (counts,) = [counts for counts in stub.counts() if counts.queue_name == "default"]
    assert heard == ["begun", "cancelled"]
    assert (counts.ready, counts.in_flight, counts.dead) == (1, 0, 0)
    assert stub.peek("default")[0].retries == 0


def test_a_stop_does_not_wait_for_its_last_hooks_longer_than_it_may(stub: StubBroker) -> None:
    begun, gate = threading.Event(), threading.Event()

    class Hanging(Middleware):
        def after_process_message(self, *args: Any, **facts: Any) -> None:
            begun.set()
            gate.wait(10)

    stub.add_middleware(Hanging())

    @actor(broker=stub)
    async def quick() -> None: ...

    worker = Worker(stub, worker_threads=1, worker_timeout=10)
    worker.start()
    quick.send()
    assert begun.wait(5)
    began = time.monotonic()
    worker.stop(10)
    took = time.monotonic() - began
    gate.set()

    assert took < within(5)


def test_a_result_goes_to_the_next_step_of_a_pipeline(stub: StubBroker, work: Work) -> None:
    results: list[int] = []

    @actor(broker=stub)
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    @actor(broker=stub)
    def keep(number: int) -> None:
        results.append(number)

    pipeline([double.message(4), double.message(), keep.message()], broker=stub).run()
    with work(stub):
        stub.join("default", timeout=5_000)

    assert results == [16]


def test_calling_one_runs_it_here_and_now(stub: StubBroker) -> None:
    @actor(broker=stub)
    async def add(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    assert add(1, 2) == 3
    assert asyncio.run(add.acall(1, 2)) == 3


class TestEventLoopThread:
    def test_other_threads_have_coroutines_run_on_it(self) -> None:
        thread = EventLoopThread()
        thread.start(timeout=5)

        async def where() -> threading.Thread:
            return threading.current_thread()

        assert thread.run_coroutine(where()) is thread
        thread.stop()
        assert not thread.is_alive()

    def test_an_error_is_raised_where_the_result_is_awaited(self) -> None:
        thread = EventLoopThread()
        thread.start()

        async def fail() -> None:
            raise TimeoutError("its own")

        with pytest.raises(TimeoutError, match="its own"):
            thread.run_coroutine(fail())
        thread.stop()

    def test_a_coroutine_that_ends_between_two_looks_is_no_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Slow(Future[int]):
            def result(self, timeout: float | None = None) -> int:
                if not self.done():
                    self.set_result(42)  # just after the time was up
                    raise TimeoutError
                return super().result(timeout)

        async def answer() -> int:
            return 42

        thread = EventLoopThread()
        thread.start()
        coroutine = answer()
        monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", lambda run, loop: run.close() or Slow())

        assert thread.run_coroutine(coroutine) == 42
        coroutine.close()
        thread.stop()

    def test_what_runs_is_cancelled_when_it_stops(self) -> None:
        thread = EventLoopThread()
        thread.start()
        ends: list[str] = []

        async def wait() -> None:
            ends.append("begun")
            try:
                await asyncio.sleep(60)
            finally:
                ends.append("cancelled")

        asyncio.run_coroutine_threadsafe(wait(), thread.loop)
        until(lambda: ends == ["begun"])
        thread.stop()

        assert ends == ["begun", "cancelled"]

    def test_without_one_a_coroutine_has_a_loop_of_its_own(self) -> None:
        async def add(a: int, b: int) -> int:
            return a + b

        assert get_event_loop_thread() is None
        assert async_to_sync(add)(1, 2) == 3


def test_an_interrupted_thread_cancels_what_it_waits_for() -> None:
    from django_tasks_q.threading import raise_thread_exception

    thread = EventLoopThread(interrupt_check_ival=0.01)
    thread.start()
    events: list[str] = []

    async def wait() -> None:
        events.append("begun")
        try:
            await asyncio.sleep(60)
        finally:
            events.append("cancelled")

    def run() -> None:
        try:
            thread.run_coroutine(wait())
        except Shutdown:
            events.append("raised")

    waiting = threading.Thread(target=run)
    waiting.start()
    until(lambda: events == ["begun"])
    raise_thread_exception(waiting.ident or 0, Shutdown)
    waiting.join(5)
    thread.stop()

    assert events == ["begun", "cancelled", "raised"]


def test_ordinary_actors_share_a_loop_where_the_middleware_has_one_run(stub: StubBroker, work: Work) -> None:
    loops: list[object] = []
    stub.add_middleware(AsyncIO())

    async def look() -> None:
        loops.append(asyncio.get_running_loop())

    @actor(broker=stub)
    def ordinary() -> None:
        async_to_sync(look)()

    for _ in range(3):
        ordinary.send()
    with work(stub):
        stub.join("default", timeout=5_000)

    assert len(loops) == 3 and len(set(loops)) == 1
    assert get_event_loop_thread() is None
