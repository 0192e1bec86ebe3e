"""Declaring actors and sending for them: what is accepted, and how it is refused."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import override_settings

from django_tasks_q import Actor, EncodeError, Message, actor, pipeline, send_many
from django_tasks_q.brokers.stub import StubBroker

YEAR = 366 * 86_400_000


def work(*args: Any, **kwargs: Any) -> None:
    """Do it."""


def add(a: int, b: int = 2, *, c: int = 3) -> int:
    return a + b + c


def test_an_actor_is_declared_bare_or_with_options(stub: StubBroker) -> None:
    bare = actor(work, broker=stub, actor_name="bare")
    decorated = actor(broker=stub, actor_name="decorated", queue_name="mail", priority=-5, max_retries=3)(work)

    assert (bare.actor_name, bare.queue_name, bare.priority, bare.options) == ("bare", "default", 0, {})
    assert (decorated.queue_name, decorated.priority, decorated.options) == ("mail", -5, {"max_retries": 3})
    assert stub.get_declared_actors() == {"bare", "decorated"}
    assert {"default", "mail"} <= stub.get_declared_queues()
    assert bare.__doc__ == "Do it." and bare.__wrapped__ is work


def test_an_actor_of_an_actor_is_refused(stub: StubBroker) -> None:
    work_again = actor(work, broker=stub)

    with pytest.raises(TypeError, match="work is an actor already"):
        actor(work_again, broker=stub, actor_name="again")


def test_calling_an_actor_runs_it_here_and_now(stub: StubBroker) -> None:
    assert actor(add, broker=stub)(1, c=10) == 13
    assert stub.counts()[0].ready == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queue_name": ""}, "not a queue name"),
        ({"queue_name": "x" * 201}, "at most 200"),
        ({"queue_name": "späti"}, "not a queue name"),
        ({"queue_name": "a:b"}, "not a queue name"),
        ({"queue_name": "a b"}, "not a queue name"),
        ({"queue_name": "1st"}, "not a queue name"),
        ({"queue_name": "mail\n"}, "not a queue name"),
        ({"queue_name": "mail.DQ"}, r"\.DQ and \.XQ"),
        ({"queue_name": "mail.XQ"}, r"\.DQ and \.XQ"),
        ({"actor_name": "x" * 201}, "1 to 200 printable characters"),
        ({"priority": 101}, "from -100 to 100"),
        ({"priority": -101}, "from -100 to 100"),
        ({"priority": 1.0}, "integer"),
        ({"priority": True}, "integer"),
        ({"priority": "1"}, "integer"),
        ({"max_retrys": 1}, "Did you mean 'max_retries'"),
        ({"nonsense": 1}, "no option 'nonsense'"),
        ({"delivery_limit": 1}, "at least 2"),
        ({"delivery_limit": "3"}, "at least 2"),
    ],
)
def test_odd_names_and_options_are_refused_at_the_declaration(
    stub: StubBroker, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        actor(work, broker=stub, **options)

    assert stub.actors == {}


@pytest.mark.parametrize("name", ["default", "_x", "a.b-c_d9", "x" * 200, "DQ", "a.DQx"])
def test_other_queue_names_are_accepted(stub: StubBroker, name: str) -> None:
    assert actor(work, broker=stub, queue_name=name).queue_name == name


def test_two_actors_of_one_name_are_refused_naming_both(stub: StubBroker) -> None:
    actor(work, broker=stub)

    with pytest.raises(ValueError, match=r"test_actors\.work and .*test_actors\..*<lambda>.*actor_name="):
        actor(lambda: None, broker=stub, actor_name="work")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"delay": -1}, "delay"),
        ({"delay": YEAR + 1}, "delay"),
        ({"delay": 1.5}, "delay"),
        ({"delay": timedelta(days=367)}, "delay"),
        ({"delay": 1, "eta": 1}, "not both"),
        ({"eta": datetime(2026, 1, 1)}, "time zone"),
        ({"eta": "tomorrow"}, "eta"),
        ({"eta": 10**15}, "eta"),
        ({"priority": 1_000}, "from -100 to 100"),
        ({"priority": None}, "integer"),
        ({"message_id": ""}, "message_id"),
        ({"message_id": "x" * 65}, "message_id"),
        ({"max_retrys": 1}, "Did you mean 'max_retries'"),
        ({"throws": ValueError}, "no option 'throws'"),
        ({"retry_when": print}, "no option 'retry_when'"),
        ({"queue_name": "other"}, "no option 'queue_name'"),
        ({"delivery_limit": 0}, "at least 2"),
    ],
)
def test_odd_options_of_a_message_are_refused_at_the_sender(
    stub: StubBroker, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        actor(work, broker=stub).send_with_options(**options)

    assert stub.counts()[0].ready == stub.counts()[0].delayed == 0


def test_whoever_sends_asks_once_who_the_actor_is(stub: StubBroker) -> None:
    class Asked(dict[str, Any]):
        times = 0

        def get(self, name: str, default: Any = None) -> Any:
            self.times += 1
            return super().get(name, default)

    message = actor(print, actor_name="work", broker=stub, stamps={"a": 1}, unique=True, priority=3).message()
    stub.actors = asked = Asked(stub.actors)

    stub.enqueue(message)

    assert asked.times == 1
    assert stub.peek("default")[0].message_id == message.message_id


def test_options_of_a_message_travel_with_it(stub: StubBroker) -> None:
    message = actor(work, broker=stub).send_with_options(
        args=(1,), kwargs={"k": 2}, delay=timedelta(seconds=1.5), priority=-3, message_id="mine", max_retries=None
    )

    assert (message.args, message.kwargs) == ((1,), {"k": 2})
    assert message.options == {"priority": -3, "message_id": "mine", "max_retries": None, "delay": 1_500}
    assert message.message_id != "mine"
    assert stub.counts()[0].delayed == 1


def test_an_eta_is_an_aware_datetime_or_epoch_milliseconds(stub: StubBroker) -> None:
    build = actor(work, broker=stub).message_with_options

    assert build(eta=datetime(2026, 1, 1, tzinfo=UTC)).options == {"eta": 1_767_225_600_000}
    assert build(eta=123).options == {"eta": 123}


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"d": 1}), ((1,), {"a": 1}), ((), {"b": 1})]
)
def test_arguments_that_do_not_fit_are_a_type_error_at_the_sender(stub: StubBroker, args: Any, kwargs: Any) -> None:
    send = actor(add, broker=stub).send

    with pytest.raises(TypeError, match=r"expected \(a: 'int'"):
        send(*args, **kwargs)

    assert stub.counts()[0].ready == 0


@pytest.mark.parametrize("name", ["message_with_options", "send_with_options", "send_on_commit_with_options"])
def test_arguments_in_an_option_are_a_list_and_a_dict(stub: StubBroker, name: str) -> None:
    send = getattr(actor(add, broker=stub), name)

    with pytest.raises(TypeError, match=r"list or tuple of arguments, not 'ab'; a single one is args=\('ab',\)"):
        send(args="ab")
    with pytest.raises(TypeError, match=r"a single one is args=\(1,\)"):
        send(args=1)
    with pytest.raises(TypeError, match=r"kwargs is a dict of arguments, not \[1\]"):
        send(args=(1,), kwargs=[1])
    assert stub.counts()[0].ready == 0

    assert send(args=(number for number in (1, 2))).args == (1, 2)


def test_what_is_no_message_or_no_function_is_a_type_error_that_says_so(stub: StubBroker) -> None:
    with pytest.raises(TypeError, match=r"takes messages \(actor.message\(...\)\), not Actor"):
        send_many([actor(work, broker=stub)])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"such as @actor\(queue_name='mail'\); not 'mail'"):
        actor("mail")  # type: ignore[call-overload]


def test_an_argument_that_cannot_be_encoded_names_its_path_and_nothing_is_sent(stub: StubBroker) -> None:
    with pytest.raises(EncodeError, match=r"args\[0\]\.user\.id is of type set"):
        actor(work, broker=stub).send({"user": {"id": {1}}})

    assert stub.counts()[0].ready == 0


def test_callbacks_are_actors_or_their_names(stub: StubBroker) -> None:
    target = actor(work, broker=stub, actor_name="target")
    sender = actor(work, broker=stub, actor_name="sender", on_failure=target, on_success="target")

    assert sender.options == {"on_failure": "target", "on_success": "target"}
    assert sender.message_with_options(on_retry_exhausted=target).options == {"on_retry_exhausted": "target"}
    with pytest.raises(TypeError, match="on_success"):
        sender.message_with_options(on_success=print)
    with pytest.raises(TypeError, match="on_failure"):
        sender.message_with_options(on_failure=target.message())


def test_async_code_sends_without_blocking(stub: StubBroker) -> None:
    sender = actor(work, broker=stub)

    async def send() -> None:
        await sender.asend(1)
        await sender.asend_with_options(args=(2,), delay=60_000)

    async_to_sync(send)()

    assert (stub.counts()[0].ready, stub.counts()[0].delayed) == (1, 1)


def test_a_pipeline_is_made_of_messages_and_pipelines(stub: StubBroker) -> None:
    step = actor(work, broker=stub)
    line = step.message(1) | step.message(2) | pipeline([step.message(3), step.message(4)], broker=stub)

    assert len(line) == 4
    assert [message.args for message in line.messages] == [(1,), (2,), (3,), (4,)]
    with pytest.raises(ValueError, match="at least one"):
        pipeline([], broker=stub)
    with pytest.raises(TypeError, match=r"made of messages \(actor.message"):
        step.message(1) | step


TYPED = """\
from django_tasks_q import GenericActor, Message, actor

