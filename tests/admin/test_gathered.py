"""Items that were gathered, on the page of the message that has taken them and in the form for its edited copy."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from django_tasks_q import Gather, Message, actor
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.gather import GATHERS, collection_of
from django_tasks_q.models import GatheredItem, MessageRecord
from django_tasks_q.recording import Recording
from tests.admin.markup import Markup
from tests.admin.pages import url
from tests.support.dead_letters import bury


@pytest.fixture
def dead_collector(broker: DatabaseBroker) -> str:
    """The id of a dead letter that has taken three items."""

    def index(items: list[Any]) -> None: ...

    actor(index, broker=broker, queue_name="shop", gather=Gather(size=3, wait=0))
    message: Message[Any] = Message("shop", "index", ([],), {}, {GATHERS: "", "unique": "until_started"})
    [message_id] = bury(broker, [message])
    for number in (b"1", b"2", b'"<b>"'):
        GatheredItem.objects.create(
            collection=collection_of("index", "").id,
            actor_name="index",
            item=b'{"item":' + number + b"}",
            created_at=0,
            taken_by=message_id,
            taken_at=0,
        )
    return message_id


def facts(admin: Client, message_id: str) -> dict[str, Any]:
    return dict(admin.get(url("messagerecord_change", message_id)).context["facts"])


def test_the_page_shows_what_a_message_has_taken(admin: Client, dead_collector: str) -> None:
    assert facts(admin, dead_collector)["Gathered items"] == '3: [1, 2, "<b>"]'
    assert Markup(admin.get(url("messagerecord_change", dead_collector)).text).dangers == []


def test_of_many_it_reads_the_first_and_says_how_many_there_are(
    admin: Client, broker: DatabaseBroker, dead_collector: str
) -> None:
    read: list[int] = []
    broker.recording = Recording(redact=lambda name, args, kwargs: (read.append(len(args[0])) or args, kwargs))
    row = {"collection": collection_of("index", "").id, "actor_name": "index", "created_at": 0, "taken_at": 0}
    GatheredItem.objects.bulk_create(
        GatheredItem(item=b'{"item":7}', taken_by=dead_collector, **row) for _ in range(997)
    )

    shown = facts(admin, dead_collector)["Gathered items"]

    assert shown.startswith('1000: [1, 2, "<b>", 7, 7, ') and shown.endswith("…")
    assert max(read) < 100


def test_where_arguments_are_hidden_it_shows_how_many(
    admin: Client, broker: DatabaseBroker, dead_collector: str
) -> None:
    broker.recording = Recording(arguments=False)

    assert facts(admin, dead_collector)["Gathered items"] == "3"


def test_it_shows_them_as_people_may_see_them(admin: Client, broker: DatabaseBroker, dead_collector: str) -> None:
    broker.recording = Recording(redact=lambda name, args, kwargs: ([["***" for _ in args[0]]], kwargs))

    assert facts(admin, dead_collector)["Gathered items"] == '3: ["***", "***", "***"]'


def test_who_gathers_nothing_has_none(admin: Client, dead_letter: str) -> None:
    assert "Gathered items" not in facts(admin, dead_letter)


def test_an_edited_copy_runs_with_the_list_that_it_is_given(
    admin: Client, broker: DatabaseBroker, dead_collector: str
) -> None:
    # Given the form, which has the items
    address = url("messagerecord_edit", dead_collector)
    form = admin.get(address).context["form"]
    assert form.initial["args"].split() == ["[", "[", "1,", "2,", '"<b>"', "]", "]"]

    # When one of them is left out
    admin.post(address, {"args": "[[1, 2]]", "kwargs": "{}"})

    # Then the copy is a message as any other
    copy = MessageRecord.objects.get(parent_id=dead_collector)
    assert (copy.args, copy.state) == ([[1, 2]], "enqueued")
    assert copy.options is not None and not copy.options.keys() & {GATHERS, "unique"}
    assert MessageRecord.objects.get(pk=dead_collector).state == "discarded"
