"""What brokers promise that are weaker: by capability, sentences that take the place of those of the same name."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from django_tasks_q import QueueNotFound, clock
from django_tasks_q.deliveries import Settlement, Started
from django_tasks_q.message import Message
from django_tasks_q.outcomes import DONE, HANDED_BACK, REVOKED, SKIPPED, Outcome, Requeue, Retry
from tests.brokers.bench import Bench, Story

AN_HOUR = 3_600_000
NOON = 1_700_000_000_000

beyond_the_model = pytest.mark.beyond_the_model


def weaker(bench: Bench, capability: str) -> bool:
    """Whether the broker says that it keeps a promise in a weaker way, and how."""
    found = getattr(bench.broker.capabilities, capability)
    return found.level != "same" and bool(found.how)


class WithoutUniqueIds:
    """A broker that does not know which messages it holds takes an id twice. Whatever runs twice settles twice."""

    @beyond_the_model
    def test_many_messages_are_sent_all_or_none(self, bench: Bench) -> None:
        assert weaker(bench, "unique_ids")
        bench.send("m3")

        bench.broker.enqueue_many([bench.message(f"m{number}") for number in range(5)])

        assert bench.has_ready("m3", "m0", "m1", "m2", "m3", "m4")

    @beyond_the_model
    def test_many_messages_with_the_same_id_twice_are_refused(self, bench: Bench) -> None:
        bench.broker.enqueue_many([bench.message("m1"), bench.message("m2"), bench.message("m1")])

        deliveries = bench.worker().take(3)

        assert [delivery.message_id for delivery in deliveries] == ["m1", "m2", "m1"]

    @beyond_the_model
    @pytest.mark.parametrize("where", ["waiting", "delayed", "running", "dead"])
    def test_an_id_that_is_not_finished_is_refused(self, bench: Bench, where: str) -> None:
        if where == "dead":
            bench.bury_as_dead("m")
        else:
            bench.send("m", **({"delay": AN_HOUR} if where == "delayed" else {}))
        desk = bench.worker()
        first = desk.take_one() if where in ("waiting", "running") else None

        bench.send("m")

        second = desk.take_one()
        settlements = [Settlement(delivery, DONE) for delivery in (first, second) if delivery is not None]
        assert not desk.exchange(settlements).refused
        assert bench.counts().in_flight == 0

    @beyond_the_model
    def test_of_many_senders_of_one_id_at_a_time_one_succeeds(self, bench: Bench) -> None:
        start = threading.Barrier(8)

        def send() -> None:
            start.wait(10)
            bench.send("m")

        with ThreadPoolExecutor(8) as threads:
            for future in [threads.submit(send) for _ in range(8)]:
                future.result(30)

        assert bench.holds() == (8, 0, 0, 0)

    @beyond_the_model
    @pytest.mark.parametrize("end", [DONE, SKIPPED, REVOKED])
    def test_the_id_of_a_finished_message_is_free_and_begins_a_new_life(self, bench: Bench, end: Outcome) -> None:
        desk = bench.worker()
        bench.send("m")
        desk.settle(desk.take_one(), end)
        before = bench.story("m")

        bench.send("m")

        again = desk.take_one()
        assert (again.life, again.number, again.retries) == (0, 1, 0)
        desk.settle(again, end)
        assert bench.story("m") == before  # its record tells of the first that ended

    @beyond_the_model
    def test_the_ids_of_finished_messages_are_free_for_a_batch_too(self, bench: Bench) -> None:
        desk = bench.worker()
        bench.send("m1", "m2")
        desk.exchange([Settlement(delivery, DONE) for delivery in desk.take(2)])

        bench.broker.enqueue_many([bench.message("m0"), bench.message("m1"), bench.message("m2")])

        assert [(delivery.message_id, delivery.life) for delivery in desk.take(3)] == [("m0", 0), ("m1", 0), ("m2", 0)]

    @beyond_the_model
    def test_a_caused_message_that_waits_already_is_not_sent_again(self, bench: Bench) -> None:
        bench.send("m1", "m2")
        desk = bench.worker()
        first, second = desk.take(2)

        desk.settle(first, DONE, then=(bench.outgoing("next"),))
        desk.settle(second, DONE, then=(bench.outgoing("next"), bench.outgoing("another")))

        assert bench.has_ready("next", "next", "another")

    @beyond_the_model
    def test_two_settlements_of_one_exchange_that_cause_the_same_message_send_it_once(self, bench: Bench) -> None:
        bench.send("m1", "m2")
        desk = bench.worker()

        desk.exchange([Settlement(d, DONE, then=(bench.outgoing("next"),)) for d in desk.take(2)])

        assert bench.has_ready("next", "next")

    @beyond_the_model
    def test_a_caused_message_whose_id_is_finished_begins_a_new_life(self, bench: Bench) -> None:
        bench.send("next", "m")
        desk = bench.worker()
        finished, cause = desk.take(2)
        desk.settle(finished, DONE)

        desk.settle(cause, DONE, then=(bench.outgoing("next"),))

        assert desk.take_one().message_id == "next"
        assert bench.story("next").state == "succeeded"

    @beyond_the_model
    @pytest.mark.parametrize("where", ["waiting", "delayed", "running", "dead", "finished", "discarded"])
    def test_what_was_sent_before_is_left_out(self, bench: Bench, where: str) -> None:
        (sent,) = bench.send("m")

        bench.broker.publish([bench.broker.reopen(sent.encode(), "", clock.wall_ms() - AN_HOUR)])

        assert bench.has_ready("m", "m")

    @beyond_the_model
    @pytest.mark.parametrize("where", ["finished"])
    def test_what_ended_before_this_one_was_made_was_another_message(self, bench: Bench, where: str) -> None:
        bench.send("m")
        desk = bench.worker()
        desk.settle(desk.take_one(), DONE)

        bench.broker.publish([bench.broker.reopen(bench.message("m").encode(), "", clock.wall_ms())])

        assert bench.has_ready("m")

    @beyond_the_model
    def test_what_was_not_sent_before_is_sent_beside_what_was(self, bench: Bench) -> None:
        bench.send("known")

        then = clock.wall_ms() - AN_HOUR
        again = [bench.broker.reopen(bench.message(name).encode(), "", then) for name in ("new", "known")]
        bench.broker.publish(again)

        assert bench.has_ready("known", "new", "known")

    @beyond_the_model
    def test_all_queues_can_be_flushed(self, bench: Bench) -> None:
        bench.send("m1")
        bench.send("m2", queue="other")

        bench.broker.flush_all()

        assert bench.holds() == bench.holds("other") == (0, 0, 0, 0)
        assert {story.state for story in bench.stories().values()} == {"discarded"}

    @beyond_the_model
    def test_a_replacement_that_cannot_be_sent_leaves_the_dead_letter(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")
        before = bench.stories()

        with pytest.raises(QueueNotFound):
            bench.broker.replace("dead", bench.message("new", queue="nowhere"))

        assert (bench.peek("dead"), bench.stories()) == (["dead"], before)


class ConnectionIsTheLease:
    """A broker that gives back what a lost connection held: nobody is rescued, and who lives is never fenced."""

    @beyond_the_model
    def test_a_buried_worker_claims_nothing_and_is_told(self, bench: Bench) -> None:
        assert weaker(bench, "fenced_settle")
        desk = bench.worker()
        bench.bury(desk)
        bench.send("m")

        assert desk.take_one().message_id == "m"
        assert not desk.exchange().fenced

    @beyond_the_model
    def test_a_worker_that_settles_too_late_learns_at_once_that_it_was_buried(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()
        delivery = desk.take_one()
        bench.bury(desk)

        assert desk.settle(delivery, DONE).refused == {delivery.handle}

    @beyond_the_model
    def test_what_a_worker_held_whose_lease_ran_out_is_rescued(self, bench: Bench) -> None:
        bench.send("m1", "m2")
        desk = bench.worker("lost host")
        running, _ = desk.take(2)
        desk.exchange(started=[Started(running, NOON)])
        desk.cut()

        deliveries = bench.worker().take(2)

        assert bench.broker.rescue(bench.judge) == []
        assert sorted((d.message_id, d.number, d.lost) for d in deliveries) == [("m1", 2, 0), ("m2", 2, 0)]
        assert desk.settle(running, DONE).refused

    @beyond_the_model
    def test_renewing_does_not_raise_the_dead(self, bench: Bench) -> None:
        bench.broker.renew(["buried", "never was"])

        assert bench.broker.rescue(bench.judge) == []

    @beyond_the_model
    def test_what_a_dead_worker_held_goes_back_uncounted_when_it_had_not_started(self, bench: Bench) -> None:
        bench.send("m1", "m2", "m3")
        desk = bench.worker("dying")
        desk.take(2)

        bench.bury(desk)

        deliveries = bench.worker().take(3)
        assert sorted(d.message_id for d in deliveries) == ["m1", "m2", "m3"]
        assert {(d.number, d.retries, d.lost) for d in deliveries} == {(2, 0, 0)}  # it held all three

    @beyond_the_model
    def test_burying_twice_is_harmless(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker("dying")
        casualty = bench.lose(desk.take_one())
        bench.bury(desk, casualty)
        before = bench.stories()

        bench.bury(desk, casualty)

        assert bench.stories() == before
        assert bench.broker.bury("nobody ever", (), bench.judge) == 0
        assert bench.worker().take_one().lost == 1

    @beyond_the_model
    def test_a_worker_that_leaves_in_a_hurry_gives_nothing_back_until_it_is_buried(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker("leaving")
        desk.take_one()

        desk.leave(give_back=False)

        assert bench.holds() == (1, 0, 0, 0)

    @beyond_the_model
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
        assert bench.story("not begun") == Story("enqueued", 0, 0, 0, 0, "", ())

    @beyond_the_model
    def test_a_report_of_running_by_a_former_owner_changes_nothing(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()
        delivery = desk.take_one()
        bench.bury(desk)

        desk.exchange(started=[Started(delivery, NOON)])

        assert bench.story("m") == Story("enqueued", 0, 0, 0, 0, "", ())


class DeliveriesAreNotCounted:
    """A broker that only says whether a message was given out before; what is sent anew carries its count."""

    @beyond_the_model
    def test_a_hand_back_counts_as_a_delivery_and_as_nothing_else(self, bench: Bench) -> None:
        assert weaker(bench, "delivery_numbers")
        bench.send("m")
        desk = bench.worker()
        for _ in range(10):
            desk.settle(desk.take_one(), HANDED_BACK)

        delivery = desk.take_one()

        assert (delivery.number, delivery.retries, delivery.lost) == (2, 0, 0)
        desk.settle(delivery, Retry(0))
        assert desk.take_one().number == 3

    @beyond_the_model
    def test_no_number_of_deploys_convicts_an_innocent_message(self, bench: Bench) -> None:
        bench.send("m")
        for number in range(8):
            desk = bench.worker(f"deploy {number}")
            delivery = desk.take_one()
            casualties = [bench.lose(delivery, "interrupted")] if number % 2 else []
            bench.bury(desk, *casualties)

        delivery = bench.worker().take_one()

        assert (delivery.retries, delivery.lost) == (0, 0)

    @beyond_the_model
    def test_a_casualty_of_an_earlier_delivery_is_not_counted(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker("dying")
        early = desk.take_one()
        desk.settle(early, Retry(0))  # sent anew: what is noted of the earlier delivery is history
        desk.take_one()

        bench.bury(desk, bench.lose(early))

        assert bench.worker().take_one().lost == 0


class OnlyRowsAreShown:
    """A broker that shows and drops one by one what waits in rows, and not what is ready."""

    @beyond_the_model
    def test_looking_takes_nothing(self, bench: Bench) -> None:
        assert weaker(bench, "peek")
        bench.bury_as_dead("dead")
        bench.send("waiting")
        bench.send("delayed", delay=AN_HOUR)

        for _ in range(2):
            assert bench.peek() == bench.peek("in_flight") == []
            assert bench.peek("delayed") == ["delayed"]
            assert bench.peek("dead") == ["dead"]
        assert len(bench.broker.peek("q", "dead", limit=0)) == 0
        assert bench.holds() == (1, 0, 1, 1)

    @beyond_the_model
    def test_messages_are_looked_up_whole_by_id(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")
        before = clock.wall_ms()
        bench.send("waiting")
        (sent,) = bench.send("delayed", delay=AN_HOUR, secret="kept")

        held = bench.broker.look_up(["dead", "waiting", "delayed", "nobody"])

        assert {name: item.state for name, item in held.items()} == {"dead": "dead", "delayed": "delayed"}
        assert Message.decode(held["delayed"].delivery.payload) == sent
        assert abs(held["delayed"].due_at - before - AN_HOUR) < 60_000
        assert bench.broker.look_up([]) == {}
        with pytest.raises(TypeError, match="list of message ids"):
            bench.broker.look_up("dead")

    @beyond_the_model
    def test_a_suspect_is_looked_up_as_ready(self, bench: Bench) -> None:
        bench.send("m")
        bench.kill("m", 2)

        assert bench.broker.look_up(["m"]) == {}
        assert bench.broker.has_suspects()

    @beyond_the_model
    def test_more_messages_than_one_batch_are_looked_up_and_discarded(self, bench: Bench) -> None:
        names = [f"m{number:04}" for number in range(1_200)]
        bench.broker.enqueue_many([bench.message(name, delay=AN_HOUR) for name in names])
        bench.until(lambda: bench.counts().delayed == 1_200)

        assert sorted(bench.broker.look_up(names)) == names
        assert sorted(bench.broker.discard(names)) == names
        assert bench.holds() == (0, 0, 0, 0)

    @beyond_the_model
    def test_what_waits_is_discarded_and_what_runs_is_not(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")
        bench.send("running")
        desk = bench.worker()
        running = desk.take_one()
        bench.send("waiting")
        bench.send("delayed", delay=AN_HOUR)

        discarded = bench.broker.discard(["dead", "running", "waiting", "delayed", "nobody"])

        assert sorted(discarded) == ["dead", "delayed"]
        assert bench.holds() == (1, 1, 0, 0)
        assert not desk.settle(running, DONE).refused
        assert {name: story.state for name, story in bench.stories().items()} == {
            "dead": "discarded", "waiting": "enqueued", "delayed": "discarded", "running": "succeeded",
        }  # fmt: skip
        assert bench.broker.discard(["dead", "delayed"]) == []
        with pytest.raises(TypeError, match="list of message ids"):
            bench.broker.discard("waiting")

    @beyond_the_model
    def test_a_discarded_suspect_waits_for_nobody_any_more(self, bench: Bench) -> None:
        bench.send("m")
        bench.kill("m", 2)

        assert bench.broker.discard(["m"]) == []
        assert bench.worker("quarantine", suspects=True).take_one().message_id == "m"

    def test_only_dead_letters_are_requeued(self, bench: Bench) -> None:
        bench.bury_as_dead("dead 1", "dead 2")
        bench.send("waiting")
        bench.send("delayed", delay=AN_HOUR)

        requeued = bench.broker.requeue(["waiting", "dead 2", "delayed", "nobody"])

        assert requeued == ["dead 2"]
        assert bench.holds() == (2, 0, 1, 1)
        assert bench.broker.requeue(["dead 2"]) == []
        with pytest.raises(TypeError, match="list of message ids"):
            bench.broker.requeue("dead 2")
        assert bench.broker.requeue([]) == []

    def test_a_dead_letter_is_replaced_once(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")

        answers = [bench.broker.replace("dead", bench.message(name, "edited")) for name in ("new", "newer")]

        assert answers == [True, False]
        assert bench.holds() == (1, 0, 0, 0)
        assert bench.story("dead").state == "discarded"
        assert bench.story("new") == Story("enqueued", 0, 0, 0, 0, "", ())
        assert "newer" not in bench.stories()
        assert Message.decode(bench.worker().take_one().payload).args == ("edited",)

    @pytest.mark.parametrize("how", ["message", "actor", "project"])
    def test_a_message_without_a_record_runs_as_any_other(self, bench: Bench, how: str) -> None:
        unrecorded: Any = getattr(self, "unrecorded")  # noqa: B009
        unrecorded(bench, how, "m")
        desk = bench.worker()
        desk.fail(desk.take_one(), Retry(0))
        desk.exchange(started=[Started(again := desk.take_one(), NOON)])
        desk.settle(again, DONE)

        assert bench.stories() == {}
        assert bench.holds() == (0, 0, 0, 0)

    @beyond_the_model
    def test_a_flushed_queue_is_empty_but_for_what_runs(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")
        bench.send("running")
        desk = bench.worker("w", {"q": 1})
        running = desk.take_one()
        bench.send("delayed", delay=AN_HOUR)
        bench.send("elsewhere", "elsewhere too", queue="other")

        bench.broker.flush("q")
        bench.broker.flush("other")

        assert bench.holds() == (0, 1, 0, 0)
        assert bench.holds("other") == (0, 0, 0, 0)
        assert not desk.settle(running, DONE).refused
        assert {name: story.state for name, story in bench.stories().items()} == {
            "dead": "discarded", "delayed": "discarded", "running": "succeeded",
            "elsewhere": "discarded", "elsewhere too": "discarded",
        }  # fmt: skip


class CountsAreRough:
    """A broker that does not tell how long messages wait, nor what workers of other processes hold."""

    @beyond_the_model
    def test_the_counts_tell_how_long_the_oldest_has_been_waiting(self, bench: Bench) -> None:
        assert weaker(bench, "counts")
        bench.send("m1")

        assert bench.holds() == (1, 0, 0, 0)
        assert bench.counts().oldest_ms == 0

    @beyond_the_model
    def test_a_suspect_is_claimed_by_workers_for_suspects_only(self, bench: Bench) -> None:
        bench.send("m", "innocent")
        desk = bench.worker()
        assert not bench.broker.has_suspects()

        desk.settle(desk.take_one(), Requeue(lost=True, suspect=True))

        bench.until(bench.broker.has_suspects)
        assert bench.counts().ready == 1
        assert [d.message_id for d in desk.take(1)] == ["innocent"]
        assert desk.finds_nothing()
        quarantine = bench.worker("quarantine", suspects=True)
        assert quarantine.take_one().message_id == "m"
        assert not bench.broker.has_suspects()

    @beyond_the_model
    def test_a_suspect_that_failed_meanwhile_is_not_convicted_beside_others(self, bench: Bench) -> None:
        assert weaker(bench, "suspects")
        bench.send("m")
        bench.kill("m", 2)
        quarantine = bench.worker("quarantine", suspects=True)
        quarantine.fail(quarantine.take_one(), Retry(0))
        quarantine.leave()
        bench.send("poison")
        desk = bench.worker("shared")
        bench.bury(desk, *(msgspec.structs.replace(bench.lose(d), alone=False) for d in desk.take(2)))

        bench.until(bench.broker.has_suspects)
        assert bench.holds() == (1, 0, 0, 0)
        assert bench.worker("quarantine again", suspects=True).take_one().message_id == "m"


class WaitsAreRows:
    """A broker whose delayed messages wait elsewhere: when their time has come they are sent like any other."""

    def test_what_waited_for_its_time_stands_where_it_was_sent(self, bench: Bench) -> None:
        assert weaker(bench, "delays") or not bench.is_like_the_model
        bench.send("delayed", delay=50)
        bench.send("sent later")

        deliveries = bench.worker().take(2)

        assert {delivery.message_id for delivery in deliveries} == {"delayed", "sent later"}


class KeysAreRows:
    """A broker whose keys are rows, and which cannot pick out what is ready."""

    @beyond_the_model
    def test_what_is_ready_is_replaced_by_the_new_message(self, bench: Bench) -> None:
        assert weaker(bench, "unique_keys")
        bench.send("m1", unique=True, unique_key="k")

        there = bench.send("m2", unique=True, unique_key="k", on_conflict="replace")

        assert [message.message_id for message in there] == ["m1"]
        assert bench.has_ready("m1")


class FewPriorities:
    """A broker with fewer levels than there are priorities: neighbours share one."""

    @beyond_the_model
    def test_a_smaller_priority_is_claimed_sooner(self, bench: Bench) -> None:
        assert weaker(bench, "priorities")
        for name, priority in [("late", 100), ("middle 1", 0), ("soon", -100), ("middle 2", 0), ("rather soon", -1)]:
            bench.send(name, priority=priority)

        claimed = [d.message_id for d in bench.worker().take(5)]

        assert claimed == ["soon", "middle 1", "middle 2", "rather soon", "late"]


class NoPriorities:
    """A broker without priorities: what was sent first is claimed first."""

    @beyond_the_model
    def test_a_smaller_priority_is_claimed_sooner(self, bench: Bench) -> None:
        assert bench.broker.capabilities.priorities.level == "none"
        for name, priority in [("late", 100), ("soon", -100)]:
            bench.send(name, priority=priority)

        assert [d.message_id for d in bench.worker().take(2)] == ["late", "soon"]


class BackInItsOwnOrder:
    """A broker that puts back what is given back wherever it likes."""

    @beyond_the_model
    def test_what_is_handed_back_stands_in_front_where_it_stood(self, bench: Bench) -> None:
        assert weaker(bench, "front_requeue")
        bench.send("m1", "m2", "m3")
        desk = bench.worker()
        first, second = desk.take(2)

        desk.exchange([Settlement(second, HANDED_BACK), Settlement(first, HANDED_BACK)])

        assert sorted(d.message_id for d in desk.take(3)) == ["m1", "m2", "m3"]