@actor
def bare(a: int, b: str = "") -> float: return 1.0
@actor(max_retries=3)
def decorated(a: int) -> float: return 1.0
@actor
async def on_loop(a: int) -> str: return ""
@actor(time_limit=1000)
async def limited_on_loop(a: int) -> str: return ""
class Post(GenericActor):
    class Meta:
        queue_name = "mail"
    def perform(self, text: str) -> None: ...

bare.send(1, b="x")
decorated.send(1)
on_loop.send(a=1)
number: float = bare(1)
text: str = on_loop(1)
sent: Message[float] = bare.send(1)
later: Message[str] = limited_on_loop.send_on_commit(1)
bare.send_with_options(args=(1,), kwargs={"b": "x"}, delay=5, max_retries=1)
Post("x")
Post.send("x")
Post.message("x")

bare.send("no")  # error
bare.send(1, c=2)  # error
decorated.send()  # error
bare("no")  # error
bare.message("no")  # error
decorated.message(b=1)  # error
bare.send_on_commit("no")  # error
on_loop.send("no")  # error
limited_on_loop.send_on_commit()  # error
limited_on_loop("no")  # error
bare.send_with_options(args=1)  # error
bare.send_with_options(kwargs=[1])  # error
bare.send_with_options(delay="soon")  # error
bare.send_on_commit_with_options(eta="soon")  # error
wrong: str = bare(1)  # error
other: Message[str] = bare.send(1)  # error
actor(queue_name=5)  # error

