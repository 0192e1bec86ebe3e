"""What of a message is recorded, as the project wishes; the message itself is none the worse for it."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.forms.models import model_to_dict
from django.test import override_settings

from django_tasks_q import Message, actor, conf
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.configured import make_broker, make_recording
from django_tasks_q.models import Attempt, MessageRecord
from django_tasks_q.outcomes import Dead
from django_tasks_q.recording import HIDDEN, Recording
from django_tasks_q.testing import drain
from tests.brokers.bench import Bench
from tests.support.waiting import until
from tests.unit.conftest import running

SECRET = "hunter2"
pytestmark = pytest.mark.parametrize("alias", ["default", "postgresql", "mariadb"])


def hide(actor_name: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Hides the secret, deep inside its own copies."""
    for arg in args:
        if isinstance(arg, dict):
            arg["password"] = f"hidden by {actor_name}"
    return ["***" if arg == SECRET else arg for arg in args], dict.fromkeys(kwargs, "***")


def explode(actor_name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    raise RuntimeError("a hook that fails")


@pytest.fixture
def broker(databases: None, alias: str) -> Iterator[DatabaseBroker]:
    broker = DatabaseBroker(using=alias)
    broker.declare_queue("q")
    yield broker
    broker.close()


def everything(alias: str) -> str:
    """All columns of all records and attempts."""
    rows = [*MessageRecord.objects.using(alias), *Attempt.objects.using(alias)]
    return repr([{**model_to_dict(row), **vars(row)} for row in rows])


def send(broker: DatabaseBroker, *args: Any, **options: Any) -> Message[Any]:
    return broker.enqueue(Message("q", "work", args, {"token": SECRET}, options))


def record(alias: str) -> MessageRecord:
    return MessageRecord.objects.using(alias).get()


def test_arguments_that_are_not_wanted_are_nowhere_but_in_the_queue(broker: DatabaseBroker, alias: str) -> None:
    broker.recording = Recording(arguments=False)
    step = Message("q", "later", (SECRET,), {"a": SECRET}).asdict()

    message = send(broker, SECRET, pipe_target=step)

    assert SECRET not in everything(alias)
    assert (record(alias).args, record(alias).kwargs) == ([], {})
    assert broker.look_up([message.message_id])[message.message_id].delivery.payload == message.encode()


def test_a_hook_hides_arguments_of_the_message_and_of_all_later_steps(broker: DatabaseBroker, alias: str) -> None:
    broker.recording = Recording(redact=hide)
    third = Message("q", "third", (SECRET,), {"a": SECRET}).asdict()
    second = Message("q", "second", ({"password": SECRET},), {"a": SECRET}, {"pipe_target": third}).asdict()

    message = send(broker, SECRET, "plain", {"password": SECRET}, pipe_target=second)

    assert SECRET not in everything(alias)
    shown = record(alias)
    assert shown.args == ["***", "plain", {"password": "hidden by work"}]
    assert shown.options["pipe_target"]["args"] == [{"password": "hidden by second"}]
    assert shown.options["pipe_target"]["options"]["pipe_target"]["args"] == ["***"]
    (delivery,) = broker.peek("q")
    assert delivery.payload == message.encode(), "the hook got copies, the queue keeps the whole message"


def test_callbacks_show_no_more_of_the_message_that_they_are_told_of_than_its_own_record(
    broker: DatabaseBroker, alias: str
) -> None:
    def of_work(name: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        return hide(name, args, kwargs) if name == "work" else (args, kwargs)

    broker.recording = Recording(redact=of_work)

    @actor(broker=broker, queue_name="q", max_retries=0, on_failure="told", on_retry_exhausted="told")
    def work(*args: Any, token: str) -> None:
        raise ValueError("no secret here")

    told = actor(lambda message, outcome: None, actor_name="told", broker=broker, queue_name="q", on_success="told_of")
    actor(lambda message, result: None, actor_name="told_of", broker=broker, queue_name="q")
    message = work.send(SECRET, token=SECRET)
    drain(broker=broker, raise_errors=False)

    assert SECRET not in everything(alias)
    rows = MessageRecord.objects.using(alias).filter(actor_name=told.actor_name)
    assert [row.args[0]["args"] for row in rows] == [["***"], ["***"]]
    assert MessageRecord.objects.using(alias).filter(actor_name="told_of").count() == 2
    assert {row.args[0]["message_id"] for row in rows} == {message.message_id}


@pytest.mark.parametrize(
    "redact",
    [explode, lambda *_: None, lambda name, args, kwargs: args, lambda name, args, kwargs: int(args[0])],
    ids=["raises", "nothing", "args", "quotes"],
)
def test_a_hook_that_fails_hides_everything(
    broker: DatabaseBroker, alias: str, redact: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broker.recording = Recording(redact=redact)

    with caplog.at_level(logging.DEBUG):
        send(broker, SECRET)

    assert (record(alias).args, record(alias).kwargs) == ([HIDDEN], {})
    assert SECRET not in everything(alias) + caplog.text
    assert "work" in caplog.text


def test_no_attempt_and_no_log_line_of_ours_shows_what_is_hidden(
    broker: DatabaseBroker, alias: str, caplog: pytest.LogCaptureFixture
) -> None:
    broker.recording = Recording(redact=hide)

    @actor(broker=broker, queue_name="q", max_retries=1, min_backoff=1, max_backoff=2)
    def work(*args: Any, token: str) -> None:
        raise ValueError("no secret here")

    with caplog.at_level(logging.DEBUG):
        message = work.send(SECRET, {"password": SECRET}, token=SECRET)
        with running(broker):
            wait_for_the_end(broker, message)

    assert record(alias).state == "dead" and Attempt.objects.using(alias).count() == 2
    assert SECRET not in everything(alias) + caplog.text


def test_a_dead_letter_without_a_record_gets_one_with_everything_it_was_told_redacted(
    broker: DatabaseBroker, alias: str
) -> None:
    broker.recording = Recording(enabled=False, redact=hide)
    bench = Bench(broker)
    broker.enqueue(bench.message("m", SECRET, "plain"))
    assert not MessageRecord.objects.using(alias).exists()
    desk = bench.worker()
    desk.fail(desk.take_one(), Dead("throws"))
    bench.close()

    shown = record(alias)
    assert (shown.state, shown.dead_reason, shown.actor_name, shown.queue_name) == ("dead", "throws", "work", "q")
    assert (shown.args, shown.error_type) == (["***", "plain"], "ValueError")
    assert shown.created_at is not None and shown.finished_at is not None
    (attempt,) = Attempt.objects.using(alias)
    assert (attempt.number, attempt.outcome, attempt.traceback) == (1, "failed", "Traceback: boom")
    (letter,) = broker.peek("q", "dead")
    assert Message.decode(letter.payload).args == (SECRET, "plain")


def test_a_dead_letter_without_a_record_says_which_app_it_belongs_to(broker: DatabaseBroker, alias: str) -> None:
    def work() -> None:
        raise ValueError

    doomed = actor(work, broker=broker, max_retries=0, record=False)
    doomed.app_label = "shop"
    with running(broker):
        wait_for_the_end(broker, doomed.send())

    assert (record(alias).state, record(alias).app_label) == ("dead", "shop")


def test_the_settings_say_what_is_recorded(databases: None, alias: str) -> None:
    wishes = {"ENABLED": False, "ARGUMENTS": False, "REDACT": "tests.brokers.test_records.hide"}

    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": f"database://{alias}", "RECORDS": wishes}):
        assert make_broker().recording == Recording(False, False, hide)
    with override_settings(DJANGO_TASKS_Q={"RECORDS": {"REDACT": hide}}):
        assert make_recording() == Recording(True, True, hide)
    assert make_recording() == Recording()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"ENABELD": True}, "Did you mean 'ENABLED'?"),
        ({"ARGUMENTS": 0}, "True or False"),
        ({"REDACT": 7}, "callable"),
        ({"REDACT": "tests.brokers.test_records.SECRET"}, "not callable"),
        ({"REDACT": "tests.brokers.test_records.hidden"}, "cannot be imported"),
    ],
)
def test_wrong_wishes_are_refused_where_they_are_read(alias: str, wrong: Any, sentence: str) -> None:
    with (
        override_settings(DJANGO_TASKS_Q={"RECORDS": wrong}),
        pytest.raises(ImproperlyConfigured, match=re.escape(sentence)),
    ):
        make_recording()


def test_the_default_of_every_wish_is_documented_by_its_value(alias: str) -> None:
    assert conf.records() == conf.RECORDS
    assert Recording() == Recording(conf.RECORDS["ENABLED"], conf.RECORDS["ARGUMENTS"], conf.RECORDS["REDACT"])


def wait_for_the_end(broker: DatabaseBroker, message: Message[Any]) -> None:
    def is_dead() -> bool:
        held = broker.look_up([message.message_id])
        return bool(held) and held[message.message_id].state == "dead"

    until(is_dead, 20)
