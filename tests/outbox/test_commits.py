"""Sends that wait for a transaction: what commits is sent, what is rolled back never was."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import IntegrityError, connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory, override_settings

from django_tasks_q import Actor, DuplicateMessage, Message, actor, get_broker, send_many, set_broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.errors import BrokerConnectionError, EncodeError
from django_tasks_q.keeper.relay import Relay
from django_tasks_q.mirror import RecordWriter
from django_tasks_q.models import MessageRecord, QueuedMessage, WaitingMessage
from django_tasks_q.sql import Database
from django_tasks_q.waiting import WaitingRows, rows
from tests.outbox.place import Place, in_part


class Regret(Exception):
    """What makes a transaction roll back."""


def test_a_message_is_sent_when_its_transaction_commits_and_not_before(place: Place) -> None:
    with transaction.atomic(using=place.alias):
        sent = place.send(1)
        assert place.waiting() == [sent]
        assert place.sent() == []

    assert place.sent() == [sent]
    assert place.waiting() == []


def test_a_rollback_takes_the_message_along(place: Place) -> None:
    with pytest.raises(Regret), transaction.atomic(using=place.alias):
        place.send(1)
        raise Regret

    assert place.sent() == place.waiting() == []


def test_a_savepoint_that_is_rolled_back_takes_its_own_messages_only(place: Place) -> None:
    with transaction.atomic(using=place.alias):
        first = place.send(1)
        with pytest.raises(Regret), transaction.atomic(using=place.alias):
            place.send(2)
            raise Regret
        last = place.send(3)

    assert place.sent() == [first, last]
    assert place.waiting() == []


def test_a_savepoint_sends_nothing_before_the_whole_transaction_commits(place: Place) -> None:
    with transaction.atomic(using=place.alias):
        with transaction.atomic(using=place.alias):
            sent = place.send(1)
        assert place.sent() == []

    assert place.sent() == [sent]


def test_messages_of_a_transaction_that_was_rolled_back_do_not_turn_up_in_the_next_one(place: Place) -> None:
    block = transaction.atomic(using=place.alias)
    with pytest.raises(Regret), block:
        place.send(1)
        raise Regret
    with block:
        second = place.send(2)

    assert place.sent() == [second]


def test_outside_of_a_transaction_a_message_is_sent_at_once(place: Place) -> None:
    sent = place.send(1)

    assert place.sent() == [sent]
    assert place.waiting() == []


def test_a_transaction_of_another_database_is_not_waited_for(place: Place) -> None:
    with transaction.atomic(using=Place.other(place.alias)):
        place.send(1)

        assert place.waiting() == []
        assert len(place.sent()) == 1


WITHIN_THE_BROKER = pytest.mark.parametrize(
    ("alias", "kind"), [("default", "database"), ("postgresql", "database")], indirect=True
)


@WITHIN_THE_BROKER
def test_what_commits_within_a_transaction_of_the_broker_is_not_rolled_back_with_it(place: Place) -> None:
    with pytest.raises(Regret), transaction.atomic(using=Place.other(place.alias)):
        with transaction.atomic(using=place.alias):
            sent = place.send(1)
        raise Regret

    assert (place.waiting(), place.sent()) == ([sent], [])
    WaitingRows(Database(place.alias)).give_up([sent])  # the sender's claim has ended
    Relay(place.broker, "me").work()
    assert (place.waiting(), place.sent()) == ([], [sent])


@WITHIN_THE_BROKER
def test_what_commits_within_a_transaction_of_the_broker_is_sent_when_that_has_committed_too(place: Place) -> None:
    with transaction.atomic(using=Place.other(place.alias)):
        with transaction.atomic(using=place.alias):
            sent = place.send(1)
        assert place.waiting() == [sent]

    assert (place.waiting(), place.sent()) == ([], [sent])


@WITHIN_THE_BROKER
def test_what_commits_within_a_transaction_that_django_does_not_manage_is_left_to_the_relay(place: Place) -> None:
    around = connections[Place.other(place.alias)]
    around.set_autocommit(False)
    try:
        with transaction.atomic(using=place.alias):
            sent = place.send(1)
        around.rollback()
    finally:
        around.set_autocommit(True)

    Relay(place.broker, "me").work()
    assert (place.waiting(), place.sent()) == ([], [sent])


def test_the_default_is_the_default_database(databases: None) -> None:
    broker = DatabaseBroker(using="postgresql")
    note = actor(lambda: None, actor_name="note", broker=broker)
    with transaction.atomic():
        note.send_on_commit()
        assert WaitingMessage.objects.count() == 1


def test_the_broker_of_that_database_needs_no_waiting_row(databases: None) -> None:
    broker = DatabaseBroker(using="default")
    note = actor(lambda: None, actor_name="note", broker=broker)
    with transaction.atomic():
        note.send_on_commit()
        assert WaitingMessage.objects.count() == 0
        assert QueuedMessage.objects.count() == 1
        transaction.set_rollback(True)

    assert QueuedMessage.objects.count() == 0


def test_a_transaction_that_django_does_not_manage_leaves_its_message_to_the_relay(place: Place) -> None:
    connection = connections[place.alias]
    connection.set_autocommit(False)
    try:
        sent = place.send(1)
        connection.commit()
    finally:
        connection.set_autocommit(True)

    assert place.sent() == []
    assert place.waiting() == [sent]
    assert WaitingMessage.objects.using(place.alias).get().due_at is not None


def test_a_thousand_messages_of_one_transaction_cost_a_handful_of_statements(place: Place) -> None:
    statements: list[str] = []
    watched = Database.watch
    with transaction.atomic(using=place.alias):
        sent = [place.send(number) for number in range(50)]
        Database.watch = statements.append
    Database.watch = watched

    assert place.sent() == sent
    published = [statement for statement in statements if "kind = 'commit'" in statement]
    assert len(published) == 2, published  # claim and delete


def test_more_messages_than_fit_into_one_batch_are_all_sent_in_their_order(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "CLAIM", 120.0)  # a sender who is slower leaves what is left to the relay
    set_broker(place.broker)
    with transaction.atomic(using=place.alias):
        messages = send_many([place.note.message(number) for number in range(2_500)], using=place.alias)

    assert place.sent() == [message.message_id for message in messages]
    assert place.waiting() == []


def test_a_wrong_argument_is_told_at_the_send_and_leaves_the_transaction_usable(place: Place) -> None:
    with transaction.atomic(using=place.alias):
        with pytest.raises(EncodeError):
            place.note.send_on_commit_with_options(args=(object(),), using=place.alias)
        with pytest.raises(TypeError):
            place.note.send_on_commit()  # type: ignore[call-arg]
        sent = place.send(1)

    assert place.sent() == [sent]


def test_the_message_that_comes_back_is_the_one_that_runs(place: Place) -> None:
    with transaction.atomic(using=place.alias):
        message = place.note.send_on_commit_with_options(args=(7,), using=place.alias, message_id="mine")

    [delivery] = place.claim(1)
    assert Message.decode(delivery.payload).args == (7,)
    assert place.record(message.message_id).correlation_id == "mine"


def test_a_delay_counts_from_the_commit(place: Place) -> None:
    with transaction.atomic(using=place.alias):
        message = place.note.send_on_commit_with_options(args=(1,), using=place.alias, delay=60_000)

    assert place.held(message.message_id).state == "delayed"


class TestDefaults:
    @pytest.fixture
    def patient(self, place: Place) -> Actor[[], None]:
        return actor(lambda: None, actor_name="patient", broker=place.broker, on_commit=True)

    @pytest.fixture
    def alias(self) -> str:
        return "default"

    def test_an_actor_that_is_declared_so_waits_with_a_plain_send(self, place: Place, patient: Actor[[], None]) -> None:
        with transaction.atomic():
            message = patient.send()
            assert place.sent() == []

        assert place.sent() == [message.message_id]

    def test_send_many_and_pipelines_wait_with_it(self, place: Place, patient: Actor[[], None]) -> None:
        set_broker(place.broker)
        with transaction.atomic():
            first, second = send_many([patient.message(), place.note.message(1)])
            chain = patient.message() | patient.message()
            chain.run(delay=60_000)
            assert place.sent() == [second.message_id]

        assert set(place.sent()) == {second.message_id, first.message_id}
        assert place.held(chain.messages[0].message_id).state == "delayed"

    @pytest.mark.parametrize("wish", ["yes", 1, None])
    def test_a_wish_that_is_neither_true_nor_false_is_refused(self, place: Place, wish: Any) -> None:
        with pytest.raises(ValueError, match="on_commit is True or False"):
            actor(lambda: None, actor_name="unsure", broker=place.broker, on_commit=wish)

    def test_it_belongs_to_the_actor_and_not_to_a_message(self, place: Place) -> None:
        with pytest.raises(ValueError, match="on_commit"):
            place.note.message_with_options(args=(1,), on_commit=True)


class TestViews:
    """A view in a request of its own, as Django runs it."""

    @pytest.fixture
    def alias(self) -> str:
        return "default"

    def respond(self, view: Any, request: HttpRequest) -> HttpResponse:
        from django.core.handlers.base import BaseHandler

        handler = BaseHandler()
        return handler.make_view_atomic(view)(request)

    def test_with_atomic_requests_the_message_leaves_with_the_response(self, place: Place) -> None:
        def view(request: HttpRequest) -> HttpResponse:
            place.note.send_on_commit(1)
            assert place.sent() == []
            return HttpResponse("ok")

        connections["default"].settings_dict["ATOMIC_REQUESTS"] = True
        try:
            self.respond(view, RequestFactory().get("/"))
        finally:
            connections["default"].settings_dict["ATOMIC_REQUESTS"] = False

        assert len(place.sent()) == 1

    def test_with_atomic_requests_an_error_of_the_view_sends_nothing(self, place: Place) -> None:
        def view(request: HttpRequest) -> HttpResponse:
            place.note.send_on_commit(1)
            raise Regret

        connections["default"].settings_dict["ATOMIC_REQUESTS"] = True
        try:
            with pytest.raises(Regret):
                self.respond(view, RequestFactory().get("/"))
        finally:
            connections["default"].settings_dict["ATOMIC_REQUESTS"] = False

        assert place.sent() == place.waiting() == []

    def test_an_async_view_sends_without_blocking_its_loop(self, place: Place) -> None:
        async def view() -> Message[None]:
            return await place.note.asend_on_commit(1)

        message = async_to_sync(view)()

        assert place.sent() == [message.message_id]

    def test_a_transaction_around_async_code_is_waited_for(self, place: Place) -> None:
        async def view() -> Message[None]:
            return await place.note.asend_on_commit_with_options(args=(1,))

        with transaction.atomic():
            message = async_to_sync(view)()
            assert place.sent() == []

        assert place.sent() == [message.message_id]


class TestTrouble:
    """The broker is away, or does not want the message, when the transaction commits."""

    @pytest.fixture
    def alias(self) -> str:
        return "default"

    def test_a_broker_that_is_away_at_the_commit_is_nobodys_error(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(outgoing: Any) -> None:
            raise BrokerConnectionError("gone")

        monkeypatch.setattr(place.broker, "_enqueue", away)
        with transaction.atomic():
            sent = place.send(1)

        assert place.waiting() == [sent]

    def test_of_what_its_broker_took_in_part_only_the_rest_waits_and_is_sent(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(place.broker, "_enqueue", in_part(place.broker))
            with transaction.atomic():
                first, second = place.send(1), place.send(2)
        assert place.waiting() == [second]

        Relay(place.broker, "me").work()

        assert place.sent() == [first, second]
        assert place.waiting() == []

    def test_what_its_broker_could_not_take_is_pending_until_the_relay_has_published_it(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def away(outgoing: Any) -> None:
            raise BrokerConnectionError("gone")

        with monkeypatch.context() as patch:
            patch.setattr(place.broker, "_enqueue", away)
            with transaction.atomic():
                sent = place.send(1)
        assert place.waiting() == [sent]
        if place.broker.journal is not None:  # where the broker writes the records itself nobody can while it is away
            assert place.record(sent).state == "pending"

        Relay(place.broker, "me").work()

        assert place.sent() == [sent]
        assert place.waiting() == []
        assert place.record(sent).state == "enqueued"

    def test_without_the_outbox_the_error_is_the_callers(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        def away(outgoing: Any) -> None:
            raise BrokerConnectionError("gone")

        monkeypatch.setattr(place.broker, "_enqueue", away)
        with (
            override_settings(DJANGO_TASKS_Q={"OUTBOX": False}),
            pytest.raises(BrokerConnectionError),
            transaction.atomic(),
        ):
            place.send(1)

        assert place.waiting() == []

    def test_an_id_that_is_there_already_does_not_keep_the_others_back(self, place: Place) -> None:
        known = place.note.send(0)
        again = place.note.message(1).copy(message_id=known.message_id)
        with transaction.atomic():
            others = place.broker.enqueue_on_commit([again, place.note.message(2)])

        again_sent = [] if place.knows_ids else [known.message_id]
        assert place.sent() == [known.message_id, *again_sent, others[1].message_id]
        assert place.waiting() == []

    def test_an_id_that_waits_already_is_a_duplicate(self, place: Place) -> None:
        message = place.note.message(1)
        with pytest.raises(DuplicateMessage), transaction.atomic():
            place.broker.enqueue_on_commit([message])
            place.broker.enqueue_on_commit([message])

        assert place.waiting() == []

    def test_what_waits_for_a_broker_with_a_journal_is_shown_as_pending(
        self, databases: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broker = StubBroker()
        note = actor(lambda: None, actor_name="note", broker=broker)

        def away(outgoing: Any) -> None:
            raise BrokerConnectionError("gone")

        monkeypatch.setattr(broker, "_enqueue", away)
        with transaction.atomic():
            message = note.send_on_commit()

        record = MessageRecord.objects.get()
        assert (record.pk, record.state, record.actor_name) == (message.message_id, "pending", "note")


@pytest.mark.parametrize(("alias", "kind"), [("postgresql", "journal")], indirect=True)
def test_a_pending_record_that_cannot_be_written_undoes_no_transaction_around_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(outgoing: Any) -> None:
        raise BrokerConnectionError("gone")

    def refuse(*args: Any) -> int:
        raise IntegrityError("no such luck")

    monkeypatch.setattr(place.broker, "_enqueue", away)
    monkeypatch.setattr(RecordWriter, "write", refuse)
    with transaction.atomic():
        with transaction.atomic(using="postgresql"):
            sent = place.send(1)
        assert not connections["default"].needs_rollback

    assert place.waiting() == [sent]


def test_the_projects_own_broker_has_the_outbox() -> None:
    assert get_broker().sends_within("default")