async def send() -> None:
    sent: Message[float] = await bare.asend(1)
    later: Message[str] = await on_loop.asend_on_commit(1)
    text: str = await on_loop.acall(1)
    await bare.asend("no")  # error
    await decorated.asend_on_commit()  # error
    await on_loop.acall("no")  # error
"""


@pytest.mark.slow
def test_a_wrong_argument_is_an_error_for_mypy_and_a_right_one_is_none(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(TYPED)
    command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--follow-imports=silent", str(snippet)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], timeout=200)

    wrong = [number for number, line in enumerate(TYPED.splitlines(), 1) if line.endswith("# error")]
    assert [int(line.split(":")[1]) for line in done.stdout.splitlines() if "error:" in line] == wrong, done.stdout


def test_an_actor_reads_well(stub: StubBroker) -> None:
    assert str(actor(work, broker=stub)) == "Actor(work)"
    assert "queue_name='default'" in repr(stub.actors["work"])
    assert isinstance(stub.actors["work"], Actor)


def test_every_duration_may_be_a_timedelta(stub: StubBroker) -> None:
    limits = {"time_limit": timedelta(seconds=5), "max_age": timedelta(hours=1), "min_backoff": timedelta(seconds=1)}
    expected = {"time_limit": 5_000, "max_age": 3_600_000, "min_backoff": 1_000}

    def work() -> None: ...

    sender = actor(work, broker=stub, **limits)

    assert sender.options == expected
    assert Message.decode(sender.send_with_options(**limits).encode()).options == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time_limit", "1m"),
        ("time_limit", -1),
        ("time_limit", float("nan")),
        ("min_backoff", "x"),
        ("min_backoff", float("inf")),
        ("max_backoff", True),
        ("max_backoff", float("inf")),
        ("result_ttl", float("inf")),
        ("max_age", timedelta(seconds=-1)),
        ("max_retries", "3"),
        ("max_retries", -1),
        ("max_retries", 1.5),
    ],
)
def test_a_number_that_would_fail_in_the_worker_is_refused_at_once(name: str, value: object) -> None:
    broker = StubBroker()

    with pytest.raises(ValueError, match=name):
        actor(broker=broker, **{name: value})(lambda: None)

    declared = actor(broker=broker, actor_name="fine")(lambda: None)
    with pytest.raises(ValueError, match=name):
        declared.send_with_options(**{name: value})


def test_a_project_may_name_options_of_its_own(stub: StubBroker) -> None:
    hello = actor(work, broker=stub)

    with pytest.raises(ValueError, match="no option 'campaign'"):
        hello.message_with_options(campaign="spring")
    with override_settings(DJANGO_TASKS_Q={"MESSAGE_OPTIONS": ["campaign"]}):
        assert hello.message_with_options(campaign="spring").options == {"campaign": "spring"}
        with pytest.raises(ValueError, match=r"no option 'campain'.*campaign"):
            hello.message_with_options(campain="spring")
    with pytest.raises(ValueError, match="no option 'campaign'"):
        hello.message_with_options(campaign="spring")


@pytest.mark.parametrize(("level", "priority"), [(0, 100), (5, 0), (10, -100), (255, -100)])
def test_dramatiqs_priority_of_a_message_is_a_priority(stub: StubBroker, level: int, priority: int) -> None:
    message = actor(work, broker=stub).message_with_options(broker_priority=level)

    assert message.options == {"priority": priority, "broker_priority": level}


@pytest.mark.parametrize("level", [-1, 256, "high", None])
def test_dramatiqs_priority_is_a_number(stub: StubBroker, level: Any) -> None:
    with pytest.raises(ValueError, match="broker_priority is a whole number"):
        actor(work, broker=stub).message_with_options(broker_priority=level)
