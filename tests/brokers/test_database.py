"""The database broker on each vendor, and what it offers beyond the common promises."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any, cast
from unittest.mock import Mock

import pytest
from django.db import connections, transaction

from django_tasks_q import BrokerConnectionError, BrokerNotReady, DuplicateMessage, Message
from django_tasks_q.brokers.database import DatabaseBroker, from_url, headway
from django_tasks_q.brokers.database.postgresql import PostgreSQL
from django_tasks_q.capabilities import Capabilities
from django_tasks_q.deliveries import Delivery, Settlement
from django_tasks_q.mirror.statements import STATE_COLUMNS, postgresql_update
from django_tasks_q.models import Attempt, MessageRecord, QueuedMessage
from django_tasks_q.outcomes import DONE, HANDED_BACK, Dead, ErrorInfo, Retry
from django_tasks_q.sql import Database
from tests import settings
from tests.brokers.bench import Bench, Desk
from tests.brokers.conformance import Conformance, wait_until_found
from tests.brokers.unique import KEY, send_apart, sent
from tests.support.waiting import within


class Interruption(Exception):
    """Stands for whatever makes people's transactions roll back."""


class Databases(Conformance):
    """What both vendors offer beyond the common promises."""

    @pytest.mark.beyond_the_model
    def test_it_says_what_it_can_and_what_it_cannot(self, bench: Bench) -> None:
        can = bench.broker.capabilities

        assert can.journal.level == "none" and bench.broker.journal is None
        assert can.transactional_send.level == can.survives_restart.level == "same"
        weaker = {name for name in Capabilities.__struct_fields__ if getattr(can, name).level != "same"}
        assert weaker == {"journal"}

    @pytest.mark.beyond_the_model
    def test_a_worker_whose_lease_is_renewed_while_somebody_is_about_to_bury_it_lives_on(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broker = cast(DatabaseBroker, bench.broker)
        bench.send("m")
        broker.lease = 1
        desk = bench.worker("late")
        delivery = desk.take_one()
        broker.lease = 60_000
        rows = Database.rows

        def renew_then_look(database: Database, sql: str, params: Any = ()) -> Any:
            if sql == broker.queries.owned:
                assert list(broker.renew(["late"])) == ["late"]
            return rows(database, sql, params)

        bench.until(lambda: rows(broker.database, broker.queries.expired))
        monkeypatch.setattr(Database, "rows", renew_then_look)

        rescued = broker.rescue(bench.judge)
        monkeypatch.undo()

        assert rescued == []
        assert bench.holds() == (0, 1, 0, 0)
        assert not desk.settle(delivery, DONE).refused

    @pytest.mark.beyond_the_model
    def test_messages_survive_the_end_of_the_broker(self, bench: Bench) -> None:
        bench.send("m")
        bench.broker.close()
        again = DatabaseBroker(using=self.broker)
        again.declare_queue("q")

        assert [delivery.message_id for delivery in again.peek("q")] == ["m"]

    @pytest.mark.beyond_the_model
    def test_a_send_in_a_transaction_is_there_when_it_commits(self, bench: Bench) -> None:
        desk = bench.worker()
        with transaction.atomic(using=self.broker):
            bench.send("m1")
            bench.broker.enqueue_many([bench.message("m2"), bench.message("m3")])
            if self.broker == "postgresql":
                assert desk.finds_nothing()
            assert desk.call(bench.peek) == []
            assert desk.call(bench.stories) == {}

        assert [delivery.message_id for delivery in desk.take(3)] == ["m1", "m2", "m3"]

    @pytest.mark.beyond_the_model
    def test_a_send_in_a_transaction_never_was_when_it_is_rolled_back(self, bench: Bench) -> None:
        with pytest.raises(Interruption), transaction.atomic(using=self.broker):
            bench.send("m1")
            bench.broker.enqueue_many([bench.message("m2"), bench.message("m3")])
            raise Interruption

        assert bench.peek() == []
        assert bench.stories() == {}

    @pytest.mark.beyond_the_model
    def test_a_key_that_was_taken_in_a_transaction_is_free_when_it_is_rolled_back(self, bench: Bench) -> None:
        with pytest.raises(Interruption), transaction.atomic(using=self.broker):
            assert sent(bench, "m1") == "m1"
            assert sent(bench, "m2") == "m1"
            raise Interruption

        assert sent(bench, "m3") == "m3"

    @pytest.mark.beyond_the_model
    @pytest.mark.parametrize("commits", [True, False])
    def test_who_sends_a_key_of_an_open_transaction_waits_for_its_end(self, bench: Bench, commits: bool) -> None:
        with ThreadPoolExecutor(1) as pool:
            with suppress(Interruption), transaction.atomic(using=self.broker):
                assert sent(bench, "m1") == "m1"
                other = pool.submit(send_apart, bench, "m2")
                with pytest.raises(TimeoutError):
                    other.result(0.3)
                if not commits:
                    raise Interruption

            assert other.result(20) == ("m1" if commits else "m2")

    @pytest.mark.beyond_the_model
    def test_a_send_on_commit_returns_the_message_that_is_there(self, bench: Bench) -> None:
        sent(bench, "m1")

        with transaction.atomic(using=self.broker):
            [there] = bench.broker.enqueue_on_commit([bench.message("m2", **KEY)], using=self.broker)

        assert there.message_id == "m1"
        assert bench.peek() == ["m1"]

    @pytest.mark.beyond_the_model
    def test_a_conflict_leaves_the_transaction_usable(self, bench: Bench) -> None:
        sent(bench, "m1")

        with transaction.atomic(using=self.broker):
            with pytest.raises(DuplicateMessage):
                sent(bench, "m2", on_conflict="raise")
            bench.send("m3")
            assert sent(bench, "m4") == "m1"
            assert sent(bench, "m5", on_conflict="replace") == "m5"

        assert bench.peek() == ["m3", "m5"]

    @pytest.mark.beyond_the_model
    def test_messages_that_take_no_keys_cost_nothing_for_those_that_do(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said: list[str] = []
        monkeypatch.setattr(Database, "watch", staticmethod(said.append))
        desk = bench.worker()

        bench.send("m1")
        bench.broker.enqueue_many([bench.message("m2"), bench.message("m3")])
        desk.exchange([Settlement(delivery, DONE) for delivery in desk.take(3)])

        assert said
        assert [sql for sql in said if "unique" in sql] == []

    @pytest.mark.beyond_the_model
    def test_a_send_in_a_savepoint_is_rolled_back_with_it(self, bench: Bench) -> None:
        with transaction.atomic(using=self.broker):
            bench.send("outer")
            with pytest.raises(Interruption), transaction.atomic(using=self.broker):
                bench.send("inner")
                raise Interruption

        assert bench.peek() == ["outer"]
        assert list(bench.stories()) == ["outer"]

    @pytest.mark.beyond_the_model
    @pytest.mark.parametrize("number", [1, 3])
    def test_a_duplicate_leaves_the_transaction_usable(self, bench: Bench, number: int) -> None:
        bench.send("known")
        with transaction.atomic(using=self.broker):
            with pytest.raises(DuplicateMessage):
                bench.broker.enqueue_many(
                    [*(bench.message(f"new {i}") for i in range(number - 1)), bench.message("known")]
                )
            bench.send("m")

        assert bench.peek() == ["known", "m"]
        assert sorted(bench.stories()) == ["known", "m"]

    @pytest.mark.beyond_the_model
    def test_a_waiting_consumer_is_woken_by_the_commit(self, bench: Bench) -> None:
        desk = bench.worker()
        assert desk.finds_nothing()
        waiting = desk.begin(wait_until_found, desk, 15)
        with transaction.atomic(using=self.broker):
            bench.send("m")
        began = time.monotonic()

        assert waiting.result(20)
        assert time.monotonic() - began < within(1)

    @pytest.mark.beyond_the_model
    def test_a_waiting_consumer_is_woken_by_another_process(self, bench: Bench) -> None:
        desk = bench.worker()
        waits = []
        for _ in range(3):
            assert desk.finds_nothing()
            waiting = desk.begin(wait_until_found, desk, 30)
            sent_at = _send_from_another_process(self.broker)
            assert waiting.result(30)
            waits.append(time.time() - sent_at)
            if min(waits) < 1:  # who is not woken looks once a second, so a busy machine may be that late once
                break
        assert min(waits) < within(1)

    @pytest.mark.beyond_the_model
    def test_claims_whose_answer_was_lost_are_delivered_by_the_next_exchange(self, bench: Bench) -> None:
        bench.send("m1", "m2", "m3")
        desk = bench.worker()
        held = desk.take_one()

        with _lost_answer(desk), pytest.raises(BrokerConnectionError):
            desk.exchange([Settlement(held, DONE)], room=1)

        answer = desk.exchange([Settlement(held, DONE)], room=5)
        assert [delivery.message_id for delivery in answer.deliveries] == ["m2", "m3"]
        assert not answer.refused
        assert bench.holds() == (0, 2, 0, 0)
        assert not desk.exchange([Settlement(d, DONE) for d in answer.deliveries]).refused
        assert {story[:3] for story in bench.stories().values()} == {("succeeded", 0, 1)}

    @pytest.mark.beyond_the_model
    def test_an_exchange_that_fails_after_the_connection_came_back_can_be_repeated(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bench.send("m")
        desk = bench.worker()
        delivery = desk.take_one()
        desk.call(desk.consumer._disconnect)
        with monkeypatch.context() as patch:
            patch.setattr(bench.broker.settler, "settle", Mock(side_effect=ValueError("refused")))
            for _ in range(2):
                with pytest.raises(ValueError, match="refused"):
                    desk.settle(delivery, DONE)

        assert not desk.settle(delivery, DONE).refused
        assert bench.story("m").state == "succeeded"

    @pytest.mark.beyond_the_model
    def test_a_project_that_commits_by_hand_is_understood(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        connection = connections[self.broker]
        connection.close()
        # Every connection made from now on, in other threads too, shares these settings.
        monkeypatch.setitem(connections.settings[self.broker], "AUTOCOMMIT", False)
        bench.send("never was")
        transaction.rollback(using=self.broker)
        bench.send("m")
        transaction.commit(using=self.broker)
        desk = bench.worker()
        delivery = desk.take_one()
        desk.call(bench.broker.renew, [desk.worker_id])
        desk.settle(delivery, DONE)

        assert bench.peek() == []
        assert {name: story.state for name, story in bench.stories().items()} == {"m": "succeeded"}
        connection.close()

    @pytest.mark.beyond_the_model
    def test_tables_that_are_missing_are_named_with_the_next_step(self, bench: Bench) -> None:
        with _renamed(self.broker, "django_tasks_q_queuedmessage"):
            with pytest.raises(BrokerNotReady, match="migrate"):
                bench.broker.check_ready()
            with pytest.raises(BrokerNotReady, match="migrate"):
                bench.send("m")
        bench.broker.check_ready()

    def test_odd_texts_are_recorded_and_can_be_read_back(self, bench: Bench) -> None:
        odd = "nul \x00 surrogate \ud800 unicorn 🦄 backslash \\"
        bench.broker.enqueue(Message("q", "work", (odd,), {"k": {odd: odd}}, {}, "m"))
        desk = bench.worker()
        error = ErrorInfo(f"Error{odd}", odd, odd)

        desk.exchange([Settlement(desk.take_one(), Retry(3_600_000), error, started_at=1)])

        if bench.is_like_the_model:
            assert MessageRecord.objects.using(self.broker).get().args
            assert Attempt.objects.using(self.broker).get().error_message

    @pytest.mark.parametrize(
        "message",
        [
            Message("q", "a" * 300),
            Message("q", "work", options={"message_id": "x" * 65}),
            Message("q", "work", options={"priority": 99_999}),
            Message("q", "work", options={"priority": "high"}),
            Message("q", "work", message_id="x" * 65),
            Message("q", "work", message_id=""),
            Message("q", "a\0" * 90),
            Message("q", "work", options={"message_id": "\0" * 20}),
            Message("q", "work", options={"message_id": "\ud800" * 20}),
            Message("q", "work", message_timestamp=10**18),
            Message("q", "work", message_timestamp=-1),
            Message("q", "work", message_timestamp=cast(int, 1.5)),
        ],
        ids=[
            "actor name",
            "correlation id",
            "priority",
            "priority of a wrong type",
            "long id",
            "no id",
            "actor name that is longer escaped",
            "correlation id that is longer escaped",
            "correlation id of surrogates",
            "time after the calendar",
            "time before the calendar",
            "time of a wrong type",
        ],
    )
    def test_what_no_column_could_hold_is_refused_in_words(self, bench: Bench, message: Message[Any]) -> None:
        with pytest.raises(ValueError):
            bench.broker.enqueue(message)

        assert bench.stories() == {}

    @pytest.mark.beyond_the_model
    @pytest.mark.parametrize(
        "outcome", [Dead("a reason that is much too long for its column, and with \x00"), Retry(10**30)]
    )
    def test_one_odd_settlement_does_not_stop_the_others(self, bench: Bench, outcome: Any) -> None:
        bench.send("odd", "plain")
        desk = bench.worker()
        odd, plain = desk.take(2)

        desk.exchange([Settlement(odd, outcome), Settlement(plain, DONE)])

        assert bench.story("plain").state == "succeeded"
        assert bench.holds()[1] == 0


class TestSQLite(Databases):
    broker = "default"


class Servers(Databases):
    """What holds where the database is another process, which may go away."""

    @pytest.mark.beyond_the_model
    def test_what_was_asked_on_a_connection_that_broke_before_is_asked_again(self, bench: Bench) -> None:
        bench.send("m1", "m2")
        desk = bench.worker()
        delivery = desk.take_one()

        desk.call(_break_connection, self.broker)
        with pytest.raises(BrokerConnectionError):
            desk.exchange([Settlement(delivery, DONE)], room=1)

        answer = desk.exchange([Settlement(delivery, DONE)], room=1)
        assert [d.message_id for d in answer.deliveries] == ["m2"]
        assert bench.story("m1").state == "succeeded"

    @pytest.mark.beyond_the_model
    def test_a_server_that_only_reads_is_away_and_loses_no_settlement(self, bench: Bench) -> None:
        bench.send("m1", "m2")
        desk = bench.worker()
        delivery = desk.take_one()

        desk.call(_only_read, self.broker)
        with pytest.raises(BrokerConnectionError, match=_READ_ONLY):
            desk.exchange([Settlement(delivery, DONE)], room=1)

        answer = desk.exchange([Settlement(delivery, DONE)], room=1)
        assert [d.message_id for d in answer.deliveries] == ["m2"]
        assert bench.story("m1").state == "succeeded"

    @pytest.mark.beyond_the_model
    def test_a_send_to_a_server_that_only_reads_is_refused_in_words(self, bench: Bench) -> None:
        _only_read(self.broker)
        with pytest.raises(BrokerConnectionError, match=_READ_ONLY):
            bench.broker.enqueue(bench.message("m"))

        bench.send("m")
        assert bench.holds() == (1, 0, 0, 0)

    @pytest.mark.beyond_the_model
    def test_a_consumer_is_woken_after_its_connection_was_lost(self, bench: Bench) -> None:
        desk = bench.worker()
        desk.call(_break_connection, self.broker)
        with pytest.raises(BrokerConnectionError):
            desk.exchange(room=1)
        assert desk.finds_nothing()
        waiting = desk.begin(wait_until_found, desk, 15)
        began = time.monotonic()

        bench.send("m")

        assert waiting.result(20)
        assert time.monotonic() - began < within(1)

    @pytest.mark.beyond_the_model
    def test_a_backend_that_was_terminated_costs_nothing(self, bench: Bench) -> None:
        bench.send("m1", "m2")
        desk = bench.worker()
        delivery = desk.take_one()
        number = desk.call(_connection_number, self.broker)

        _end_connection(self.broker, number)
        with pytest.raises(BrokerConnectionError):
            desk.exchange([Settlement(delivery, DONE)], room=1)

        answer = desk.exchange([Settlement(delivery, DONE)], room=1)
        assert [d.message_id for d in answer.deliveries] == ["m2"]
        assert not answer.refused

    @pytest.mark.beyond_the_model
    def test_a_backend_that_is_terminated_while_its_worker_waits_is_noticed(self, bench: Bench) -> None:
        desk = bench.worker()
        assert desk.finds_nothing()
        number = desk.call(_connection_number, self.broker)
        waiting = desk.begin(desk.consumer.wait, 30)
        began = time.monotonic()

        _end_connection(self.broker, number)

        with pytest.raises(BrokerConnectionError):
            waiting.result(20)  # tells it, or ends
            desk.exchange(room=1)
        assert time.monotonic() - began < within(5)
        bench.send("m")
        assert desk.take_one().message_id == "m"


class TestPostgreSQL(Servers):
    broker = "postgresql"

    @pytest.mark.beyond_the_model
    def test_a_connection_that_was_left_waiting_for_an_answer_is_replaced(self, bench: Bench) -> None:
        desk = bench.worker()
        database = Database(self.broker)

        desk.call(_leave_waiting, self.broker)
        with pytest.raises(BrokerConnectionError, match="in progress"):
            desk.call(database.rows, "SELECT 1")

        assert desk.call(database.rows, "SELECT 1") == [(1,)]

    @pytest.mark.beyond_the_model
    def test_batches_look_their_rows_up_by_key_also_where_the_server_saw_the_table_empty(self, bench: Bench) -> None:
        database, queries = Database(self.broker), PostgreSQL()
        bench.send(*(f"early {number}" for number in range(1_000)))
        for table in (QueuedMessage._meta.db_table, MessageRecord._meta.db_table):
            database.count(f"DELETE FROM {table}")
            database.count(f"ANALYZE {table}")
        bench.send(*(f"m{number}" for number in range(2_000)))
        claims: list[list[Any]] = [list(range(200)), [1] * 200]
        moved: list[list[Any]] = [[value] * 200 for value in (1, 0, 0, 0, "", False, None)]
        changes: list[list[Any]] = [[None] * 200 for _ in STATE_COLUMNS]
        batches: list[tuple[str, Sequence[Any]]] = [
            (queries._claim, ("w", ["q"], [200], [0], [1], 200, "w")),
            (queries._finish, [*claims, "w"]),
            (queries._move, [*moved, *claims, "w"]),
            (postgresql_update(MessageRecord._meta.db_table), changes),
        ]

        for statement, params in batches:
            plan = "\n".join(row[0] for row in database.rows("EXPLAIN " + statement, params))
            assert "Index Cond: (id = ANY" in plan or "Index Cond: ((message_id)::text = ANY" in plan, plan
            assert "dtq_queue_owner" not in plan, plan
            if statement == queries._claim:
                assert "dtq_queue_ready" in plan and "(ROW(priority, id) > ROW(w.priority, w.id))" in plan, plan

    @pytest.mark.beyond_the_model
    def test_who_claims_slowly_begins_behind_the_last_claim_and_finds_what_is_before_it_in_the_end(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(headway, "SLOW", 0.0)
        monkeypatch.setattr(headway, "LONGEST", 1e9)
        monkeypatch.setattr(headway, "SHARE", 1e12)  # it looks from the front when the rest is short, and not before
        bench.send(*(f"m{number:02}" for number in range(20)))
        bench.send("elsewhere", queue="other")
        desk = bench.worker(queues={"q": 1})
        taken = [desk.take(4) for _ in range(headway.IN_A_ROW)]

        desk.settle(taken[0][1], HANDED_BACK)
        bench.send("urgent", priority=-5)
        behind = desk.take(6)
        rest = desk.take(4, room=10)  # in two exchanges

        assert _names(behind) == [f"m{number}" for number in range(12, 18)]
        assert _names(rest) == ["m18", "m19", "urgent", "m01"]
        assert desk.finds_nothing()
        bench.send("late")
        assert _names(desk.take(1)) == ["late"]

    @pytest.mark.beyond_the_model
    @pytest.mark.parametrize("took", [headway.SLOW, 1.0])
    def test_who_claims_slowly_looks_at_the_front_again_after_twenty_times_as_long_or_two_seconds(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch, took: float
    ) -> None:
        now = time.monotonic()
        monkeypatch.setattr(headway.clock, "monotonic", lambda: now)
        bench.send(*(f"m{number}" for number in range(9)))
        desk = bench.worker()
        claims = desk.consumer._claimer._claims
        take = claims.take_behind

        def take_slowly(*args: Any, **kwargs: Any) -> Any:
            nonlocal now
            now += took
            return take(*args, **kwargs)

        monkeypatch.setattr(claims, "take_behind", take_slowly)
        for number in range(headway.IN_A_ROW):
            assert _names(desk.take(1)) == [f"m{number}"]
        bench.send("urgent", priority=-5)

        assert _names(desk.take(1)) == ["m3"]
        now += min(headway.SHARE * took, headway.LONGEST)
        assert _names(desk.take(1)) == ["urgent"]

    @pytest.mark.beyond_the_model
    def test_what_a_transaction_that_stays_open_keeps_is_not_stepped_over_by_every_claim(self, bench: Bench) -> None:
        database, queries, table = Database(self.broker), PostgreSQL(), QueuedMessage._meta.db_table
        bench.worker("w")
        bench.broker.enqueue_many([bench.message(f"m{number:04}") for number in range(3_000)])
        with _transaction_that_stays_open(self.broker):
            database.count(f"UPDATE {table} SET place = 2 WHERE message_id < 'm2998'")
            database.count(f"DELETE FROM {table} WHERE message_id < 'm2998'")
            first = QueuedMessage.objects.using(self.broker).order_by("id").values_list("id", flat=True)[0]

            from_the_front = _pages_read(database, queries._claim, ("w", ["q"], [1], [-32_768], [0], 1, "w"))
            from_behind = _pages_read(database, queries._claim, ("w", ["q"], [1], [0], [first], 1, "w"))

        assert from_behind < from_the_front / 5


def _names(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.message_id for delivery in deliveries]


@contextmanager
def _transaction_that_stays_open(alias: str) -> Iterator[None]:
    """Another connection, that may look again at what was there when it began."""
    other = connections[alias].copy()
    with closing(other), other.cursor() as cursor:
        cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("SELECT 1 FROM pg_class LIMIT 1")
        yield


def _pages_read(database: Database, statement: str, params: Sequence[Any]) -> int:
    """How many pages the server looks at while it claims."""
    ((plan,),) = database.rows("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, params)
    return int(plan[0]["Plan"]["Shared Hit Blocks"])


class TestMariaDB(Servers):
    broker = "mariadb"

    @pytest.mark.beyond_the_model
    def test_names_that_differ_in_case_or_accents_are_different(self, bench: Bench) -> None:
        bench.broker.declare_queue("Q")
        bench.send("m", "M", "ḿ")
        bench.send("other", queue="Q")

        assert bench.peek() == ["m", "M", "ḿ"]
        assert [delivery.message_id for delivery in bench.broker.peek("Q")] == ["other"]

    @pytest.mark.beyond_the_model
    def test_arguments_deeper_than_the_server_reads_are_recorded_as_far_as_it_does(self, bench: Bench) -> None:
        deep: Any = "bottom"
        for _ in range(50):
            deep = [deep]
        bench.broker.enqueue(bench.message("m", deep))

        assert "bottom" in str(MessageRecord.objects.using(self.broker).get().args)
        assert bench.worker().take_one().message_id == "m"


def test_the_url_names_the_alias() -> None:
    assert from_url("database://postgresql").using == "postgresql"
    assert from_url("database://").using == "default"
    assert from_url("database://postgresql").address == "database://postgresql"


def _only_read(alias: str) -> None:
    """As the server of this connection does after a failover."""
    with connections[alias].cursor() as cursor:
        is_mysql = connections[alias].vendor == "mysql"
        cursor.execute(f"SET {'SESSION TRANSACTION READ ONLY' if is_mysql else 'default_transaction_read_only = on'}")


_READ_ONLY = r"read-only|READ ONLY"


def _connection_number(alias: str) -> int:
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT {'CONNECTION_ID()' if connections[alias].vendor == 'mysql' else 'pg_backend_pid()'}")
        return int(cursor.fetchone()[0])


def _end_connection(alias: str, number: int) -> None:
    """As an administrator does it."""
    with connections[alias].cursor() as cursor:
        is_mysql = connections[alias].vendor == "mysql"
        cursor.execute("KILL %s" if is_mysql else "SELECT pg_terminate_backend(%s, 5000)", [number])


def _break_connection(alias: str) -> None:
    """As a network or a server does it: beneath Django, which goes on believing in it."""
    connections[alias].connection.close()


def _leave_waiting(alias: str) -> None:
    """As psycopg does when it sees before libpq that the socket is gone: the command stays in progress."""
    connections[alias].connection.pgconn.send_query(b"SELECT 1")


class _lost_answer:
    """The connection of a desk breaks right after its next COMMIT has happened."""

    def __init__(self, desk: Desk) -> None:
        self._database: Any = desk.consumer._database
        self._run = self._database._run

    def __enter__(self) -> None:
        self._database._run = self._run_and_break

    def __exit__(self, *exception: object) -> None:
        del self._database._run

    def _run_and_break(self, sql: str, params: Any) -> Any:
        cursor = self._run(sql, params)
        if sql == "COMMIT":
            raise BrokerConnectionError("The answer was lost.")
        return cursor


class _renamed:
    """A table that is not there for a while."""

    def __init__(self, alias: str, table: str) -> None:
        self._connection = connections[alias]
        self._table = table

    def __enter__(self) -> None:
        self._rename(self._table, "away")

    def __exit__(self, *exception: object) -> None:
        self._rename("away", self._table)

    def _rename(self, old: str, new: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


_SENDER = """
import sys, time, django
from django.conf import settings
from testproject import mysql_driver
mysql_driver.prepare()
settings.configure(INSTALLED_APPS=["django_tasks_q"], USE_TZ=True, DATABASES={"default": eval(sys.argv[1])})
django.setup()
from django_tasks_q import Message, get_broker
broker = get_broker()
broker.declare_queue("q")
broker.enqueue(Message("q", "work", message_id="m"))
print(time.time())
"""


def _send_from_another_process(alias: str) -> float:
    """Returns when it had been sent."""
    config = connections[alias].settings_dict
    wanted = ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
    database = {name: str(config[name]) if name != "OPTIONS" else config[name] for name in wanted}
    command = [sys.executable, "-c", _SENDER, repr(database)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=settings.BASE_DIR)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)
