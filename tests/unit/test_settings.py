"""Settings are read when they are needed, follow their overriding, and are documented as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_tasks_q import (
    Actor,
    Broker,
    Message,
    MessageTooLarge,
    Middleware,
    PickleEncoder,
    actor,
    conf,
    get_broker,
    get_encoder,
    set_broker,
    set_encoder,
)
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.configured import SettingsBroker, settings_broker
from django_tasks_q.models import MessageRecord

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


# The page


def rows(heading: str) -> dict[str, tuple[str, ...]]:
    """The table below a heading: the cells of each row by its key."""
    section = PAGE.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| `")]
    return {row[0].strip(" `"): tuple(cell.strip() for cell in row[1:]) for row in cells}


@pytest.mark.parametrize(("heading", "defaults"), [("Every setting", conf.DEFAULTS), ("RECORDS", conf.RECORDS)])
def test_the_page_has_each_setting_with_its_default_and_no_other(heading: str, defaults: dict[str, Any]) -> None:
    documented = {key: cells[0] for key, cells in rows(heading).items()}

    assert list(documented) == list(defaults)
    assert documented == {key: f"`{default!r}`".replace("'", '"') for key, default in defaults.items()}


@pytest.mark.parametrize(("heading", "defaults"), [("Every setting", conf.DEFAULTS), ("RECORDS", conf.RECORDS)])
def test_each_row_has_a_unit_and_a_meaning(heading: str, defaults: dict[str, Any]) -> None:
    for key, (_, unit, meaning) in rows(heading).items():
        assert unit, key
        assert len(meaning.split()) > 3, key


def test_every_setting_has_a_rule_that_takes_its_default() -> None:
    assert set(conf._RULES) == set(conf.DEFAULTS)
    assert set(conf._RECORDS_RULES) == set(conf.RECORDS)
    for rules, defaults in ((conf._RULES, conf.DEFAULTS), (conf._RECORDS_RULES, conf.RECORDS)):
        assert all(defaults[key] is None or is_right(defaults[key]) for key, (is_right, _) in rules.items())


# Reading


def test_a_setting_that_is_not_there_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(django_settings, "DJANGO_TASKS_Q")

    assert conf.get("LEASE") == 30_000
    assert conf.records() == conf.RECORDS
    assert conf.get("PROCESSES") >= 1


def test_any_wrong_setting_keeps_all_of_them_from_being_read() -> None:
    with override_settings(DJANGO_TASKS_Q={"THREAD": 1}), pytest.raises(ImproperlyConfigured, match="THREADS"):
        conf.get("LEASE")


# Overriding


class Counting(Middleware):
    """Reads an option, and notes which actors it hears of."""

    def __init__(self) -> None:
        self.actors: list[str] = []

    @property
    def actor_options(self) -> set[str]:
        return {"colour"}

    def after_declare_actor(self, broker: Broker, actor: Actor[Any, Any]) -> None:
        self.actors.append(actor.actor_name)


def of_a_module(size: str = "") -> None: ...


@pytest.fixture
def own() -> Iterator[Broker]:
    """The broker of the settings, made for this test alone, and the process's one."""
    before = vars(settings_broker).copy()
    settings_broker.__init__()  # type: ignore[misc]
    set_broker(None)
    yield get_broker()
    vars(settings_broker).update(before)


@pytest.fixture
def work(own: Broker) -> Actor[Any, Any]:
    return actor(actor_name="work", queue_name="mail")(of_a_module)


def test_values_reach_the_broker_that_is_there_and_go_again(own: Broker, work: Actor[Any, Any]) -> None:
    changed = {"LEASE": 9_000, "DELIVERY_LIMIT": 7, "MAX_MESSAGE_BYTES": 500, "RECORDS": {"ENABLED": False}}

    with override_settings(DJANGO_TASKS_Q=changed):
        assert get_broker() is own
        assert (own.lease, own.delivery_limit, own.max_message_bytes) == (9_000, 7, 500)
        assert not own.recording.enabled
        with pytest.raises(MessageTooLarge):
            work.send("x" * 500)

    assert (own.lease, own.delivery_limit, own.max_message_bytes) == (30_000, 3, 1_048_576)
    assert own.recording.enabled


def test_defaults_of_actors_reach_those_that_are_declared_and_not_what_they_declare_themselves(own: Broker) -> None:
    plain = actor(actor_name="plain")(of_a_module)
    willful = actor(actor_name="willful", max_retries=1)(of_a_module)

    with override_settings(DJANGO_TASKS_Q={"ACTOR_DEFAULTS": {"max_retries": 5, "time_limit": 9_000}}):
        late = actor(actor_name="late")(of_a_module)
        assert plain.options == late.options == {"max_retries": 5, "time_limit": 9_000}
        assert willful.options == {"max_retries": 1, "time_limit": 9_000}

    assert plain.options == late.options == {}
    assert willful.options == {"max_retries": 1}


@pytest.mark.django_db
def test_what_is_recorded_follows_even_after_records_were_written(own: Broker, work: Actor[Any, Any]) -> None:
    def arguments(message: Message[Any]) -> Any:
        return MessageRecord.objects.get(pk=message.message_id).args

    assert arguments(work.send("seen")) == ["seen"]
    with override_settings(DJANGO_TASKS_Q={"RECORDS": {"ARGUMENTS": False}}):
        assert arguments(work.send("unseen")) in ([], None)
    assert arguments(work.send("seen")) == ["seen"]


