"""The hooks, their order and their safety, and each of the policies that a broker has by default."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from django_tasks_q import Message, Middleware, RateLimitExceeded, Retry, actor, pipeline
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.errors import Shutdown, SkipMessage, TimeLimitExceeded
from django_tasks_q.middleware import AgeLimit, Callbacks, Pipelines, Retries, ShutdownNotifications, TimeLimit
from django_tasks_q.outcomes import Dead, Parked
from tests.support.waiting import until, within
from tests.unit.conftest import running

HOOKS = sorted(name for name in vars(Middleware) if name.startswith(("before_", "after_")))
PROCESSING = [
    "before_process_message", "after_process_message", "before_ack", "after_ack", "before_enqueue", "after_enqueue",
    "after_process_boot", "before_worker_boot", "after_worker_boot", "before_worker_shutdown", "after_worker_shutdown",
    "after_consumer_thread_boot", "before_consumer_thread_shutdown", "after_worker_thread_boot",
    "before_worker_thread_shutdown", "before_declare_actor", "after_declare_actor", "before_declare_queue",
    "after_declare_queue",
]  # fmt: skip


class Recorder(Middleware):
    """Notes every hook that is called."""

    def __init__(self, name: str, calls: list[str]) -> None:
        for hook in HOOKS:
            setattr(self, hook, self._noting(f"{name} {hook}", calls))

    def _noting(self, what: str, calls: list[str]) -> Any:
        return lambda *args, **kwargs: calls.append(what)


class Raiser(Middleware):
    """Raises in one hook."""

    def __init__(self, hook: str, error: BaseException | None = None) -> None:
        self.calls = 0
        self._error = error or RuntimeError("a hook that raises")
        setattr(self, hook, self._raise)

    def _raise(self, *args: Any, **kwargs: Any) -> None:
        self.calls += 1
        raise self._error


def state(stub: StubBroker, message: Message[Any]) -> tuple[str, str]:
    last = [event for event in stub.journal.events if event.message_id == message.message_id][-1]
    return last.state.value, last.reason


def test_a_broker_has_dramatiqs_six_in_dramatiqs_order(stub: StubBroker) -> None:
    kinds = [type(item) for item in stub.middleware]

    assert kinds[:6] == [AgeLimit, TimeLimit, ShutdownNotifications, Callbacks, Pipelines, Retries]


def test_before_hooks_run_in_order_and_after_hooks_in_the_reverse(stub: StubBroker, declare: Any, run: Any) -> None:
    calls: list[str] = []
    for name in ("first", "second"):
        stub.add_middleware(Recorder(name, calls))
    declare(lambda: calls.append("actor"), actor_name="work").send()
    run()

    about_messages = [call for call in calls if "message" in call or call.endswith(("ack", "enqueue", "actor"))]
    assert [call for call in about_messages if "declare" not in call] == [
        "first before_enqueue", "second before_enqueue", "second after_enqueue", "first after_enqueue",
        "first before_process_message", "second before_process_message", "actor",
        "second after_process_message", "first after_process_message",
        "first before_ack", "second before_ack", "second after_ack", "first after_ack",
    ]  # fmt: skip


def test_a_dead_letter_is_nacked_and_a_skipped_message_is_not_processed(
    stub: StubBroker, declare: Any, run: Any
) -> None:
    calls: list[str] = []
    stub.add_middleware(Recorder("r", calls))
    stub.add_middleware(AgeLimit())

    def fail() -> None:
        raise ValueError

    declare(fail, max_retries=0).send()
    run()
    assert [call for call in calls if "ack" in call] == ["r before_nack", "r after_nack"]

    calls.clear()
    declare(lambda: None, actor_name="old", max_age=1)
    stub.enqueue(Message("default", "old", message_timestamp=1))
    run()
    assert [call for call in calls if "skip" in call or "after_process_m" in call] == ["r after_skip_message"]


def test_hooks_of_threads_and_workers_are_called_once_each(stub: StubBroker) -> None:
    calls: list[str] = []
    stub.add_middleware(Recorder("r", calls))

    with running(stub, worker_threads=3):
        pass

    counted = {name: calls.count(f"r {name}") for name in HOOKS if "worker" in name or "consumer" in name}
    assert counted == {
        "before_worker_boot": 1, "after_worker_boot": 1, "before_worker_shutdown": 1, "after_worker_shutdown": 1,
        "after_consumer_thread_boot": 1, "before_consumer_thread_shutdown": 1,
        "after_worker_thread_boot": 3, "before_worker_thread_shutdown": 3,
    }  # fmt: skip


def test_a_middleware_can_be_put_before_or_after_another(stub: StubBroker) -> None:
    early, late, last = Middleware(), Middleware(), Middleware()
    stub.add_middleware(early, before=TimeLimit)
    stub.add_middleware(late, after=TimeLimit)
    stub.add_middleware(last)

    kinds = stub.middleware
    assert kinds.index(early) + 1 == [type(item) for item in kinds].index(TimeLimit) == kinds.index(late) - 1
    assert kinds[-1] is last
    with pytest.raises(ValueError, match="not both"):
        stub.add_middleware(Middleware(), before=TimeLimit, after=Retries)
    with pytest.raises(ValueError, match="Recorder is not in the middleware"):
        stub.add_middleware(Middleware(), before=Recorder)


def test_a_late_middleware_hears_of_what_is_declared_already(stub: StubBroker, declare: Any) -> None:
    calls: list[str] = []
    declare(lambda: None, actor_name="work")

    stub.add_middleware(Recorder("r", calls))

    assert calls == ["r after_declare_queue", "r after_declare_actor"]


@pytest.mark.parametrize("hook", [hook for hook in PROCESSING if hook != "before_process_message"])
def test_a_hook_that_raises_harms_nobody(hook: str) -> None:
    broker, raiser = StubBroker(), Raiser(hook)
    broker.add_middleware(raiser)
    done: list[int] = []
    messages = [actor(done.append, broker=broker, actor_name=f"work{n}").send(n) for n in range(3)]
    with running(broker):
        broker.join("default", timeout=10_000)

    assert sorted(done) == [0, 1, 2]
    assert {state(broker, message) for message in messages} == {("succeeded", "")}
    assert raiser.calls or hook == "after_process_boot"


@pytest.mark.parametrize("hook", ["before_nack", "after_nack", "after_process_message", "after_skip_message"])
def test_a_hook_that_raises_at_a_dead_letter_leaves_it_one(stub: StubBroker, declare: Any, run: Any, hook: str) -> None:
    stub.add_middleware(Raiser(hook))

    def fail() -> None:
        raise ValueError

    failed = declare(fail, max_retries=0).send()
    old = Message("default", "old", message_timestamp=1)
    declare(lambda: None, actor_name="old", max_age=1)
    stub.enqueue(old)
    run()

    assert state(stub, failed) == ("dead", "retries_exhausted")
    assert state(stub, old) == ("dead", "age_limit")


@pytest.mark.parametrize("error", [RuntimeError("no"), SystemExit(), BaseException("no")])
def test_what_raises_before_a_message_runs_fails_it_by_its_policy(
    stub: StubBroker, declare: Any, run: Any, error: BaseException
) -> None:
    raiser = Raiser("before_process_message", error)
    stub.add_middleware(raiser)
    ran: list[int] = []
    message = declare(lambda: ran.append(1), actor_name="work", max_retries=2).send()
    run()

    assert not ran
    assert raiser.calls == 3
    assert state(stub, message) == ("dead", "retries_exhausted")


@pytest.mark.parametrize("error", [SystemExit(), KeyboardInterrupt(), BaseException("no")])
def test_not_even_a_base_exception_of_a_hook_runs_a_message_twice(
    stub: StubBroker, declare: Any, run: Any, error: BaseException
) -> None:
    stub.add_middleware(Raiser("after_process_message", error))
    ran: list[int] = []
    message = declare(lambda: ran.append(1), actor_name="work").send()
    run()

    assert ran == [1]
    assert state(stub, message) == ("succeeded", "")
    assert attempts_of(declare, run, ValueError(), max_retries=2) == 3


@pytest.mark.parametrize("stack", [[], [Retries()]], ids=["alone", "beside Retries"])
@pytest.mark.parametrize("sent", ["what it was given", "a copy"])
def test_a_middleware_that_sends_what_failed_once_more_has_it_retried(stack: list[Middleware], sent: str) -> None:
    """As retries were made before there were some: the message of the hook is enqueued again, with a delay."""

    class Again(Middleware):
        def after_process_message(self, broker: Any, message: Any, **facts: Any) -> None:
            attempts = message.options.get("attempts", 0)
            if attempts == 2:
                message.fail()
            elif sent == "a copy":
                broker.enqueue(message.copy(options={"attempts": attempts + 1}), delay=1)
            else:
                message.options["attempts"] = attempts + 1
                broker.enqueue(message, delay=1)

    stub = StubBroker([Again(), *stack])
    ran: list[int] = []

    def fail() -> None:
        ran.append(1)
        raise ValueError

    message = actor(fail, broker=stub, **({"max_retries": 0} if stack else {})).send()
    with running(stub):
        stub.join("default", timeout=10_000, fail_fast=False)

    assert len(ran) == 3
    assert state(stub, message)[0] == "dead"
    assert [letter.options["attempts"] for letter in stub.dead_letters] == [2]
    assert len({event.message_id for event in stub.journal.events}) == 1


def test_a_middleware_may_put_another_message_in_the_place_of_what_it_was_given(
    stub: StubBroker, declare: Any, run: Any
) -> None:
    class Decrypt(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            message._message = message.copy(args=("plain",), kwargs={"more": 1})

    stub.add_middleware(Decrypt())
    ran: list[Any] = []
    declare(lambda *args, **kwargs: ran.append((args, kwargs)), actor_name="work").send("secret")
    run()

    assert ran == [(("plain",), {"more": 1})]


def test_a_middleware_may_keep_something_with_the_message(stub: StubBroker, declare: Any, run: Any) -> None:
    class Stopwatch(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            message._began_at = 1

        def after_process_message(self, broker: Any, message: Any, **facts: Any) -> None:
            kept.append(message._began_at)

    kept: list[int] = []
    stub.add_middleware(Stopwatch())
    message = declare(lambda: None, actor_name="work").send()
    run()

    assert kept == [1]
    assert state(stub, message) == ("succeeded", "")


@pytest.mark.parametrize(
    ("place", "seen"),
    [("before", [(False, 1), (True, 2)]), ("after", [(False, None), (False, 1)])],
)
def test_who_stands_before_retries_hears_of_its_verdict_and_who_stands_after_it_does_not(
    place: str, seen: list[Any], stub: StubBroker, declare: Any, run: Any
) -> None:
    heard: list[Any] = []

    class Listener(Middleware):
        def after_process_message(self, broker: Any, message: Any, **facts: Any) -> None:
            heard.append((message.failed, message.options.get("retries")))

    stub.add_middleware(Listener(), **{place: Retries})

    assert attempts_of(declare, run, ValueError(), max_retries=1) == 2

    assert heard == seen


def test_skip_message_skips_without_failing(stub: StubBroker, declare: Any, run: Any) -> None:
    stub.add_middleware(Raiser("before_process_message", SkipMessage("not today")))
    ran: list[int] = []
    message = declare(lambda: ran.append(1), actor_name="work").send()
    run()

    assert not ran
    assert state(stub, message) == ("skipped", "")


def test_before_enqueue_may_refuse_a_message(stub: StubBroker, declare: Any) -> None:
    stub.add_middleware(Raiser("before_enqueue", SkipMessage("refused")))

    with pytest.raises(SkipMessage):
        declare(lambda: None, actor_name="work").send()

    assert stub.counts()[0].ready == 0


def test_a_middleware_may_choose_the_outcome(stub: StubBroker, declare: Any, run: Any) -> None:
    class Chooser(Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            message.fail()
            message.outcome = Dead("my reason")

    stub.add_middleware(Chooser())
    message = declare(lambda: None, actor_name="work").send()
    run()

    assert state(stub, message) == ("dead", "my reason")


def test_a_parked_message_causes_nothing_and_runs_later(stub: StubBroker, declare: Any, run: Any) -> None:
    class Limiter(Middleware):
        turns = 0

        def before_process_message(self, broker: Any, message: Any) -> None:
            self.turns += 1
            if self.turns < 3:
                message.outcome = Parked("limit", 1)
                raise SkipMessage

    stub.add_middleware(Limiter())
    ran: list[int] = []
    message = declare(lambda: ran.append(1), actor_name="work").send()
    run()

    assert ran == [1]
    assert state(stub, message) == ("succeeded", "")


# Age


@pytest.mark.parametrize(("max_age", "expected"), [(1_000, "dead"), (None, "succeeded"), (10**12, "succeeded")])
def test_too_old_is_dead(stub: StubBroker, declare: Any, run: Any, max_age: int | None, expected: str) -> None:
    declare(lambda: None, actor_name="work", max_age=max_age)
    message = Message("default", "work", message_timestamp=int(time.time() * 1000) - 60_000)
    stub.enqueue(message)
    run()

    assert state(stub, message)[0] == expected


def test_a_message_may_have_an_age_limit_of_its_own(stub: StubBroker, declare: Any, run: Any) -> None:
    declare(lambda: None, actor_name="work")
    message = Message("default", "work", options={"max_age": 10}, message_timestamp=1)
    stub.enqueue(message)
    run()

    assert state(stub, message) == ("dead", "age_limit")


# Retries


def attempts_of(declare: Any, run: Any, error: Exception, **options: Any) -> int:
    attempts: list[int] = []

    def fail() -> None:
        attempts.append(1)
        raise error

    declare(fail, **options).send()
    run()
    return len(attempts)


@pytest.mark.parametrize(
    ("error", "options", "attempts"),
    [
        (ValueError(), {"max_retries": 0}, 1),
        (ValueError(), {"max_retries": 3}, 4),
        (ValueError(), {"throws": ValueError}, 1),
        (ValueError(), {"throws": (KeyError, ValueError)}, 1),
        (ValueError(), {"throws": [ValueError]}, 1),
        (KeyError(), {"throws": ValueError, "max_retries": 1}, 2),
        (ValueError(), {"retry_when": lambda retries, error: retries < 2}, 3),
        (ValueError(), {"retry_when": lambda retries, error: False, "max_retries": 9}, 1),
        (Retry("later", delay=1), {"max_retries": 2}, 3),
        (Retry(delay=timedelta(milliseconds=1)), {"max_retries": 1, "min_backoff": 600_000, "max_backoff": 600_000}, 2),
        (RateLimitExceeded(), {"max_retries": 1}, 2),
    ],
)
def test_how_often_a_failure_is_tried_again(
    declare: Any, run: Any, error: Exception, options: dict[str, Any], attempts: int
) -> None:
    assert attempts_of(declare, run, error, **options) == attempts


def test_a_retry_when_that_raises_ends_in_a_dead_letter(stub: StubBroker, declare: Any, run: Any) -> None:
    def broken(retries: int, error: Exception) -> bool:
        raise RuntimeError

    assert attempts_of(declare, run, ValueError(), retry_when=broken) == 1
    assert len(stub.dead_letters) == 1


@pytest.mark.parametrize("by_name", [True, False])
def test_who_is_told_of_exhausted_retries_is_told_once(declare: Any, run: Any, by_name: bool) -> None:
    told: list[Any] = []
    exhausted = declare(lambda message, numbers: told.append((message, numbers)), actor_name="exhausted")
    target = "exhausted" if by_name else exhausted

    assert attempts_of(declare, run, ValueError(), max_retries=2, on_retry_exhausted=target) == 3

    ((message, numbers),) = told
    assert message["actor_name"] == "fail" and numbers == {"retries": 2, "max_retries": 2}


# Callbacks and pipelines


def test_callbacks_follow_successes_and_every_failure(declare: Any, run: Any) -> None:
    good: list[Any] = []
    bad: list[Any] = []
    declare(lambda message, result: good.append((message["message_id"], result)), actor_name="good")
    declare(lambda message, error: bad.append((message["message_id"], error)), actor_name="bad")

    def work(fail: bool) -> int:
        if fail:
            raise ValueError("told")
        return 42

    worker = declare(work, max_retries=1, on_success="good", on_failure="bad")
    success, failure = worker.send(False), worker.send(True)
    run()

    assert good == [(success.message_id, 42)]
    assert bad == [(failure.message_id, {"type": "ValueError", "message": "told"})] * 2


def test_a_callback_that_nobody_here_knows_waits_for_who_does(stub: StubBroker, declare: Any) -> None:
    worker = declare(lambda: 42, actor_name="work", on_success="of the next release")
    message = worker.send()
    with running(stub):
        until(lambda: state(stub, message)[0] == "succeeded")
        until(lambda: stub.peek("default", "delayed"))

    (waiting,) = stub.peek("default", "delayed")
    assert Message.decode(waiting.payload).actor_name == "of the next release"


@pytest.mark.parametrize("with_retries", [True, False])
def test_an_interrupted_attempt_is_handed_back_and_tells_nobody_that_it_failed(with_retries: bool) -> None:
    stub = StubBroker(None if with_retries else [ShutdownNotifications(), Callbacks()])
    started = threading.Event()

    def work() -> None:
        started.set()
        while True:
            time.sleep(0.005)

    actor(lambda *told: None, broker=stub, actor_name="bad")
    message = actor(work, broker=stub, notify_shutdown=True, on_failure="bad").send()
    with running(stub):
        assert started.wait(10)

    assert [delivery.message_id for delivery in stub.peek("default")] == [message.message_id]


def test_callbacks_have_ids_derived_from_their_cause(stub: StubBroker, declare: Any, run: Any) -> None:
    def caused_by(message: Message[Any]) -> set[str]:
        broker = StubBroker()

        def fail() -> None:
            raise ValueError

        actor(lambda message, error: None, broker=broker, actor_name="bad")
        actor(fail, broker=broker, max_retries=2, min_backoff=0, max_backoff=0, on_failure="bad")
        broker.enqueue(message)
        with running(broker):
            broker.join("default", timeout=10_000, fail_fast=False)
        return {event.message_id for event in broker.journal.events if event.birth} - {message.message_id}

    first, again = (caused_by(Message("default", "fail", message_id="same")) for _ in range(2))

    assert first == again and len(first) == 3
    assert caused_by(Message("default", "fail", message_id="another")).isdisjoint(first)


def test_a_pipeline_hands_each_result_to_the_next(stub: StubBroker, declare: Any, run: Any) -> None:
    seen: list[Any] = []
    add = declare(lambda a, b: a + b, actor_name="add")
    note = declare(lambda *args: seen.append(args), actor_name="note")
    line = pipeline([add.message(1, 2), add.message(10), note.message("sum")], broker=stub)
    line.run()
    run()

    assert seen == [("sum", 13)]
    ran = {event.message_id for event in stub.journal.events}
    assert ran == {message.message_id for message in line.messages}


@pytest.mark.parametrize("who", ["the receiver", "the actor that returns"])
def test_a_result_can_be_ignored(stub: StubBroker, declare: Any, run: Any, who: str) -> None:
    seen: list[Any] = []
    first = declare(lambda: 1, actor_name="first", pipe_ignore=who != "the receiver")
    second = declare(lambda *args: seen.append(args), actor_name="second")
    options = {"pipe_ignore": True} if who == "the receiver" else {}
    pipeline([first.message(), second.message_with_options(args=("own",), **options)], broker=stub).run()
    run()

    assert seen == [("own",)]


def test_a_pipeline_stops_at_a_failure(stub: StubBroker, declare: Any, run: Any) -> None:
    seen: list[Any] = []

    def fail() -> None:
        raise ValueError

    first = declare(fail, max_retries=0)
    second = declare(lambda *args: seen.append(args), actor_name="second")
    pipeline([first.message(), second.message()], broker=stub).run()
    run()

    assert seen == [] and len(stub.dead_letters) == 1


def test_a_step_that_cannot_be_sent_leaves_a_dead_letter(stub: StubBroker, declare: Any, run: Any) -> None:
    first = declare(lambda: object(), actor_name="first")
    second = declare(lambda *args: None, actor_name="second")
    line = pipeline([first.message(), second.message()], broker=stub)
    line.run()
    run()

    assert state(stub, line.messages[0]) == ("dead", "not_sendable")


# Limits and shutdown


def busy(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_a_loop_of_pure_python_is_ended_at_its_time_limit(stub: StubBroker, declare: Any, run: Any) -> None:
    message = declare(busy, time_limit=100, max_retries=0).send(30)
    done: list[int] = []
    began = time.monotonic()
    run()

    assert time.monotonic() - began < within(5)
    assert state(stub, message) == ("dead", "time_limit")
    assert isinstance(stub.dead_letters[0].exception, TimeLimitExceeded)
    declare(lambda: done.append(1), actor_name="after").send()
    run()
    assert done == [1]


@pytest.mark.parametrize("limit", [None, float("inf"), 60_000])
def test_who_stays_below_the_limit_is_left_alone(stub: StubBroker, declare: Any, run: Any, limit: Any) -> None:
    message = declare(busy, time_limit=limit, max_retries=0).send(0.25)
    run()

    assert state(stub, message) == ("succeeded", "")


def test_only_who_asks_is_told_of_a_shutdown_at_once(stub: StubBroker, declare: Any) -> None:
    told = threading.Event()
    both_run = threading.Barrier(3)

    def sleeper(seconds: float) -> None:
        end = time.monotonic() + seconds
        try:
            both_run.wait(10)
            while time.monotonic() < end:
                time.sleep(0.01)
        except Shutdown:
            told.set()
            raise

    asks = declare(sleeper, actor_name="asks", notify_shutdown=True).send(30)
    rests = declare(sleeper, actor_name="rests").send(0.5)
    with running(stub):
        both_run.wait(10)

    assert told.is_set()
    assert state(stub, asks) == ("enqueued", "")
    assert state(stub, rests) == ("succeeded", "")
    assert stub.peek("default")[0].retries == 0


def test_arguments_of_another_release_fail_before_they_run(stub: StubBroker, declare: Any, run: Any) -> None:
    def work(a: int) -> None:
        raise AssertionError("it ran")

    declare(work, max_retries=1)
    message = Message("default", "work", ("x", "y"))
    stub.enqueue(message)
    run()

    assert state(stub, message) == ("dead", "bad_arguments")
    assert "expected (a: 'int')" in str(stub.dead_letters[0].exception)


def test_one_line_is_logged_for_a_retry_and_a_traceback_for_a_death(
    declare: Any, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "django_tasks_q.worker"):
        attempts_of(declare, run, ValueError("noted"), max_retries=1)

    levels = [(record.levelname, bool(record.exc_info)) for record in caplog.records if "fail" in record.getMessage()]
    assert levels == [("WARNING", False), ("ERROR", True)]


def test_a_message_that_has_waited_is_told_of_when_it_comes(stub: StubBroker, run: Callable[..., None]) -> None:
    told: list[tuple[str, int]] = []

    class Listener(Middleware):
        def before_delay_message(self, broker: Any, message: Any) -> None:
            told.append((message.args[0], message.retries))

    stub.add_middleware(Listener())

    @actor(broker=stub, max_retries=1, min_backoff=1)
    def work(how: str) -> None:
        if how == "fails":
            raise ValueError(how)

    work.send("at once")
    work.send("fails")
    work.send_with_options(args=("delayed",), delay=10)
    run()

    assert sorted(told) == [("delayed", 0), ("fails", 1)]
