"""Messages of which one is enough: what may be said of them, what their keys are, and how a worker treats them."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_tasks_q import (
    DuplicateMessage,
    EncodeError,
    Message,
    PickleEncoder,
    actor,
    get_current_message,
    group,
    pipeline,
    send_many,
    set_broker,
    set_encoder,
)
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.middleware.limits import Limits
from django_tasks_q.rate_limits.backends import StubBackend
from django_tasks_q.unique import HELD
from tests.support.waiting import until
from tests.unit.conftest import running


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"unique": "until_midnight"}, "unique is True, 'until_done', 'until_started', or how long at most"),
        ({"unique": 0}, "milliseconds from 1 on"),
        ({"unique": -5}, "milliseconds from 1 on"),
        ({"unique": 1.5}, "milliseconds from 1 on"),
        ({"unique": timedelta(0)}, "milliseconds from 1 on"),
        ({"unique": timedelta(days=400)}, "up to a year"),
        (
            {"unique": True, "on_conflict": "wait"},
            "on_conflict is one of 'drop', .*, 'refresh': 'wait'",
        ),
        ({"unique": True, "unique_key": 7}, "unique_key is printable text, or a callable"),
        ({"unique": True, "unique_key": ""}, "unique_key is printable text, or a callable"),
    ],
)
def test_what_means_nothing_is_refused_where_it_is_declared_and_where_it_is_sent(
    stub: StubBroker, options: dict[str, Any], error: str
) -> None:
    with pytest.raises(ValueError, match=error):
        actor(lambda: None, actor_name="declared", broker=stub, **options)
    plain = actor(lambda: None, actor_name="plain", broker=stub)
    with pytest.raises(ValueError, match=error):
        plain.send_with_options(**options)


def test_the_key_of_a_message_is_text(stub: StubBroker) -> None:
    plain = actor(lambda: None, actor_name="plain", broker=stub)

    with pytest.raises(ValueError, match="only an actor's can be a callable"):
        plain.send_with_options(unique=True, unique_key=lambda: "x")


@pytest.mark.parametrize("value", [None, "", 5, b"bytes"])
def test_a_callable_that_makes_no_text_is_an_error_at_send(stub: StubBroker, value: Any) -> None:
    work = actor(lambda: None, actor_name="work", broker=stub, unique=True, unique_key=lambda: value)

    with pytest.raises(ValueError, match="work: unique_key is text or a callable that makes it"):
        work.send()

    assert stub.peek("default") == []


def test_a_callable_that_fails_is_an_error_at_send_that_names_the_actor(stub: StubBroker) -> None:
    work = actor(lambda order: None, actor_name="work", broker=stub, unique=True, unique_key=lambda order: order["id"])

    with pytest.raises(ValueError, match="work: unique_key makes no text of these arguments: KeyError: 'id'") as caught:
        work.send({})
    assert isinstance(caught.value.__cause__, KeyError)
    assert stub.peek("default") == []


def test_a_message_made_by_hand_is_checked_when_it_is_sent(stub: StubBroker) -> None:
    with pytest.raises(ValueError, match="unique is True"):
        stub.enqueue(Message("default", "anybody", options={"unique": "sometimes"}))


def test_however_arguments_are_passed_the_same_call_is_the_same_key(stub: StubBroker) -> None:
    @actor(broker=stub, unique=True)
    def work(a: int, b: Any = None, *rest: int, **named: int) -> None: ...

    first = work.send(1, {"x": 1, "y": [1, 2]})

    assert work.send(1, b={"y": (1, 2), "x": 1}).message_id == first.message_id
    assert work.send(b={"y": [1, 2], "x": 1}, a=1).message_id == first.message_id
    others = [work.send(1), work.send(2, {"x": 1, "y": [1, 2]}), work.send(1, None), work.send(1, None, 2)]
    others += [work.send(1, c=1), work.send(1, c=True), work.send(1, c=1.0), work.send(1, c="1")]
    assert len({message.message_id for message in others} - {first.message_id}) == len(others)


def test_a_set_is_the_same_key_in_every_process_and_another_one_than_a_list(stub: StubBroker) -> None:
    sent = "s.send({'plum', 'fig', 'pear'}, frozenset({(1, 'a'), (2, 'b'), (3, 'c')}))"
    code = f"""
from django_tasks_q import actor, set_broker, set_encoder
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.encoder import TypedJSONEncoder

