"""The waiting room: messages in rows, for brokers that can neither hold them back nor show them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import chain
from pathlib import Path

import pytest
from django.db import connection as default_connection
from django.db import connections, transaction
from django.utils import timezone

from django_tasks_q import DuplicateMessage, clock
from django_tasks_q.errors import BrokerConnectionError, BrokerNotReady
from django_tasks_q.models import WaitingMessage
from django_tasks_q.sql import Database
from django_tasks_q.waiting import DatabaseWaitingRoom, WaitingRows
from django_tasks_q.waiting_room import Kept, Waiting, get_waiting_room
from tests.support.waiting import until
from tests.waiting_room.kept import MINUTE, dead, delayed, names


def rows(alias: str) -> int:
    return WaitingMessage.objects.using(alias).count()


def test_the_project_has_one() -> None:
    assert isinstance(get_waiting_room(), DatabaseWaitingRoom)


class TestComingIn:
    def test_a_message_comes_out_as_it_went_in(self, room: DatabaseWaitingRoom) -> None:
        item = Kept(
            "m", "q", b"\x00\xff", "retry", clock.wall_ms() - 1, -3, 2, 7, 4, 1, 1_700_000_000_001, 1_700_000_000_002,
            "", False,
        )  # fmt: skip
        room.keep([item])

        assert room.look_up(["m"]) == [item]
        assert room.claim_due(10) == [item]

    def test_a_dead_letter_comes_out_with_its_reason(self, room: DatabaseWaitingRoom) -> None:
        letter = dead("m", reason="too_old", retries=3)
        room.keep([letter])

        assert room.peek("q", "dead", 10) == [letter]

    def test_what_is_here_already_is_left_out(self, room: DatabaseWaitingRoom, alias: str) -> None:
        first, second = delayed("m", queue_name="first"), delayed("m", queue_name="second")
        room.keep([first, second])
        room.keep([first])

        assert room.look_up(["m"]) == [first]
        assert rows(alias) == 1

    def test_a_later_wait_of_a_message_is_another_one(self, room: DatabaseWaitingRoom, alias: str) -> None:
        room.keep([delayed("m"), delayed("m", number=1, kind="retry"), delayed("m", life=1, number=1)])

        assert rows(alias) == 3

    def test_more_than_fit_into_one_transaction_are_all_kept(self, room: DatabaseWaitingRoom, alias: str) -> None:
        items = [delayed(f"m{number:04}", MINUTE) for number in range(2_500)]
        room.keep(items)
        room.keep(items)
        assert rows(alias) == 2_500

        room.remove(items)
        assert rows(alias) == 0

    def test_nothing_at_all_is_harmless(self, room: DatabaseWaitingRoom) -> None:
        room.keep([])
        room.remove([])
        room.give_up([])

        assert room.revive([]) == room.discard([]) == room.look_up([]) == room.claim_due(5) == []

    def test_a_row_that_waits_for_its_commit_is_no_message_of_the_room(
        self, room: DatabaseWaitingRoom, alias: str
    ) -> None:
        # Given a delayed message whose sender has published it and not yet deleted its row
        WaitingMessage.objects.using(alias).create(
            message_id="m", queue_name="q", kind="commit", payload=b"", due_at=timezone.now(), life=-1,
            created_at=timezone.now(),
        )  # fmt: skip

        # Then the room neither counts nor gives nor drops it
        assert not room.look_up(["m"]) and not room.claim_due(10) and not room.counts()
        assert not room.discard(["m"]) and not room.empty("q", 10) and room.next_due_in() is None

        # And takes the message in beside it
        room.keep([delayed("m")])
        WaitingRows(Database(alias)).delete(["m"])
        assert names(room.claim_due(10)) == ["m"]


class TestGoingOut:
    def test_only_what_is_due_is_claimed_the_longest_due_first(self, room: DatabaseWaitingRoom) -> None:
        room.keep([delayed("second", -100), delayed("later", MINUTE), delayed("first", -200), dead("never")])

        assert names(room.claim_due(10)) == ["first", "second"]

    def test_no_more_are_claimed_than_wanted(self, room: DatabaseWaitingRoom) -> None:
        room.keep([delayed(str(number), number - 100) for number in range(5)])

        assert names(room.claim_due(2)) == ["0", "1"]
        assert names(room.claim_due(2)) == ["2", "3"]

    def test_what_is_claimed_is_nobody_elses(self, room: DatabaseWaitingRoom) -> None:
        room.keep([delayed("m")])
        room.claim_due(10)

        assert room.claim_due(10) == []
        assert 0 < (room.next_due_in() or 0) <= room.claim * 1000

    def test_what_the_broker_has_is_removed(self, room: DatabaseWaitingRoom, alias: str) -> None:
        room.keep([delayed("m"), delayed("other")])
        room.remove([item for item in room.claim_due(10) if item.message_id == "m"])

        assert room.look_up(["m"]) == []
        assert rows(alias) == 1

    def test_removing_one_wait_leaves_a_later_one_of_the_same_message(self, room: DatabaseWaitingRoom) -> None:
        room.keep([delayed("m")])
        claimed = room.claim_due(1)
        later = delayed("m", MINUTE, number=1, kind="retry")  # it was published, ran and failed in the meantime
        room.keep([later])
        room.remove(claimed)
        room.remove(claimed)

        assert room.look_up(["m"]) == [later]

    def test_what_was_given_up_is_due_at_once_and_as_long_as_before(self, room: DatabaseWaitingRoom) -> None:
        room.keep([delayed("first", -200), delayed("second", -100)])
        claimed = room.claim_due(1)
        room.give_up(claimed)

        assert room.claim_due(2) == [claimed[0], *room.look_up(["second"])]

    def test_what_a_dead_publisher_had_claimed_is_due_again_when_its_claim_ends(
        self, room: DatabaseWaitingRoom
    ) -> None:
        room.claim = 0.3
        room.keep([delayed("m")])
        before = clock.monotonic()
        [claimed] = room.claim_due(1)

        again: list[Kept] = []
        until(lambda: again.extend(room.claim_due(1)) or again, 5)
        assert again == [claimed]
        assert clock.monotonic() - before >= 0.29

    def test_when_the_next_one_is_due_is_known_to_the_moment(self, room: DatabaseWaitingRoom) -> None:
        assert room.next_due_in() is None

        room.keep([dead("never")])
        assert room.next_due_in() is None

        room.keep([delayed("later", MINUTE)])
        assert MINUTE - 5_000 < (room.next_due_in() or 0) <= MINUTE

        room.keep([delayed("now", -5)])
        assert room.next_due_in() == 0

    def test_the_clock_of_who_kept_it_decides_when_and_that_of_the_database_what_is_due(
        self, room: DatabaseWaitingRoom, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        room.keep([delayed("m", 500)])
        monkeypatch.setattr(clock, "wall_ms", lambda: 0)

        until(lambda: names(room.claim_due(1)) == ["m"], 5)

    def test_two_who_claim_at_once_never_get_the_same(self, room: DatabaseWaitingRoom) -> None:
        room.keep([delayed(f"m{number}") for number in range(600)])

        def claim_all() -> list[str]:
            claimed: list[str] = []
            try:
                while batch := room.claim_due(20):
                    claimed += names(batch)
                return claimed
            finally:
                connections.close_all()

        with ThreadPoolExecutor(4) as threads:
            shares = [future.result() for future in [threads.submit(claim_all) for _ in range(4)]]
        everything = list(chain(*shares))
        assert len(everything) == len(set(everything)) == 600

    def test_a_look_that_finds_nothing_only_reads(self, room: DatabaseWaitingRoom) -> None:
        room.keep([delayed("later", MINUTE)])
        statements: list[str] = []
        watched, Database.watch = Database.watch, statements.append
        try:
            room.claim_due(10)
        finally:
            Database.watch = watched

        assert len(statements) == 1 and statements[0].startswith("SELECT")


class TestDeadLetters:
    def test_a_revived_letter_begins_a_new_life_and_is_claimed(self, room: DatabaseWaitingRoom) -> None:
        letter = dead("m", MINUTE, life=2, number=5, retries=3, lost=1, priority=4)
        room.keep([letter, dead("other")])
        before = clock.wall_ms()
        [revived] = room.revive(["m", "unknown"])

        assert (revived.life, revived.number, revived.retries, revived.lost, revived.reason) == (3, 5, 0, 0, "")
        assert (revived.kind, revived.payload, revived.priority) == ("delay", letter.payload, 4)
        assert before - 1_000 <= revived.since == revived.enqueued_at <= before + 5_000
        assert room.claim_due(10) == []
        assert names(room.peek("q", "dead", 10)) == ["other"]

        room.remove([revived])
        assert room.look_up(["m"]) == []

    def test_what_its_reviver_left_behind_is_published_by_another(self, room: DatabaseWaitingRoom) -> None:
        room.claim = 0.1
        room.keep([dead("m", life=2)])
        room.revive(["m"])

        claimed: list[Kept] = []
        until(lambda: claimed.extend(room.claim_due(1)) or claimed, 5)
        assert [(item.message_id, item.life) for item in claimed] == [("m", 3)]

    def test_a_letter_is_revived_once(self, room: DatabaseWaitingRoom) -> None:
        room.keep([dead("m"), delayed("alive", MINUTE)])

        assert names(room.revive(["m", "alive"])) == ["m"]
        assert room.revive(["m", "alive"]) == []

    def test_of_many_who_revive_a_letter_at_once_one_does(self, room: DatabaseWaitingRoom) -> None:
        room.keep([dead(f"m{number}") for number in range(50)])

        def revive() -> list[str]:
            try:
                return names(room.revive([f"m{number}" for number in range(50)]))
            finally:
                connections.close_all()

        with ThreadPoolExecutor(4) as threads:
            revived = list(chain(*[future.result() for future in [threads.submit(revive) for _ in range(4)]]))
        assert len(revived) == len(set(revived)) == 50

    def test_a_letter_that_comes_a_second_time_after_its_revival_is_not_revived_again(
        self, room: DatabaseWaitingRoom
    ) -> None:
        letter = dead("m", number=3)
        room.keep([letter])
        [revived] = room.revive(["m"])
        room.keep([letter])  # its acknowledgement was lost, and the broker delivered it once more

        assert room.revive(["m"]) == []
        assert [(item.life, item.kind) for item in room.look_up(["m"])] == [(revived.life, "delay")]

    def test_a_replaced_letter_goes_and_its_successor_is_claimed(self, room: DatabaseWaitingRoom) -> None:
        room.keep([dead("old")])
        new = Kept("new", "q", b"new", "delay")

        assert names([room.replace("old", new) or new]) == ["old"]
        assert room.look_up(["old"]) == [] and room.claim_due(10) == []
        assert names(room.look_up(["new"])) == ["new"]

    def test_a_letter_is_replaced_once_and_nothing_but_a_letter_is(self, room: DatabaseWaitingRoom) -> None:
        room.keep([dead("old"), delayed("alive", MINUTE)])

        assert room.replace("old", Kept("new", "q", b"", "delay")) is not None
        assert room.replace("old", Kept("newer", "q", b"", "delay")) is None
        assert room.replace("alive", Kept("newest", "q", b"", "delay")) is None
        assert names(room.look_up(["newer", "newest", "alive"])) == ["alive"]

    def test_a_successor_with_a_time_waits_for_it(self, room: DatabaseWaitingRoom) -> None:
        room.keep([dead("old")])
        room.replace("old", delayed("new", MINUTE))

        assert MINUTE - 5_000 < (room.next_due_in() or 0) <= MINUTE
        assert names(room.discard(["new"])) == ["new"]

    def test_a_successor_that_waits_already_leaves_the_letter_where_it_is(self, room: DatabaseWaitingRoom) -> None:
        room.keep([dead("old"), delayed("new", MINUTE)])

        with pytest.raises(DuplicateMessage):
            room.replace("old", Kept("new", "q", b"", "delay"))
        assert names(room.peek("q", "dead", 10)) == ["old"]

    def test_letters_expire_by_when_they_died_the_oldest_first(self, room: DatabaseWaitingRoom) -> None:
        room.keep([dead("b", 3 * MINUTE), dead("young", MINUTE), dead("a", 4 * MINUTE), dead("c", 2 * MINUTE + 1)])
        room.keep([delayed("alive", since=0)])

        assert names(room.expire(2 * MINUTE, 2)) == ["a", "b"]
        assert names(room.expire(2 * MINUTE, 2)) == ["c"]
        assert room.expire(2 * MINUTE, 2) == []
        assert names(room.look_up(["young", "alive"])) == ["young", "alive"]


class TestThrowingAway:
    def test_delayed_and_dead_are_discarded_and_told(self, room: DatabaseWaitingRoom, alias: str) -> None:
        letter, item = dead("letter", number=3), delayed("item", MINUTE, retries=1)
        room.keep([letter, item, delayed("other", MINUTE)])

        assert sorted(room.discard(["letter", "item", "unknown"]), key=lambda kept: kept.message_id) == [item, letter]
        assert rows(alias) == 1

    def test_what_somebody_is_publishing_is_left_alone(self, room: DatabaseWaitingRoom) -> None:
        room.keep([delayed("published"), dead("revived")])
        room.claim_due(10)
        room.revive(["revived"])

        assert room.discard(["published", "revived"]) == room.empty("q", 10) == []

    def test_what_was_due_and_is_claimed_no_more_can_be_discarded(self, room: DatabaseWaitingRoom) -> None:
        room.keep([delayed("due"), delayed("given up")])
        room.give_up(room.claim_due(10))

        assert sorted(names(room.discard(["due", "given up"]))) == ["due", "given up"]

    def test_a_queue_is_emptied_a_batch_at_a_time(self, room: DatabaseWaitingRoom) -> None:
        room.keep([delayed("a", MINUTE), dead("b"), delayed("c"), delayed("other", queue_name="other")])

        assert sorted(names(room.empty("q", 2)) + names(room.empty("q", 2))) == ["a", "b", "c"]
        assert room.empty("q", 2) == []
        assert names(room.look_up(["other"])) == ["other"]


class TestLooking:
    def test_delayed_messages_are_shown_by_when_they_are_due(self, room: DatabaseWaitingRoom) -> None:
        room.keep(
            [delayed("b", 2 * MINUTE), delayed("a", MINUTE, kind="parked"), delayed("c", 3 * MINUTE, kind="retry")]
        )
        room.keep([dead("letter"), delayed("elsewhere", queue_name="other")])

        assert names(room.peek("q", "delayed", 2)) == ["a", "b"]
        assert names(room.peek("q", "delayed", 9)) == ["a", "b", "c"]

    def test_dead_letters_are_shown_by_when_they_died(self, room: DatabaseWaitingRoom) -> None:
        room.keep([dead("b", 20), dead("a", 30), dead("c", 10), delayed("alive")])

        assert names(room.peek("q", "dead", 2)) == ["a", "b"]

    def test_what_is_claimed_still_shows(self, room: DatabaseWaitingRoom) -> None:
        room.keep([delayed("m", -5)])
        claimed = room.claim_due(1)

        assert room.look_up(["m"]) == room.peek("q", "delayed", 5) == claimed
        assert room.counts() == {"q": Waiting(1, 0)}

    def test_each_queue_is_counted(self, room: DatabaseWaitingRoom) -> None:
        assert room.counts() == {}

        room.keep([delayed("a"), delayed("b", MINUTE, kind="retry"), delayed("c", kind="parked"), dead("d")])
        room.keep([dead("e", queue_name="other"), dead("f", queue_name="other")])
        assert room.counts() == {"q": Waiting(3, 1), "other": Waiting(0, 2)}


class TestTransactions:
    """Somebody operates on the room while a transaction of his own is open."""

    @pytest.fixture
    def alias(self) -> str:
        return "postgresql"

    def test_what_a_call_did_is_committed_when_it_returns(self, room: DatabaseWaitingRoom, alias: str) -> None:
        room.keep([dead("m"), dead("n")])
        with transaction.atomic(using=alias):
            room.revive(["m"])
            room.discard(["n"])
            transaction.set_rollback(True, using=alias)

        assert room.peek("q", "dead", 10) == [] and names(room.look_up(["m", "n"])) == ["m"]

    def test_it_does_not_commit_the_callers_transaction(self, room: DatabaseWaitingRoom, alias: str) -> None:
        with transaction.atomic(using=alias):
            WaitingMessage.objects.using(alias).create(
                message_id="caller", queue_name="q", kind="commit", payload=b"", created_at=timezone.now()
            )
            room.keep([delayed("m")])
            transaction.set_rollback(True, using=alias)

        assert list(WaitingMessage.objects.using(alias).values_list("message_id", flat=True)) == ["m"]

    def test_on_sqlite_it_is_part_of_the_callers_who_may_be_the_one_writer(self, databases: None) -> None:
        room = DatabaseWaitingRoom("default")
        with transaction.atomic():
            WaitingMessage.objects.create(
                message_id="caller", queue_name="q", kind="commit", payload=b"", created_at=timezone.now()
            )
            room.keep([dead("m")])
            assert names(room.revive(["m"])) == ["m"]
            transaction.set_rollback(True)

        assert room.look_up(["m"]) == []
        default_connection.close()

    @pytest.mark.django_db(databases=["postgresql"])
    def test_within_a_test_of_django_it_sees_what_the_test_has_written(self) -> None:
        room = DatabaseWaitingRoom("postgresql")
        room.keep([dead("m")])

        assert names(room.discard(["m"])) == ["m"]


class TestTrouble:
    def test_a_database_that_is_away_is_a_typed_error(self, databases: None) -> None:
        away = {**connections.settings["postgresql"], "HOST": "127.0.0.1", "PORT": 1}
        connections.settings["away"] = away
        room = DatabaseWaitingRoom("away")
        with pytest.raises(BrokerConnectionError):
            room.keep([delayed("m")])
        with pytest.raises(BrokerConnectionError):
            room.claim_due(1)
        with pytest.raises(BrokerConnectionError):
            room.counts()
        forget("away")

    def test_missing_tables_are_a_typed_error_that_says_what_to_do(self, databases: None, tmp_path: Path) -> None:
        empty = {**connections.settings["default"], "NAME": tmp_path / "empty.sqlite3"}
        connections.settings["empty"] = empty
        room = DatabaseWaitingRoom("empty")
        with pytest.raises(BrokerNotReady, match="migrate --database empty"):
            room.keep([delayed("m")])
        with pytest.raises(BrokerNotReady):
            room.next_due_in()
        forget("empty")


def forget(alias: str) -> None:
    connections[alias].close()
    del connections[alias]
    del connections.settings[alias]


@pytest.mark.parametrize("alias", ["default", "postgresql"], indirect=True)  # whose plans can be read
def test_a_hundred_thousand_delayed_messages_cost_a_look_nothing(room: DatabaseWaitingRoom, alias: str) -> None:
    with connections[alias].cursor() as cursor:
        numbers = (
            "SELECT * FROM generate_series(1, 100000) AS t(n)"
            if alias == "postgresql"
            else "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 100000) SELECT n FROM t"
        )
        cursor.execute(
            "INSERT INTO django_tasks_q_waitingmessage (message_id, queue_name, kind, payload, due_at, expires_at, "
            "life, attempt, parent_id, created_at) "
            f"SELECT 'm' || n, 'q', 'delay', %s, %s, %s, 0, 0, '', %s FROM ({numbers}) AS l",
            [b"", *[timezone.now() + timedelta(days=1)] * 2, timezone.now()],
        )
        cursor.execute("ANALYZE django_tasks_q_waitingmessage")
    statements: list[str] = []
    watched, Database.watch = Database.watch, statements.append
    try:
        assert room.claim_due(100) == [] and room.next_due_in()
        WaitingRows(Database(alias)).has_due()
    finally:
        Database.watch = watched

    plans = [plan(alias, statement) for statement in statements]
    assert len(plans) == 3
    for story in plans:
        assert "dtq_waiting_" in story and not set(story.lower().split()) & {"seq", "filter:"}, story


def plan(alias: str, statement: str) -> str:
    with connections[alias].cursor() as cursor:
        cursor.execute(("EXPLAIN " if alias == "postgresql" else "EXPLAIN QUERY PLAN ") + statement.replace("%", "%%"))
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def test_times_survive_a_year_and_a_millisecond(room: DatabaseWaitingRoom) -> None:
    far = clock.wall_ms() + round(timedelta(days=366).total_seconds() * 1000)
    items = [Kept(f"m{number}", "q", b"", "delay", far + number) for number in (0, 1, 999)]
    room.keep(items)

    assert room.peek("q", "delayed", 5) == items
