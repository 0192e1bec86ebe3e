"""Requeueing, discarding and replacing, through the broker that has the whole message."""

from __future__ import annotations

import pytest

from django_tasks_q import ActorNotFound, EncodeError, Message, NotADeadLetter
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.operations import repair
from django_tasks_q.operations.filters import records
from django_tasks_q.operations.repair import Tally
from django_tasks_q.recording import Recording
from tests.support.dead_letters import bury


def order(broker: DatabaseBroker, number: int = 1, **options: object) -> Message[None]:
    return broker.actors["charge"].message_with_options(args=(number,), **options)


def test_dead_letters_get_a_new_life_once_and_the_rest_is_skipped(broker: DatabaseBroker) -> None:
    [first, second] = bury(broker, [order(broker, 1), order(broker, 2)])

    assert repair.requeue([second, "nobody", first, first]) == Tally([second, first], ["nobody"])
    assert repair.requeue([first]) == Tally([], [first])
    assert {(record.state, record.life) for record in records()} == {("enqueued", 1)}


def test_what_waits_or_is_dead_is_discarded_and_what_is_gone_is_skipped(broker: DatabaseBroker) -> None:
    [dead] = bury(broker, [order(broker)])
    waiting = broker.enqueue(order(broker)).message_id

    assert repair.discard([dead, waiting, "nobody"]) == Tally([dead, waiting], ["nobody"])
    assert repair.discard([dead]) == Tally([], [dead])
    assert {record.state for record in records()} == {"discarded"}


def test_one_id_is_no_list_of_ids(broker: DatabaseBroker) -> None:
    with pytest.raises(TypeError):
        repair.requeue("0190")


def test_the_original_is_whole_where_its_record_is_redacted(broker: DatabaseBroker) -> None:
    broker.recording = Recording(arguments=False)
    [dead] = bury(broker, [order(broker, 7)])

    message = repair.original(dead)

    assert records().get(pk=dead).args == []
    assert message is not None and message.args == (7,)
    assert repair.original("nobody") is None


def test_an_edited_copy_takes_the_place_of_a_dead_letter(broker: DatabaseBroker) -> None:
    [dead] = bury(broker, [order(broker, 1, max_retries=3, message_id="order-7")])

    copy = repair.requeue_edited(dead, [2], {"currency": "CHF"})

    [waiting] = broker.peek("shop")
    assert (waiting.message_id, Message.decode(waiting.payload)) == (copy.message_id, copy)
    assert copy.message_id != dead
    assert (copy.args, copy.kwargs) == ((2,), {"currency": "CHF"})
    assert copy.options == {"max_retries": 3, "message_id": "order-7"}
    assert records().get(pk=copy.message_id).parent_id == dead
    assert records().get(pk=dead).state == "discarded"


def test_an_edited_copy_begins_without_the_past_of_the_original(broker: DatabaseBroker) -> None:
    message = order(broker, 1)
    message.options.update(retries=4, eta=1, delay=0)
    [dead] = bury(broker, [message])

    copy = repair.requeue_edited(dead, [1], {})

    assert copy.options == {}


def test_asked_twice_an_edited_copy_is_sent_once(broker: DatabaseBroker) -> None:
    [dead] = bury(broker, [order(broker)])
    repair.requeue_edited(dead, [2], {})

    with pytest.raises(NotADeadLetter, match=dead):
        repair.requeue_edited(dead, [2], {})
    assert len(broker.peek("shop")) == 1


def test_what_waits_cannot_be_edited(broker: DatabaseBroker) -> None:
    waiting = broker.enqueue(order(broker)).message_id

    with pytest.raises(NotADeadLetter):
        repair.requeue_edited(waiting, [2], {})


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "text"),
    [
        ([], {}, TypeError, "missing a required argument: 'order'; expected (order"),
        ([1], {"currencey": "CHF"}, TypeError, "unexpected keyword argument 'currencey'"),
        ({"order": 1}, {}, TypeError, "args is a list, not a dict"),
        ([1], ["CHF"], TypeError, "kwargs is a dict"),
        ([object()], {}, EncodeError, "args[0]"),
    ],
)
def test_arguments_that_do_not_fit_change_nothing(
    broker: DatabaseBroker, args: object, kwargs: object, error: type[Exception], text: str
) -> None:
    [dead] = bury(broker, [order(broker)])

    with pytest.raises(error) as raised:
        repair.requeue_edited(dead, args, kwargs)  # type: ignore[arg-type]
    assert text in str(raised.value)
    assert [letter.message_id for letter in broker.peek("shop", "dead")] == [dead]


def test_a_dead_letter_of_an_actor_that_is_gone_cannot_be_edited(broker: DatabaseBroker) -> None:
    [dead] = bury(broker, [Message("shop", "ship", (1,))])

    with pytest.raises(ActorNotFound, match="ship"):
        repair.requeue_edited(dead, [1], {})
