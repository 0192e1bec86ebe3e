"""Stamps as values: what may be one, how they add up, and how people say them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from django_tasks_q import Actor, Message, actor, group, pipeline, stamping, stamps
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.changes import birth
from django_tasks_q.deliveries import Outgoing
from django_tasks_q.inheritance import stamped
from django_tasks_q.middleware import GroupCallbacks
from django_tasks_q.rate_limits.backends import StubBackend
from django_tasks_q.rules import Conditions, Rule, Rules


@pytest.fixture
def work(stub: StubBroker) -> Actor[Any, Any]:
    stub.add_middleware(GroupCallbacks(StubBackend()))

    @actor(broker=stub)
    def work(*args: Any) -> None: ...

    return work


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a=b=c", "a=b=c"),
        (42, "42"),
        (True, "true"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        ("ümlaut", "ümlaut"),
    ],
)
def test_values_become_canonical_text(value: Any, text: str) -> None:
    assert stamps.read({"name": value}) == {"name": [text]}


def test_people_write_a_name_and_a_value_and_the_first_sign_divides_them() -> None:
    assert stamps.pair("batch=a=b") == ("batch", "a=b")
    assert stamps.pair("batch= x ") == ("batch", " x ")
    for text in ("", "batch", "=7", "my batch=7", "batch=", "batch=\n"):
        with pytest.raises(ValueError):
            stamps.pair(text)


def test_several_values_of_a_name_keep_their_order_and_are_there_once() -> None:
    assert stamps.read({"name": [2, "1", 2, "2"]}) == {"name": ["2", "1"]}
    assert stamps.read({"name": {3, 1, 2}}) == {"name": ["1", "2", "3"]}


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ({"name": None}, "'name'"),
        ({"name": 1.5}, "'name'"),
        ({"name": []}, "'name'"),
        ({"name": ""}, "'name'"),
        ({"name": "x" * 256}, "'name'"),
        ({"name": "a\nb"}, "'name'"),
        ({"name": {"a": 1}}, "'name'"),
        ({"a b": 1}, "'a b'"),
        ({"": 1}, "''"),
        ({"x" * 65: 1}, "xxx"),
        ({7: 1}, "7"),
        ({f"n{i}": 1 for i in range(17)}, "n16"),
        ({"name": list(range(33))}, "'name'"),
        ("name=1", "name=1"),
    ],
)
def test_what_cannot_be_a_stamp_is_refused_by_name(given: Any, culprit: str, work: Actor[Any, Any]) -> None:
    with pytest.raises(ValueError, match=culprit):
        stamps.read(given)
    with pytest.raises(ValueError, match=culprit):
        work.send_with_options(stamps=given)
    with pytest.raises(ValueError, match=culprit):
        work.broker.enqueue(Message("default", "work", options={"stamps": given}))
    assert work.broker.counts()[0].ready == 0


def test_a_message_carries_what_each_way_of_saying_it_gives(work: Actor[Any, Any]) -> None:
    one = work.send_with_options(stamps={"batch_id": 1})
    two = work.send_with_options(stamped_headers=["batch_id"], batch_id=1)
    three = work.broker.enqueue(work.message().stamp(batch_id=1))
    four = work.broker.enqueue(work.message_with_options(stamps={"batch_id": "1"}))
    with stamping(batch_id=1):
        five = work.send()
    with stamping({"batch.id": 1}):
        six = work.send()

    assert [message.stamps for message in (one, two, three, four, five)] == [{"batch_id": ["1"]}] * 5
    assert six.stamps == {"batch.id": ["1"]}
    assert work.send().stamps == {}


def test_celerys_way_names_what_has_no_value(work: Actor[Any, Any]) -> None:
    with pytest.raises(ValueError, match="'batch_id', which has no value"):
        work.send_with_options(stamped_headers=["batch_id"])
    with pytest.raises(ValueError, match="list of names"):
        work.send_with_options(stamped_headers="batch_id", batch_id=1)
    with pytest.raises(ValueError, match="no option 'batch_id'"):
        work.send_with_options(batch_id=1)


@pytest.mark.parametrize(
    "given",
    [5, [1], {"a": None}, {"a": [1, None]}, {"a": [["b"]]}, {"a": ["b" * 256]}, {"a": ["b\0"]}, {"a b": ["c"]}],
    ids=repr,
)
def test_what_cannot_be_stamps_in_a_message_of_somebody_else_harms_nobody(work: Actor[Any, Any], given: Any) -> None:
    foreign = Message("default", "work", options={"stamps": given})
    revocation = Rules(rules=[Rule(1, Conditions.of(named={"a": "b"}))])

    assert foreign.stamps == {}
    assert revocation.revoking(foreign) is None
    assert birth(Outgoing(foreign, b"")).stamps == {}
    assert stamped(Message("default", "work"), {}, foreign.stamps).stamps == {}


def test_a_stamp_may_be_called_like_an_option(work: Actor[Any, Any]) -> None:
    message = work.send_with_options(stamps={"priority": 5, "max_retries": "x"})

    assert message.stamps == {"priority": ["5"], "max_retries": ["x"]}
    assert "priority" not in message.options


def test_values_from_everywhere_are_united_by_name(stub: StubBroker) -> None:
    @actor(broker=stub, stamps={"of": "actor", "actor": 1})
    def work() -> None: ...

    with stamping(of="block"), stamping(of="inner"):
        message = work.send_with_options(stamps={"of": ["message", "block"]})

    assert message.stamps == {"of": ["block", "inner", "actor", "message"], "actor": ["1"]}


def test_a_block_within_a_send_on_commit_is_the_one_that_counts(work: Actor[Any, Any]) -> None:
    with stamping(batch_id=1):
        message = work.send_on_commit()

    assert message.stamps == {"batch_id": ["1"]}


def test_too_many_stamps_together_are_refused_at_the_send(work: Actor[Any, Any]) -> None:
    with (
        stamping({f"n{number}": 1 for number in range(16)}),
        pytest.raises(ValueError, match="at most 16 stamps"),
    ):
        work.send_with_options(stamps={"another": 1})


def test_a_block_that_cannot_be_is_refused_at_its_beginning() -> None:
    with pytest.raises(ValueError, match="'batch_id'"), stamping(batch_id=None):
        pytest.fail("it has begun")


def test_an_actor_whose_stamps_cannot_be_is_refused_where_it_is_declared(stub: StubBroker) -> None:
    with pytest.raises(ValueError, match="'batch_id'"):

        @actor(broker=stub, stamps={"batch_id": 1.5})
        def work() -> None: ...


def test_everything_in_a_composition_is_stamped_whatever_was_added_when(work: Actor[Any, Any]) -> None:
    members = group([work.message(1), work.message(2) | work.message(3)], broker=work.broker).stamp(batch_id=7)
    members.add_completion_callback(work.message("complete"))
    steps = pipeline([work.message(0)], broker=work.broker).stamp(run="a") | members

    steps.stamp(run="b").run()

    (first,) = [Message.decode(delivery.payload) for delivery in work.broker.peek("default")]
    assert first.stamps == {"run": ["a", "b"]}  # it is not in the group
    wires = first.options["pipe_target"]["group"]
    assert [wire["options"]["stamps"] for wire in wires] == [{"run": ["b"], "batch_id": ["7"]}] * 2
    assert wires[1]["options"]["pipe_target"]["options"]["stamps"] == {"run": ["b"], "batch_id": ["7"]}
    (callback,) = wires[0]["options"]["group_completion_callbacks"]
    assert callback["options"]["stamps"] == {"run": ["b"], "batch_id": ["7"]}


def test_a_callback_of_a_group_has_the_stamps_of_all_its_members(work: Actor[Any, Any]) -> None:
    members = group([work.message(1).stamp(a=1), work.message(2).stamp(a=2, b=3)], broker=work.broker)
    members.add_completion_callback(work.message("complete"))
    members.add_failure_callback(work.message_with_options(args=("failed",), inherit_stamps=False))

    members.run()

    first = Message[Any].decode(work.broker.peek("default")[0].payload)
    assert first.stamps == {"a": ["1"]}
    assert first.options["group_completion_callbacks"][0]["options"]["stamps"] == {"a": ["1", "2"], "b": ["3"]}
    assert "stamps" not in first.options["group_failure_callbacks"][0]["options"]
