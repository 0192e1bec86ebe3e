"""immediate() runs messages as they are sent."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import transaction
from django.test import override_settings

from django_tasks_q import Retry, actor, get_broker, get_message_id, get_retry_count, pipeline, send_many
from django_tasks_q.testing import DrainLimitReached, assert_sent, drain, immediate, on_commit, sent
from testproject.misbehave import echo


def test_a_message_has_run_in_this_thread_when_send_returns() -> None:
    ran: list[Any] = []
    with immediate():
        work = actor(lambda: ran.append((get_message_id(), threading.get_ident())), actor_name="work")
        message = work.send()

        assert ran == [(message.message_id, threading.get_ident())]
        assert_sent(work, count=1)


def test_what_a_message_sends_runs_after_it_before_the_outermost_send_returns() -> None:
    order: list[str] = []
    with immediate():
        child = actor(lambda: order.append("child"), actor_name="child")

        @actor
        def parent() -> None:
            child.send()
            order.append("parent")

        parent.send()

    assert order == ["parent", "child"]


def test_pipelines_and_many_messages_run_too() -> None:
    ran: list[Any] = []
    with immediate():
        note = actor(lambda *args: ran.append(args[-1]), actor_name="note")
        pipeline([echo.message(3), note.message()]).run()
        send_many([note.message(1), note.message(2)])

    assert ran == [3, 1, 2]


def test_the_sender_gets_the_error_and_the_retry_waits() -> None:
    attempts: list[int | None] = []

    def fail_once() -> None:
        attempts.append(get_retry_count())
        if len(attempts) == 1:
            raise ValueError("not yet")

    with immediate():
        work = actor(fail_once, actor_name="work")
        with pytest.raises(ValueError, match="not yet"):
            work.send()
        assert attempts == [0]

        assert [result.state for result in drain(with_delayed=True)] == ["succeeded"]
        assert attempts == [0, 1]


def test_the_error_of_what_a_message_sent_reaches_the_outermost_sender_and_not_the_message() -> None:
    order: list[str] = []

    def fail() -> None:
        raise ValueError("child")

    with immediate():
        child = actor(fail, actor_name="child")

        @actor
        def parent() -> None:
            child.send()
            order.append("parent goes on")

        with pytest.raises(ValueError, match="child"):
            parent.send()

    assert order == ["parent goes on"]


def test_errors_may_be_left_to_the_retries() -> None:
    def fail() -> None:
        raise ValueError("no")

    with immediate(raise_errors=False) as broker:
        actor(fail, actor_name="work", max_retries=0).send()
        assert [str(letter.exception) for letter in broker.dead_letters] == ["no"]


def test_a_delayed_message_waits() -> None:
    ran: list[str] = []
    with immediate():
        note = actor(ran.append, actor_name="note")
        note.send_with_options(args=("later",), delay=60_000)
        note.send("now")
        assert ran == ["now"]
        drain(with_delayed=True)
        assert ran == ["now", "later"]


def test_waits_may_be_skipped() -> None:
    attempts: list[int | None] = []

    def ask_twice() -> None:
        attempts.append(get_retry_count())
        if len(attempts) < 3:
            raise Retry(delay=60_000)

    with immediate(with_delayed=True):
        actor(ask_twice, actor_name="work").send_with_options(delay=3_600_000)

    assert attempts == [0, 1, 2]


def test_with_delayed_only_the_end_of_all_retries_raises() -> None:
    attempts: list[int] = []

    def fail() -> None:
        attempts.append(1)
        raise ValueError("never")

    with immediate(with_delayed=True), pytest.raises(ValueError, match="never"):
        actor(fail, actor_name="work", max_retries=2).send()
    assert len(attempts) == 3


def test_sending_oneself_without_end_is_stopped() -> None:
    with immediate(limit=10):

        @actor
        def again() -> None:
            again.send()

        with pytest.raises(DrainLimitReached, match="again 10 times"):
            again.send()


def test_a_thread_that_an_actor_starts_is_a_sender_of_its_own() -> None:
    order: list[str] = []
    with immediate():
        child = actor(lambda: order.append("child"), actor_name="child")

        @actor
        def parent() -> None:
            thread = threading.Thread(target=child.send)
            thread.start()
            thread.join()
            order.append("parent")

        parent.send()

    assert order == ["child", "parent"]


@pytest.mark.django_db
def test_send_on_commit_runs_at_the_commit_and_not_after_a_rollback() -> None:
    ran: list[str] = []
    with immediate():
        note = actor(ran.append, actor_name="note")
        with on_commit():
            note.send_on_commit("a")
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                note.send_on_commit("never")
                raise ZeroDivisionError
            assert ran == []
        assert ran == ["a"]


@pytest.mark.django_db(transaction=True)
def test_send_on_commit_runs_at_a_real_commit() -> None:
    ran: list[bool] = []
    with immediate():
        look = actor(lambda name: ran.append(Group.objects.filter(name=name).exists()), actor_name="look")
        with transaction.atomic():
            look.send_on_commit("a")
            Group.objects.create(name="a")
        assert ran == [True]


@pytest.mark.django_db
def test_actors_use_the_tests_transaction() -> None:
    with immediate():
        write = actor(lambda: Group.objects.create(name="a") and None, actor_name="write")
        write.send()

    assert Group.objects.filter(name="a").exists()


@pytest.mark.django_db
def test_async_code_may_send() -> None:
    seen: list[int] = []

    async def use() -> None:
        @actor
        async def look() -> None:
            seen.append(await Group.objects.acount())

        await Group.objects.acreate(name="a")
        await look.asend()

    with immediate():
        async_to_sync(use)()

    assert seen == [1]


@pytest.mark.django_db
def test_the_setting_makes_a_whole_process_immediate() -> None:
    ran: list[str] = []
    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "immediate://"}):
        actor(lambda name: ran.append(name), actor_name="note").send("a")
        assert ran == ["a"]
        assert get_broker().address == "immediate://"
        with pytest.raises(TypeError, match="does not remember"):
            sent()
        call_command("check", "--fail-level", "ERROR")


def test_the_setting_takes_the_options() -> None:
    def fail() -> None:
        raise ValueError("no")

    settings = {"BROKER_URL": "immediate://", "BROKER_OPTIONS": {"raise_errors": False}}
    with override_settings(DJANGO_TASKS_Q=settings):
        actor(fail, actor_name="work", max_retries=0).send()
        assert sum(count.dead for count in get_broker().counts()) == 1


def test_the_real_brokers_middleware_is_used() -> None:
    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "immediate://", "MIDDLEWARE": []}):
        assert get_broker().middleware == []
