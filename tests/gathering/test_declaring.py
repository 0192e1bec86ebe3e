"""What may be said of gathering, and what is refused where it is said."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from django_tasks_q import BadArguments, BrokerNotReady, EncodeError, Gather, MessageTooLarge, actor
from django_tasks_q.brokers.stub import StubBroker

FINE = Gather(size=2, wait=1_000)


def take(items: list[Any]) -> None: ...


@pytest.mark.parametrize(
    ("size", "wait", "error"),
    [
        (0, 1, "from 1 to 10000: 0"),
        (10_001, 1, "from 1 to 10000"),
        (True, 1, "from 1 to 10000: True"),
        (2.5, 1, "from 1 to 10000: 2.5"),
        (1, -1, "milliseconds from 0 on"),
        (1, 1.5, "milliseconds from 0 on"),
        (1, timedelta(days=400), "up to a year"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(size: Any, wait: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Gather(size=size, wait=wait)


def test_a_wait_may_be_a_timedelta() -> None:
    assert Gather(size=1, wait=timedelta(seconds=2)) == Gather(size=1, wait=2_000)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"gather": 100}, "gather is Gather"),
        ({"gather": FINE, "unique": True}, "is not unique as well"),
        ({"gather": FINE, "max_age": 1_000}, "lets nothing run"),
        ({"gather": FINE, "max_age": timedelta(seconds=1)}, "lets nothing run"),
    ],
)
def test_options_that_mean_nothing_together_are_refused(stub: StubBroker, options: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        actor(take, broker=stub, **options)


def test_a_function_that_cannot_be_called_with_a_list_is_refused(stub: StubBroker) -> None:
    with pytest.raises(BadArguments):
        actor(lambda: None, actor_name="work", broker=stub, gather=FINE)


def test_it_is_no_option_of_messages(stub: StubBroker) -> None:
    work = actor(take, broker=stub, gather=FINE)

    with pytest.raises(ValueError, match="no option 'gather'"):
        work.send_with_options(args=([],), gather=FINE)


def test_who_gathers_nothing_says_so(stub: StubBroker) -> None:
    with pytest.raises(ValueError, match="take gathers nothing"):
        actor(take, broker=stub).gather(1)


@pytest.mark.parametrize("key", ["a" * 201, "a\nb", 7])
def test_keys_that_are_no_printable_text_are_refused(stub: StubBroker, key: Any) -> None:
    with pytest.raises(ValueError, match="A key is printable text"):
        actor(take, broker=stub, gather=FINE).gather(1, key=key)


def test_items_that_cannot_be_sent_are_refused(stub: StubBroker) -> None:
    work = actor(take, broker=stub, gather=FINE)

    with pytest.raises(EncodeError, match=r"item\.a"):
        work.gather({"a": {1, 2}})
    with pytest.raises(MessageTooLarge):
        work.gather("x" * stub.max_message_bytes)


def test_without_a_database_there_is_nowhere_to_put_them(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_tasks_q.gather._items", None)

    with pytest.raises(BrokerNotReady, match="INSTALLED_APPS"):
        actor(take, broker=stub, gather=FINE).gather(1)