broker = StubBroker()
set_broker(broker)
set_encoder(TypedJSONEncoder())
s = actor(lambda *a: None, actor_name="s", broker=broker, unique=True)
print({sent}.options["unique_hash"], s.send(["fig", "pear", "plum"]).options["unique_hash"])
"""
    keys = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout.decode()
        for seed in "123"
    }

    (pair,) = keys
    of_sets, of_list = pair.split()
    assert of_sets != of_list


def test_a_callable_says_which_calls_are_the_same(stub: StubBroker) -> None:
    work = actor(
        lambda user, text: None, actor_name="work", broker=stub, unique=True, unique_key=lambda user, text: f"u{user}"
    )

    first = work.send(1, "one")

    there = work.send(1, "two")
    assert (there.message_id, there.args) == (first.message_id, (1, "one"))
    assert work.send(2, "one").message_id != first.message_id


def test_a_key_of_a_message_goes_before_that_of_its_actor(stub: StubBroker) -> None:
    work = actor(lambda n: None, actor_name="work", broker=stub, unique=True, unique_key=lambda n: "all")
    first = work.send(1)

    other = work.send_with_options(args=(1,), unique_key="mine")

    assert other.message_id != first.message_id
    assert work.send_with_options(args=(2,), unique_key="mine").message_id == other.message_id


def test_a_message_may_be_sent_beside_others_of_a_unique_actor(stub: StubBroker) -> None:
    work = actor(lambda: None, actor_name="work", broker=stub, unique=True)
    first = work.send()

    again = work.send_with_options(unique=None)

    assert again.message_id != first.message_id
    assert HELD not in again.options


def test_what_takes_a_key_carries_it_and_what_takes_none_carries_nothing(stub: StubBroker) -> None:
    plain = actor(lambda: None, actor_name="plain", broker=stub)
    work = actor(lambda: None, actor_name="work", broker=stub, unique=timedelta(seconds=3), on_conflict="refresh")

    assert plain.send().options == {}
    sent = work.send()
    assert sent.options == {"unique": 3_000, "on_conflict": "refresh", HELD: sent.options[HELD]}
    assert len(sent.options[HELD]) == 32


def test_it_is_known_who_holds_the_key_of_a_call(stub: StubBroker) -> None:
    work = actor(lambda n: None, actor_name="work", broker=stub, unique=True)
    assert work.unique_holder(1) is None

    sent = work.send(1)

    assert (work.unique_holder(1), work.unique_holder(2)) == (sent.message_id, None)
    plain = actor(lambda: None, actor_name="plain", broker=stub)
    with pytest.raises(ValueError, match="Messages of 'plain' take no key"):
        plain.unique_holder()


def test_arguments_that_cannot_be_encoded_are_named_before_a_key_is_made_of_them(stub: StubBroker) -> None:
    work = actor(lambda x: None, actor_name="work", broker=stub, unique=True)

    with pytest.raises(EncodeError, match=r"args\[0\]\.when is of type object"):
        work.send({"when": object()})


def test_arguments_that_contain_themselves_need_a_key(stub: StubBroker) -> None:
    set_encoder(PickleEncoder())
    work = actor(lambda x: None, actor_name="work", broker=stub, unique=True)
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(EncodeError, match="need a unique_key"):
        work.send(endless)

    assert work.send_with_options(args=(endless,), unique_key="k").options["unique"] == "until_done"


def test_send_many_returns_what_is_there(stub: StubBroker) -> None:
    set_broker(stub)
    work = actor(lambda n: None, actor_name="work", broker=stub, unique=True)
    there = work.send(1)

    sent = send_many([work.message(1), work.message(2), work.message(2)])

    assert [message.message_id for message in sent] == [there.message_id, sent[1].message_id, sent[1].message_id]
    assert len(stub.peek("default")) == 2


def test_nobody_is_told_that_what_was_left_out_was_sent(stub: StubBroker) -> None:
    told: list[str] = []
    stub.middleware[0].after_enqueue = lambda broker, message, delay: told.append(message.message_id)
    stub._hooks.clear()
    work = actor(lambda: None, actor_name="work", broker=stub, unique=True)

    first = work.send()
    work.send()
    stub.enqueue_many([work.message(), work.message()])

    assert told == [first.message_id]


def test_an_actor_that_sends_its_own_key_gets_itself(stub: StubBroker) -> None:
    seen: list[tuple[str, str]] = []

    @actor(broker=stub, unique=True, max_retries=0)
    def work() -> None:
        running_now = get_current_message()
        assert running_now is not None
        seen.append((work.send().message_id, running_now.message_id))

    sent = work.send()
    with running(stub):
        stub.join("default", timeout=5_000)

    assert seen == [(sent.message_id, sent.message_id)]


def test_an_actor_whose_key_is_free_when_it_starts_may_send_itself_again(stub: StubBroker) -> None:
    seen: list[int] = []

    @actor(broker=stub, unique="until_started", unique_key=lambda n: "k", max_retries=0)
    def work(n: int) -> None:
        seen.append(n)
        if n:
            work.send(n - 1)

    work.send(3)
    with running(stub):
        stub.join("default", timeout=5_000)

    assert seen == [3, 2, 1, 0]


def test_an_async_actor_lets_go_of_its_key_when_it_starts(stub: StubBroker) -> None:
    gate, started = threading.Event(), threading.Event()

    @actor(broker=stub, unique="until_started")
    async def work() -> None:
        started.set()
        while not gate.is_set():
            await asyncio.sleep(0.01)

    first = work.send()
    with running(stub):
        assert started.wait(5)
        second = work.send()
        gate.set()
        stub.join("default", timeout=5_000)

    assert first.message_id != second.message_id


def test_what_has_to_wait_for_a_limit_has_not_started(stub: StubBroker, declare: Callable[..., Any]) -> None:
    gate, started = threading.Event(), threading.Event()

    def hold(n: int) -> None:
        started.set()
        gate.wait(5)

    next(item for item in stub.middleware if isinstance(item, Limits))._given = StubBackend()
    work = declare(hold, actor_name="work", concurrency=1, unique="until_started")
    with running(stub):
        work.send(1)
        assert started.wait(5)
        second = work.send(2)
        wait_until_delayed(stub, second.message_id)
        assert work.send(2).message_id == second.message_id
        gate.set()
        stub.join("default", timeout=10_000)


def wait_until_delayed(stub: StubBroker, message_id: str) -> None:
    until(lambda: stub.look_up([message_id])[message_id].state == "delayed", 5)


def test_a_pipeline_ends_where_a_step_is_left_out(stub: StubBroker, caplog: pytest.LogCaptureFixture) -> None:
    ran: list[str] = []
    first = actor(lambda: ran.append("first"), actor_name="first", broker=stub)
    second = actor(lambda: ran.append("second"), actor_name="second", broker=stub, unique=True)
    third = actor(lambda: ran.append("third"), actor_name="third", broker=stub)
    held = second.send_with_options(delay=3_600_000)

    last = third.message_with_options(pipe_ignore=True)
    middle = second.message_with_options(pipe_ignore=True, on_conflict="raise")
    pipeline([first.message(), middle, last], broker=stub).run()
    with caplog.at_level(logging.INFO, "django_tasks_q"), running(stub):
        wait_until_there_are(stub, 1)

    assert ran == ["first"]
    assert f"is left out: {held.message_id} holds its key" in caplog.text


def wait_until_there_are(stub: StubBroker, number: int) -> None:
    until(lambda: sum(c.ready + c.in_flight + c.delayed for c in stub.counts()) == number, 5)


@pytest.mark.parametrize("on_conflict", ["drop", "replace", "refresh"])
def test_no_member_of_a_group_may_be_left_out(stub: StubBroker, on_conflict: str) -> None:
    plain = actor(lambda: None, actor_name="plain", broker=stub)
    work = actor(lambda: None, actor_name="work", broker=stub, unique=True, on_conflict=on_conflict)

    for members in ([plain.message(), work.message()], [pipeline([work.message(), plain.message()], broker=stub)]):
        with pytest.raises(ValueError, match="work is unique, and a member of a group"):
            group(members, broker=stub).run()
    assert stub.peek("default") == []
    group([work.message_with_options(unique=None)], broker=stub).run()
    assert len(stub.peek("default")) == 1


def test_a_later_step_in_a_group_is_not_unique(stub: StubBroker) -> None:
    plain = actor(lambda: None, actor_name="plain", broker=stub)
    work = actor(lambda: None, actor_name="work", broker=stub, unique=True, on_conflict="raise")
    line = pipeline([plain.message(), work.message()], broker=stub)

    with pytest.raises(ValueError, match="waits for at a later step of a pipeline"):
        group([line], broker=stub).run()


def test_no_member_of_a_group_that_comes_later_in_a_pipeline_is_unique(stub: StubBroker) -> None:
    first = actor(lambda: None, actor_name="first", broker=stub, pipe_ignore=True)
    work = actor(lambda: None, actor_name="work", broker=stub, unique=True, on_conflict="raise", pipe_ignore=True)
    later = pipeline([first.message(), group([first.message(), work.message()], broker=stub)], broker=stub)

    for composition in (later, group([later], broker=stub)):
        with pytest.raises(ValueError, match="waits for at a later step of a pipeline"):
            composition.run()
    assert stub.peek("default") == []


def test_a_group_is_refused_as_a_whole_when_the_key_of_a_member_is_held(stub: StubBroker) -> None:
    plain = actor(lambda: None, actor_name="plain", broker=stub)
    work = actor(lambda: None, actor_name="work", broker=stub, unique=True, on_conflict="raise")
    held = work.send()

    with pytest.raises(DuplicateMessage) as caught:
        group([plain.message(), work.message()], broker=stub).run()

    assert caught.value.holder == held.message_id
    assert [delivery.message_id for delivery in stub.peek("default")] == [held.message_id]


def test_a_dead_letter_does_not_go_for_what_is_left_out(stub: StubBroker, declare: Callable[..., Any]) -> None:
    def fail() -> None:
        raise ValueError

    work = declare(fail, actor_name="work", unique=True, max_retries=0)
    dead = work.send()
    with running(stub):
        stub.join("default", timeout=5_000, fail_fast=False)
    held = work.send()

    with pytest.raises(DuplicateMessage) as caught:
        stub.replace(dead.message_id, work.message())

    assert caught.value.holder == held.message_id
    assert [letter.message_id for letter in stub.peek("default", "dead")] == [dead.message_id]