def test_another_url_makes_another_broker_that_the_actors_follow_and_come_back_from(
    own: Broker, work: Actor[Any, Any]
) -> None:
    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://"}):
        stub = get_broker()
        assert isinstance(stub, StubBroker)
        assert work.broker is stub
        assert stub.get_actor("work") is work
        message = work.send("by the stub")
        assert [held.message_id for held in stub.peek("mail")] == [message.message_id]

    assert get_broker() is own
    assert work.broker is own
    assert own.get_actor("work") is work


def test_each_overriding_begins_with_an_empty_broker(own: Broker, work: Actor[Any, Any]) -> None:
    found = []
    for _ in range(2):
        with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://"}):
            work.send()
            found.append(len(get_broker().peek("mail")))

    assert found == [1, 1]


def test_overridings_inside_each_other_come_back_one_by_one(own: Broker, work: Actor[Any, Any]) -> None:
    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://"}):
        outer = get_broker()
        with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://", "LEASE": 9_000}):
            assert (get_broker(), outer.lease) == (outer, 9_000)
            with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "database://postgresql"}):
                inner = get_broker()
                assert isinstance(inner, DatabaseBroker)
                assert (inner.using, work.broker) == ("postgresql", inner)
            assert (get_broker(), work.broker) == (outer, outer)
        assert outer.lease == 30_000
    assert (get_broker(), work.broker) == (own, own)


def test_another_namespace_makes_another_broker(own: Broker, work: Actor[Any, Any]) -> None:
    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://"}):
        outer = get_broker()
        with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://", "NAMESPACE": "other"}):
            assert get_broker() is not outer
        assert (get_broker(), work.broker) == (outer, outer)


def test_actors_of_modules_that_were_imported_meanwhile_come_along_and_those_of_a_test_do_not(own: Broker) -> None:
    def of_a_test() -> None: ...

    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://"}):
        stub = get_broker()
        imported = actor(actor_name="imported", queue_name="late")(of_a_module)
        local = actor(of_a_test)

    assert own.actors == {"imported": imported}
    assert "late" in own.queues
    assert (imported.broker, local.broker) == (own, stub)


def test_another_stack_of_middleware_makes_another_broker_and_hears_of_the_actors(
    own: Broker, work: Actor[Any, Any]
) -> None:
    with override_settings(
        DJANGO_TASKS_Q={"MIDDLEWARE": [f"{__name__}.Counting"], "ACTOR_DEFAULTS": {"colour": "red"}}
    ):
        (counting,) = get_broker().middleware
        assert isinstance(counting, Counting)
        assert counting.actors == ["work"]
        assert work.options == {"colour": "red"}

    assert work.options == {}
    assert len(own.middleware) > 1


@pytest.mark.parametrize("wrong", [{"THREAD": 1}, {"MIDDLEWARE": ["x.y"]}, {"RECORDS": {"REDACT": "x.y"}}, None])
def test_settings_that_cannot_be_used_are_the_error_of_each_send_until_they_are_put_back(
    wrong: Any, own: Broker, work: Actor[Any, Any]
) -> None:
    with override_settings(DJANGO_TASKS_Q=wrong):
        for attempt in (work.send, work.send_on_commit):
            with pytest.raises(ImproperlyConfigured):
                attempt("never")
        actor(actor_name="anew", anything="goes")(of_a_module)
        with override_settings(DJANGO_TASKS_Q={"LEASE": 9_000}):
            assert isinstance(get_broker(), DatabaseBroker)
            assert get_broker().lease == 9_000

    assert get_broker() is own
    assert work.broker is own
    assert own.lease == 30_000


def test_a_project_that_begins_with_wrong_settings_gets_a_broker_when_they_are_right() -> None:
    following = SettingsBroker()
    with override_settings(DJANGO_TASKS_Q={"THREAD": 1}):
        unusable = following.make()
        unusable.declare_queue("mail")

        with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://"}):
            following.follow(setting="DJANGO_TASKS_Q", enter=True)
            assert isinstance(following._now.broker, StubBroker)  # type: ignore[union-attr]
            assert "mail" in following._now.broker.queues  # type: ignore[union-attr]
        following.follow(setting="DJANGO_TASKS_Q", enter=False)
        assert following._now.broker is unusable  # type: ignore[union-attr]


def test_a_broker_that_somebody_set_stays_while_the_one_of_the_settings_follows(
    own: Broker, work: Actor[Any, Any], stub: StubBroker
) -> None:
    set_broker(stub)

    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://", "LEASE": 9_000}):
        assert get_broker() is stub
        assert stub.lease == 30_000
        assert work.broker is not own

    assert get_broker() is stub
    assert work.broker is own


def test_the_encoder_follows_and_one_that_somebody_set_stays(own: Broker) -> None:
    with override_settings(DJANGO_TASKS_Q={"ENCODER": "django_tasks_q.PickleEncoder"}):
        assert type(get_encoder()) is PickleEncoder
    assert type(get_encoder()) is not PickleEncoder

    mine = PickleEncoder()
    set_encoder(mine)
    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://"}):
        assert get_encoder() is mine
    assert get_encoder() is mine


def test_other_settings_concern_nobody(own: Broker) -> None:
    own.lease = 1_234
    with override_settings(DEBUG=True):
        assert own.lease == 1_234


def test_the_page_tells_of_what_can_be_overridden() -> None:
    text = PAGE.read_text()
    assert re.search(r"^## Overriding settings in tests$", text, re.M)
