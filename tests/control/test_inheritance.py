"""One rule: what is caused by a stamped message carries its stamps, on every broker, and the rows say so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings

from django_tasks_q import (
    Actor,
    Broker,
    Message,
    Retry,
    Worker,
    actor,
    get_current_message,
    get_retry_count,
    group,
    pipeline,
    records_database,
    set_broker,
    stamping,
)
from django_tasks_q.middleware import GroupCallbacks
from django_tasks_q.middleware.database_connections import DatabaseConnections
from django_tasks_q.models import MessageRecord, Stamp
from django_tasks_q.operations.repair import requeue_edited
from django_tasks_q.results import Results
from django_tasks_q.results.backends import StubBackend
from django_tasks_q.schedules import ScheduleRows, declared, run_now, run_slot
from django_tasks_q.sql import Database
from django_tasks_q.testing import immediate
from tests.support.brokers import open_broker
from tests.support.waiting import until

KINDS = ["stub", "default", "postgresql", "mariadb", "redis", "redis-cluster", "rabbitmq", "rabbitmq-quorum"]

CASES = {
    "retry": ["first", "again"],
    "delay": ["work"],
    "step": ["pass_on", "note"],
    "linked after": ["pass_on", "note"] * 2,
    "linked before": ["pass_on", "note"],
    "member": ["work", "work", "note"],
    "on_success": ["succeed", "note"],
    "on_failure": ["stumble", "note"],
    "exhausted": ["exhaust", "note"],
    "body": ["parent", "note"],
    "helper": ["helping", "note"],
    "async": ["alone", "note"],
    "block": ["work"],
    "declared": ["work"],
    "requeued": ["die", "live"],
    "edited": ["die_once", "edited"],
    "of an entry": ["parent", "note"],
    "of a slot": ["parent", "note"],
    "of a timed actor": ["timed", "note"],
}
"""Who notes its stamps in each case, in any order."""


_DAY = 86_400_000


class Scene:
    """Actors on a broker that note the stamps they run with."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.notes: list[tuple[str, dict[str, list[str]]]] = []
        self.sent: list[str] = []
        declare = self.declare
        self.work = declare(lambda *args: self.note("work"), "work")
        self.callback = declare(lambda *args: self.note("note"), "note")
        self.pass_on = declare(lambda *args: self.note("pass_on"), "pass_on")
        self.stubborn = declare(self._stubborn, "stubborn", max_retries=1, min_backoff=0, max_backoff=0)
        self.succeed = declare(lambda: self.note("succeed"), "succeed", on_success="note")
        self.stumble = declare(lambda: self.note("stumble") or 1 / 0, "stumble", on_failure="note")
        self.exhaust = declare(lambda: self.note("exhaust") or 1 / 0, "exhaust", on_retry_exhausted="note")
        self.parent = declare(lambda: self.note("parent") or self.callback.send(), "parent")
        self.helping = declare(lambda: self.note("helping") or self._help(), "helping")
        self.alone = declare(self._alone, "alone")
        self.declared = declare(lambda: self.note("work"), "stamped", stamps={"case": "declared"})
        self.mortal = declare(self._mortal, "mortal")
        self.timed = declare(
            lambda: self.note("timed") or self.callback.send(),
            "timed",
            schedule=timedelta(days=1),
            stamps={"case": "of a timed actor"},
        )
        self.edited = declare(lambda word: self.note(word) or (word == "die_once" and 1 / 0), "edited")

    def declare(self, fn: Any, name: str, **options: Any) -> Actor[Any, Any]:
        declared: Actor[Any, Any] = actor(fn, actor_name=name, broker=self.broker, **{"max_retries": 0, **options})
        return declared

    def note(self, who: str) -> None:
        message = get_current_message()
        assert message is not None
        self.notes.append((who, dict(message.stamps)))
        self.sent.append(message.message_id)

    def _stubborn(self) -> None:
        self.note("again" if get_retry_count() else "first")
        if not get_retry_count():
            raise Retry(delay=0)

    def _help(self) -> None:
        def nested() -> None:
            self.callback.send()

        nested()

    async def _alone(self) -> None:
        self.note("alone")
        await self.callback.asend()

    def _mortal(self) -> None:
        has_died = any(who == "die" for who, _ in self.notes)
        self.note("live" if has_died else "die")
        if not has_died:
            raise ValueError

    def begin(self) -> tuple[Message[Any], Message[Any]]:
        """One message or composition for each case; those that die are returned."""
        self._stamped(self.stubborn, "retry")
        self._stamped(self.work, "delay", delay=30)
        self.broker.enqueue_many((self.pass_on.message().stamp(case="step") | self.callback.message()).sealed())
        (pipeline([self.pass_on.message()]).stamp(case="linked after") | self.callback.message()).run()
        pipeline([self.pass_on.message().stamp(case="linked after"), self.callback.message()]).run()
        pipeline([self.pass_on.message(), self.callback.message()]).stamp(case="linked before").run()
        members = group([self.work.message(), self.work.message()])
        members.add_completion_callback(self.callback.message())
        members.stamp(case="member").run()
        for fn, case in [(self.succeed, "on_success"), (self.stumble, "on_failure"), (self.exhaust, "exhausted")]:
            self._stamped(fn, case)
        for fn, case in [(self.parent, "body"), (self.helping, "helper"), (self.alone, "async")]:
            self._stamped(fn, case)
        with stamping(case="block"):
            self.work.send()
        self.declared.send()
        return self._stamped(self.mortal, "requeued"), self._stamped(self.edited, "edited", args=("die_once",))

    def schedule(self) -> None:
        """What the setting and an actor want to be sent again and again, now and for its first slot."""
        entry = {"actor": "parent", "schedule": "0 3 * * *"}
        entries = {case: {**entry, "options": {"stamps": {"case": case}}} for case in ("of an entry", "of a slot")}
        database = Database(records_database.alias(self.broker))
        with override_settings(DJANGO_TASKS_Q={"SCHEDULES": entries}):
            found = declared(self.broker)
            rows = ScheduleRows(database)
            rows.declare(found.values())
            rows.begin("of a slot", _DAY)
            run_now(self.broker, database, found["of an entry"])
            run_now(self.broker, database, found["timed"])
            assert run_slot(self.broker, database, found["of a slot"], _DAY, _DAY, 2 * _DAY)

    def _stamped(self, fn: Actor[Any, Any], case: str, **options: Any) -> Message[Any]:
        return fn.send_with_options(stamps={"case": case}, **options)

    def of_case(self, case: str) -> list[str]:
        return sorted(who for who, stamps in list(self.notes) if stamps.get("case") == [case])

    @property
    def missing(self) -> dict[str, Any]:
        """What has not come as it should."""
        wanted = {case: sorted(who) for case, who in CASES.items()}
        return {case: self.of_case(case) for case, who in wanted.items() if self.of_case(case) != who}


