"""What the middleware of limits does with one message after another, without a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from django_tasks_q import Actor, BrokerConnectionError, Message, SkipMessage, actor, clock
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.deliveries import Delivery, MessageProxy
from django_tasks_q.middleware import Limits, limits
from django_tasks_q.outcomes import DONE, Dead, Parked
from django_tasks_q.rate_limits.backends import StubBackend
from django_tasks_q.rate_limits.mutex import Owner

KEY = limits.PREFIX + "work"


class Calling(StubBroker):
    """Notes who is called; away for as many calls as it is told."""

    def __init__(self, middleware: Limits) -> None:
        super().__init__(middleware=[middleware])
        self.calls: list[tuple[str, int, list[str]]] = []
        self.away = 0

    def unpark(self, key: str, number: int, queue_names: Sequence[str]) -> int:
        if self.away:
            self.away -= 1
            raise BrokerConnectionError("away")
        self.calls.append((key, number, sorted(queue_names)))
        return 0


@pytest.fixture
def backend() -> StubBackend:
    return StubBackend()


@pytest.fixture
def policy(backend: StubBackend) -> Limits:
    return Limits(backend=backend)


@pytest.fixture
def broker(policy: Limits) -> Calling:
    return Calling(policy)


def declare(broker: StubBroker, name: str = "work", **options: Any) -> Actor[Any, Any]:
    return actor(lambda *args: None, actor_name=name, broker=broker, **options)


def proxy(of: Actor[Any, Any], number: int = 1, message_id: str = "", **options: Any) -> MessageProxy:
    """Delivered for the so many-th time."""
    message: Message[Any] = of.message_with_options(**options)
    if message_id:
        message = message.copy(message_id=message_id)
    delivery = Delivery(
        handle=1, message_id=message.message_id, queue_name=message.queue_name, payload=b"", number=number
    )
    return MessageProxy(message, delivery)


def begin(policy: Limits, broker: StubBroker, message: MessageProxy) -> bool:
    """Whether it may run now."""
    try:
        policy.before_process_message(broker, message)
    except SkipMessage:
        return False
    return True


def end(policy: Limits, broker: StubBroker, message: MessageProxy) -> None:
    message.outcome = message.outcome or DONE
    policy.after_ack(broker, message)


def test_the_second_delivery_of_a_message_does_not_let_go_what_the_first_one_holds(
    policy: Limits, broker: Calling, backend: StubBackend
) -> None:
    work = declare(broker, concurrency=1)
    first, again = proxy(work, message_id="m"), proxy(work, message_id="m")
    assert begin(policy, broker, first)
    assert not begin(policy, broker, again)
    end(policy, broker, again)
    assert backend.held(KEY) == 1
    end(policy, broker, first)
    assert backend.held(KEY) == 0


def test_who_was_called_and_ends_without_running_passes_the_place_on(policy: Limits, broker: Calling) -> None:
    work = declare(broker, concurrency=3)
    old = proxy(work, number=2)
    old.outcome = Dead("age_limit")
    policy.after_nack(broker, old)
    assert broker.calls == [(KEY, 3, ["default"])]


def test_who_was_never_parked_passes_nothing_on(policy: Limits, broker: Calling) -> None:
    for message in (proxy(declare(broker, concurrency=1)), proxy(declare(broker, "free"), number=2)):
        message.outcome = Dead("age_limit")
        policy.after_nack(broker, message)
    assert broker.calls == []


def test_who_is_parked_while_somebody_else_leaves_is_called_although_one_is_still_here(
    policy: Limits, broker: Calling, backend: StubBackend
) -> None:
    work = declare(broker, concurrency=2)
    assert begin(policy, broker, proxy(work))
    token = backend.acquire(KEY, Owner("elsewhere", "x"), 2, 60_000) or 0
    late = proxy(work)
    assert not begin(policy, broker, late)
    backend.release(KEY, token)
    end(policy, broker, late)
    assert broker.calls == [(KEY, 1, ["default"])]


def test_a_call_that_failed_is_made_when_the_broker_is_back(
    policy: Limits, broker: Calling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_REST", 0.0)
    work, other = declare(broker, concurrency=1, queue_name="far"), declare(broker, "other")
    message = proxy(work)
    assert begin(policy, broker, message)
    broker.away = 2
    end(policy, broker, message)
    assert broker.calls == []
    end(policy, broker, proxy(other))
    assert broker.calls == [(KEY, 1, ["far"])]
    end(policy, broker, proxy(other))
    assert len(broker.calls) == 1


def test_only_queues_are_asked_in_which_somebody_may_be_parked_on_the_key(policy: Limits, broker: Calling) -> None:
    work = declare(broker, concurrency=1, queue_name="a")
    declare(broker, "another", concurrency=1, queue_name="b")
    sharing = declare(broker, "sharing", concurrency=1, concurrency_key="work", queue_name="c")
    unlimited = declare(broker, "unlimited", concurrency=None, queue_name="d")
    for each in (work, sharing):
        message = proxy(each)
        assert begin(policy, broker, message)
        end(policy, broker, message)
    assert broker.calls == [(KEY, 1, ["a", "c"])] * 2
    assert begin(policy, broker, proxy(unlimited))

    declare(broker, "any", concurrency=1, concurrency_key=lambda: "work", queue_name="e")
    its_own = proxy(unlimited, concurrency=1, concurrency_key="work")
    assert begin(policy, broker, its_own)
    end(policy, broker, its_own)
    assert broker.calls[2:] == [(KEY, 1, ["a", "c", "d", "e"])]


def test_no_key_is_the_name_of_the_actor(policy: Limits, broker: Calling, backend: StubBackend) -> None:
    assert begin(policy, broker, proxy(declare(broker, concurrency=1, concurrency_key=None)))
    assert backend.held(KEY) == 1


@pytest.mark.parametrize("key", [lambda: 7, lambda: "", lambda: "x" * 300, lambda: 1 / 0])
def test_a_key_that_cannot_be_made_fails_the_attempt_and_holds_nothing(
    key: Any, policy: Limits, broker: Calling, backend: StubBackend
) -> None:
    with pytest.raises((ValueError, ZeroDivisionError)):
        begin(policy, broker, proxy(declare(broker, concurrency=1, concurrency_key=key)))
    message = proxy(declare(broker, "rated", concurrency=1, rate_limit="1/s", rate_limit_key=key), number=2)
    with pytest.raises((ValueError, ZeroDivisionError)):
        begin(policy, broker, message)
    policy.after_nack(broker, message)
    assert backend.inspect() == []
    assert len(broker.calls) == 1


def test_who_is_refused_by_the_rate_gives_back_the_place(policy: Limits, broker: Calling, backend: StubBackend) -> None:
    work = declare(broker, concurrency=1, rate_limit="1/h")
    for may_run in (True, False):
        message = proxy(work)
        assert begin(policy, broker, message) is may_run
        assert isinstance(message.outcome, Parked) is not may_run
        end(policy, broker, message)
        assert backend.inspect() == []
    assert len(broker.calls) == 2


def test_of_a_long_line_few_look_by_themselves_at_any_time_and_some_always_do(
    policy: Limits, broker: Calling, backend: StubBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "monotonic", lambda: 1_000.0)
    backend.acquire(KEY, Owner("elsewhere", "x"), 1, 60_000)
    work = declare(broker, concurrency=1)
    delays = []
    for _ in range(1_000):
        message = proxy(work)
        assert not begin(policy, broker, message)
        assert isinstance(message.outcome, Parked)
        delays.append(message.outcome.delay)
    looks = [sum(start <= delay / 1_000 < start + 10 for delay in delays) for start in range(0, 500, 10)]
    assert sum(looks) == 1_000 and max(looks) < 200
    # Half of them are called soon. Those that are left stand anywhere in the line's order, and look as before.
    assert min(sum(start <= delay / 1_000 < start + 60 for delay in delays[500:]) for start in range(0, 240, 60)) > 20


def test_the_first_ones_in_a_line_look_within_seconds(policy: Limits, broker: Calling, backend: StubBackend) -> None:
    backend.acquire(KEY, Owner("elsewhere", "x"), 1, 60_000)
    work = declare(broker, concurrency=1)
    for attempt in range(3):
        message = proxy(work)
        assert not begin(policy, broker, message)
        assert isinstance(message.outcome, Parked) and 900 <= message.outcome.delay <= 3_000
        policy._call(broker, KEY, 1, "default")  # and nobody is parked any more, so the line is short again
        assert len(broker.calls) == attempt + 1
