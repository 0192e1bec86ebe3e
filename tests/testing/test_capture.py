"""capture() puts a broker in memory in the place of the real one, and everything back."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import transaction
from django.test import SimpleTestCase, TestCase, TransactionTestCase, override_settings

from django_tasks_q import Actor, Message, actor, get_broker, pipeline, send_many, set_broker
from django_tasks_q import broker as broker_module
from django_tasks_q.broker import Broker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.models import MessageRecord, QueuedMessage, WaitingMessage
from django_tasks_q.rate_limits import ConcurrentRateLimiter, get_rate_limiter_backend
from django_tasks_q.testing import assert_sent, capture, drain, immediate, on_commit, sent
from testproject.misbehave import echo


@pytest.fixture
def real() -> Iterator[Broker]:
    """The broker of the settings, on which the project's actors are."""
    broker = get_broker()
    yield broker
    assert echo.broker is broker
    assert get_broker() is broker


def declare_in_a_module(name: str) -> Actor[[], None]:
    """An actor as a module declares it that is imported now."""
    module = ModuleType("late_tasks")
    sys.modules["late_tasks"] = module
    exec(f"from django_tasks_q import actor\n@actor\ndef {name}(): pass", module.__dict__)
    found: Actor[[], None] = getattr(module, name)
    return found


def test_what_is_sent_stays_in_memory_and_nothing_runs_unasked(real: Broker) -> None:
    with capture() as broker:
        assert get_broker() is broker
        assert echo.broker is broker
        message = echo.send("a")

        assert [held.message_id for held in broker.peek(echo.queue_name)] == [message.message_id]
        assert sent() == [message]


def test_the_stand_in_is_like_the_broker_whose_place_it_takes(real: Broker) -> None:
    with capture() as broker:
        assert broker.middleware == real.middleware
        assert broker.actor_options == real.actor_options
        assert broker.actors == real.actors
        assert broker.queues.keys() == real.queues.keys()
        assert broker.max_message_bytes == real.max_message_bytes


def test_an_error_in_the_block_puts_everything_back_too(real: Broker) -> None:
    with pytest.raises(ZeroDivisionError), capture():
        raise ZeroDivisionError


def test_actors_that_modules_declare_meanwhile_belong_to_the_real_broker_afterwards(real: Broker) -> None:
    try:
        with capture() as broker:
            late = declare_in_a_module("late_by_name")
            assert late.broker is broker
        assert late.broker is real
        assert real.actors["late_by_name"] is late
    finally:
        real.actors.pop("late_by_name", None)
        del sys.modules["late_tasks"]


def test_the_actors_of_a_test_function_stay_behind_so_that_their_names_are_free(real: Broker) -> None:
    for _ in range(2):
        with capture():

            @actor
            def of_this_test() -> None: ...

    assert "of_this_test" not in real.actors


def test_blocks_may_be_nested(real: Broker) -> None:
    with capture() as outer:
        echo.send("outer")
        with capture() as inner:
            echo.send("inner")
            assert [message.args for message in sent()] == [("inner",)]
            assert echo.broker is inner
        assert [message.args for message in sent()] == [("outer",)]
        assert echo.broker is outer


def test_one_object_may_be_entered_twice(real: Broker) -> None:
    block = capture()
    with block as outer, block as inner:
        assert outer is not inner


def test_a_broker_that_somebody_sets_meanwhile_stays_set() -> None:
    other = StubBroker()
    with capture():
        set_broker(other)

    assert get_broker() is other


def test_without_any_broker_there_is_one_for_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "_factory", None)
    set_broker(None)
    with capture():
        ran: list[str] = []
        actor(ran.append, actor_name="note").send("a")
        drain()
        assert ran == ["a"]

    with pytest.raises(RuntimeError, match="no broker"):
        get_broker()


@pytest.mark.parametrize("settings", [{"BROKER_URL": "stub://"}, {"ACTOR_DEFAULTS": {"time_limit": 77}}])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_settings_that_are_overridden_meanwhile_do_not_send_to_the_real_broker(
    real: Broker, settings: dict[str, Any], depth: int
) -> None:
    with ExitStack() as stack:
        broker = [stack.enter_context(capture()) for _ in range(depth)][-1]
        with override_settings(DJANGO_TASKS_Q=settings):
            assert echo.broker is broker
            assert echo.options.get("time_limit") == settings.get("ACTOR_DEFAULTS", {}).get("time_limit")
            echo.send("a")
            assert_sent(echo)
        assert echo.broker is broker
        assert "time_limit" not in echo.options


def test_settings_that_are_put_back_after_the_block_find_their_actors(real: Broker) -> None:
    block = capture()
    block.enable()
    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://"}):
        block.disable()
        assert type(echo.broker) is StubBroker
        assert get_broker() is echo.broker