@contextmanager
def _working(broker: Broker) -> Iterator[None]:
    worker = Worker(broker, worker_timeout=100, worker_threads=2)
    worker.start()
    try:
        yield
    finally:
        worker.stop(5_000)


@pytest.mark.parametrize("kind", KINDS)
def test_stamps_arrive_wherever_a_stamped_message_leads_and_in_every_row(kind: str, databases: None) -> None:
    with open_broker(kind) as broker:
        set_broker(broker)
        for middleware in (DatabaseConnections(), GroupCallbacks(), Results(backend=StubBackend())):
            broker.add_middleware(middleware)
        scene = Scene(broker)
        mortal, edited = scene.begin()
        scene.schedule()
        with _working(broker):
            until(lambda: _is_dead(broker, mortal, edited), 30, "nobody died")
            broker.requeue([mortal.message_id])
            requeue_edited(edited.message_id, ["edited"], {})
            until(lambda: not scene.missing, 30, lambda: str(scene.missing))
            if kind != "stub":
                alias = records_database.alias(broker)
                noted = {message_id: stamps for message_id, (_, stamps) in zip(scene.sent, scene.notes, strict=True)}
                until(lambda: _rows(alias) == noted, 30, lambda: _difference(_rows(alias), noted))


def _is_dead(broker: Broker, *messages: Message[Any]) -> bool:
    held = broker.look_up([message.message_id for message in messages])
    return len(held) == len(messages) and all(one.state == "dead" for one in held.values())


def _rows(alias: str) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    for stamp in Stamp.objects.using(alias).order_by("id"):
        found.setdefault(stamp.message_id, {}).setdefault(stamp.name, []).append(stamp.value)
    return found


def _difference(rows: dict[str, Any], noted: dict[str, Any]) -> str:
    return str({key: (rows.get(key), noted.get(key)) for key in rows | noted if rows.get(key) != noted.get(key)})


@pytest.mark.parametrize("kind", ["default", "postgresql", "mariadb", "redis"])
def test_an_id_that_is_used_again_has_the_stamps_of_its_new_life_alone(kind: str, databases: None) -> None:
    lives = [{"a": ["1", "2"]}, {"a": ["2"], "b": ["3"]}, {}, {"c": ["4"]}]
    with open_broker(kind) as broker:
        set_broker(broker)
        broker.add_middleware(DatabaseConnections())
        scene = Scene(broker)
        alias = records_database.alias(broker)
        with _working(broker):
            for life, stamps in enumerate(lives):
                message = scene.work.message_with_options(stamps=stamps).copy(message_id="again")
                broker.enqueue_many([message, scene.work.message_with_options(stamps={"other": life})])
                ended = MessageRecord.objects.using(alias).filter(pk="again", state="succeeded", life=life)
                until(ended.exists, 20, f"life {life} does not end")
                assert _rows(alias).get("again", {}) == stamps
        others = Stamp.objects.using(alias).filter(name="other").values_list("value", flat=True)
        assert sorted(others) == ["0", "1", "2", "3"]


def test_immediate_mode_stamps_alike(db: None) -> None:
    with immediate(raise_errors=False) as broker:
        scene = Scene(broker)
        scene.parent.send_with_options(stamps={"case": 1})

        assert scene.notes == [("parent", {"case": ["1"]}), ("note", {"case": ["1"]})]


def test_who_inherits_no_stamps_has_its_own(stub: Any) -> None:
    scene = Scene(stub)

    def parent() -> None:
        scene.callback.send_with_options(inherit_stamps=False)
        scene.callback.send_with_options(inherit_stamps=False, stamps={"own": 1})
        scene.closed.send()  # type: ignore[attr-defined]
        with stamping(block=1):
            scene.callback.send_with_options(inherit_stamps=False)

    scene.closed = scene.declare(lambda: scene.note("closed"), "closed", inherit_stamps=False)  # type: ignore[attr-defined]
    scene.declare(parent, "opener").send_with_options(stamps={"batch_id": 1})
    with _working(stub):
        until(lambda: len(scene.notes) == 4)

    assert sorted(str(stamps) for _, stamps in scene.notes) == ["{'block': ['1']}", "{'own': ['1']}", "{}", "{}"]
