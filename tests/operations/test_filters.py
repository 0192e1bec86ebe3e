"""Which records a filter finds, and that an index leads to them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from django_tasks_q import Message
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.models import MessageRecord, Stamp
from django_tasks_q.operations import filters
from django_tasks_q.operations.filters import Filter, capped_count, records
from tests.support.dead_letters import bury


def orders(broker: DatabaseBroker, *numbers: int, **options: object) -> list[Message[None]]:
    return [broker.actors["charge"].message_with_options(args=(number,), **options) for number in numbers]


def found(filter: Filter) -> list[str]:
    return [record.message_id for record in filter.queryset()]


def test_a_filter_finds_what_fits_newest_first(broker: DatabaseBroker) -> None:
    sent = orders(broker, 1, 2)
    bury(broker, sent)
    dead = [message.message_id for message in sorted(sent, key=lambda m: (m.message_timestamp, m.message_id))]
    waiting = [message.message_id for message in broker.enqueue_many([broker.actors["mail"].message("a@b.c")])]

    assert found(Filter()) == [*waiting, dead[1], dead[0]]
    assert found(Filter(state="dead")) == found(Filter(actor_name="charge")) == [dead[1], dead[0]]
    assert found(Filter(queue_name="mails")) == found(Filter(state="enqueued")) == waiting
    assert found(Filter(dead_reason="retries_exhausted", queue_name="shop")) == [dead[1], dead[0]]
    assert found(Filter(dead_reason="throws")) == found(Filter(actor_name="charge", queue_name="mails")) == []
    assert found(Filter(app_label=MessageRecord.objects.using(broker.using).get(pk=dead[0]).app_label))


def test_a_search_is_for_a_message_id_or_a_correlation_id(broker: DatabaseBroker) -> None:
    first, second = broker.enqueue_many([*orders(broker, 1, message_id="order-7"), *orders(broker, 2)])

    assert found(Filter(search="order-7")) == [first.message_id]
    assert found(Filter(search=second.message_id)) == [second.message_id]
    assert found(Filter(search="order")) == []
    assert found(Filter(search="order-7", state="dead")) == []


def stamped(broker: DatabaseBroker, count: int, value: str) -> list[str]:
    """Messages with a stamp, in the order in which they were made."""
    sent = broker.enqueue_many(orders(broker, *range(count), stamps={"batch": value}))
    return sorted(message.message_id for message in sent)


@pytest.mark.parametrize("few", [filters.FEW, 3])
def test_a_stamp_finds_what_carries_it_whatever_else_is_wanted(
    broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(filters, "FEW", few)
    dead = sorted(bury(broker, orders(broker, 1, 2, 3, stamps={"batch": ["a=b", 42]})))
    waiting = stamped(broker, 4, "42")
    broker.enqueue_many([*orders(broker, 1, stamps={"batch": 43}), *orders(broker, 2)])

    assert found(Filter(stamp="batch=42")) == [*waiting[::-1], *dead[::-1]]
    assert found(Filter(stamp="batch=a=b")) == dead[::-1]
    assert set(found(Filter(stamp="batch=42", state="dead"))) == set(dead)
    assert set(found(Filter(stamp="batch=42", dead_reason="retries_exhausted", queue_name="shop"))) == set(dead)
    assert set(found(Filter(stamp="batch=42", state="enqueued"))) == set(waiting)
    assert found(Filter(stamp="batch=42", actor_name="charge")) == [*waiting[::-1], *dead[::-1]]
    assert found(Filter(stamp="batch=42", search=dead[0])) == [dead[0]]
    for other in (
        Filter(stamp="batch=4"),
        Filter(stamp="btch=42"),
        Filter(stamp="batch=42", state="succeeded"),
        Filter(stamp="batch=42", queue_name="mails"),
        Filter(stamp="batch=43", search=dead[0]),
        Filter(stamp="batch=42", created_to="2026-01-01"),
    ):
        assert found(other) == []


def test_of_many_messages_with_a_stamp_the_newest_are_looked_through(
    broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = stamped(broker, 5, "42")
    monkeypatch.setattr(filters, "WINDOW", 2)

    assert len(found(Filter(stamp="batch=42", queue_name="shop"))) == 5
    monkeypatch.setattr(filters, "FEW", 5)
    assert found(Filter(stamp="batch=42", queue_name="shop")) == sent[:2:-1]
    assert found(Filter(stamp="batch=42")) == sent[::-1]


@pytest.mark.parametrize("few", [filters.FEW, 3])
def test_indexes_lead_from_a_stamp_to_its_messages(
    broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(filters, "FEW", few)
    broker.enqueue_many(orders(broker, *range(300)))
    stamped(broker, 5, "42")
    if broker.database.vendor == "postgresql":
        broker.database.rows("SELECT set_config('enable_seqscan', 'off', false)")
    if broker.database.vendor == "mysql":
        broker.database.rows(f"ANALYZE TABLE {MessageRecord._meta.db_table}, {Stamp._meta.db_table}")

    plan = Filter(stamp="batch=42").queryset()[:10].explain()

    assert "dtq_stamp_value" in plan
    assert "created" not in plan


def test_times_bound_the_creation_and_a_day_is_meant_whole(broker: DatabaseBroker) -> None:
    sent = [message.message_id for message in broker.enqueue_many(orders(broker, 1, 2, 3))]
    for message_id, moment in zip(
        sent, ("2026-01-30T23:59:59", "2026-01-31T00:00:00", "2026-01-31T23:59:59"), strict=True
    ):
        created_at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
        records().filter(pk=message_id).update(created_at=created_at)

    assert found(Filter(created_from="2026-01-31")) == [sent[2], sent[1]]
    assert found(Filter(created_from="2026-01-31", created_to="2026-01-31")) == [sent[2], sent[1]]
    assert found(Filter(created_to="2026-01-31T00:00:00")) == [sent[0]]
    assert found(Filter(created_from="2026-01-31T00:30:00+01:00", created_to="2026-01-31T00:00:00Z")) == [sent[0]]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"state": "ded"}, "state: no state is called 'ded'. Did you mean 'dead'?"),
        ({"created_from": "yesterday"}, "created_from: a time like"),
        ({"created_to": "2026-13-01"}, "created_to: a time like"),
        ({"quue_name": "x"}, "quue_name: there is no such filter. Did you mean 'queue_name'?"),
        ({"queue_name": 7}, "queue_name: a text is wanted, not 7"),
        ({"created_from": "0001-01-01T00:00:00+14:00"}, "created_from: no calendar has"),
        ({"created_to": "9999-12-31"}, "created_to: no calendar has"),
        ({"stamp": "batch"}, "stamp: name=value is wanted, not 'batch'"),
        ({"stamp": "=7"}, "stamp: The name of a stamp has"),
        ({"stamp": "my batch=7"}, "stamp: The name of a stamp has"),
        ({"stamp": "batch="}, "stamp: stamps['batch']: a value has"),
        ({"stamp": "batch=a\0b"}, "stamp: stamps['batch']: a value has"),
    ],
)
def test_a_wrong_filter_names_the_field(values: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError) as error:
        Filter.from_dict(values)

    assert str(error.value).startswith(text)


@pytest.mark.parametrize("name", ["search", "actor_name", "queue_name", "app_label", "dead_reason"])
@pytest.mark.parametrize("text", ["\0", "a\0b", "\ud800"])
def test_what_no_database_can_compare_is_found_nowhere(broker: DatabaseBroker, name: str, text: str) -> None:
    assert list(Filter(**{name: text}).queryset()) == []


def test_a_filter_survives_being_written_down() -> None:
    filter = Filter(state="dead", actor_name="charge", created_from="2026-01-31")

    assert filter.as_dict() == {"state": "dead", "actor_name": "charge", "created_from": "2026-01-31"}
    assert Filter.from_dict(filter.as_dict()) == filter
    assert Filter().as_dict() == {}


def test_counting_ends_at_the_cap(broker: DatabaseBroker) -> None:
    broker.enqueue_many(orders(broker, *range(12)))

    assert capped_count(Filter().queryset(), cap=10) == 10
    assert capped_count(Filter(actor_name="charge").queryset()) == 12


def test_what_no_index_knows_is_looked_for_in_the_newest_records_only(
    broker: DatabaseBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = broker.enqueue_many([broker.actors["mail"].message("a@b.c")])[0]
    new = broker.enqueue_many(orders(broker, *range(10)))
    _spread_over_time([old, *new])
    monkeypatch.setattr(filters, "WINDOW", 10)

    assert found(Filter(queue_name="mails")) == []
    assert len(found(Filter(queue_name="shop"))) == 10
    assert found(Filter(queue_name="mails", actor_name="mail")) == [old.message_id]  # the window is of this actor
    assert found(Filter(actor_name="mail")) == [old.message_id]
    assert Filter(queue_name="mails").is_windowed and not Filter(actor_name="mail").is_windowed


def _spread_over_time(messages: list[Message[None]]) -> None:
    for second, message in enumerate(messages):
        records().filter(pk=message.message_id).update(created_at=datetime(2026, 1, 31, 12, 0, second, tzinfo=UTC))


@pytest.mark.parametrize(
    ("filter", "index"),
    [
        (Filter(), "dtq_record_created"),
        (Filter(state="dead"), "dtq_record_state"),
        (Filter(state="dead", queue_name="shop"), "dtq_record_state"),
        (Filter(dead_reason="throws"), "dtq_record_state"),
        (Filter(actor_name="charge"), "dtq_record_actor"),
        (Filter(search="order-7"), "dtq_record_group"),  # nothing else has it, so it is a group's
        (Filter(created_from="2026-01-31"), "dtq_record_created"),
    ],
)
def test_an_index_leads_to_what_is_looked_for(broker: DatabaseBroker, filter: Filter, index: str) -> None:
    # A planner that knows of an empty table only would scan it.
    if broker.database.vendor == "postgresql":
        broker.database.rows("SELECT set_config('enable_seqscan', 'off', false)")
    elif broker.database.vendor == "mysql":
        MessageRecord.objects.using(broker.using).bulk_create(
            MessageRecord(message_id=f"m{number}", state="succeeded", created_at=datetime.now(UTC))
            for number in range(2_000)
        )
        broker.database.rows(f"ANALYZE TABLE {MessageRecord._meta.db_table}")

    assert index in filter.queryset()[:10].explain()


def test_an_index_leads_to_an_id_of_the_callers_own(broker: DatabaseBroker) -> None:
    broker.enqueue(orders(broker, 1)[0].copy(options={"message_id": "order-7"}))
    if broker.database.vendor == "postgresql":
        broker.database.rows("SELECT set_config('enable_seqscan', 'off', false)")

    assert "dtq_record_correlation" in Filter(search="order-7").queryset()[:10].explain()
