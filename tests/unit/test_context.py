"""What code that runs can know of its message, and that nobody else can."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest

from django_tasks_q import (
    Middleware,
    get_current_message,
    get_max_retries,
    get_message_id,
    get_queue_name,
    get_retry_count,
)
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.middleware import CurrentMessage, SkipMessage

GETTERS = [get_current_message, get_message_id, get_retry_count, get_max_retries, get_queue_name]


def everything() -> tuple[Any, ...]:
    return get_message_id(), get_retry_count(), get_max_retries(), get_queue_name()


@pytest.mark.parametrize("getter", GETTERS)
def test_outside_there_is_nothing_but_the_default(getter: Callable[..., Any]) -> None:
    assert getter() is None
    assert getter("default") == "default"


def test_an_actor_and_what_it_calls_know_their_message(declare: Any, run: Any) -> None:
    seen: list[Any] = []

    def note() -> None:
        seen.append((everything(), get_current_message(), CurrentMessage.get_current_message()))

    message = declare(note, max_retries=7).send()
    run()

    assert seen == [((message.message_id, 0, 7, "default"), message, message)]


def test_whatever_runs_on_account_of_a_message_knows_all_of_it(stub: StubBroker, declare: Any, run: Any) -> None:
    seen: dict[str, Any] = {}

    class Listener(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            seen[f"{message.actor_name}: before"] = everything()
            if message.actor_name == "skipped":
                raise SkipMessage

        def after_process_message(self, broker: Any, message: Any, **facts: Any) -> None:
            seen[f"{message.actor_name}: after"] = everything()

        def after_skip_message(self, broker: Any, message: Any) -> None:
            seen[f"{message.actor_name}: skip"] = everything()

        def after_outcome(self, broker: Any, message: Any, **facts: Any) -> None:
            seen[f"{message.actor_name}: outcome"] = everything()

    def is_worth_it(retries: int, exception: BaseException) -> bool:
        seen["fails: retry_when"] = everything()
        return False

    def fails() -> None:
        seen["fails: copied context"] = contextvars.copy_context().run(everything)
        raise ValueError

    async def waits() -> None:
        seen["waits: task"] = await asyncio.create_task(look())
        seen["waits: thread"] = await asyncio.to_thread(everything)

    async def look() -> tuple[Any, ...]:
        await asyncio.sleep(0)
        return everything()

    stub.add_middleware(Listener())
    actors = [
        declare(lambda: None, actor_name="skipped", max_retries=1),
        declare(fails, retry_when=is_worth_it, max_retries=2),
        declare(waits, max_retries=3, queue_name="default"),
    ]
    expected = {one.actor_name: (one.send().message_id, 0, one.options["max_retries"], "default") for one in actors}
    run()

    assert seen == {place: expected[place.split(":")[0]] for place in seen}
    assert set(seen) == {
        "skipped: before", "skipped: skip", "skipped: outcome",
        "fails: before", "fails: copied context", "fails: retry_when", "fails: after", "fails: outcome",
        "waits: before", "waits: task", "waits: thread", "waits: after", "waits: outcome",
    }  # fmt: skip


def test_who_is_requeued_begins_to_count_anew(stub: StubBroker, declare: Any, run: Any) -> None:
    seen: list[Any] = []

    def fail() -> None:
        seen.append((get_message_id(), get_retry_count()))
        raise ValueError

    sent = declare(fail, max_retries=1).send().message_id
    run()
    assert stub.requeue([sent]) == [sent]
    run()

    assert seen == [(sent, 0), (sent, 1)] * 2


def test_each_attempt_knows_how_many_failed_before(declare: Any, run: Any) -> None:
    seen: list[Any] = []

    def fail() -> None:
        seen.append(get_retry_count())
        raise ValueError

    declare(fail, max_retries=3).send()
    run()

    assert seen == [0, 1, 2, 3]


def test_no_limit_is_none(declare: Any, run: Any) -> None:
    seen: list[Any] = []
    declare(lambda: seen.append(get_max_retries("default")), actor_name="a", max_retries=None).send()
    run()

    assert seen == [None]


def test_middleware_and_failure_hooks_know_the_message_and_nothing_leaks(
    stub: StubBroker, declare: Any, run: Any
) -> None:
    seen: dict[str, Any] = {}

    class Listener(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            seen[f"before {message.actor_name}"] = get_message_id()
            if message.actor_name == "skipped":
                raise SkipMessage

        def after_process_message(
            self, broker: Any, message: Any, *, result: Any = None, exception: Any = None
        ) -> None:
            seen[f"after {message.actor_name}"] = get_message_id()

        def after_skip_message(self, broker: Any, message: Any) -> None:
            seen["skip"] = get_message_id()

        def after_ack(self, broker: Any, message: Any) -> None:
            seen["outside"] = get_message_id()

    def fail() -> None:
        raise ValueError

    stub.add_middleware(Listener())
    skipped = declare(lambda: None, actor_name="skipped").send()
    failed = declare(fail, max_retries=0).send()
    last = declare(lambda: seen.update(actor=get_message_id()), actor_name="last").send()
    run()

    assert seen == {
        "before skipped": skipped.message_id, "skip": skipped.message_id,
        "before fail": failed.message_id, "after fail": failed.message_id,
        "before last": last.message_id, "actor": last.message_id, "after last": last.message_id,
        "outside": None,
    }  # fmt: skip


def test_a_thread_with_a_copied_context_knows_the_message_and_another_does_not(declare: Any, run: Any) -> None:
    seen: list[Any] = []

    def fork() -> None:
        copied = contextvars.copy_context()
        for target in (
            lambda: copied.run(lambda: seen.append(get_message_id())),
            lambda: seen.append(get_message_id()),
        ):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    message = declare(fork).send()
    run()

    assert seen == [message.message_id, None]


def test_an_actor_called_by_another_one_sees_the_message_that_runs(declare: Any, run: Any) -> None:
    seen: list[Any] = []
    inner = declare(lambda: seen.append(get_message_id()), actor_name="inner")

    message = declare(lambda: inner(), actor_name="outer").send()
    run()

    assert seen == [message.message_id]


def test_async_actors_know_their_message(declare: Any, run: Any) -> None:
    seen: list[Any] = []

    async def work() -> None:
        seen.append(get_message_id())

    message = declare(work).send()
    run()

    assert seen == [message.message_id]


def test_sending_its_own_message_again_is_a_retry_and_no_second_message(
    stub: StubBroker, declare: Any, run: Any
) -> None:
    runs: list[int] = []

    def again() -> None:
        runs.append(get_retry_count() or 0)
        message = get_current_message()
        if len(runs) < 3 and message is not None:
            stub.enqueue(message, delay=1)

    declare(again).send()
    run()

    assert runs == [0, 1, 2]
    assert stub.dead_letters == []


def test_what_an_actor_sends_knows_its_parent(stub: StubBroker, declare: Any, run: Any) -> None:
    child = declare(lambda: None, actor_name="child")

    parent = declare(lambda: child.send(), actor_name="parent").send()
    run()

    births = {event.birth.actor_name: event.birth for event in stub.journal.events if event.birth}
    assert births["child"].parent_id == parent.message_id
    assert births["parent"].parent_id == ""
