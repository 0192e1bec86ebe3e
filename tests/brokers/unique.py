"""What every broker promises of messages of which one is enough, as sentences."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from django_tasks_q import DuplicateMessage, Message, actor, clock
from django_tasks_q.outcomes import DONE, HANDED_BACK, REVOKED, SKIPPED, Dead, Outcome, Parked, Requeue, Retry
from django_tasks_q.unique import HELD
from tests.brokers.bench import Bench, work
from tests.support.waiting import until

AN_HOUR = 3_600_000
KEY = {"unique": True, "unique_key": "k"}

FINAL: list[Outcome] = [DONE, SKIPPED, REVOKED, Dead("throws")]
NOT_FINAL: list[Outcome] = [Retry(AN_HOUR), Parked("limit", AN_HOUR), HANDED_BACK, Requeue(lost=True)]


def sent(bench: Bench, name: str, **options: Any) -> str:
    """The id of the message that is there when ``name`` was sent."""
    return bench.send(name, **{**KEY, **options})[0].message_id


class OneOfAKey:
    """Messages that take keys."""

    def test_a_second_message_of_a_key_is_not_sent_and_the_one_that_is_there_is_returned(self, bench: Bench) -> None:
        (first,) = bench.send("m1", **KEY)
        (second,) = bench.send("m2", **KEY)

        assert second.message_id == first.message_id == "m1"
        assert bench.has_ready("m1")
        assert list(bench.stories()) == ["m1"]

    def test_messages_of_other_keys_and_messages_without_one_are_sent(self, bench: Bench) -> None:
        bench.send("m1", **KEY)

        assert sent(bench, "m2", unique_key="other") == "m2"
        bench.send("m3")
        bench.send("m4")

        assert bench.has_ready("m1", "m2", "m3", "m4")

    def test_the_same_text_of_another_actor_is_another_key(self, bench: Bench) -> None:
        actor(work, broker=bench.broker, queue_name="q", actor_name="other", unique=True, unique_key="k")
        bench.send("m1", **KEY)

        there = bench.broker.enqueue(Message("q", "other", message_id="m2"))

        assert there.message_id == "m2"

    def test_without_a_key_of_its_own_the_arguments_are_the_key(self, bench: Bench) -> None:
        def send(name: str, *args: Any) -> str:
            message = Message("q", "work", args, {}, {"unique": True}, name)
            return bench.broker.enqueue(message).message_id

        assert send("m1", 1, {"a": 1, "b": [2]}) == "m1"
        assert send("m2", 1, {"b": [2], "a": 1}) == "m1"
        assert send("m3", 1, {"b": [2], "a": 2}) == "m3"

    def test_it_is_known_who_holds_a_key(self, bench: Bench) -> None:
        asked = bench.message("asked", **KEY)
        assert bench.broker.unique_holder(asked) is None

        bench.send("m1", **KEY)

        assert bench.broker.unique_holder(asked) == "m1"
        assert bench.broker.unique_holder(bench.message("asked", unique=True, unique_key="other")) is None
        with pytest.raises(ValueError, match="take no key"):
            bench.broker.unique_holder(bench.message("asked"))

    def test_what_runs_holds_its_key(self, bench: Bench) -> None:
        bench.send("m1", **KEY)
        bench.worker().take_one()

        assert sent(bench, "m2") == "m1"

    @pytest.mark.parametrize("outcome", FINAL, ids=lambda outcome: type(outcome).__name__)
    def test_every_end_frees_the_key(self, bench: Bench, outcome: Outcome) -> None:
        bench.send("m1", **KEY)
        desk = bench.worker()

        desk.settle(desk.take_one(), outcome)

        until(lambda: bench.broker.unique_holder(bench.message("x", **KEY)) is None, 5)
        assert sent(bench, "m2") == "m2"
        assert sent(bench, "m3") == "m2"

    @pytest.mark.parametrize("outcome", NOT_FINAL, ids=lambda outcome: type(outcome).__name__)
    def test_what_is_not_its_end_keeps_the_key(self, bench: Bench, outcome: Outcome) -> None:
        bench.send("m1", **KEY)
        desk = bench.worker()

        desk.settle(desk.take_one(), outcome)

        assert sent(bench, "m2") == "m1"

    def test_a_redelivered_message_keeps_the_key_until_it_has_ended(self, bench: Bench) -> None:
        bench.send("m1", **KEY)
        victim = bench.worker("victim")
        delivery = victim.take_one()
        bench.bury(victim, bench.lose(delivery))
        assert sent(bench, "m2") == "m1"

        desk = bench.worker()
        desk.settle(desk.take_one(), DONE)

        until(lambda: sent(bench, "m3") == "m3", 5)

    def test_a_discarded_message_frees_its_key(self, bench: Bench) -> None:
        bench.send("m1", delay=AN_HOUR, **KEY)
        assert sent(bench, "m2") == "m1"

        assert bench.broker.discard(["m1"]) == ["m1"]

        assert sent(bench, "m3") == "m3"

    def test_a_flushed_queue_frees_its_keys(self, bench: Bench) -> None:
        bench.send("m1", **KEY)
        bench.send("m2", delay=AN_HOUR, unique=True, unique_key="other")

        bench.broker.flush("q")

        assert sent(bench, "m3") == "m3"
        assert sent(bench, "m4", unique_key="other") == "m4"

    def test_a_key_until_started_is_free_when_its_attempt_starts(self, bench: Bench) -> None:
        until_started = {"unique": "until_started"}
        bench.send("m1", **{**KEY, **until_started})
        desk = bench.worker()
        delivery = desk.take_one()
        assert sent(bench, "m2", **until_started) == "m1"

        bench.broker.let_go(delivery, key_of(bench))

        assert sent(bench, "m2", **until_started) == "m2"
        desk.settle(delivery, DONE)
        assert sent(bench, "m3", **until_started) == "m2"

    def test_a_delivery_that_is_not_its_workers_any_more_lets_go_of_nothing(self, bench: Bench) -> None:
        bench.send("m1", **{**KEY, "unique": "until_started"})
        desk = bench.worker()
        delivery = desk.take_one()
        desk.settle(delivery, HANDED_BACK)
        if bench.broker.capabilities.unique_keys.level != "same":
            return  # it cannot tell

        bench.broker.let_go(delivery, key_of(bench))

        assert sent(bench, "m2", unique="until_started") == "m1"

    def test_a_key_with_a_time_to_live_is_free_when_that_is_over(self, bench: Bench) -> None:
        bench.send("m1", **{**KEY, "unique": 400})
        assert sent(bench, "m2", unique=400) == "m1"

        until(lambda: bench.broker.unique_holder(bench.message("x", **KEY)) is None, 5)

        assert sent(bench, "m3", unique=AN_HOUR) == "m3"
        assert sent(bench, "m4", unique=AN_HOUR) == "m3"
        assert bench.has_ready("m1", "m3")

    def test_who_wants_to_hear_of_a_conflict_is_told_the_holder(self, bench: Bench) -> None:
        bench.send("m1", **KEY)

        with pytest.raises(DuplicateMessage, match="m1 holds the key") as caught:
            bench.send("m2", on_conflict="raise", **KEY)

        assert caught.value.holder == "m1"
        assert bench.has_ready("m1")
        assert list(bench.stories()) == ["m1"]

    def test_many_messages_of_which_one_is_refused_are_all_refused(self, bench: Bench) -> None:
        bench.send("m1", **KEY)

        with pytest.raises(DuplicateMessage):
            bench.broker.enqueue_many([bench.message("m2"), bench.message("m3", on_conflict="raise", **KEY)])

        assert bench.has_ready("m1")
        assert list(bench.stories()) == ["m1"]

    def test_of_many_messages_of_one_key_the_first_is_sent(self, bench: Bench) -> None:
        there = bench.broker.enqueue_many(
            [bench.message("m1"), bench.message("m2", **KEY), bench.message("m3", **KEY), bench.message("m4")]
        )

        assert [message.message_id for message in there] == ["m1", "m2", "m2", "m4"]
        assert bench.has_ready("m1", "m2", "m4")

    def test_what_is_delayed_is_replaced_by_the_new_message(self, bench: Bench) -> None:
        bench.send("m1", delay=AN_HOUR, **KEY)

        assert sent(bench, "m2", on_conflict="replace") == "m2"

        assert bench.holds() == (1, 0, 0, 0)
        assert sent(bench, "m3") == "m2"
        assert {name: story.state for name, story in bench.stories().items()} == {"m1": "discarded", "m2": "enqueued"}

    def test_what_is_ready_is_replaced_by_the_new_message(self, bench: Bench) -> None:
        bench.send("m1", **KEY)

        assert sent(bench, "m2", on_conflict="replace") == "m2"

        assert bench.peek() == ["m2"]
        assert bench.stories()["m1"].state == "discarded"

    @pytest.mark.beyond_the_model  # which of them it is differs
    def test_of_many_messages_that_replace_what_waits_one_stands_in_its_place_and_is_told(self, bench: Bench) -> None:
        bench.send("m1", delay=AN_HOUR, **KEY)

        there = replace(bench, "m2", "m3")

        assert {message.message_id for message in there} <= {"m2", "m3"}
        assert bench.holds() == (1, 0, 0, 0)
        assert sent(bench, "m4") == there[-1].message_id

    def test_of_many_messages_that_would_replace_what_runs_none_is_sent(self, bench: Bench) -> None:
        bench.send("m1", **KEY)
        desk = bench.worker()
        delivery = desk.take_one()

        there = replace(bench, "m2", "m3")

        assert [message.message_id for message in there] == ["m1", "m1"]
        assert bench.holds() == (0, 1, 0, 0)
        assert not desk.settle(delivery, DONE).refused

    def test_what_is_caused_and_would_replace_what_runs_keeps_nothing_else_from_being_sent(self, bench: Bench) -> None:
        bench.send("m1", **KEY)
        bench.send("m2")
        desk = bench.worker()
        cause = next(delivery for delivery in desk.take(2) if delivery.message_id == "m2")

        caused = [bench.outgoing(name, on_conflict="replace", **KEY) for name in ("m3", "m4")]
        assert not desk.settle(cause, DONE, then=(*caused, bench.outgoing("m5"))).refused

        bench.until(lambda: bench.has_ready("m5"))

    @pytest.mark.parametrize("on_conflict", ["replace", "refresh"])
    def test_what_runs_is_neither_replaced_nor_refreshed(self, bench: Bench, on_conflict: str) -> None:
        bench.send("m1", **KEY)
        desk = bench.worker()
        delivery = desk.take_one()

        assert sent(bench, "m2", on_conflict=on_conflict, delay=AN_HOUR) == "m1"

        assert bench.holds() == (0, 1, 0, 0)
        assert not desk.settle(delivery, DONE).refused

    def test_what_waits_begins_its_wait_anew_when_it_is_refreshed(self, bench: Bench) -> None:
        began = clock.wall_ms()
        bench.send("m1", delay=700, **KEY)

        assert sent(bench, "m2", on_conflict="refresh", delay=AN_HOUR) == "m1"
        until(lambda: clock.wall_ms() > began + 900, 5)

        desk = bench.worker()
        assert desk.finds_nothing()
        assert sent(bench, "m3", on_conflict="refresh") == "m1"
        assert desk.take_one().message_id == "m1"

    def test_a_refreshed_key_lives_as_the_new_message_says(self, bench: Bench) -> None:
        bench.send("m1", delay=AN_HOUR, **{**KEY, "unique": AN_HOUR})

        assert sent(bench, "m2", on_conflict="refresh", unique=300, delay=AN_HOUR) == "m1"

        until(lambda: bench.broker.unique_holder(bench.message("x", **KEY)) is None, 5)

    def test_a_requeued_dead_letter_takes_its_key_again(self, bench: Bench) -> None:
        bench.send("m1", **KEY)
        desk = bench.worker()
        desk.fail(desk.take_one(), Dead("throws"))
        until(lambda: bench.broker.unique_holder(bench.message("x", **KEY)) is None, 5)

        assert bench.broker.requeue(["m1"]) == ["m1"]

        assert sent(bench, "m2") == "m1"
        desk.settle(desk.take_one(), DONE)
        until(lambda: sent(bench, "m3") == "m3", 5)

    def test_a_requeued_dead_letter_whose_key_is_held_lives_without_it(self, bench: Bench) -> None:
        bench.send("m1", **KEY)
        desk = bench.worker()
        desk.fail(desk.take_one(), Dead("throws"))
        until(lambda: sent(bench, "m2") == "m2", 5)

        assert bench.broker.requeue(["m1"]) == ["m1"]

        assert sent(bench, "m3") == "m2"
        deliveries = {delivery.message_id: delivery for delivery in desk.take(2)}
        assert set(deliveries) == {"m1", "m2"}
        desk.settle(deliveries["m1"], DONE)
        assert sent(bench, "m4") == "m2"
        desk.settle(deliveries["m2"], DONE)
        until(lambda: sent(bench, "m5") == "m5", 5)

    def test_a_dead_letter_that_was_discarded_takes_nobody_elses_key_along(self, bench: Bench) -> None:
        bench.send("m1", **KEY)
        desk = bench.worker()
        desk.fail(desk.take_one(), Dead("throws"))
        until(lambda: sent(bench, "m2") == "m2", 5)

        bench.until(lambda: bench.broker.discard(["m1"]) == ["m1"])

        assert sent(bench, "m3") == "m2"

    @pytest.mark.parametrize("on_conflict", ["drop", "raise", "refresh"])
    def test_what_a_message_causes_is_left_out_while_its_key_is_held(self, bench: Bench, on_conflict: str) -> None:
        bench.send("m1")
        bench.send("m2", **KEY)
        desk = bench.worker("w", {"q": 1})
        first = next(delivery for delivery in desk.take(2) if delivery.message_id == "m1")

        caused = bench.outgoing("m3", on_conflict=on_conflict, **KEY)
        assert not desk.settle(first, DONE, then=(caused, bench.outgoing("m4"))).refused

        bench.until(lambda: bench.has_ready("m4"))
        assert "m3" not in bench.stories()

    def test_what_a_message_causes_takes_its_key(self, bench: Bench) -> None:
        bench.send("m1")
        desk = bench.worker()

        desk.settle(desk.take_one(), DONE, then=(bench.outgoing("m2", **KEY),))

        assert sent(bench, "m3") == "m2"

    def test_what_a_message_causes_may_take_the_key_that_ends_with_it(self, bench: Bench) -> None:
        bench.send("m1", **KEY)
        desk = bench.worker()

        desk.settle(desk.take_one(), DONE, then=(bench.outgoing("m2", **KEY),))

        bench.until(lambda: bench.has_ready("m2"))
        assert sent(bench, "m3") == "m2"

    def test_what_was_perhaps_sent_before_does_not_conflict_with_itself(self, bench: Bench) -> None:
        (message,) = bench.send("m1", **KEY)

        left_out = bench.broker.publish([bench.broker.reopen(message.encode(), "", clock.wall_ms() - 1_000)])

        assert not left_out
        assert sent(bench, "m2") == "m1"

    @pytest.mark.beyond_the_model
    def test_of_many_senders_at_once_one_sends(self, bench: Bench) -> None:
        with ThreadPoolExecutor(8) as pool:
            there = set(pool.map(lambda number: send_apart(bench, f"m{number}"), range(24)))

        assert len(there) == 1
        assert bench.holds() == (1, 0, 0, 0)


def replace(bench: Bench, *names: str) -> list[Message[Any]]:
    """Send these together, each to stand in the place of who holds the key; what is there."""
    return bench.broker.enqueue_many([bench.message(name, on_conflict="replace", **KEY) for name in names])


def key_of(bench: Bench) -> str:
    """The key ``k`` of the bench's actor as brokers know it."""
    return str(bench.outgoing("x", **KEY).message.options[HELD])


def send_apart(bench: Bench, name: str) -> str:
    """Send from a thread, which lets go of its connections."""
    try:
        return sent(bench, name)
    finally:
        connections.close_all()
