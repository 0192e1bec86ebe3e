"""What every broker promises, as sentences. Each broker's test class inherits them; none may leave one out."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from django_tasks_q import (
    DuplicateMessage,
    MessageTooLarge,
    PickleEncoder,
    Progress,
    QueueJoinTimeout,
    QueueNotFound,
    clock,
    set_encoder,
)
from django_tasks_q.broker import MAX_QUEUES_PER_EXCHANGE
from django_tasks_q.deliveries import Settlement, Started
from django_tasks_q.message import Message
from django_tasks_q.outcomes import DONE, HANDED_BACK, REVOKED, SKIPPED, Dead, Outcome, Parked, Requeue, Retry
from django_tasks_q.recording import Recording
from tests.brokers.bench import BOOM, Bench, Desk, Story
from tests.brokers.unique import OneOfAKey
from tests.support.waiting import until, within

AN_HOUR = 3_600_000
NOON = 1_700_000_000_000
"""A moment long past, in epoch milliseconds."""

TEXTS = [
    "plain",
    "Grüße, мир, 日本語",
    "nul \x00 inside",
    "lone \ud800 surrogate",
    "🦄 four bytes",
    "\u202eright to left",
    "",
]


class Sending:
    def test_what_is_sent_can_be_claimed_and_is_then_nobody_elses(self, bench: Bench) -> None:
        (sent,) = bench.send("m", retries_please=1)
        first, second = bench.worker("first"), bench.worker("second")

        delivery = first.take_one()

        assert (delivery.message_id, delivery.queue_name, delivery.number) == ("m", "q", 1)
        assert (delivery.retries, delivery.lost, delivery.life) == (0, 0, 0)
        assert Message.decode(delivery.payload) == sent
        assert second.finds_nothing()
        assert bench.holds() == (0, 1, 0, 0)

    def test_a_message_for_an_unknown_queue_is_refused(self, bench: Bench) -> None:
        with pytest.raises(QueueNotFound, match="nowhere"):
            bench.send("m", queue="nowhere")

        assert bench.stories() == {}

    @pytest.mark.parametrize("name", ["q.DQ", "q.XQ"])
    def test_a_message_for_one_of_dramatiqs_queues_beside_a_queue_is_for_the_queue(
        self, bench: Bench, name: str
    ) -> None:
        message = bench.message("m").copy(queue_name=name)

        assert bench.broker.enqueue(message).queue_name == "q"

        delivery = bench.worker().take_one()
        assert (delivery.queue_name, Message.decode(delivery.payload).queue_name) == ("q", "q")

    def test_the_text_of_a_message_survives_whatever_it_holds(self, bench: Bench) -> None:
        for number, text in enumerate(TEXTS):
            bench.broker.enqueue(bench.message(f"m{number}", text, {text: [text]}))

        deliveries = bench.worker().take(len(TEXTS))

        assert [Message.decode(d.payload).args for d in deliveries] == [(text, {text: [text]}) for text in TEXTS]

    def test_binary_arguments_survive_with_an_encoder_that_takes_them(self, bench: Bench) -> None:
        set_encoder(PickleEncoder())
        value = (bytes(range(256)), {1, 2}, {3: b"\x00"})
        bench.broker.enqueue(bench.message("m", *value))

        assert Message.decode(bench.worker().take_one().payload).args == value

    def test_a_message_of_the_greatest_size_passes_and_one_byte_more_does_not(self, bench: Bench) -> None:
        frame = len(bench.message("m1", "").encode())
        largest = bench.broker.max_message_bytes - frame

        bench.broker.enqueue(bench.message("m1", "x" * largest))
        with pytest.raises(MessageTooLarge):
            bench.broker.enqueue(bench.message("m2", "x" * (largest + 1)))

        assert len(bench.worker().take_one().payload) == bench.broker.max_message_bytes
        assert list(bench.stories()) == ["m1"]

    def test_many_messages_are_sent_all_or_none(self, bench: Bench) -> None:
        bench.send("m3")

        with pytest.raises(DuplicateMessage):
            bench.broker.enqueue_many([bench.message(f"m{number}") for number in range(5)])

        assert bench.has_ready("m3")
        bench.broker.enqueue_many([bench.message(f"n{number}") for number in range(5)])
        assert bench.has_ready("m3", "n0", "n1", "n2", "n3", "n4")

    def test_many_messages_with_the_same_id_twice_are_refused(self, bench: Bench) -> None:
        with pytest.raises(DuplicateMessage):
            bench.broker.enqueue_many([bench.message("m1"), bench.message("m2"), bench.message("m1")])

        assert bench.holds() == (0, 0, 0, 0)
        assert bench.stories() == {}

    def test_more_messages_than_one_batch_keep_their_order(self, bench: Bench) -> None:
        names = [f"m{number:04}" for number in range(2_500)]
        bench.broker.enqueue_many([bench.message(name) for name in names])

        deliveries = bench.worker("w", {"q": 1}).take(2_500, room=1_000)

        assert [delivery.message_id for delivery in deliveries] == names

    @pytest.mark.parametrize("where", ["waiting", "delayed", "running", "dead"])
    def test_an_id_that_is_not_finished_is_refused(self, bench: Bench, where: str) -> None:
        if where == "dead":
            bench.bury_as_dead("m")
        else:
            bench.send("m", **({"delay": AN_HOUR} if where == "delayed" else {}))
        if where == "running":
            bench.worker().take_one()
        before = bench.stories()

        with pytest.raises(DuplicateMessage, match="m"):
            bench.send("m")

        assert bench.stories() == before

    def test_of_many_senders_of_one_id_at_a_time_one_succeeds(self, bench: Bench) -> None:
        start = threading.Barrier(8)

        def send() -> bool:
            try:
                start.wait(10)
                bench.send("m")
                return True
            except DuplicateMessage:
                return False
            finally:
                bench.broker.close()

        with ThreadPoolExecutor(8) as threads:
            results = [future.result(30) for future in [threads.submit(send) for _ in range(8)]]

        assert sum(results) == 1
        assert bench.holds() == (1, 0, 0, 0)

    @pytest.mark.parametrize("end", [DONE, SKIPPED, REVOKED])
    def test_the_id_of_a_finished_message_is_free_and_begins_a_new_life(self, bench: Bench, end: Outcome) -> None:
        desk = bench.worker()
        bench.send("m")
        desk.settle(desk.take_one(), end)

        bench.send("m")

        assert bench.story("m") == Story("enqueued", 0, 0, 0, 1, "", ())
        delivery = desk.take_one()
        assert (delivery.life, delivery.number, delivery.retries) == (1, 1, 0)
        desk.settle(delivery, DONE)
        assert bench.story("m") == Story("succeeded", 0, 1, 0, 1, "", ())

    def test_the_ids_of_finished_messages_are_free_for_a_batch_too(self, bench: Bench) -> None:
        desk = bench.worker()
        bench.send("m1", "m2")
        desk.exchange([Settlement(delivery, DONE) for delivery in desk.take(2)])

        bench.broker.enqueue_many([bench.message("m0"), bench.message("m1"), bench.message("m2")])

        assert {name: story.life for name, story in bench.stories().items()} == {"m0": 0, "m1": 1, "m2": 1}
        assert [delivery.life for delivery in desk.take(3)] == [0, 1, 1]


class Order:
    def test_messages_of_one_priority_are_claimed_in_the_order_they_were_sent(self, bench: Bench) -> None:
        names = [f"m{number:02}" for number in range(50)]
        bench.send(*names)
        desk = bench.worker()

        claimed = [delivery.message_id for _ in range(5) for delivery in desk.take(10)]

        assert claimed == names

    def test_a_smaller_priority_is_claimed_sooner(self, bench: Bench) -> None:
        for name, priority in [("late", 100), ("middle 1", 0), ("soon", -100), ("middle 2", 0), ("rather soon", -1)]:
            bench.send(name, priority=priority)

        assert bench.has_ready("soon", "rather soon", "middle 1", "middle 2", "late")
        assert [d.message_id for d in bench.worker().take(5)] == [
            "soon", "rather soon", "middle 1", "middle 2", "late",
        ]  # fmt: skip

    def test_a_worker_claims_from_its_own_queues_only(self, bench: Bench) -> None:
        bench.send("here", queue="q")
        bench.send("there", queue="other")

        assert [d.message_id for d in bench.worker("a", {"other": 1}).exchange(room=10).deliveries] == ["there"]
        assert [d.message_id for d in bench.worker("b", {"q": 1}).exchange(room=10).deliveries] == ["here"]

    def test_a_queue_that_is_left_out_is_asked_when_it_is_wanted_again(self, bench: Bench) -> None:
        bench.send("m1")
        bench.send("m2", queue="other")
        desk = bench.worker()

        desk.consumer.left_out = {"q", "other"}
        assert desk.finds_nothing()
        desk.consumer.left_out = {"q"}
        assert desk.take_one().message_id == "m2"
        assert desk.finds_nothing()
        desk.consumer.left_out = {"q", "other"}
        assert desk.finds_nothing()

        desk.consumer.left_out = ()
        assert desk.take_one().message_id == "m1"

    def test_a_worker_of_an_unknown_queue_is_refused(self, bench: Bench) -> None:
        desk = bench.worker("w")

        with pytest.raises(QueueNotFound, match="nowhere"):
            desk.call(bench.broker.consume, bench_info("x", {"nowhere": 1}))

    def test_room_is_divided_by_weight(self, bench: Bench) -> None:
        for queue in ("q", "other"):
            bench.send(*(f"{queue}{number}" for number in range(20)), queue=queue)

        deliveries = bench.worker("w", {"q": 3, "other": 1}).exchange(room=8).deliveries

        assert sorted(d.queue_name for d in deliveries) == ["other"] * 2 + ["q"] * 6

    def test_no_queue_starves_beside_a_full_one(self, bench: Bench) -> None:
        bench.send(*(f"m{number}" for number in range(50)), queue="q")
        bench.send("lonely", queue="other")
        desk = bench.worker("w", {"q": 100, "other": 1})

        claimed = [d.message_id for _ in range(2) for d in desk.exchange(room=1).deliveries]

        assert "lonely" in claimed

    def test_more_queues_than_one_exchange_asks_are_all_served(self, bench: Bench) -> None:
        names = [f"queue{number:02}" for number in range(MAX_QUEUES_PER_EXCHANGE * 2 + 3)]
        for name in names:
            bench.broker.declare_queue(name)
            bench.send(f"in {name}", queue=name)
        desk = bench.worker("w", dict.fromkeys(names, 1))

        claimed = {d.queue_name for _ in range(8) for d in desk.exchange(room=100).deliveries}

        assert claimed == set(names)

    def test_a_worker_without_queues_serves_those_declared_later_too(self, bench: Bench) -> None:
        desk = bench.worker()
        bench.broker.declare_queue("later")
        bench.send("m", queue="later")

        assert desk.take(1, room=10)[0].message_id == "m"


class Time:
    def test_a_delayed_message_waits_for_its_time(self, bench: Bench) -> None:
        bench.send("in an hour", delay=AN_HOUR)
        assert bench.holds() == (0, 0, 1, 0)
        sent_at = time.monotonic()
        bench.send("m", delay=400)

        delivery = bench.worker().take_one()

        assert time.monotonic() - sent_at >= 0.39
        assert delivery.message_id == "m"

    def test_an_eta_is_the_time_a_message_waits_for(self, bench: Bench) -> None:
        bench.send("in an hour", eta=clock.wall_ms() + AN_HOUR)
        assert bench.holds() == (0, 0, 1, 0)
        eta = clock.wall_ms() + 400
        bench.send("m", eta=eta)

        delivery = bench.worker().take_one()

        assert clock.wall_ms() >= eta - 1
        assert delivery.message_id == "m"

    def test_a_delay_of_nothing_and_a_time_long_past_mean_now(self, bench: Bench) -> None:
        bench.send("m1", delay=0)
        bench.send("m2", eta=1_000)

        assert bench.has_ready("m1", "m2")

    def test_delayed_messages_are_listed_in_the_order_of_their_times(self, bench: Bench) -> None:
        for name, delay in [("third", 3), ("first", 1), ("second", 2)]:
            bench.send(name, delay=delay * AN_HOUR)

        assert bench.peek("delayed") == ["first", "second", "third"]
        assert bench.worker().finds_nothing()

    @pytest.mark.parametrize("delay", [-1, 1.5, "1", True, 400 * 24 * AN_HOUR])
    def test_a_delay_that_makes_no_sense_is_refused(self, bench: Bench, delay: Any) -> None:
        with pytest.raises(ValueError, match="delay"):
            bench.send("m", delay=delay)

        assert bench.stories() == {}

    def test_a_consumer_that_waits_is_woken_when_a_delay_is_over(self, bench: Bench) -> None:
        desk = bench.worker()
        bench.send("m", delay=300)
        began = time.monotonic()

        while desk.has_nothing_yet():
            desk.call(desk.consumer.wait, 30)
            assert time.monotonic() - began < within(5)

    def test_a_consumer_that_has_no_room_is_not_woken_again_and_again_when_a_delay_is_over(self, bench: Bench) -> None:
        desk = bench.worker()
        bench.send("m", delay=1_000)
        assert desk.has_nothing_yet()
        desk.call(desk.consumer.wait, 10)
        began, waits = time.monotonic(), 0

        while time.monotonic() - began < 0.3:
            desk.call(desk.consumer.wait, 0.1)
            waits += 1

        assert waits < 10
        assert desk.take_one().message_id == "m"

    def test_what_waited_for_its_time_stands_where_it_was_sent(self, bench: Bench) -> None:
        bench.send("delayed", delay=50)
        bench.send("sent later")
        desk = bench.worker()
        bench.until(lambda: desk.exchange() and bench.holds() == (2, 0, 0, 0))

        assert [delivery.message_id for delivery in desk.take(2)] == ["delayed", "sent later"]


class Settling:
    @pytest.mark.parametrize(
        ("outcome", "state"),
        [(DONE, "succeeded"), (SKIPPED, "skipped"), (REVOKED, "revoked")],
    )
    def test_a_finished_message_is_gone_and_recorded(self, bench: Bench, outcome: Outcome, state: str) -> None:
        bench.send("m")
        desk = bench.worker()

        answer = desk.settle(desk.take_one(), outcome, started_at=1_700_000_000_000)

        assert not answer.refused
        assert bench.holds() == (0, 0, 0, 0)
        assert bench.story("m") == Story(state, 0, 1, 0, 0, "", ())

    def test_a_failed_attempt_counts_as_a_retry_and_comes_back_when_due(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()

        desk.fail(desk.take_one(), Retry(0))

        again = desk.take_one()
        assert (again.number, again.retries, again.lost, again.life) == (2, 1, 0, 0)
        desk.settle(again, DONE)
        assert bench.story("m") == Story("succeeded", 1, 2, 0, 0, "", ((1, "failed", "ValueError"),))

    def test_a_retry_waits_for_its_time(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()

        desk.fail(desk.take_one(), Retry(AN_HOUR))

        assert desk.finds_nothing()
        assert bench.holds() == (0, 0, 1, 0)
        assert bench.story("m") == Story("retrying", 1, 1, 0, 0, "", ((1, "failed", "ValueError"),))

    def test_a_retry_keeps_what_middleware_changed_in_the_message(self, bench: Bench) -> None:
        (sent,) = bench.send("m")
        desk = bench.worker()
        changed = sent.copy(options={"seen": 1}).encode()

        desk.fail(desk.take_one(), Retry(0), payload=changed)

        assert desk.take_one().payload == changed

    def test_a_parked_message_waits_without_having_failed(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()

        desk.settle(desk.take_one(), Parked("limit", 0))

        again = desk.take_one()
        assert (again.number, again.retries, again.lost) == (2, 0, 0)
        desk.settle(again, Parked("limit", AN_HOUR))
        assert bench.holds() == (0, 0, 1, 0)
        assert bench.story("m") == Story("delayed", 0, 2, 0, 0, "", ())

    @pytest.mark.parametrize("reason", ["retries_exhausted", "time_limit", "throws", "bad_arguments", "rejected"])
    def test_a_dead_letter_is_kept_with_its_reason(self, bench: Bench, reason: str) -> None:
        (sent,) = bench.send("m")
        desk = bench.worker()

        desk.fail(desk.take_one(), Dead(reason))

        assert desk.finds_nothing()
        assert bench.holds() == (0, 0, 0, 1)
        assert bench.peek("dead") == ["m"]
        assert Message.decode(bench.broker.peek("q", "dead")[0].payload) == sent
        assert bench.story("m") == Story("dead", 1, 1, 0, 0, reason, ((1, "failed", "ValueError"),))

    @pytest.mark.parametrize("reason", ["age_limit", "undecodable", "unknown_actor"])
    def test_a_message_that_died_without_running_has_failed_no_attempt(self, bench: Bench, reason: str) -> None:
        bench.send("m")
        desk = bench.worker()

        desk.settle(desk.take_one(), Dead(reason))

        assert bench.story("m") == Story("dead", 0, 1, 0, 0, reason, ())

    def test_dead_letters_are_listed_oldest_first(self, bench: Bench) -> None:
        bench.send("m1", "m2")
        desk = bench.worker()
        first, second = desk.take(2)

        desk.fail(second, Dead("throws"))
        later = clock.wall_ms() + 2
        bench.until(lambda: clock.wall_ms() > later)
        desk.fail(first, Dead("throws"))

        assert bench.peek("dead") == ["m2", "m1"]

    def test_what_is_handed_back_stands_in_front_where_it_stood(self, bench: Bench) -> None:
        bench.send("m1", "m2", "m3")
        desk = bench.worker()
        first, second = desk.take(2)

        desk.exchange([Settlement(second, HANDED_BACK), Settlement(first, HANDED_BACK)])

        assert bench.has_ready("m1", "m2", "m3")
        assert [d.message_id for d in desk.take(3)] == ["m1", "m2", "m3"]

    def test_a_hand_back_counts_as_a_delivery_and_as_nothing_else(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()
        for _ in range(10):
            desk.settle(desk.take_one(), HANDED_BACK)

        delivery = desk.take_one()

        assert (delivery.number, delivery.retries, delivery.lost) == (11, 0, 0)
        desk.settle(delivery, DONE)
        assert bench.story("m") == Story("succeeded", 0, 11, 0, 0, "", ())

    def test_a_loss_is_counted_and_no_failed_attempt(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()

        desk.settle(desk.take_one(), Requeue(lost=True), started_at=1_700_000_000_000)

        delivery = desk.take_one()
        assert (delivery.number, delivery.retries, delivery.lost) == (2, 0, 1)
        desk.settle(delivery, DONE)
        assert bench.story("m") == Story("succeeded", 0, 2, 1, 0, "", ((1, "lost", ""),))

    def test_a_suspect_is_claimed_by_workers_for_suspects_only(self, bench: Bench) -> None:
        bench.send("m", "innocent")
        desk = bench.worker()
        assert not bench.broker.has_suspects()

        desk.settle(desk.take_one(), Requeue(lost=True, suspect=True))

        assert bench.broker.has_suspects()
        assert bench.counts().ready == 2
        assert [d.message_id for d in desk.take(1)] == ["innocent"]
        assert desk.finds_nothing()
        quarantine = bench.worker("quarantine", suspects=True)
        assert quarantine.take_one().message_id == "m"
        assert not bench.broker.has_suspects()

    def test_a_worker_for_suspects_leaves_everything_else_alone(self, bench: Bench) -> None:
        bench.send("m")

        assert bench.worker("quarantine", suspects=True).finds_nothing()

    def test_a_batch_is_settled_in_one_exchange_each_by_its_own_outcome(self, bench: Bench) -> None:
        names = ["done", "skipped", "retry", "parked", "dead", "back"]
        bench.send(*names)
        desk = bench.worker()
        outcomes = [DONE, SKIPPED, Retry(AN_HOUR), Parked("k", AN_HOUR), Dead("throws"), HANDED_BACK]
        claimed = desk.take(6)

        settlements = [Settlement(d, o) for d, o in zip(claimed, outcomes, strict=True)]
        answer = desk.exchange(settlements)

        assert not answer.refused
        assert bench.holds() == (1, 0, 2, 1)
        assert [bench.story(name).state for name in names] == [
            "succeeded", "skipped", "retrying", "delayed", "dead", "enqueued",
        ]  # fmt: skip

    def test_one_exchange_settles_and_claims_the_next(self, bench: Bench) -> None:
        bench.send("m1", "m2")
        desk = bench.worker()
        first = desk.take_one()

        answer = desk.exchange([Settlement(first, DONE)], room=1)

        assert [d.message_id for d in answer.deliveries] == ["m2"]
        assert bench.story("m1").state == "succeeded"

    def test_a_delivery_that_runs_for_long_is_recorded_as_running(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()
        delivery = desk.take_one()

        desk.exchange(started=[Started(delivery, 1_700_000_000_000)])

        assert bench.story("m") == Story("running", 0, 1, 0, 0, "", ())
        desk.settle(delivery, DONE, started_at=1_700_000_000_000)
        assert bench.story("m").state == "succeeded"

    def test_how_far_a_delivery_is_is_recorded_while_it_runs_and_at_its_end(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()
        delivery = desk.take_one()

        for number, text in enumerate(TEXTS, start=1):
            report = Started(delivery, NOON, Progress(number, 2**63 - 1, text), number)
            desk.exchange(started=[report])
            assert bench.story("m") == Story("running", 0, 1, 0, 0, "", (), report.progress)

        desk.settle(delivery, DONE, started_at=NOON, progress=Progress(2, None, "fewer than thought"))
        assert bench.story("m") == Story("succeeded", 0, 1, 0, 0, "", (), Progress(2, None, "fewer than thought"))

    def test_how_far_a_failed_attempt_came_is_known_until_the_next_one_runs(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()
        first = desk.take_one()
        desk.exchange(started=[Started(first, NOON, Progress(7, 10), 1)])

        desk.fail(first, Retry(0), progress=Progress(8, 10))
        assert bench.story("m").progress == Progress(8, 10)

        second = desk.take_one()
        desk.exchange(started=[Started(second, NOON)])
        assert bench.story("m").progress is None
        desk.exchange(started=[Started(second, NOON, Progress(1, 10), 2)])
        assert bench.story("m").progress == Progress(1, 10)

        # What the earlier attempt had to say is of no interest any more, and who does not own it has no say at all
        desk.exchange(started=[Started(first, NOON, Progress(9, 10), 3)])
        desk.settle(second, DONE)
        desk.exchange(started=[Started(second, NOON, Progress(2, 10), 3)])
        assert bench.story("m") == Story("succeeded", 1, 2, 0, 0, "", ((1, "failed", "ValueError"),), Progress(1, 10))

    def test_a_report_of_running_that_comes_with_or_after_the_end_changes_nothing(self, bench: Bench) -> None:
        bench.send("m1", "m2")
        desk = bench.worker()
        first, second = desk.take(2)

        desk.exchange([Settlement(first, DONE)], started=[Started(first, 1_700_000_000_000)])
        desk.settle(second, DONE)
        desk.exchange(started=[Started(second, 1_700_000_000_000)])

        assert {story.state for story in bench.stories().values()} == {"succeeded"}


class Fencing:
    def test_settling_twice_settles_once(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()
        delivery = desk.take_one()
        assert not desk.settle(delivery, DONE).refused

        answer = desk.fail(delivery, Dead("throws"))

        assert answer.refused == {delivery.handle}
        assert bench.story("m") == Story("succeeded", 0, 1, 0, 0, "", ())
        assert bench.holds() == (0, 0, 0, 0)

    def test_the_settlement_of_an_earlier_delivery_is_refused(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()
        early = desk.take_one()
        desk.settle(early, HANDED_BACK)
        late = desk.take_one()

        answer = desk.settle(early, DONE)

        assert answer.refused == {early.handle}
        assert bench.holds() == (0, 1, 0, 0)
        assert not desk.settle(late, DONE).refused

    def test_the_settlement_of_a_delivery_that_never_was_is_refused(self, bench: Bench) -> None:
        bench.send("m", "other")
        desk = bench.worker()
        delivery = desk.take_one()
        unknown = type(delivery)(987_654_321, "ghost", "q", b"", 1)

        answer = desk.exchange([Settlement(unknown, DONE), Settlement(delivery, DONE)])

        assert answer.refused == {unknown.handle}
        assert bench.holds() == (1, 0, 0, 0)
        assert "ghost" not in bench.stories()

    def test_nobody_settles_what_another_worker_claimed(self, bench: Bench) -> None:
        bench.send("m")
        owner, stranger = bench.worker("owner"), bench.worker("stranger")
        delivery = owner.take_one()

        answer = stranger.settle(delivery, DONE)

        assert answer.refused == {delivery.handle}
        assert not owner.settle(delivery, DONE).refused

    @pytest.mark.parametrize("late", [DONE, Retry(0), Dead("throws"), HANDED_BACK])
    def test_a_late_settlement_of_the_former_owner_is_refused(self, bench: Bench, late: Outcome) -> None:
        bench.send("m")
        former, owner = bench.worker("former"), bench.worker("owner")
        delivery = former.take_one()
        bench.bury(former)
        mine = owner.take_one()

        answer = former.settle(delivery, late)

        assert answer.refused == {delivery.handle}
        assert bench.holds() == (0, 1, 0, 0)
        assert not owner.settle(mine, DONE).refused
        assert bench.story("m") == Story("succeeded", 0, 2, 0, 0, "", ())

    @pytest.mark.parametrize("late", [DONE, Retry(0), Dead("throws"), SKIPPED])
    def test_an_attempt_that_ends_too_late_is_told_of_and_moves_nothing(self, bench: Bench, late: Outcome) -> None:
        bench.send("m")
        former, owner = bench.worker("former"), bench.worker("owner")
        delivery = former.take_one()
        bench.bury(former, bench.lose(delivery))
        mine = owner.take_one()

        for _ in range(2):
            former.settle(delivery, late, started_at=NOON, finished_at=NOON + 500)

        told = ((1, "late", ""), (1, "lost", "LostWorker"))
        assert bench.story("m").attempts == told
        owner.settle(mine, DONE)
        assert bench.story("m") == Story("succeeded", 0, 2, 1, 0, "", told)

    def test_an_attempt_that_fails_too_late_is_told_of_with_its_error(self, bench: Bench) -> None:
        bench.send("m")
        former, owner = bench.worker("former"), bench.worker("owner")
        delivery = former.take_one()
        bench.bury(former)
        owner.settle(owner.take_one(), DONE)

        former.fail(delivery, Dead("throws"), finished_at=NOON)

        assert bench.story("m") == Story("succeeded", 0, 2, 0, 0, "", ((1, "late", "ValueError"),))

    def test_who_settles_twice_or_had_not_begun_is_not_late(self, bench: Bench) -> None:
        bench.send("twice", "not begun")
        desk = bench.worker("former")
        twice, other = desk.take(2)
        for _ in range(2):
            desk.settle(twice, DONE, started_at=NOON, finished_at=NOON)
        bench.bury(desk)

        desk.settle(twice, DONE, started_at=NOON, finished_at=NOON)
        desk.settle(other, HANDED_BACK)

        assert bench.story("twice") == Story("succeeded", 0, 1, 0, 0, "", ())
        assert bench.story("not begun") == Story("enqueued", 0, 1, 0, 0, "", ())

    def test_a_failure_whose_answer_was_lost_is_told_of_once_although_the_worker_is_buried(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker("former")
        delivery = desk.take_one()
        desk.fail(delivery, Retry(0), finished_at=NOON)
        bench.bury(desk)
        bench.worker("owner").take_one()

        desk.fail(delivery, Retry(0), finished_at=NOON)

        assert bench.story("m").attempts == ((1, "failed", "ValueError"),)

    def test_a_buried_worker_claims_nothing_and_is_told(self, bench: Bench) -> None:
        desk = bench.worker()
        assert not desk.exchange().fenced
        bench.bury(desk)
        bench.send("m")

        assert desk.finds_nothing()
        bench.until(lambda: desk.exchange(room=10).fenced)
        assert desk.finds_nothing()
        assert bench.has_ready("m")

    def test_a_worker_that_settles_too_late_learns_at_once_that_it_was_buried(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()
        delivery = desk.take_one()
        bench.bury(desk)

        answers = [desk.settle(delivery, DONE), desk.exchange()]

        assert answers[-1].fenced

    def test_messages_caused_by_a_refused_settlement_are_not_sent(self, bench: Bench) -> None:
        bench.send("m")
        former, owner = bench.worker("former"), bench.worker("owner")
        delivery = former.take_one()
        bench.bury(former)
        owner.take_one()

        former.settle(delivery, DONE, then=(bench.outgoing("next"),))

        assert bench.has_ready()
        assert "next" not in bench.stories()

    def test_a_report_of_running_by_a_former_owner_changes_nothing(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()
        delivery = desk.take_one()
        bench.bury(desk)

        desk.exchange(started=[Started(delivery, 1_700_000_000_000)])

        assert bench.story("m") == Story("enqueued", 0, 1, 0, 0, "", ())


class Causing:
    def test_what_a_message_causes_is_sent_with_its_settlement(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()

        desk.settle(desk.take_one(), DONE, then=(bench.outgoing("now"), bench.outgoing("later", delay=AN_HOUR)))

        assert bench.has_ready("now")
        assert bench.peek("delayed") == ["later"]
        assert [bench.story(name).state for name in ("m", "now", "later")] == ["succeeded", "enqueued", "delayed"]

    @pytest.mark.parametrize("outcome", [DONE, Retry(AN_HOUR), Dead("throws")])
    def test_every_settlement_may_cause_messages(self, bench: Bench, outcome: Outcome) -> None:
        bench.send("m")
        desk = bench.worker()

        desk.fail(desk.take_one(), outcome, then=(bench.outgoing("next"),))

        assert bench.has_ready("next")

    def test_a_caused_message_that_waits_already_is_not_sent_again(self, bench: Bench) -> None:
        bench.send("m1", "m2")
        desk = bench.worker()
        first, second = desk.take(2)

        desk.settle(first, DONE, then=(bench.outgoing("next"),))
        answer = desk.settle(second, DONE, then=(bench.outgoing("next"), bench.outgoing("another")))

        assert not answer.refused
        assert bench.has_ready("next", "another")

    def test_two_settlements_of_one_exchange_that_cause_the_same_message_send_it_once(self, bench: Bench) -> None:
        bench.send("m1", "m2")
        desk = bench.worker()

        desk.exchange([Settlement(d, DONE, then=(bench.outgoing("next"),)) for d in desk.take(2)])

        assert bench.has_ready("next")

    def test_a_settlement_handed_over_twice_causes_its_messages_once(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()
        settlement = Settlement(desk.take_one(), DONE, then=(bench.outgoing("next"),))
        desk.exchange([settlement])
        desk.settle(desk.take_one(), DONE)

        answer = desk.exchange([settlement])

        assert answer.refused == {settlement.delivery.handle}
        assert bench.holds() == (0, 0, 0, 0)

    def test_a_caused_message_whose_id_is_finished_begins_a_new_life(self, bench: Bench) -> None:
        bench.send("next", "m")
        desk = bench.worker()
        finished, cause = desk.take(2)
        desk.settle(finished, DONE)

        desk.settle(cause, DONE, then=(bench.outgoing("next"),))

        assert bench.story("next") == Story("enqueued", 0, 0, 0, 1, "", ())


class Dying:
    def test_what_a_dead_worker_held_goes_back_uncounted_when_it_had_not_started(self, bench: Bench) -> None:
        bench.send("m1", "m2", "m3")
        desk = bench.worker("dying")
        desk.take(2)

        assert bench.bury(desk) == 2

        assert bench.has_ready("m1", "m2", "m3")
        deliveries = bench.worker().take(3)
        assert [(d.number, d.retries, d.lost) for d in deliveries] == [(2, 0, 0), (2, 0, 0), (1, 0, 0)]

    def test_burying_twice_is_harmless(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker("dying")
        casualty = bench.lose(desk.take_one())
        bench.bury(desk, casualty)
        before = bench.stories()

        assert bench.bury(desk, casualty) == 0
        assert bench.stories() == before
        assert bench.broker.bury("nobody ever", (), bench.judge) == 0

    def test_what_was_running_is_lost_and_runs_again(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker("dying")
        delivery = desk.take_one()

        bench.bury(desk, bench.lose(delivery))

        again = bench.worker().take_one()
        assert (again.number, again.retries, again.lost) == (2, 0, 1)
        assert bench.story("m") == Story("enqueued", 0, 1, 1, 0, "", ((1, "lost", "LostWorker"),))

    def test_an_interrupted_run_counts_as_nothing(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker("dying")
        delivery = desk.take_one()

        bench.bury(desk, bench.lose(delivery, "interrupted"))

        again = bench.worker().take_one()
        assert (again.number, again.retries, again.lost) == (2, 0, 0)
        assert bench.story("m") == Story("enqueued", 0, 1, 0, 0, "", ((1, "interrupted", ""),))

    def test_a_run_ended_for_its_time_limit_is_a_failed_attempt(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker("dying")
        delivery = desk.take_one()

        bench.bury(desk, bench.lose(delivery, "time_limit"))

        assert bench.holds() == (0, 0, 1, 0)
        assert bench.story("m") == Story("retrying", 1, 1, 0, 0, "", ((1, "time_limit", "HardTimeLimit"),))

    def test_a_last_run_ended_for_its_time_limit_is_a_dead_letter(self, bench: Bench) -> None:
        bench.send("m", max_retries=0)
        desk = bench.worker("dying")
        delivery = desk.take_one()

        bench.bury(desk, bench.lose(delivery, "time_limit"))

        assert bench.holds() == (0, 0, 0, 1)
        assert bench.story("m") == Story("dead", 1, 1, 0, 0, "time_limit", ((1, "time_limit", "HardTimeLimit"),))

    def test_a_casualty_of_an_earlier_delivery_is_not_counted(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker("dying")
        early = desk.take_one()
        desk.settle(early, HANDED_BACK)
        desk.take_one()

        bench.bury(desk, bench.lose(early))

        assert bench.worker().take_one().lost == 0

    def test_who_dies_with_its_worker_once_too_often_is_convicted(self, bench: Bench) -> None:
        bench.send("m")

        bench.kill("m")
        assert not bench.broker.has_suspects()
        bench.kill("m")
        assert bench.broker.has_suspects()
        bench.kill("m")

        assert bench.holds() == (0, 0, 0, 1)
        attempts = tuple((number, "lost", "LostWorker") for number in (1, 2, 3))
        assert bench.story("m") == Story("dead", 0, 3, 3, 0, "delivery_limit", attempts)

    def test_a_suspect_that_failed_meanwhile_is_not_convicted_beside_others(self, bench: Bench) -> None:
        bench.send("m")
        bench.kill("m", 2)
        quarantine = bench.worker("quarantine", suspects=True)
        quarantine.fail(quarantine.take_one(), Retry(0))
        bench.send("poison")
        desk = bench.worker("shared")
        bench.bury(desk, *(msgspec.structs.replace(bench.lose(d), alone=False) for d in desk.take(2)))

        assert bench.holds() == (2, 0, 0, 0)
        assert bench.broker.has_suspects()
        assert bench.worker("quarantine again", suspects=True).take_one().message_id == "m"

    def test_a_message_may_set_its_own_delivery_limit(self, bench: Bench) -> None:
        bench.send("m", delivery_limit=2)

        bench.kill("m", 2)

        assert bench.story("m").reason == "delivery_limit"

    def test_no_number_of_deploys_convicts_an_innocent_message(self, bench: Bench) -> None:
        bench.send("m")
        for number in range(8):
            desk = bench.worker(f"deploy {number}")
            delivery = desk.take_one()
            casualties = [bench.lose(delivery, "interrupted")] if number % 2 else []
            bench.bury(desk, *casualties)

        delivery = bench.worker().take_one()

        assert (delivery.number, delivery.retries, delivery.lost) == (9, 0, 0)

    def test_a_suspect_that_ran_alone_and_well_is_acquitted(self, bench: Bench) -> None:
        bench.send("m")
        bench.kill("m", 2)
        quarantine = bench.worker("quarantine", suspects=True)

        quarantine.settle(quarantine.take_one(), DONE)

        assert bench.story("m")[:4] == ("succeeded", 0, 3, 2)

    def test_a_worker_that_leaves_gives_back_what_it_holds(self, bench: Bench) -> None:
        bench.send("m1", "m2")
        desk = bench.worker("leaving")
        desk.take_one()

        desk.leave()

        assert bench.has_ready("m1", "m2")

    def test_a_worker_that_leaves_in_a_hurry_gives_nothing_back_until_it_is_buried(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker("leaving")
        desk.take_one()

        desk.leave(give_back=False)

        assert bench.holds() == (0, 1, 0, 0)
        bench.bury(desk)
        assert bench.has_ready("m")


class Leases:
    def test_what_a_worker_held_whose_lease_ran_out_is_rescued(self, bench: Bench) -> None:
        bench.broker.lease = 100
        bench.send("m1", "m2")
        desk = bench.worker("lost host")
        running, _ = desk.take(2)
        desk.exchange(started=[Started(running, 1_700_000_000_000)])
        rescued: list[str] = []

        bench.until(lambda: rescued.extend(bench.broker.rescue(bench.judge)) or rescued)

        assert rescued == ["lost host"]
        bench.broker.lease = 60_000
        deliveries = bench.worker().take(2)
        assert [(d.message_id, d.number, d.lost) for d in deliveries] == [("m1", 2, 1), ("m2", 2, 0)]
        assert desk.settle(running, DONE).refused

    def test_a_lease_that_is_renewed_does_not_run_out(self, bench: Bench) -> None:
        bench.broker.lease = 1_000
        bench.send("m")
        desk = bench.worker("healthy")
        delivery = desk.take_one()
        end = time.monotonic() + 1.4

        while time.monotonic() < end:
            assert bench.broker.renew(["healthy"]) in (None, ["healthy"])
            assert bench.broker.rescue(bench.judge) == []

        assert not desk.settle(delivery, DONE).refused

    def test_renewing_does_not_raise_the_dead(self, bench: Bench) -> None:
        desk = bench.worker("buried")
        bench.bury(desk)
        bench.worker("alive")
        assert list(bench.broker.renew(["buried", "alive", "never was"])) == ["alive"]
        bench.send("m")

        assert desk.finds_nothing()
        assert bench.broker.rescue(bench.judge) == []

    def test_rescue_leaves_the_living_alone(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()
        desk.take_one()

        assert bench.broker.rescue(bench.judge) == []
        assert bench.holds() == (0, 1, 0, 0)


class Operating:
    def test_a_requeued_dead_letter_begins_a_new_life(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()
        desk.fail(desk.take_one(), Retry(0))
        desk.fail(desk.take_one(), Dead("retries_exhausted"))

        assert bench.broker.requeue(["m"]) == ["m"]

        delivery = desk.take_one()
        assert (delivery.number, delivery.retries, delivery.lost, delivery.life) == (3, 0, 0, 1)
        desk.settle(delivery, DONE)
        assert bench.story("m")[:6] == ("succeeded", 0, 3, 0, 1, "")
        assert bench.holds() == (0, 0, 0, 0)

    def test_a_requeue_forgets_the_losses(self, bench: Bench) -> None:
        bench.send("m")
        bench.kill("m", 3)

        bench.broker.requeue(["m"])

        assert bench.story("m")[:6] == ("enqueued", 0, 3, 0, 1, "")
        bench.kill("m")
        assert bench.holds() == (1, 0, 0, 0)

    def test_only_dead_letters_are_requeued(self, bench: Bench) -> None:
        bench.bury_as_dead("dead 1", "dead 2")
        bench.send("waiting")
        bench.send("delayed", delay=AN_HOUR)

        requeued = bench.broker.requeue(["waiting", "dead 2", "delayed", "nobody"])

        assert requeued == ["dead 2"]
        assert sorted(bench.peek()) == ["dead 2", "waiting"]
        assert bench.broker.requeue(["dead 2"]) == []
        with pytest.raises(TypeError, match="list of message ids"):
            bench.broker.requeue("dead 2")
        assert bench.broker.requeue([]) == []

    def test_a_flushed_queue_is_empty_but_for_what_runs(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")
        bench.send("running", "waiting")
        bench.send("delayed", delay=AN_HOUR)
        bench.send("elsewhere", queue="other")
        desk = bench.worker("w", {"q": 1})
        running = desk.take_one()

        bench.broker.flush("q")

        assert bench.holds() == (0, 1, 0, 0)
        assert bench.holds("other") == (1, 0, 0, 0)
        assert not desk.settle(running, DONE).refused
        states = {name: story.state for name, story in bench.stories().items()}
        assert states == {
            "dead": "discarded", "waiting": "discarded", "delayed": "discarded",
            "running": "succeeded", "elsewhere": "enqueued",
        }  # fmt: skip

    def test_all_queues_can_be_flushed(self, bench: Bench) -> None:
        bench.send("m1")
        bench.send("m2", queue="other")

        bench.broker.flush_all()

        assert bench.holds() == bench.holds("other") == (0, 0, 0, 0)
        bench.send("m1")
        assert bench.story("m1") == Story("enqueued", 0, 0, 0, 1, "", ())

    def test_flushing_an_unknown_queue_is_an_error(self, bench: Bench) -> None:
        with pytest.raises(QueueNotFound, match="nowhere"):
            bench.broker.flush("nowhere")

    def test_the_counts_tell_what_every_queue_holds(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")
        bench.send("waiting 1", "waiting 2", "running")
        bench.send("delayed", delay=AN_HOUR)
        desk = bench.worker("w", {"q": 1})
        desk.take_one()

        assert [counts.queue_name for counts in bench.broker.counts()] == ["other", "q"]
        assert bench.holds() == (2, 1, 1, 1)
        assert bench.holds("other") == (0, 0, 0, 0)

    def test_the_counts_tell_how_long_the_oldest_has_been_waiting(self, bench: Bench) -> None:
        assert bench.counts().oldest_ms == 0
        bench.send("m1")
        bench.until(lambda: bench.counts().oldest_ms >= 50)
        desk = bench.worker()
        delivery = desk.take_one()
        assert bench.counts().oldest_ms == 0
        desk.settle(delivery, HANDED_BACK)
        bench.until(lambda: bench.counts().oldest_ms >= 50)

        assert bench.counts().oldest_ms < 60_000

    def test_looking_takes_nothing(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")
        bench.send("waiting", "running")
        bench.send("delayed", delay=AN_HOUR)
        desk = bench.worker("w", {"q": 1})
        desk.take_one()

        for _ in range(2):
            assert bench.has_ready("running")
            assert bench.peek("in_flight") == ["waiting"]
            assert bench.peek("delayed") == ["delayed"]
            assert bench.peek("dead") == ["dead"]
        assert len(bench.broker.peek("q", limit=0)) == 0

    def test_messages_are_looked_up_whole_by_id(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")
        (sent,) = bench.send("running", secret="kept")
        desk = bench.worker("owner")
        delivery = desk.take_one()
        bench.send("waiting", "unasked")
        before = clock.wall_ms()
        bench.send("delayed", delay=AN_HOUR)

        held = bench.broker.look_up(["dead", "running", "waiting", "delayed", "nobody"])

        states = {name: item.state for name, item in held.items()}
        assert states == {"dead": "dead", "running": "in_flight", "waiting": "ready", "delayed": "delayed"}
        assert Message.decode(held["running"].delivery.payload) == sent
        assert (held["running"].owner, held["running"].delivery.number) == ("owner", delivery.number)
        assert abs(held["delayed"].due_at - before - AN_HOUR) < 60_000
        assert bench.broker.look_up([]) == {}
        with pytest.raises(TypeError, match="list of message ids"):
            bench.broker.look_up("dead")

    def test_a_suspect_is_looked_up_as_ready(self, bench: Bench) -> None:
        bench.send("m")
        bench.kill("m", 2)

        assert bench.broker.look_up(["m"])["m"].state == "ready"

    def test_more_messages_than_one_batch_are_looked_up_and_discarded(self, bench: Bench) -> None:
        names = [f"m{number:04}" for number in range(1_200)]
        bench.broker.enqueue_many([bench.message(name) for name in names])

        assert sorted(bench.broker.look_up(names)) == names  # by id, in no order
        assert sorted(bench.broker.discard(names)) == names
        assert bench.holds() == (0, 0, 0, 0)

    def test_what_waits_is_discarded_and_what_runs_is_not(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")
        bench.send("running")
        desk = bench.worker()
        running = desk.take_one()
        bench.send("waiting", "left alone")
        bench.send("delayed", delay=AN_HOUR)

        discarded = bench.broker.discard(["dead", "running", "waiting", "delayed", "nobody"])

        assert sorted(discarded) == ["dead", "delayed", "waiting"]
        assert bench.holds() == (1, 1, 0, 0)
        assert not desk.settle(running, DONE).refused
        states = {name: story.state for name, story in bench.stories().items()}
        assert states == {
            "dead": "discarded", "waiting": "discarded", "delayed": "discarded", "running": "succeeded",
            "left alone": "enqueued",
        }  # fmt: skip
        assert bench.broker.discard(["dead", "waiting"]) == []
        with pytest.raises(TypeError, match="list of message ids"):
            bench.broker.discard("left alone")

    def test_a_discarded_suspect_waits_for_nobody_any_more(self, bench: Bench) -> None:
        bench.send("m")
        bench.kill("m", 2)

        assert bench.broker.discard(["m"]) == ["m"]

        assert not bench.broker.has_suspects()
        assert bench.story("m")[:4] == ("discarded", 0, 2, 2)

    def test_a_dead_letter_is_replaced_once(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")

        answers = [bench.broker.replace("dead", bench.message(name, "edited")) for name in ("new", "newer")]

        assert answers == [True, False]
        assert (bench.peek(), bench.peek("dead")) == (["new"], [])
        assert bench.story("dead").state == "discarded"
        assert bench.story("new") == Story("enqueued", 0, 0, 0, 0, "", ())
        assert "newer" not in bench.stories()
        assert Message.decode(bench.worker().take_one().payload).args == ("edited",)

    def test_of_many_who_replace_a_dead_letter_at_a_time_one_succeeds(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")
        start = threading.Barrier(4)

        def replace() -> bool:
            try:
                start.wait(10)
                return bench.broker.replace("dead", bench.message("new"))
            finally:
                bench.broker.close()

        with ThreadPoolExecutor(4) as threads:
            answers = [future.result(30) for future in [threads.submit(replace) for _ in range(4)]]

        assert sum(answers) == 1
        assert bench.holds() == (1, 0, 0, 0)

    @pytest.mark.parametrize("where", ["waiting", "delayed", "running", "nowhere"])
    def test_only_dead_letters_are_replaced(self, bench: Bench, where: str) -> None:
        if where != "nowhere":
            bench.send("m", **({"delay": AN_HOUR} if where == "delayed" else {}))
        if where == "running":
            bench.worker().take_one()
        before = (bench.holds(), bench.stories())

        assert not bench.broker.replace("m", bench.message("new"))

        assert (bench.holds(), bench.stories()) == before

    def test_a_replacement_that_cannot_be_sent_leaves_the_dead_letter(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")
        bench.send("known")
        before = bench.stories()

        with pytest.raises(DuplicateMessage):
            bench.broker.replace("dead", bench.message("known"))
        with pytest.raises(QueueNotFound):
            bench.broker.replace("dead", bench.message("new", queue="nowhere"))

        assert (bench.peek("dead"), bench.stories()) == (["dead"], before)

    def test_dead_letters_that_are_too_old_are_dropped_and_counted(self, bench: Bench) -> None:
        bench.bury_as_dead("d1", "d2", "d3")
        bench.send("waiting")

        assert bench.broker.expire_dead_letters(AN_HOUR) == 0
        counts: list[int] = []
        bench.until(lambda: counts.append(bench.broker.expire_dead_letters(1, limit=2)) or sum(counts) == 3)
        assert max(counts) <= 2

        assert bench.holds() == (1, 0, 0, 0)
        states = {name: story.state for name, story in bench.stories().items()}
        assert states == {"d1": "discarded", "d2": "discarded", "d3": "discarded", "waiting": "enqueued"}
        assert bench.broker.expire_dead_letters(0) == 0

    def test_a_requeued_dead_letter_does_not_expire(self, bench: Bench) -> None:
        bench.bury_as_dead("m")
        bench.broker.requeue(["m"])

        assert bench.broker.expire_dead_letters(0) == 0
        assert bench.has_ready("m")


class Joining:
    """Waiting until a queue is done, as tests do."""

    def test_a_queue_is_joined_when_nothing_waits_and_nothing_runs(self, bench: Bench) -> None:
        bench.send("m")
        with pytest.raises(QueueJoinTimeout):
            bench.broker.join("q", interval=10, timeout=50)
        desk = bench.worker()
        delivery = desk.take_one()
        with pytest.raises(QueueJoinTimeout):
            bench.broker.join("q", interval=10, timeout=50)

        desk.settle(delivery, DONE)

        bench.broker.join("q", interval=10, timeout=20_000)
        with pytest.raises(QueueNotFound):
            bench.broker.join("nowhere")


class Repeating:
    """Messages that may have been sent before, because nobody heard whether they were."""

    def repeat(self, bench: Bench, *messages: Message[Any], age: int = AN_HOUR) -> None:
        """Send what was made ``age`` milliseconds ago."""
        made_at = clock.wall_ms() - age
        bench.broker.publish([bench.broker.reopen(message.encode(), "", made_at) for message in messages])

    @pytest.mark.parametrize("where", ["waiting", "delayed", "running", "dead", "finished", "discarded"])
    def test_what_was_sent_before_is_left_out(self, bench: Bench, where: str) -> None:
        sent = self.send_to(where, bench)
        before = (bench.holds(), bench.stories())

        self.repeat(bench, sent)

        assert (bench.holds(), bench.stories()) == before

    def send_to(self, where: str, bench: Bench) -> Message[Any]:
        (sent,) = bench.send("m", **({"delay": AN_HOUR} if where == "delayed" else {}))
        if where in ("running", "finished", "dead"):
            desk = bench.worker()
            delivery = desk.take_one()
            if where == "finished":
                desk.settle(delivery, DONE)
            if where == "dead":
                desk.fail(delivery, Dead("retries_exhausted"))
        if where == "discarded":
            bench.broker.discard(["m"])
        return sent

    @pytest.mark.parametrize("where", ["finished", "discarded"])
    def test_what_ended_before_this_one_was_made_was_another_message(self, bench: Bench, where: str) -> None:
        self.send_to(where, bench)
        ended = clock.wall_ms()
        until(lambda: clock.wall_ms() > ended + 50)

        self.repeat(bench, bench.message("m"), age=20)

        assert bench.has_ready("m")
        assert bench.story("m").life == 1

    def test_what_was_not_sent_before_is_sent_beside_what_was(self, bench: Bench) -> None:
        (known,) = bench.send("known")
        new1, new2 = bench.message("new 1"), bench.message("new 2")

        self.repeat(bench, new1, known, new2, new1)

        assert bench.has_ready("known", "new 1", "new 2")
        assert {story.life for story in bench.stories().values()} == {0}


class Recorded:
    """What is recorded of a message, and what is not."""

    def unrecorded(self, bench: Bench, how: str, *names: str) -> None:
        if how == "message":
            bench.send(*names, record=False)
        elif how == "actor":
            bench.actor.options["record"] = False
            bench.send(*names)
        else:
            bench.broker.recording = Recording(enabled=False)
            bench.send(*names)

    @pytest.mark.parametrize("how", ["message", "actor", "project"])
    def test_a_message_without_a_record_runs_as_any_other(self, bench: Bench, how: str) -> None:
        self.unrecorded(bench, how, "m", "discarded")
        desk = bench.worker()
        bench.broker.discard(["discarded"])
        desk.fail(desk.take_one(), Retry(0))
        desk.exchange(started=[Started(again := desk.take_one(), NOON)])
        desk.settle(again, DONE)

        assert bench.stories() == {}
        assert bench.holds() == (0, 0, 0, 0)

    @pytest.mark.parametrize("how", ["message", "actor", "project"])
    def test_its_death_is_recorded_and_so_is_what_follows(self, bench: Bench, how: str) -> None:
        self.unrecorded(bench, how, "m")
        desk = bench.worker()
        desk.fail(desk.take_one(), Retry(0))
        desk.fail(desk.take_one(), Dead("retries_exhausted"))
        last = (2, "failed", "ValueError")
        assert bench.story("m") == Story("dead", 2, 2, 0, 0, "retries_exhausted", (last,))

        bench.broker.requeue(["m"])

        assert bench.story("m") == Story("enqueued", 0, 2, 0, 1, "", (last,))
        desk.fail(desk.take_one(), Retry(AN_HOUR))
        assert bench.story("m").state == "retrying"
        bench.broker.discard(["m"])
        assert bench.story("m").state == "discarded"

    def test_who_dies_with_its_worker_is_recorded_too(self, bench: Bench) -> None:
        bench.send("m", record=False)
        bench.kill("m", 3)

        assert bench.story("m")[:6] == ("dead", 0, 3, 3, 0, "delivery_limit")

    def test_a_message_may_wish_for_a_record_that_its_actor_does_not(self, bench: Bench) -> None:
        bench.actor.options["record"] = False
        bench.send("m", record=True)

        assert bench.story("m").state == "enqueued"

    def test_an_attempt_of_it_that_ends_too_late_is_nobodys(self, bench: Bench) -> None:
        bench.send("m", record=False)
        desk = bench.worker()
        delivery = desk.take_one()
        bench.bury(desk)

        desk.settle(delivery, DONE, started_at=NOON, finished_at=NOON)

        assert bench.stories() == {}


class Waiting:
    BOUND = 1.0

    def test_a_consumer_that_waits_is_woken_by_a_message(self, bench: Bench) -> None:
        desk = bench.worker()
        waits = []
        for number in range(5):
            assert desk.finds_nothing()
            began = time.monotonic()
            waiting = desk.begin(wait_until_found, desk, 30)
            bench.send(f"m{number}")

            assert waiting.result(35)
            waits.append(time.monotonic() - began)
        assert max(waits) < within(self.BOUND)
        assert min(waits) < self.BOUND  # who is not woken looks once a second, so a busy machine may be late, but once

    def test_a_consumer_that_waits_is_woken_by_what_another_one_gives_back(self, bench: Bench) -> None:
        bench.send("m")
        busy, waiting = bench.worker("busy"), bench.worker("waiting")
        busy.take_one()
        found = waiting.begin(wait_until_found, waiting, 30)
        began = time.monotonic()

        bench.bury(busy)

        assert found.result(35)
        assert time.monotonic() - began < within(self.BOUND)

    def test_a_wait_is_over_when_its_time_is(self, bench: Bench) -> None:
        desk = bench.worker()
        began = time.monotonic()

        desk.call(desk.consumer.wait, 0.1)

        assert 0.05 < time.monotonic() - began < within(5)

    def test_a_wake_ends_a_wait_from_any_thread(self, bench: Bench) -> None:
        desk = bench.worker()
        began = time.monotonic()
        waiting = desk.begin(desk.consumer.wait, 30)

        desk.consumer.wake()

        waiting.result(20)
        assert time.monotonic() - began < within(self.BOUND)

    def test_a_wake_that_comes_before_the_wait_counts(self, bench: Bench) -> None:
        desk = bench.worker()
        desk.consumer.wake()
        began = time.monotonic()

        desk.call(desk.consumer.wait, 30)

        assert time.monotonic() - began < within(self.BOUND)

    def test_of_a_thousand_wakes_none_is_lost(self, bench: Bench) -> None:
        desk = bench.worker()
        asked, heard = [0], [0]

        def listen() -> None:
            while heard[0] < 1_000:
                desk.consumer.wait(30)
                heard[0] = asked[0]

        began = time.monotonic()
        listening = desk.begin(listen)
        for number in range(1_000):
            asked[0] = number + 1
            desk.consumer.wake()

        listening.result(25)
        assert time.monotonic() - began < within(20)


class Crowds:
    MESSAGES, CONSUMERS = 10_000, 8

    def test_many_messages_by_many_consumers_are_each_claimed_once(self, bench: Bench) -> None:
        names = [f"m{number:05}" for number in range(self.MESSAGES)]
        bench.broker.enqueue_many([bench.message(name) for name in names])
        desks = [bench.worker(f"w{number}") for number in range(self.CONSUMERS)]

        shares = [desk.begin(drain, desk) for desk in desks]
        claimed = [name for share in shares for name in share.result(50)]

        assert sorted(claimed) == names
        assert bench.holds() == (0, 0, 0, 0)
        stories = bench.stories()
        assert set(stories.values()) == {Story("succeeded", 0, 1, 0, 0, "", ())}
        assert len(stories) == self.MESSAGES


class Conformance(
    Sending,
    Order,
    Time,
    Settling,
    Fencing,
    Causing,
    Dying,
    Leases,
    Operating,
    Joining,
    Repeating,
    Recorded,
    Waiting,
    Crowds,
    OneOfAKey,
):
    """All sentences. ``broker`` is ``stub`` or an alias of ``DATABASES``."""

    broker = ""


def bench_info(name: str, queues: dict[str, int]) -> Any:
    from django_tasks_q.deliveries import WorkerInfo

    return WorkerInfo(name, queues)


def wait_until_found(desk: Desk, seconds: float) -> bool:
    """As the I/O thread does: ask, and wait when there is nothing. Runs in the desk's own thread."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = desk.consumer.exchange([], 1)
        if found.deliveries:
            desk.consumer.exchange([Settlement(found.deliveries[0], DONE)], 0)
            return True
        desk.consumer.wait(seconds)
    return False


def drain(desk: Desk) -> list[str]:
    """Claim and settle until there is nothing left. Runs in the desk's own thread."""
    claimed: list[str] = []
    settlements: list[Settlement] = []
    while True:
        deliveries = desk.consumer.exchange(settlements, 50).deliveries
        if not deliveries:
            return claimed
        claimed += [delivery.message_id for delivery in deliveries]
        settlements = [Settlement(delivery, DONE) for delivery in deliveries]


__all__ = ["BOOM", "Conformance"]
