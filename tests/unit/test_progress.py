"""``set_progress()``: what it takes, who hears it, and how often."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import copy_context
from decimal import Decimal
from typing import Any

import pytest

from django_tasks_q import Message, Middleware, Progress, Retry, actor, clock, set_progress
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.context import Running, context_of
from django_tasks_q.deliveries import Delivery, MessageProxy, Started
from django_tasks_q.events import Event, Kind, is_progress_of, progress_guard
from django_tasks_q.progress import LONGEST_TEXT
from django_tasks_q.states import State
from django_tasks_q.worker.board import Board
from django_tasks_q.worker.slot import Slot
from django_tasks_q.worker.ticker import Ticker
from tests.support.waiting import until
from tests.unit.conftest import running

# The value


@pytest.mark.parametrize(
    ("progress", "fraction", "percent"),
    [
        (Progress(1, 4), 0.25, 25),
        (Progress(999, 1_000), 0.999, 99),
        (Progress(5, 4), 1.0, 100),
        (Progress(0, 0), 1.0, 100),
        (Progress(7), None, None),
        (Progress(2**63 - 2, 2**63 - 1), 1.0, 99),
    ],
)
def test_a_share_is_known_where_a_total_is(progress: Progress, fraction: float | None, percent: int | None) -> None:
    assert (progress.fraction, progress.percent) == (fraction, percent)


def proxy() -> MessageProxy:
    return MessageProxy(Message("q", "work", message_id="m"), Delivery(1, "m", "q", b"", 1))


def said(*args: Any, **kwargs: Any) -> Progress | None:
    """What an attempt is known to be at after it has said so."""
    mine = proxy()
    context_of(Running(mine._message, 0, None, mine)).run(set_progress, *args, **kwargs)
    return mine.latest_progress


@pytest.mark.parametrize("number", [3, 3.0, Decimal(3)])
def test_whole_numbers_are_taken_whatever_their_type(number: Any) -> None:
    found = said(number, number)

    assert found == Progress(3, 3)
    assert type(found.done) is int


@pytest.mark.parametrize("number", [-1, 0.5, float("nan"), float("inf"), 2**63, "3", object(), [], 3 + 0j])
def test_what_no_database_counts_is_refused_inside_and_outside_of_actors(number: Any) -> None:
    with pytest.raises(ValueError, match="done has to be a whole number"):
        set_progress(number)
    with pytest.raises(ValueError, match="total has to be a whole number"):
        said(1, number)


def test_a_done_without_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="done has to be a whole number from 0 to"):
        set_progress(None)  # type: ignore[arg-type]


def test_a_text_is_a_text_and_is_cut_when_it_is_long() -> None:
    with pytest.raises(TypeError, match="not bytes"):
        set_progress(1, text=b"x")  # type: ignore[arg-type]

    found = said(1, text="x" * (LONGEST_TEXT + 1))
    assert found is not None and (len(found.text), found.text[-2:]) == (LONGEST_TEXT, "x…")
    assert said(1, text="y" * LONGEST_TEXT) == Progress(1, None, "y" * LONGEST_TEXT)


def test_outside_of_an_actor_nobody_hears_it() -> None:
    set_progress(1, 2, "nobody")


def test_after_the_end_of_its_attempt_nobody_hears_it() -> None:
    mine = proxy()
    mine.has_ended = True

    context_of(Running(mine._message, 0, None, mine)).run(set_progress, 1)

    assert mine.latest_progress is None


# Who hears it


class Ends(Middleware):
    """Notes how far each attempt was when it ended."""

    def __init__(self) -> None:
        self.seen: list[Progress | None] = []

    def after_process_message(self, broker: Any, message: Any, **facts: Any) -> None:
        self.seen.append(message.latest_progress)


@pytest.fixture
def ends(stub: StubBroker) -> Ends:
    ends = Ends()
    stub.add_middleware(ends)
    return ends


def told(broker: StubBroker) -> list[Event]:
    """The events that tell of progress."""
    return [event for event in broker.journal.events if event.progress is not None]


def helper(done: int) -> None:
    set_progress(done, 2, "in a helper")


def plain() -> None:
    helper(1)
    set_progress(2, 2)


async def coroutine() -> None:
    helper(1)
    await asyncio.to_thread(set_progress, 2, 2)


def in_a_thread() -> None:
    thread = threading.Thread(target=copy_context().run, args=(set_progress, 2, 2))
    thread.start()
    thread.join()


@pytest.mark.parametrize("work", [plain, coroutine, in_a_thread])
def test_a_short_message_tells_of_its_last_progress_with_its_end_and_of_nothing_else(
    stub: StubBroker, ends: Ends, work: Callable[[], Any]
) -> None:
    message = actor(work, broker=stub).send()
    with running(stub):
        stub.join("default", timeout=10_000)

    assert [(event.message_id, event.state, event.progress) for event in told(stub)] == [
        (message.message_id, State.SUCCEEDED, Progress(2, 2))
    ]
    assert ends.seen == [Progress(2, 2)]


def test_each_attempt_begins_without_the_progress_of_the_one_before(stub: StubBroker, ends: Ends) -> None:
    def work() -> None:
        if not ends.seen:
            set_progress(1, 2)
            raise Retry(delay=0)

    actor(work, broker=stub).send()
    with running(stub):
        stub.join("default", timeout=10_000)

    assert ends.seen == [Progress(1, 2), None]
    assert [(event.state, event.progress) for event in told(stub)] == [(State.RETRYING, Progress(1, 2))]


@pytest.mark.parametrize("is_async", [False, True])
def test_what_runs_for_longer_tells_of_it_meanwhile_and_once_more_in_the_end(stub: StubBroker, is_async: bool) -> None:

    def work() -> None:
        set_progress(1, 3)
        until(lambda: told(stub))
        set_progress(2, 3, "half way")
        until(lambda: len(told(stub)) == 2)
        set_progress(3, 3)

    async def work_async() -> None:
        await asyncio.to_thread(work)

    actor(work_async if is_async else work, broker=stub, actor_name="work").send()
    with running(stub):
        stub.join("default", timeout=20_000)

    assert [(event.kind, event.report, event.progress) for event in told(stub)] == [
        (Kind.STARTED, 1, Progress(1, 3)),
        (Kind.STARTED, 2, Progress(2, 3, "half way")),
        (Kind.SETTLED, 0, Progress(3, 3)),
    ]
    guards = [progress_guard(event) for event in told(stub)]
    assert guards == sorted(set(guards)) and all(is_progress_of(guard, 0, 1) for guard in guards)


# How often


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def wall_ms(self) -> int:
        return round(self.seconds * 1000)


class Exchanges:
    """The I/O thread as the ticker sees it: reports go in, and are gone when the broker has them."""

    def __init__(self) -> None:
        self.waiting: list[Started] = []
        self.told: list[Started] = []
        self.is_away = False

    def report_started(self, report: Started) -> None:
        (self.waiting if self.is_away else self.told).append(report)

    @property
    def has_reports(self) -> bool:
        return bool(self.waiting)

    def answer(self) -> None:
        self.is_away = False
        self.told += self.waiting
        self.waiting = []


class Ticking:
    """A ticker over slots in which nothing runs but what the test begins."""

    def __init__(self, now: Clock, slots: int = 1) -> None:
        region = Board(1, slots).regions[0]
        self.now = now
        self.io = Exchanges()
        self.slots = [Slot(region, index) for index in range(slots)]
        self._ticker = Ticker(
            self.slots,
            region,
            self.io,  # type: ignore[arg-type]
            control=None,  # type: ignore[arg-type]
            on_condemned=lambda: None,
            wants_retirement=lambda: False,
        )

    def begin(self, slot: Slot, name: str = "m", **fields: Any) -> MessageProxy:
        delivery = Delivery(1, name, "q", b"", 1, **fields)
        slot.begin(delivery)
        slot.proxy = MessageProxy(Message("q", "work", message_id=name), delivery)
        return slot.proxy

    def look(self, seconds: float = 0.1) -> None:
        self.now.seconds += seconds
        self._ticker._look_at_slots()

    @property
    def told(self) -> list[tuple[int, int | None]]:
        """Number and progress of the reports that the broker has."""
        return [(report.number, report.progress and report.progress.done) for report in self.io.told]


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ticking]]:
    now = Clock()
    monkeypatch.setattr(clock, "monotonic", lambda: now.seconds)
    monkeypatch.setattr(clock, "wall_ms", now.wall_ms)
    return lambda slots=1: Ticking(now, slots)


def test_however_often_it_is_called_two_reports_a_second_leave_the_process(ticking: Callable[..., Ticking]) -> None:
    all_of_it = ticking()
    mine = all_of_it.begin(all_of_it.slots[0])

    for tick in range(100):
        for step in range(100):
            mine.latest_progress = Progress(100 * tick + step)
        all_of_it.look()

    numbers, done = zip(*all_of_it.told, strict=True)
    assert 18 <= len(numbers) <= 22
    assert list(numbers) == list(range(1, len(numbers) + 1))
    assert list(done) == sorted(set(done)) and done[-1] > 9_400


def test_many_messages_tell_of_their_progress_together(ticking: Callable[..., Ticking]) -> None:
    all_of_it = ticking(50)
    proxies = []
    for index, slot in enumerate(all_of_it.slots):
        proxies.append(all_of_it.begin(slot, f"m{index}"))
        all_of_it.look(0.03)
    all_of_it.look(1)
    all_of_it.io.told.clear()

    trips = 0
    for tick in range(20):
        for one in proxies:
            one.latest_progress = Progress(tick)
        before = len(all_of_it.io.told)
        all_of_it.look()
        trips += len(all_of_it.io.told) > before

    assert len(all_of_it.io.told) == 50 * trips
    assert trips <= 4


def test_hundreds_of_messages_take_longer_turns(ticking: Callable[..., Ticking]) -> None:
    all_of_it = ticking(1_000)
    proxies = [all_of_it.begin(slot, f"m{index}") for index, slot in enumerate(all_of_it.slots)]

    for tick in range(100):
        for one in proxies:
            one.latest_progress = Progress(tick)
        all_of_it.look()

    assert len(all_of_it.io.told) <= 500 * 10 + 1_000
    assert {report.delivery.message_id for report in all_of_it.io.told[-1_000:]} == {f"m{n}" for n in range(1_000)}


def test_what_says_nothing_new_is_reported_once(ticking: Callable[..., Ticking]) -> None:
    all_of_it = ticking(2)
    mine = all_of_it.begin(all_of_it.slots[0], "says something once")
    mine.latest_progress = Progress(1)
    all_of_it.begin(all_of_it.slots[1], "says nothing")

    for _ in range(100):
        all_of_it.look()

    assert all_of_it.told == [(1, 1), (1, None)]


def test_reports_do_not_pile_up_while_the_broker_is_away(ticking: Callable[..., Ticking]) -> None:
    all_of_it = ticking()
    mine = all_of_it.begin(all_of_it.slots[0])
    all_of_it.io.is_away = True

    for step in range(100):
        mine.latest_progress = Progress(step)
        all_of_it.look()

    assert len(all_of_it.io.waiting) == 1
    all_of_it.io.answer()
    all_of_it.look()
    assert all_of_it.told == [(1, 1), (2, 99)]


def test_without_a_record_only_that_it_runs_is_reported(ticking: Callable[..., Ticking]) -> None:
    all_of_it = ticking()
    mine = all_of_it.begin(all_of_it.slots[0], record=False)

    for step in range(30):
        mine.latest_progress = Progress(step)
        all_of_it.look()

    assert [number for number, _ in all_of_it.told] == [1]


def test_the_next_message_of_a_thread_is_not_taken_for_the_one_before(ticking: Callable[..., Ticking]) -> None:
    all_of_it = ticking()
    slot = all_of_it.slots[0]
    first = all_of_it.begin(slot, "first")
    first.latest_progress = Progress(5)
    all_of_it.look(1)
    slot.end()
    all_of_it.look(1)

    all_of_it.begin(slot, "second")
    first.latest_progress = Progress(6)
    all_of_it.look(1)

    assert [(report.delivery.message_id, report.number) for report in all_of_it.io.told] == [
        ("first", 1),
        ("second", 1),
    ]
    assert all_of_it.told == [(1, 5), (1, None)]