def test_send_many_and_pipelines_are_captured(real: Broker) -> None:
    with capture():
        send_many([echo.message("a"), echo.message("b")])
        pipeline([echo.message("c"), echo.message("d")]).run()

        assert [message.args for message in sent(echo)] == [("a",), ("b",), ("c",)]


@capture()
def test_a_function_may_be_decorated() -> None:
    echo.send("a")
    assert_sent(echo, args=["a"])


def test_an_async_function_may_be_decorated(real: Broker) -> None:
    @capture()
    async def use() -> list[Message[Any]]:
        await echo.asend("a")
        return sent()

    assert [message.args for message in async_to_sync(use)()] == [("a",)]


def test_nothing_is_left_in_threads_or_memory(real: Broker) -> None:
    threads = threading.enumerate()
    with capture() as broker:
        echo.send("a")
        drain(raise_errors=False)

    assert threading.enumerate() == threads
    assert broker not in {found.broker for found in real.actors.values()}


def test_leases_that_a_captured_test_leaves_are_gone_with_the_next(real: Broker) -> None:
    def acquire() -> AbstractContextManager[Any]:
        limiter = ConcurrentRateLimiter(get_rate_limiter_backend(), "one at a time", ttl=60_000)
        block = limiter.acquire(raise_on_failure=False)
        assert block.__enter__()
        return block

    left = []
    for _ in range(2):
        with capture():
            left.append(acquire())  # and never given back


# Django's own test cases


@capture()
class EachTestOfAClass(SimpleTestCase):
    def test_begins_with_nothing_sent(self) -> None:
        self.assertEqual(sent(), [])
        echo.send("a")

    def test_begins_with_nothing_sent_again(self) -> None:
        self.assertEqual(sent(), [])
        echo.send("b")

    def test_sends_on_commit_at_once_without_a_database(self) -> None:
        echo.send_on_commit("a")
        assert_sent(echo)

    async def test_may_be_async(self) -> None:
        await echo.asend("a")
        assert_sent(echo)


@capture()
class WithinTheTransactionOfATestCase(TestCase):
    def test_a_send_on_commit_waits_for_the_captured_callbacks(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            message = echo.send_on_commit("a")
            self.assertEqual(sent(), [])
        self.assertEqual(sent(), [message])

    def test_the_helper_does_the_same(self) -> None:
        with on_commit() as callbacks:
            echo.send_on_commit("a")
            echo.send_on_commit("b")
        self.assertEqual([message.args for message in sent()], [("a",), ("b",)])
        self.assertEqual(len(callbacks), 2)

    def test_a_rolled_back_savepoint_sends_nothing(self) -> None:
        with on_commit():
            echo.send_on_commit("kept")
            with self.assertRaises(ZeroDivisionError), transaction.atomic():
                echo.send_on_commit("gone")
                raise ZeroDivisionError
        self.assertEqual([message.args for message in sent()], [("kept",)])

    def test_a_plain_send_does_not_wait(self) -> None:
        echo.send("a")
        assert_sent(echo, count=1)

    def test_no_rows_are_written(self) -> None:
        with on_commit():
            echo.send_on_commit("a")
            self.assertFalse(WaitingMessage.objects.exists())
        self.assertFalse(QueuedMessage.objects.exists() or MessageRecord.objects.exists())

    async def test_async_tests_capture_too(self) -> None:
        def use() -> None:
            with on_commit():
                echo.send_on_commit("a")

        await sync_to_async(use)()
        assert_sent(echo)


@capture()
class WithRealCommits(TransactionTestCase):
    def test_a_send_on_commit_goes_out_with_the_commit(self) -> None:
        with transaction.atomic():
            echo.send_on_commit("a")
            self.assertEqual(sent(), [])
        self.assertEqual(len(sent()), 1)
        self.assertFalse(WaitingMessage.objects.exists())

    def test_a_rollback_sends_nothing(self) -> None:
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            echo.send_on_commit("a")
            raise ZeroDivisionError
        self.assertEqual(sent(), [])


class WithTheDatabaseBroker(TestCase):
    def test_what_is_sent_on_commit_can_be_drained_at_once_it_is_part_of_the_transaction(self) -> None:
        echo.send_on_commit("a")
        assert_sent(echo, args=["a"])
        self.assertEqual([result.message.args for result in drain()], [("a",)])
        assert_sent(echo, args=["a"])

    def test_the_next_test_finds_nothing(self) -> None:
        self.assertEqual(sent(), [])
        self.assertEqual(drain(), [])


@immediate()
class EachTestOfAnImmediateClass(TestCase):
    def test_runs_at_the_end_of_the_block(self) -> None:
        ran: list[str] = []
        note = actor(ran.append, actor_name="note")
        with on_commit():
            note.send_on_commit("a")
            self.assertEqual(ran, [])
        self.assertEqual(ran, ["a"])
