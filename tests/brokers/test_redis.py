"""The Redis broker, and what it promises beyond the common."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import msgspec
import pytest
import redis
from django.test import override_settings

from django_tasks_q import BrokerConnectionError, DuplicateMessage, Message, actor, changes
from django_tasks_q.brokers.redis import RedisBroker, from_url, link
from django_tasks_q.brokers.redis.consumer import RedisConsumer
from django_tasks_q.brokers.redis.endpoint import Endpoint
from django_tasks_q.deliveries import Settlement, Started, WorkerInfo
from django_tasks_q.errors import BrokerError, ConnectionClosed
from django_tasks_q.events import Event
from django_tasks_q.journal import Backlog, Ear
from django_tasks_q.judge import make_judge
from django_tasks_q.keeper.mirror_service import MirrorService
from django_tasks_q.models import MessageRecord
from django_tasks_q.outcomes import DONE, Dead, Requeue, Retry
from django_tasks_q.recording import Recording
from django_tasks_q.redis_trouble import refusal
from django_tasks_q.waker import Waker
from django_tasks_q.worker import Worker
from tests.brokers.bench import Bench
from tests.brokers.conformance import AN_HOUR, NOON, Conformance
from tests.support.private_redis import PrivateRedis, RedisCluster, RedisSentinels
from tests.support.redis_brokers import URL, cluster_url, keys_of, open_broker, redis_broker
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import until, within


class TestRedis(Conformance):
    broker = "redis"

    @pytest.mark.beyond_the_model
    def test_it_says_what_it_can_and_what_it_cannot(self, bench: Bench) -> None:
        can = bench.broker.capabilities

        assert can.transactional_send.level == "none" and can.unique_ids.level == "weaker"
        assert can.atomic_settle.level == can.fenced_settle.level == can.journal.level == "same"


class TestRedisCluster(Conformance):
    broker = "redis-cluster"

    @pytest.mark.beyond_the_model
    def test_it_says_what_it_can_and_what_it_cannot(self, bench: Bench) -> None:
        can = bench.broker.capabilities

        assert can.transactional_send.level == "none"
        assert can.unique_ids.level == can.atomic_settle.level == "weaker"
        assert can.fenced_settle.level == can.journal.level == "same"

    def test_what_a_message_causes_in_another_queue_is_sent_whatever_slot_that_has(self, bench: Bench) -> None:
        bench.send("m")
        desk = bench.worker()

        desk.settle(desk.take_one(), DONE, then=(bench.outgoing("next", queue="other"), bench.outgoing("here")))

        assert (bench.peek(), bench.peek(queue="other")) == (["here"], ["next"])
        assert {name: story.state for name, story in bench.stories().items()} == {
            "m": "succeeded", "next": "enqueued", "here": "enqueued",
        }  # fmt: skip

    def test_a_dead_letter_is_replaced_by_a_message_for_another_queue(self, bench: Bench) -> None:
        bench.bury_as_dead("dead")

        assert bench.broker.replace("dead", bench.message("new", queue="other"))

        assert (bench.peek("dead"), bench.peek(queue="other")) == ([], ["new"])

    def test_a_worker_has_two_connections_to_each_node(self) -> None:
        name_of_ours = f"ours-{uuid4().hex[:12]}"  # other tests are at work on the same nodes
        with redis_broker(cluster_url(), client_name=name_of_ours) as broker:
            for name in ("q", "other", "third", "fourth", "fifth"):
                broker.declare_queue(name)
            with closing(broker.consume(WorkerInfo("w"))) as consumer:
                consumer.exchange([], 1)
                consumer.exchange([], 1)
                numbers = []
                for endpoint in broker.link.endpoints():
                    host, port = endpoint.address.split(":")
                    with closing(redis.Redis(host, int(port), decode_responses=True)) as client:
                        ours = [each for each in client.client_list() if each["name"] == name_of_ours]
                    numbers.append(len(ours))
                assert max(numbers) == 2, numbers


@pytest.fixture
def broker() -> Iterator[RedisBroker]:
    with redis_broker() as broker:
        declare(broker)
        yield broker


@pytest.fixture
def server() -> Iterator[PrivateRedis]:
    with PrivateRedis() as server:
        yield server


def declare(broker: RedisBroker) -> RedisBroker:
    broker.declare_queue("q")
    actor(work, broker=broker, queue_name="q")
    return broker


def work(*args: Any) -> None:
    """Nobody runs it."""


def on(server: PrivateRedis, **options: Any) -> RedisBroker:
    return declare(RedisBroker(url=server.url, **options))


def send(broker: RedisBroker, *names: str, **options: Any) -> None:
    broker.enqueue_many([Message("q", "work", (name,), {}, options, name) for name in names])


def waiting(broker: RedisBroker, worker_id: str) -> RedisConsumer:
    """A worker that took what there was, and has room for more."""
    consumer = broker.consume(WorkerInfo(worker_id))
    while consumer.exchange([], 2).deliveries:
        pass
    return consumer


@contextmanager
def as_if_closed(connected: socket.socket) -> Iterator[None]:
    """This end finds the other one gone, which notices nothing and goes on sending."""
    kept = os.dup(connected.fileno())
    ours, others = socket.socketpair()
    others.close()
    os.dup2(ours.fileno(), connected.fileno())
    ours.close()
    try:
        yield
    finally:
        os.close(kept)


def drain(consumer: Any, room: int = 10) -> list[str]:
    """Claim and settle until there is nothing left, as the I/O thread does: what fails is handed over again."""
    done: list[str] = []
    settlements: list[Settlement] = []
    while True:
        try:
            exchange = consumer.exchange(settlements, room)
        except BrokerConnectionError:
            continue
        assert not exchange.refused
        done += [settlement.delivery.message_id for settlement in settlements]
        settlements = [Settlement(delivery, DONE) for delivery in exchange.deliveries]
        if not settlements:
            return done


def drained(broker: RedisBroker, worker_id: str) -> list[str]:
    """What a new worker claims and settles until there is nothing left."""
    with closing(broker.consume(WorkerInfo(worker_id))) as consumer:
        return drain(consumer)


def holds(broker: RedisBroker) -> tuple[int, int, int, int]:
    """Ready, in flight, delayed, dead."""
    (counts,) = broker.counts()
    return counts.ready, counts.in_flight, counts.delayed, counts.dead


def told(broker: RedisBroker, queue_name: str = "q") -> list[Event]:
    """The events that wait."""
    return broker.journal.read(queue_name, 100_000).events


class Losing:
    """Makes connections lose answers: every ``each``-th call happens and nobody hears of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, each: int) -> None:
        self.lost = 0
        calls = [0]
        ask = Endpoint.ask

        def forgetful(endpoint: Endpoint, packed: bytes, number: int) -> list[Any]:
            replies = ask(endpoint, packed, number)
            calls[0] += 1
            if calls[0] % each == 0:
                self.lost += 1
                raise ConnectionClosed("the answer was lost")
            return replies

        monkeypatch.setattr(Endpoint, "ask", forgetful)


