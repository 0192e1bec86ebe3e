"""assert_sent() and its like find what was sent, or say what was sent instead."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from unittest.mock import ANY

import pytest

from django_tasks_q import ActorNotFound, actor, set_broker
from django_tasks_q.broker import Broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.recording import Recording
from django_tasks_q.testing import assert_not_sent, assert_sent, capture, drain, sent

pytestmark = pytest.mark.django_db(databases=["default", "postgresql", "mariadb"])


@pytest.fixture
def mail(broker: Broker) -> Any:
    @actor
    def mail(to: str, subject: str = "Hello", *, lines: Any = ()) -> None: ...

    return mail


@pytest.fixture
def ping(broker: Broker) -> Any:
    @actor(queue_name="pings")
    def ping() -> None: ...

    return ping


def test_what_was_sent_is_found_and_returned(mail: Any, ping: Any) -> None:
    message = mail.send("ann", "Hi")

    (found,) = assert_sent(mail)
    assert found.message_id == message.message_id
    assert_sent("mail", args=("ann", "Hi"), count=1)
    assert_not_sent(ping)
    assert_not_sent(mail, args=("bob",))


def test_it_is_found_after_it_has_run_too(mail: Any) -> None:
    mail.send("ann", lines=["a", {"b": 1}])
    drain()

    assert_sent(mail, args=["ann"], kwargs={"lines": ["a", {"b": 1}]})


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (["ann", "Hi"], None),
        (("ann",), {"subject": "Hi"}),
        (None, {"to": "ann", "subject": "Hi"}),
        (None, {"to": ANY, "subject": "Hi", "lines": ()}),
        ((ANY, "Hi"), {"lines": []}),
    ],
)
def test_a_call_is_the_same_however_it_is_written(mail: Any, args: Any, kwargs: Any) -> None:
    mail.send("ann", subject="Hi")

    assert_sent(mail, args=args, kwargs=kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        (["ann"], None),
        ([], None),
        (None, {"to": "ann"}),
        (["ann", "Hi", "too", "many"], None),
        (["ann", "Hi"], {"lines": ["one"]}),
    ],
)
def test_another_call_is_not(mail: Any, args: Any, kwargs: Any) -> None:
    mail.send("ann", subject="Hi")

    assert_not_sent(mail, args=args, kwargs=kwargs)
    with pytest.raises(AssertionError):
        assert_sent(mail, args=args, kwargs=kwargs)


def test_tuples_arrive_as_lists_and_are_found_as_either(mail: Any) -> None:
    mail.send("ann", lines=(1, (2, 3)))

    assert_sent(mail, args=["ann"], kwargs={"lines": (1, (2, 3))})
    assert_sent(mail, args=["ann"], kwargs={"lines": [1, [2, 3]]})
    assert_not_sent(mail, args=["ann"], kwargs={"lines": [1, [2, 4]]})


def test_messages_are_counted(mail: Any) -> None:
    mail.send("ann")
    mail.send("ann")

    assert len(assert_sent(mail, count=2)) == 2
    assert_sent(mail, count=0, args=("bob",))
    with pytest.raises(AssertionError, match=r"^2 messages of mail\('ann'\) were sent, not 1\."):
        assert_sent(mail, args=["ann"], count=1)


def test_delays_and_options_are_compared(mail: Any) -> None:
    mail.send_with_options(args=("ann",), delay=timedelta(minutes=1), priority=5, message_id="mine")

    assert_sent(mail, delay=60_000)
    assert_sent(mail, delay=timedelta(seconds=60), priority=5, message_id="mine")
    assert_not_sent(mail, delay=59_999)
    assert_not_sent(mail, priority=4)


def test_a_complaint_says_what_was_sent_instead(mail: Any, ping: Any) -> None:
    ping.send()
    mail.send_with_options(args=("ann",), kwargs={"subject": "Hi"}, delay=5_000)

    with pytest.raises(AssertionError) as caught:
        assert_sent(mail, args=("bob",), priority=3)

    assert str(caught.value).splitlines() == [
        "No message of mail('bob') with priority=3 was sent.",
        "Sent:",
        "  mail('ann', subject='Hi') with delay=5000",
        "  ping()",
    ]
    with pytest.raises(AssertionError, match=r"1 message of mail was sent, and none should have been."):
        assert_not_sent(mail)


def test_a_complaint_about_nothing_says_so(mail: Any) -> None:
    with pytest.raises(AssertionError, match=r"No message of mail was sent\.\nNothing at all was\."):
        assert_sent(mail)


def test_a_long_list_is_cut(mail: Any, ping: Any) -> None:
    for _ in range(25):
        ping.send()

    with pytest.raises(AssertionError, match="… and 5 more"):
        assert_sent(mail)


def test_a_complaint_tells_of_what_waits_for_a_commit() -> None:
    with capture():
        note = actor(lambda *args: None, actor_name="note")
        note.send_on_commit("a")
        with pytest.raises(AssertionError, match=r"Waiting for a commit.*on_commit\(\)[^$]*note\('a'\)"):
            assert_sent(note)


def test_an_actor_that_nobody_knows_is_an_error_and_not_an_absence(mail: Any) -> None:
    with pytest.raises(ActorNotFound, match="'mail'"):
        assert_not_sent("mial")
    with pytest.raises(ActorNotFound):
        sent("nobody")


def test_messages_are_listed_in_order_by_actor_and_queue(mail: Any, ping: Any) -> None:
    first, second, third = ping.send(), mail.send("ann"), ping.send()

    def ids(*args: Any, **kwargs: Any) -> set[str]:
        return {message.message_id for message in sent(*args, **kwargs)}

    assert ids() == {first.message_id, second.message_id, third.message_id}
    assert ids(mail) == {second.message_id}
    assert ids("ping") == ids(queue="pings") == {first.message_id, third.message_id}


def test_in_a_block_they_are_in_the_order_of_sending() -> None:
    with capture():
        note = actor(lambda number: None, actor_name="note")
        for number in range(50):
            note.send(number)
        assert [message.args for message in sent()] == [(number,) for number in range(50)]


def test_a_retry_is_not_sent_again_and_what_is_caused_is(broker: Broker) -> None:
    after = actor(lambda *args: None, actor_name="after")

    @actor(max_retries=1, on_failure=after)
    def break_down() -> None:
        raise ValueError("no")

    break_down.send()
    drain(with_delayed=True, raise_errors=False)

    assert_sent(break_down, count=1)
    assert_sent(after, count=2)


def test_an_unrecorded_message_is_known_while_it_waits(database_broker: DatabaseBroker) -> None:
    note = actor(lambda *args: None, actor_name="note", record=False)
    note.send("a")

    assert_sent(note, args=["a"])


def test_redacted_arguments_are_known_while_the_message_waits(database_broker: DatabaseBroker) -> None:
    database_broker.recording = Recording(redact=lambda actor_name, args, kwargs: (["hidden"], {}))
    note = actor(lambda *args: None, actor_name="note")
    note.send("secret")

    assert_sent(note, args=["secret"])
    drain()
    assert_sent(note, args=["hidden"])


def test_texts_that_no_database_takes_are_found_after_they_have_run_too(database_broker: DatabaseBroker) -> None:
    note = actor(lambda *args: None, actor_name="note")
    note.send("\x00")
    drain()

    assert_sent(note, args=["\x00"])


def test_a_broker_that_does_not_remember_says_so() -> None:
    set_broker(StubBroker())
    with pytest.raises(TypeError, match=r"capture\(\)"):
        sent()