class TestLostAnswers:
    def test_an_exchange_whose_answer_was_lost_is_made_again_and_answers_as_it_did(
        self, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = [f"m{number:03}" for number in range(500)]
        send(broker, *names)
        consumer = broker.consume(WorkerInfo("w"))
        losing = Losing(monkeypatch, each=4)  # an exchange in doubt needs three calls

        done = drain(consumer)

        monkeypatch.undo()
        assert losing.lost > 10
        assert sorted(done) == names
        assert holds(broker) == (0, 0, 0, 0)
        finished = [event.message_id for event in told(broker) if event.state == "succeeded"]
        assert sorted(finished) == names
        consumer.close()

    def test_what_finished_meanwhile_is_settled_with_the_repetition(
        self, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send(broker, "m1", "m2", "m3")
        consumer = broker.consume(WorkerInfo("w"))
        first, second = consumer.exchange([], 2).deliveries
        Losing(monkeypatch, each=1)
        with pytest.raises(BrokerConnectionError):
            consumer.exchange([Settlement(first, DONE)], 1)
        monkeypatch.undo()

        answer = consumer.exchange([Settlement(first, DONE), Settlement(second, DONE)], 1)

        assert not answer.refused
        assert [delivery.message_id for delivery in answer.deliveries] == ["m3"]
        assert broker.counts()[0].in_flight == 1
        consumer.close()

    def test_what_was_refused_is_refused_again(self, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch) -> None:
        send(broker, "m")
        consumer = broker.consume(WorkerInfo("w"))
        (delivery,) = consumer.exchange([], 1).deliveries
        stale = msgspec.structs.replace(delivery, number=7)
        Losing(monkeypatch, each=1)
        with pytest.raises(BrokerConnectionError):
            consumer.exchange([Settlement(stale, DONE)], 0)
        monkeypatch.undo()

        assert consumer.exchange([Settlement(stale, DONE)], 0).refused == {stale.handle}
        consumer.close()

    def test_what_was_claimed_is_handed_out_although_a_late_attempt_cannot_be_told_of(
        self, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send(broker, "m1", "m2")
        consumer = broker.consume(WorkerInfo("w"))
        (delivery,) = consumer.exchange([], 1).deliveries
        stale = Settlement(msgspec.structs.replace(delivery, number=7), DONE, started_at=1)
        Losing(monkeypatch, each=2)
        with pytest.raises(BrokerConnectionError):
            consumer.exchange([stale], 1)
        monkeypatch.undo()

        answer = consumer.exchange([stale], 1)

        assert answer.refused == {delivery.handle}
        assert [delivery.message_id for delivery in answer.deliveries] == ["m2"]
        consumer.close()

    def test_a_call_that_arrives_after_it_was_made_again_does_nothing(self, broker: RedisBroker) -> None:
        send(broker, "m1", "m2")
        consumer = broker.consume(WorkerInfo("w"))
        sent: list[Any] = []
        propose = broker.propose
        broker.propose = lambda *args: sent.append(propose(*args)) or sent[-1]  # type: ignore[method-assign]
        consumer.exchange([], 1)
        consumer.exchange([], 0)
        late = sent[0]
        consumer.exchange([Settlement(consumer.exchange([], 1).deliveries[0], DONE)], 0)

        fenced, _, refused, _, _, claimed, _ = broker.carry_out(late)[0]

        assert (fenced, refused, claimed) == (0, [], [])
        assert holds(broker) == (0, 1, 0, 0)
        consumer.close()

    def test_a_call_that_found_nothing_claims_nothing_when_it_arrives_again_later(self, broker: RedisBroker) -> None:
        consumer = broker.consume(WorkerInfo("w"))
        sent: list[Any] = []
        propose = broker.propose
        broker.propose = lambda *args: sent.append(propose(*args)) or sent[-1]  # type: ignore[method-assign]
        consumer.exchange([], 1)
        send(broker, "m", "n")

        claimed = broker.carry_out(sent[0])[0][5]

        assert claimed == []
        assert drained(broker, "other") == ["m", "n"]
        consumer.close()

    def test_a_send_whose_answer_was_lost_is_made_again_and_is_no_duplicate(
        self, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send(broker, "first")
        losing = Losing(monkeypatch, each=2)
        for number in range(10):
            send(broker, f"m{number}")
        monkeypatch.undo()

        assert losing.lost >= 5
        assert broker.counts()[0].ready == 11
        with pytest.raises(DuplicateMessage):
            send(broker, "m3")

    @pytest.mark.parametrize("arrives", [True, False])
    def test_an_id_that_was_finished_before_is_sent_once_whether_or_not_the_first_call_arrived(
        self, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch, arrives: bool
    ) -> None:
        send(broker, "m")
        drained(broker, "w1")
        time.sleep(0.01)  # by the server's clock the end of the first and the second sending are two times
        ask, calls, done = Endpoint.ask, [], []

        def lose_the_first(endpoint: Endpoint, packed: bytes, number: int) -> list[Any]:
            calls.append(packed)
            if len(calls) > 1:
                return ask(endpoint, packed, number)
            if arrives:
                ask(endpoint, packed, number)
                done.extend(drained(broker, "w2"))
            raise ConnectionClosed("the call or its answer was lost")

        monkeypatch.setattr(Endpoint, "ask", lose_the_first)
        send(broker, "m")
        monkeypatch.undo()

        assert done + drained(broker, "w3") == ["m"]


class TestBigMessages:
    @pytest.mark.parametrize("delay", [0, 1])
    def test_one_exchange_promotes_and_claims_only_so_many_megabytes(self, server: PrivateRedis, delay: int) -> None:
        broker = on(server)
        names = [f"m{number}" for number in range(60)]
        for name in names:
            broker.enqueue(Message("q", "work", ("x" * 900_000,), {}, {"delay": delay} if delay else {}, name))
        time.sleep(0.01)  # what is delayed is due

        consumer = broker.consume(WorkerInfo("w"))
        taken = [delivery.message_id for delivery in consumer.exchange([], 60).deliveries]

        assert 0 < len(taken) <= 20
        assert holds(broker) == (60 - len(taken), len(taken), 0, 0) or delay
        while len(taken) < 60:
            taken += [delivery.message_id for delivery in consumer.exchange([], 60 - len(taken)).deliveries]
        assert taken == names
        consumer.close()
        broker.close()

    def test_one_look_reads_and_one_step_drops_only_so_many_megabytes(self, server: PrivateRedis) -> None:
        broker = on(server)
        names = [f"m{number}" for number in range(25)]
        for name in names:
            broker.enqueue(Message("q", "work", ("x" * 900_000,), message_id=name))
        ids = [name.encode() for name in names]

        assert len(broker.call_on("peek", "q", b"ready", b"0", b"25")[1]) == 2 * 20
        assert len(broker.call_on("look_up", "q", *ids)[1]) == 5 * 20
        assert [delivery.message_id for delivery in broker.peek("q")] == names
        assert set(broker.look_up(names)) == set(names)

        with closing(broker.consume(WorkerInfo("w"))) as consumer:
            while sum(len(held) for held in [list(broker.held_by("w", ["q"]))]) < 25:
                consumer.exchange([], 25)
            assert len(broker.call_on("peek", "q", b"claims", b"0", b"25")[1]) == 2 * 20
        assert broker.call_on("withdraw", "q", b"9999999", b"publish", b"discarded", *ids)[0] == 20
        assert broker.discard(names) == names[20:]

        broker.enqueue_many([Message("q", "work", ("x" * 200_000,), message_id=name) for name in names])
        assert broker.call_on("flush", "q", b"9999999", b"publish", b"25") == 20
        broker.flush("q")
        assert holds(broker) == (0, 0, 0, 0)
        broker.close()


class TestMissingParts:
    @pytest.mark.parametrize("place", ["ready", "delayed", "dead"])
    def test_an_id_whose_message_somebody_removed_holds_up_nobody(self, broker: RedisBroker, place: str) -> None:
        send(broker, "gone", "m")
        with closing(redis.Redis.from_url(URL)) as client:
            client.hdel(broker.keys.named("q", "messages"), "gone")
            if place != "ready":
                client.zrem(broker.keys.named("q", "ready"), "gone")
                client.zadd(broker.keys.named("q", place), {"gone": 1})

        if place == "dead":
            assert broker.requeue(["gone"]) == []
        assert drained(broker, "w") == ["m"]
        if place == "dead":
            assert broker.expire_dead_letters(0) == 0
        broker.flush("q")
        assert holds(broker) == (0, 0, 0, 0)

    def test_a_worker_that_dies_before_its_lease_begins_leaves_nothing_for_ever(
        self, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        call_with = broker.call_with

        def dying(script: str, *args: Any) -> Any:
            if script == "register":
                raise ConnectionClosed
            return call_with(script, *args)

        monkeypatch.setattr(broker, "call_with", dying)
        with pytest.raises(ConnectionClosed):
            broker.register("w", ["q"], is_new=True)
        monkeypatch.undo()

        with closing(redis.Redis.from_url(URL)) as client:
            assert 0 < client.ttl(broker.keys.worker("w")) <= 3600
            with closing(broker.consume(WorkerInfo("w"))) as consumer:
                consumer.exchange([], 1)
                assert client.ttl(broker.keys.worker("w")) == -1

    def test_a_worker_owns_nothing_of_one_whose_name_begins_as_its_own(self, broker: RedisBroker) -> None:
        send(broker, "m")
        with closing(broker.consume(WorkerInfo("a|1"))) as owner, closing(broker.consume(WorkerInfo("a"))) as other:
            (delivery,) = owner.exchange([], 1).deliveries

            assert other.exchange([Settlement(delivery, DONE)], 0).refused == {delivery.handle}
            owner.exchange([], 0, [Started(delivery, NOON)])
            assert other.exchange([Settlement(delivery, DONE)], 0).refused == {delivery.handle}
            assert not owner.exchange([Settlement(delivery, DONE)], 0).refused


def test_messages_that_take_no_keys_are_sent_as_if_there_were_none(
    broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[str, int]] = []
    call = broker.link.call
    monkeypatch.setattr(broker.link, "call", lambda one: called.append((one.script.name, one.number)) or call(one))
    send(broker, "known before")
    called.clear()

    send(broker, "m1")
    send(broker, "m2", "m3")
    send(broker, "m4", unique=True)

    assert called == [("enqueue", 10), ("enqueue", 10), ("enqueue_unique", 14)]


def test_what_has_ended_leaves_no_key_behind(broker: RedisBroker) -> None:
    send(broker, "m1", "m2", "m3", unique=True)
    broker.enqueue(Message("q", "work", (), {}, {"unique": True, "delay": AN_HOUR}, "m4"))
    consumer = broker.consume(WorkerInfo("w"))
    first, second, third = consumer.exchange([], 3).deliveries
    consumer.exchange([Settlement(first, DONE), Settlement(second, Dead("throws")), Settlement(third, DONE)], 0)

    broker.discard(["m2", "m4"])

    assert [name for name in keys_of(broker) if name.endswith("unique")] == []
    consumer.close()


class TestCausing:
    def test_a_message_may_cause_more_than_lua_can_unpack(self, broker: RedisBroker) -> None:
        send(broker, "m")
        consumer = broker.consume(WorkerInfo("w"))
        (delivery,) = consumer.exchange([], 1).deliveries
        caused = [broker.prepare(Message("q", "work", (), {}, {}, f"c{number}")) for number in range(9_000)]
        late = [broker.prepare(Message("q", "work", (), {}, {"delay": AN_HOUR}, f"d{number}")) for number in range(99)]

        consumer.exchange([Settlement(delivery, DONE, then=(*caused, *late))], 0)

        assert holds(broker) == (9_000, 0, 99, 0)
        assert broker.journal.backlog("q").events == 1 + 1 + 9_000 + 99
        assert [delivery.message_id for delivery in broker.peek("q", "ready", 2)] == ["c0", "c1"]
        consumer.close()


class TestTrouble:
    def test_scripts_are_loaded_again_when_redis_has_forgotten_them(self, server: PrivateRedis) -> None:
        broker = on(server)
        send(broker, "m1")
        consumer = broker.consume(WorkerInfo("w"))
        (delivery,) = consumer.exchange([], 1).deliveries
        server.command("SCRIPT", "FLUSH")

        send(broker, "m2")
        server.command("SCRIPT", "FLUSH")
        answer = consumer.exchange([Settlement(delivery, DONE)], 1)

        assert [delivery.message_id for delivery in answer.deliveries] == ["m2"]
        consumer.close()
        broker.close()

    def test_when_memory_is_full_only_sending_fails(self, server: PrivateRedis) -> None:
        broker = on(server)
        send(broker, *(f"m{number}" for number in range(300)))
        consumer = broker.consume(WorkerInfo("w"))
        deliveries = consumer.exchange([], 5).deliveries
        server.config_set("maxmemory", "1mb")
        with pytest.raises(BrokerConnectionError, match="out of memory"):
            send(broker, "refused")

        outcomes = [DONE, Retry(0), Retry(AN_HOUR), Dead("throws"), Requeue()]
        caused = (broker.prepare(Message("q", "work", message_id="caused")),)
        settlements = [
            Settlement(delivery, outcome, then=caused) for delivery, outcome in zip(deliveries, outcomes, strict=True)
        ]
        answer = consumer.exchange(settlements, 1)
        consumer.exchange([], 0, [Started(answer.deliveries[0], NOON)])
        broker.renew(["w"])
        second = broker.consume(WorkerInfo("second"))
        second.exchange([], 3)
        broker.bury("second", (), lambda *_: Requeue())
        assert broker.requeue([deliveries[3].message_id]) and broker.discard(["caused"]) == ["caused"]
        assert broker.rescue(lambda *_: Requeue()) == []
        drain(consumer, 100)

        assert holds(broker) == (0, 1, 1, 0)
        second.close()
        consumer.close()
        server.config_set("maxmemory", 0)
        send(broker, "refused")
        broker.close()

    def test_a_replica_is_a_broker_that_is_away(self, server: PrivateRedis) -> None:
        broker = on(server)
        send(broker, "m")
        server.command("REPLICAOF", "127.0.0.1", server.port)
        began = time.monotonic()

        with pytest.raises(BrokerConnectionError, match="replica"):
            send(broker, "n")
        assert time.monotonic() - began < within(3)

        server.command("REPLICAOF", "NO", "ONE")
        send(broker, "n")
        broker.close()

    def test_a_send_that_redis_refuses_for_a_moment_succeeds(self, server: PrivateRedis) -> None:
        broker = on(server)
        server.command("REPLICAOF", "127.0.0.1", server.port)
        healer = threading.Timer(0.3, lambda: server.command("REPLICAOF", "NO", "ONE"))
        healer.start()

        send(broker, "m")

        healer.join()
        assert broker.counts()[0].ready == 1
        broker.close()

    def test_after_a_failover_behind_one_address_connections_to_the_old_master_are_given_up(
        self, server: PrivateRedis
    ) -> None:
        with PrivateRedis() as replica, TcpProxy(server.address) as proxy:
            broker = declare(RedisBroker(url=f"redis://{proxy.host}:{proxy.port}"))
            send(broker, "m")
            consumer = broker.consume(WorkerInfo("w"))
            assert [delivery.message_id for delivery in consumer.exchange([], 5).deliveries] == ["m"]
            replica.command("REPLICAOF", "127.0.0.1", server.port)
            until(lambda: replica.info("replication")["master_link_status"] == "up")
            replica.command("REPLICAOF", "NO", "ONE")
            server.command("REPLICAOF", "127.0.0.1", replica.port)
            proxy.lead_to(replica.address)

            send(broker, "n")

            assert drain(consumer) == ["n"]
            consumer.close()
            broker.close()

    def test_a_busy_redis_is_a_broker_that_is_away(self, server: PrivateRedis) -> None:
        broker = on(server)
        send(broker, "m")
        server.config_set("busy-reply-threshold", 10)
        with closing(server.client()) as client:
            busy = threading.Thread(target=hang, args=(client,))
            busy.start()
            with pytest.raises(BrokerConnectionError, match="busy"):
                until(lambda: send(broker, f"n{time.monotonic()}"))
            server.command("SCRIPT", "KILL")
            busy.join(10)
        broker.close()

    @pytest.mark.parametrize(
        ("refusal", "said"),
        [
            ("LOADING Redis is loading the dataset in memory", "loading"),
            ("MASTERDOWN Link with MASTER is down", "master is away"),
            ("MISCONF Redis is configured to save RDB snapshots", "cannot write to its disk"),
            ("NOREPLICAS Not enough good replicas to write.", "too few replicas"),
            ("CLUSTERDOWN The cluster is down", "cluster is down"),
            ("OOM command not allowed when used memory > 'maxmemory'.", "out of memory"),
            ("MOVED 1 127.0.0.1:1", "moves to another node"),
            ("ASK 1 127.0.0.1:1", "moves to another node"),
            ("WRONGPASS invalid username-password pair", "password"),
        ],
    )
    def test_what_redis_refuses_for_a_while_is_a_broker_that_is_away(
        self, refusal: str, said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(link, "PATIENCE", 0.1)
        with refusing(refusal) as port:
            broker = declare(RedisBroker(url=f"redis://127.0.0.1:{port}/0"))

            with pytest.raises(BrokerConnectionError, match=said):
                send(broker, "m")
            broker.close()

    def test_what_redis_refuses_for_good_is_no_connection_error(self) -> None:
        with refusing("ERR unknown command") as port:
            broker = declare(RedisBroker(url=f"redis://127.0.0.1:{port}/0"))

            with pytest.raises(BrokerError, match="unknown command") as error:
                send(broker, "m")
            assert not isinstance(error.value, BrokerConnectionError)
            broker.close()

    @pytest.mark.parametrize("code", ["READONLY", "MISCONF", "NOREPLICAS"])
    def test_what_redis_6_refuses_within_a_script_is_a_broker_that_is_away_too(self, code: str) -> None:
        text = f"Error running script (call to f_0a1b): @user_script:9: @user_script: 9: -{code} You cannot write."

        assert isinstance(refusal(redis.ResponseError(text), "host"), BrokerConnectionError)

    def test_a_send_to_nobody_fails_within_its_time(self) -> None:
        broker = declare(RedisBroker(url="redis://127.0.0.1:1/0"))
        began = time.monotonic()

        with pytest.raises(BrokerConnectionError, match=r"127\.0\.0\.1:1"):
            send(broker, "m")
        assert time.monotonic() - began < within(3)

    def test_a_send_that_nobody_answers_fails_within_its_time(self, server: PrivateRedis) -> None:
        broker = on(server)
        send(broker, "m")
        broker.close()
        broker.send_timeout = 500
        server.suspend()
        began = time.monotonic()
        try:
            with pytest.raises(BrokerConnectionError):
                send(broker, "n")
        finally:
            server.resume()
        assert time.monotonic() - began < within(3)
        broker.close()

    def test_a_connection_that_was_cut_while_idle_costs_nothing(self, server: PrivateRedis) -> None:
        with TcpProxy(server.address) as proxy:
            broker = declare(RedisBroker(url=f"redis://{proxy.host}:{proxy.port}/0"))
            send(broker, "m1")
            proxy.cut()
            proxy.restore()

            send(broker, "m2")

            assert broker.counts()[0].ready == 2
            broker.close()

    def test_a_worker_survives_a_restart_of_redis_with_what_it_holds(self) -> None:
        with PrivateRedis(appendonly="always") as server:
            broker = on(server)
            send(broker, "m1", "m2")
            consumer = broker.consume(WorkerInfo("w"))
            (delivery,) = consumer.exchange([], 1).deliveries
            server.kill()
            with pytest.raises(BrokerConnectionError):
                consumer.exchange([Settlement(delivery, DONE)], 0)
            server.start()

            answer = consumer.exchange([Settlement(delivery, DONE)], 1)

            assert not answer.refused and not answer.fenced
            assert [each.message_id for each in answer.deliveries] == ["m2"]
            consumer.close()
            broker.close()

    def test_a_worker_whose_redis_has_lost_everything_is_fenced(self, server: PrivateRedis) -> None:
        broker = on(server)
        consumer = broker.consume(WorkerInfo("w"))
        server.command("FLUSHALL")

        assert consumer.exchange([], 0).fenced
        consumer.close()
        broker.close()

    def test_a_burial_finds_what_is_held_in_a_queue_that_was_new_a_moment_ago(self, broker: RedisBroker) -> None:
        broker.rescue(make_judge(broker))
        other = RedisBroker(url=URL, namespace=broker.keys.namespace)
        other.declare_queue("new")
        other.enqueue(Message("new", "work", (), {}, {}, "m"))
        dead = other.consume(WorkerInfo("dead"))
        assert dead.exchange([], 1).deliveries

        assert broker.bury("dead", (), make_judge(broker)) == 1

        dead.close(give_back=False)
        other.close()

    def test_an_interrupted_burial_is_done_again(self, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch) -> None:
        send(broker, "m")
        consumer = broker.consume(WorkerInfo("w"))
        consumer.exchange([], 1)
        monkeypatch.setattr(broker, "_hand_back", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            broker.bury("w", (), lambda *_: Requeue())
        monkeypatch.undo()

        broker.renew(["w"])
        assert broker.rescue(lambda *_: Requeue()) == ["w"]

        assert broker.counts()[0].ready == 1
        assert consumer.exchange([], 1).fenced
        consumer.close()

    def test_after_a_failover_the_sentinels_name_where_messages_go(self) -> None:
        with RedisSentinels() as sentinels:
            hosts = ",".join(f"{host}:{port}" for host, port in sentinels.addresses)
            broker = declare(RedisBroker(url=f"redis+sentinel://{hosts}/{sentinels.name}/0", wait_replicas=1))
            send(broker, "m1")
            broker.wait_replicas = 0
            old = sentinels.master
            old.kill()
            sentinels.wait_until_promoted(old)

            until(lambda: _sent(broker, "m2"))

            consumer = broker.consume(WorkerInfo("w"))
            assert sorted(drain(consumer)) == ["m1", "m2"]
            consumer.close()
            broker.close()

    def test_after_the_loss_of_a_node_its_replica_serves(self) -> None:
        with RedisCluster(replicas=1) as cluster:
            url = cluster.url.replace("redis://", "redis+cluster://")
            broker = declare(RedisBroker(url=url, namespace="survivor", wait_replicas=1))
            consumer = broker.consume(WorkerInfo("w"))
            send(broker, "m1", "m2")
            (delivery,) = consumer.exchange([], 1).deliveries
            broker.wait_replicas = 0
            cluster.master_of("survivor:{q}:messages").kill()

            until(lambda: _sent(broker, "m3"), 20)

            assert sorted(drain(consumer)) == ["m2", "m3"]
            assert not consumer.exchange([Settlement(delivery, DONE)], 0).refused
            consumer.close()
            broker.close()


@contextmanager
def refusing(refusal: str) -> Iterator[int]:
    """A server that answers every command so; its port."""

    class Refuse(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                if line.startswith(b"*"):
                    self.wfile.write(f"-{refusal}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            serving.join()


def hang(client: Any) -> None:
    """Until somebody kills the script."""
    with pytest.raises(redis.ResponseError):
        client.eval("while true do end", 0)


def _sent(broker: RedisBroker, name: str) -> bool:
    try:
        send(broker, name)
        return True
    except BrokerConnectionError:
        return False


class TestConnections:
    def test_a_worker_has_two_connections(self, server: PrivateRedis) -> None:
        broker = on(server)
        consumer = broker.consume(WorkerInfo("w"))
        for _ in range(3):
            consumer.exchange([], 1)
            consumer.wait(0.01)

        with server.client() as client:
            assert len([each for each in client.client_list() if each["cmd"] != "client|list"]) == 2
        consumer.close()
        broker.close()

    def test_an_idle_worker_asks_less_than_once_a_second(self, server: PrivateRedis) -> None:
        broker = on(server)
        for number in range(20):
            broker.declare_queue(f"queue{number}")
        consumer = broker.consume(WorkerInfo("w"))
        idle(consumer, 0.5)
        server.command("CONFIG", "RESETSTAT")

        idle(consumer, 3)

        with server.client() as client:
            stats = client.info("commandstats")
        asked = sum(stat["calls"] for name, stat in stats.items() if name in ("cmdstat_evalsha", "cmdstat_ping"))
        assert asked <= 2
        consumer.close()
        broker.close()

    def test_one_of_many_waiting_workers_is_woken_for_a_message(self, broker: RedisBroker) -> None:
        consumers = [broker.consume(WorkerInfo(f"w{number}")) for number in range(4)]
        for consumer in consumers:
            assert not consumer.exchange([], 1).deliveries

        send(broker, "m")

        until(lambda: any(not consumer._may_rest() for consumer in consumers))
        assert sum(not consumer._quiet_in for consumer in consumers) == 1
        for consumer in consumers:
            consumer.close()

    def test_a_waiting_worker_that_died_is_passed_over(self, broker: RedisBroker) -> None:
        dead, alive = broker.consume(WorkerInfo("dead")), broker.consume(WorkerInfo("alive"))
        dead.exchange([], 1)
        alive.exchange([], 1)
        dead.close(give_back=False)
        began = time.monotonic()

        send(broker, "m")

        until(lambda: alive.exchange([], 1).deliveries, 2)
        assert time.monotonic() - began < within(2)
        alive.close()

    def test_a_message_is_brought_to_a_worker_that_waits_and_runs_nothing(
        self, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        consumer = waiting(broker, "w")
        send(broker, "m")
        monkeypatch.setattr(consumer, "_ask", lambda *args: pytest.fail("It need not ask."))

        consumer.wait(5)
        (delivery,) = consumer.exchange([], 1).deliveries

        monkeypatch.undo()
        assert (delivery.message_id, delivery.number) == ("m", 1)
        assert holds(broker) == (0, 1, 0, 0)
        assert not consumer.exchange([Settlement(delivery, DONE)], 1).refused
        assert holds(broker) == (0, 0, 0, 0)
        consumer.close()

    def test_a_worker_that_runs_something_is_only_woken(self, broker: RedisBroker) -> None:
        send(broker, "running")
        consumer = waiting(broker, "w")

        send(broker, "m")

        assert holds(broker) == (1, 1, 0, 0)
        consumer.close()

    def test_what_was_brought_to_a_worker_that_died_before_it_heard_runs_elsewhere_after_its_lease(
        self, broker: RedisBroker
    ) -> None:
        broker.lease = 100
        dead = waiting(broker, "dead")
        send(broker, "m")
        assert holds(broker) == (0, 1, 0, 0)

        until(lambda: broker.rescue(make_judge(broker)) == ["dead"])

        assert drained(broker, "alive") == ["m"]
        assert dead.exchange([], 1).fenced
        dead.close()

    def test_nothing_is_brought_to_a_worker_that_was_buried(self, broker: RedisBroker) -> None:
        buried = waiting(broker, "buried")
        broker.bury("buried", (), make_judge(broker))

        send(broker, "m")

        assert holds(broker) == (1, 0, 0, 0)
        buried.close()

    def test_what_was_brought_on_a_connection_that_broke_goes_back_and_runs(self, broker: RedisBroker) -> None:
        consumer = waiting(broker, "w")
        (connection,) = consumer._bell._connections.values()
        with as_if_closed(connection._sock):
            send(broker, "m")
            assert holds(broker) == (0, 1, 0, 0)

            until(lambda: drain(consumer) == ["m"])

        assert holds(broker) == (0, 0, 0, 0)
        consumer.close()

    def test_an_id_that_went_back_so_is_brought_when_it_is_sent_once_more(self, broker: RedisBroker) -> None:
        consumer = waiting(broker, "w")
        (connection,) = consumer._bell._connections.values()
        with as_if_closed(connection._sock):
            send(broker, "m", record=False)
            until(lambda: drain(consumer) == ["m"])
        assert drain(consumer) == []

        send(broker, "m", record=False)

        assert holds(broker) == (0, 1, 0, 0)
        until(lambda: drain(consumer) == ["m"])
        consumer.close()

    def test_who_runs_something_is_brought_nothing_in_any_queue(self, broker: RedisBroker) -> None:
        broker.declare_queue("other")
        consumer = waiting(broker, "w")
        send(broker, "running")
        until(lambda: consumer.wait(0.1) or consumer.exchange([], 1).deliveries)
        consumer.exchange([], 1)

        with closing(redis.Redis.from_url(URL)) as client:
            waiters = client.smembers(broker.keys.named("other", "waiters"))
        assert waiters == {broker.keys.channel("w")}
        consumer.close()

    def test_what_was_brought_to_a_worker_that_has_no_room_any_more_goes_back_uncounted(
        self, broker: RedisBroker
    ) -> None:
        consumer, other = waiting(broker, "w"), broker.consume(WorkerInfo("other"))
        send(broker, "m")
        until(lambda: consumer.wait(0.1) or consumer.has_arrivals)

        assert not consumer.exchange([], 0).deliveries

        (delivery,) = other.exchange([], 1).deliveries
        assert (delivery.message_id, delivery.retries, delivery.lost) == ("m", 0, 0)
        consumer.close()
        other.close()

    def test_what_is_brought_to_a_worker_that_was_paused_meanwhile_goes_back(
        self, broker: RedisBroker, databases: None
    ) -> None:
        worker = Worker(broker, worker_threads=1, duties=False)
        worker.start()
        until(lambda: worker.consumer.dry)
        worker.pause()

        send(broker, "m")

        until(lambda: holds(broker) == (1, 0, 0, 0))
        worker.resume()
        until(lambda: holds(broker) == (0, 0, 0, 0))
        worker.stop()

    def test_what_was_brought_to_a_paused_worker_on_a_connection_that_broke_goes_back(
        self, broker: RedisBroker, databases: None
    ) -> None:
        worker = Worker(broker, worker_threads=1, duties=False)
        worker.start()
        until(lambda: worker.consumer.dry)
        worker.pause()
        (connection,) = worker.consumer._consumer._bell._connections.values()

        with as_if_closed(connection._sock):
            send(broker, "m")
            until(lambda: holds(broker) == (1, 0, 0, 0), 3)

        worker.stop()

    def test_who_has_been_brought_something_in_one_queue_leaves_the_others_without_a_rest(
        self, broker: RedisBroker
    ) -> None:
        broker.declare_queue("other")
        consumer = waiting(broker, "w")
        send(broker, "m")
        until(lambda: consumer.wait(0.1) or consumer.has_arrivals)
        assert consumer.exchange([], 1).deliveries
        began = time.monotonic()

        consumer.wait(30)

        assert time.monotonic() - began < within(1)
        consumer.close()

    def test_many_at_once_are_asked_for(self, broker: RedisBroker) -> None:
        consumer = waiting(broker, "w")

        send(broker, "m1", "m2")

        assert holds(broker) == (2, 0, 0, 0)
        consumer.close()

    def test_a_child_process_talks_on_a_connection_of_its_own(self, broker: RedisBroker) -> None:
        send(broker, "parents")
        pid = os.fork()
        if pid == 0:
            try:
                send(broker, "childs")
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0

        send(broker, "parents again")

        assert broker.counts()[0].ready == 3

    def test_many_threads_may_send_at_a_time(self, broker: RedisBroker) -> None:
        threads = [threading.Thread(target=lambda n=n: [send(broker, f"{n}-{m}") for m in range(50)]) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert broker.counts()[0].ready == 400


def idle(consumer: Any, seconds: float) -> None:
    """As the I/O thread with nothing to do."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        consumer.exchange([], 8)
        consumer.wait(min(1.0, max(0.0, end - time.monotonic())))


class TestKeys:
    def test_every_key_is_tagged_by_its_queue_or_as_shared(self, broker: RedisBroker) -> None:
        send(broker, "m1", "m2", "m3")
        send(broker, "later", delay=AN_HOUR)
        consumer = broker.consume(WorkerInfo("w"))
        first, *_ = consumer.exchange([], 2).deliveries
        consumer.exchange([Settlement(first, DONE)], 0)

        names = keys_of(broker)

        prefix = broker.keys.namespace
        assert names and all(name.startswith((f"{prefix}:{{q}}:", f"{prefix}:{{*}}:")) for name in names)
        consumer.close()

    def test_what_is_finished_leaves_nothing_but_what_goes_by_itself(self, broker: RedisBroker) -> None:
        send(broker, *(f"m{number}" for number in range(20)))
        send(broker, "delayed", delay=1)
        consumer = broker.consume(WorkerInfo("w"))
        (failed, *others) = consumer.exchange([], 5).deliveries
        consumer.exchange([Settlement(failed, Dead("throws")), *(Settlement(d, DONE) for d in others)], 0)
        broker.requeue([failed.message_id])
        until(lambda: drain(consumer) and broker.counts()[0].delayed == 0)
        drain(consumer)
        consumer.close()
        journal = broker.journal
        for partition in journal.partitions():
            while (stretch := journal.read(partition, 1_000)).events:
                journal.trim(partition, stretch)

        with closing(redis.Redis.from_url(URL)) as client:
            left = {name.rpartition(":")[2]: client.ttl(name) for name in keys_of(broker)}

        assert left.keys() == {"queues", "lives", "journal"}
        assert left["lives"] > 0 and left["journal"] > 0

    def test_two_namespaces_do_not_see_each_other(self, broker: RedisBroker) -> None:
        with redis_broker() as other:
            declare(other)
            send(broker, "m")

            assert other.peek("q") == [] and other.look_up(["m"]) == {}
            send(other, "m")
            other.flush("q")

        assert [delivery.message_id for delivery in broker.peek("q")] == ["m"]

    @pytest.mark.parametrize(
        "name", ['"quoted"', "back\\slash", "Grüße, 日本語 🦄", "a:b|c {d} *", "1:1:w|", "%s %d %"]
    )
    def test_odd_names_of_messages_and_workers_pass_everywhere(self, broker: RedisBroker, name: str) -> None:
        send(broker, name, delay=1)
        consumer = broker.consume(WorkerInfo(name))
        until(lambda: broker.counts()[0].delayed == 1)
        deliveries: list[Any] = []
        until(lambda: deliveries.extend(consumer.exchange([], 1).deliveries) or deliveries)
        consumer.exchange([], 0, [Started(deliveries[0], NOON)])
        assert broker.look_up([name])[name].owner == name
        consumer.exchange([Settlement(deliveries[0], Dead("throws"))], 0)
        broker.requeue([name])
        assert broker.discard([name]) == [name]
        consumer.close()

        assert {event.message_id for event in told(broker)} == {name}
        assert [event.state.value for event in told(broker)] == [
            "delayed", "enqueued", "running", "dead", "enqueued", "discarded",
        ]  # fmt: skip

    def test_a_namespace_may_be_written_in_any_letters(self, broker: RedisBroker) -> None:
        named = RedisBroker(url=URL, namespace=f"{broker.keys.namespace}:größe")
        consumer = waiting(declare(named), "w")

        send(named, "m")

        until(lambda: drain(consumer) == ["m"])
        consumer.close()

    @pytest.mark.parametrize("namespace", ["", "a{b", "a}b", "a\nb"])
    def test_a_namespace_that_would_break_the_keys_is_refused(self, namespace: str) -> None:
        with pytest.raises(ValueError, match="namespace"):
            RedisBroker(namespace=namespace)

    def test_the_lives_that_are_remembered_are_bounded(self, broker: RedisBroker) -> None:
        send(broker, "m")
        with closing(redis.Redis.from_url(URL)) as client:
            lives = broker.keys.named("q", "lives")
            client.hset(lives, mapping={f"id{number}": 1 for number in range(50_000)})

            broker.discard(["m"])

            former = broker.keys.named("q", "former-lives")
            assert (client.exists(lives), client.hlen(former)) == (0, 50_001)
            assert client.ttl(former) > 0
        send(broker, "m")
        assert broker.look_up(["m"])["m"].delivery.life == 1


class TestEvents:
    """What the scripts tell by themselves is told as everybody else tells it."""

    def test_a_promotion_is_told_as_changes_tell_it(self, broker: RedisBroker) -> None:
        send(broker, "m", delay=1)
        consumer = broker.consume(WorkerInfo("w"))
        until(lambda: consumer.exchange([], 0) and broker.counts()[0].ready)
        consumer.close()

        _, event = told(broker)

        assert event == changes.promoted("m", event.at, 0, 0, 0, 0)

    def test_a_requeue_and_a_discard_are_told_as_changes_tell_them(self, broker: RedisBroker) -> None:
        send(broker, "m")
        consumer = broker.consume(WorkerInfo("w"))
        consumer.exchange([Settlement(d, Dead("throws")) for d in consumer.exchange([], 1).deliveries], 0)
        broker.requeue(["m"])
        broker.discard(["m"])
        consumer.close()

        _, _, requeued, discarded = told(broker)

        assert requeued == changes.requeued("m", requeued.at, 1, 1)
        assert discarded == changes.discarded("m", discarded.at, 1, 0, 1, 0)

    def test_a_message_that_begins_a_new_life_is_told_with_it(self, broker: RedisBroker) -> None:
        send(broker, "m")
        broker.discard(["m"])
        send(broker, "m")

        first, _, again = told(broker)

        assert (first.life, again.life) == (0, 1)
        assert first.birth is not None and again.birth is not None
        assert (again.state, again.birth.args) == (first.state, first.birth.args)

    def test_times_are_the_servers(self, broker: RedisBroker, monkeypatch: pytest.MonkeyPatch) -> None:
        shift = -600_000
        wall_ms = __import__("django_tasks_q.clock").clock.wall_ms
        monkeypatch.setattr("django_tasks_q.clock.wall_ms", lambda: wall_ms() + shift)
        send(broker, "soon", delay=50)

        broker.enqueue(Message("q", "work", message_id="eta", options={"eta": wall_ms() + 300_000}))

        delayed, eta = told(broker)
        assert abs(delayed.at - wall_ms()) < 60_000
        assert (delayed.state, eta.state) == ("delayed", "delayed")
        assert broker.counts()[0].delayed >= 1


class TestJournal:
    def test_within_its_budget_the_journal_gives_up_arguments_and_then_the_oldest_events(
        self, broker: RedisBroker
    ) -> None:
        broker.journal_max_bytes = 20_000
        names = [f"m{number:03}" for number in range(150)]
        for name in names:
            broker.enqueue(Message("q", "work", ("x" * 100,), message_id=name))

        stretch = broker.journal.read("q", 1_000)

        kept = [event.message_id for event in stretch.events]
        assert kept == names[-len(kept) :] and 10 < len(kept) < 150
        assert stretch.gap is not None and stretch.gap.dropped == 150 - len(kept)
        assert stretch.gap.queue_names == ("q",) and 0 < stretch.gap.since <= stretch.gap.until
        last = stretch.events[-1].birth
        assert last is not None and last.args is None and last.actor_name == "work"
        assert 0.5 < broker.journal.backlog("q").fill <= 1

    def test_arguments_are_told_again_when_there_is_room_again(self, broker: RedisBroker) -> None:
        broker.journal_max_bytes = 2_000
        send(broker, *(f"m{number}" for number in range(8)))
        broker.journal.trim("q", broker.journal.read("q", 100))

        send(broker, "first")
        send(broker, "second")

        assert [event.birth.args is None for event in told(broker) if event.birth] == [True, False]

    def test_a_gap_is_forgotten_when_it_was_told_but_not_what_was_dropped_since(self, broker: RedisBroker) -> None:
        broker.journal_max_bytes = 1_000
        for number in range(20):
            send(broker, f"m{number}")
        gap = broker.journal.read("q", 1).gap
        assert gap is not None
        send(broker, *(f"n{number}" for number in range(2)))

        broker.journal.trim_gap("q", gap)
        left = broker.journal.backlog("q").gap
        assert left is not None and 0 < left.dropped < gap.dropped
        broker.journal.trim_gap("q", left)
        broker.journal.trim("q", broker.journal.read("q", 100))

        assert broker.journal.backlog("q") == Backlog()
        assert broker.journal.partitions() == []

    def test_trimming_twice_forgets_nothing_that_came_since(self, broker: RedisBroker) -> None:
        send(broker, "m1")
        stretch = broker.journal.read("q", 100)
        broker.journal.trim("q", stretch)
        send(broker, "m2")

        broker.journal.trim("q", stretch)

        assert [event.message_id for event in told(broker)] == ["m2"]

    def test_what_was_told_at_once_is_read_whole_and_the_rest_within_the_limit(self, broker: RedisBroker) -> None:
        send(broker, *(f"a{number}" for number in range(10)))
        for number in range(5):
            send(broker, f"b{number}")

        first = broker.journal.read("q", 3)
        assert len(first.events) == 10
        broker.journal.trim("q", first)

        assert [event.message_id for event in broker.journal.read("q", 3).events] == ["b0", "b1", "b2"]
        assert len(broker.journal.read("q", 100).events) == 5

    def test_bytes_in_the_journal_that_are_no_event_are_a_gap(self, broker: RedisBroker) -> None:
        send(broker, "before")
        with closing(redis.Redis.from_url(URL)) as client:
            good = client.xrange(broker.keys.named("q", "journal"))[0][1][b"e"]
            stream = broker.keys.named("q", "journal")
            client.execute_command("XADD", stream, "*", "e", good, "e", b"garbage")

        first = broker.journal.read("q", 100)
        assert ([event.message_id for event in first.events], first.gap) == (["before"], None)
        broker.journal.trim("q", first)
        second = broker.journal.read("q", 100)

        assert [event.message_id for event in second.events] == ["before"]
        assert second.gap is not None and second.gap.dropped == 1
        assert broker.journal.read("q", 100).gap == second.gap

    def test_any_number_of_entries_that_are_no_events_is_read_over(self, broker: RedisBroker) -> None:
        journal, fill = broker.keys.named("q", "journal"), broker.keys.named("q", "fill")
        with closing(redis.Redis.from_url(URL)) as client, client.pipeline() as pipeline:
            for _ in range(1_200):
                pipeline.xadd(journal, {"e": b"no event"})
            pipeline.hset(fill, mapping={"events": 1_200, "bytes": 9_600})
            pipeline.execute()
        send(broker, "m")

        assert [event.message_id for event in told(broker)] == ["m"]
        assert broker.journal.backlog("q").gap.dropped == 1_200

    def test_the_backlog_tells_how_much_waits_and_for_how_long(self, broker: RedisBroker) -> None:
        send(broker, "m1", "m2")
        until(lambda: broker.journal.backlog("q").lag_ms >= 20)

        backlog = broker.journal.backlog("q")

        assert backlog.events == 2 and 0 < backlog.fill < 0.01 and backlog.lag_ms < 60_000

    def test_nothing_is_written_where_nothing_is_recorded(self, broker: RedisBroker) -> None:
        broker.recording = Recording(enabled=False)
        send(broker, "m")
        consumer = broker.consume(WorkerInfo("w"))
        drain(consumer)
        consumer.close()

        assert broker.journal.partitions() == []

    @pytest.mark.parametrize("end", ["done", "discarded"])
    def test_an_id_without_a_record_that_is_sent_again_has_none_either(self, broker: RedisBroker, end: str) -> None:
        consumer = broker.consume(WorkerInfo("w"))
        for _ in range(2):
            send(broker, "m", record=False)
            if end == "done":
                assert drain(consumer) == ["m"]
            else:
                assert broker.discard(["m"]) == ["m"]
        consumer.close()

        assert broker.journal.partitions() == []

    def test_the_mirror_writes_it_into_the_records(self, broker: RedisBroker, databases: None) -> None:
        names = [f"m{number:04}" for number in range(1_500)]
        broker.enqueue_many([Message("q", "work", (name,), message_id=name) for name in names])
        consumer = broker.consume(WorkerInfo("w"))
        drain(consumer, 200)
        consumer.close()
        with override_settings(DJANGO_TASKS_Q={"RECORDS": {"DATABASE": "default"}}):
            service = MirrorService(broker, "me")

        service.work()

        rows = dict(MessageRecord.objects.values_list("message_id", "state"))
        assert rows == dict.fromkeys(names, "succeeded")
        assert broker.journal.backlog("q") == Backlog()
        service.close()


@pytest.fixture
def waker() -> Iterator[Waker]:
    with closing(Waker()) as waker:
        yield waker


class TestEar:
    @pytest.mark.parametrize("kind", ["redis", "redis-cluster"])
    def test_it_hears_of_the_first_event_of_every_queue_and_of_new_queues(self, kind: str, waker: Waker) -> None:
        with open_broker(kind) as broker:
            declare(broker)
            broker.make_known(["q"])
            ear = broker.journal.ear(waker)
            ear.listen()
            assert not ear.has_rung()

            # The first event, and no other until all are gone
            send(broker, "m1")
            assert heard(ear, waker)
            send(broker, "m2", "m3")
            assert not ear.has_rung()
            forget_events(broker)
            assert broker.discard(["m1"]) == ["m1"] and heard(ear, waker)

            # A queue that nobody knew when it began to listen
            broker.declare_queue("new")
            broker.enqueue(Message("new", "work", message_id="m4"))
            assert heard(ear, waker)
            ear.listen()
            forget_events(broker, "new")
            broker.enqueue(Message("new", "work", message_id="m5"))
            assert heard(ear, waker)
            ear.close()

    def test_it_rings_when_its_server_has_gone_and_hears_the_one_that_comes_back(self, waker: Waker) -> None:
        with PrivateRedis() as server, closing(on(server)) as broker:
            broker.make_known(["q"])
            ear = broker.journal.ear(waker)
            ear.listen()

            server.kill()
            assert heard(ear, waker)
            with pytest.raises(BrokerConnectionError):
                ear.listen()
            server.start()
            until(lambda: listens(ear))
            send(broker, "m")

            assert heard(ear, waker)
            ear.close()


def heard(ear: Ear, waker: Waker) -> bool:
    """What is published arrives a moment after the answer to whoever caused it."""
    waker.wait(within(2))
    return ear.has_rung()


def listens(ear: Ear) -> bool:
    try:
        ear.listen()
    except BrokerConnectionError:
        return False
    return True


def forget_events(broker: RedisBroker, queue_name: str = "q") -> None:
    while (stretch := broker.journal.read(queue_name, 100)).events:
        broker.journal.trim(queue_name, stretch)


class TestDescription:
    @pytest.mark.parametrize("kind", ["redis", "redis+cluster"])
    def test_the_address_is_shown_without_the_password(self, kind: str) -> None:
        broker = RedisBroker(url=f"{kind}://me:{quote('s3/cret', safe='')}@127.0.0.1:1")

        assert "127.0.0.1:1" in broker.address and "cret" not in broker.address
        with pytest.raises(BrokerConnectionError) as error:
            broker.check_ready()
        assert "cret" not in str(error.value)

    def test_a_server_that_answers_is_ready(self, broker: RedisBroker) -> None:
        broker.check_ready()

    def test_without_a_url_the_options_say_where(self, server: PrivateRedis) -> None:
        broker = declare(RedisBroker(host=server.host, port=server.port, db=3))
        send(broker, "m")

        assert server.info("keyspace")["db3"]["keys"] > 0
        broker.close()

    def test_a_client_lends_its_options(self) -> None:
        with closing(redis.Redis.from_url(URL, decode_responses=True)) as client, redis_broker() as other:
            broker = RedisBroker(client=client, namespace=other.keys.namespace)
            declare(broker)
            declare(other)
            send(broker, "m")

            assert [delivery.message_id for delivery in other.peek("q")] == ["m"]
            broker.close()

    def test_a_client_of_a_cluster_lends_its_nodes(self) -> None:
        url = cluster_url().replace("redis+cluster", "redis")
        with closing(redis.RedisCluster.from_url(url)) as client, redis_broker(cluster_url()) as other:
            broker = declare(RedisBroker(client=client, namespace=other.keys.namespace))
            declare(other)
            send(broker, "m")

            assert [delivery.message_id for delivery in other.peek("q")] == ["m"]
            broker.close()

    @pytest.mark.parametrize(
        "url",
        ["redis+sentinel://host", "redis+sentinel://host/service/x", "redis+cluster://host/3", "redis+what://host"],
    )
    def test_a_url_that_cannot_be_meant_is_refused(self, url: str) -> None:
        with pytest.raises(ValueError):
            from_url(url)

    def test_arguments_that_cannot_be_meant_are_refused(self) -> None:
        with closing(redis.Redis()) as client, pytest.raises(ValueError, match="not both"):
            RedisBroker(url=URL, client=client)
        with pytest.raises(TypeError):
            RedisBroker(no_such_option=1)

    def test_dramatiqs_arguments_mean_what_they_meant(self) -> None:
        with redis_broker(heartbeat_timeout=12_345, dead_message_ttl=1) as broker:
            declare(broker)
            send(broker, "m")
            consumer = broker.consume(WorkerInfo("w"))
            consumer.exchange([Settlement(d, Dead("throws")) for d in consumer.exchange([], 1).deliveries], 0)

            until(lambda: not broker.rescue(lambda *_: Requeue()) and not broker.counts()[0].dead)

            assert broker.lease == 12_345
            consumer.close()

    def test_risks_are_named(self) -> None:
        with PrivateRedis(maxmemory_policy="allkeys-lru") as server:
            broker = on(server)
            evicts, no_file, no_copies = broker.risks()
            assert "allkeys-lru" in evicts and "append-only" in no_file and "wait_replicas" in no_copies
            broker.close()
        with PrivateRedis(appendonly="everysec") as server:
            broker = on(server)
            assert broker.risks() == []
            broker.close()

    def test_a_send_that_too_few_replicas_have_is_an_error(self, server: PrivateRedis) -> None:
        broker = on(server, wait_replicas=1)
        broker.send_timeout = 1_000

        with pytest.raises(BrokerConnectionError, match="0 of 1"):
            send(broker, "m")

        broker.close()
