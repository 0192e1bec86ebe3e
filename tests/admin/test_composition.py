"""What belongs together, on the page of a message."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.admin.views.main import SEARCH_VAR
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_tasks_q import actor, group
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.dashboard import composition
from django_tasks_q.middleware import GroupCallbacks
from django_tasks_q.models import MessageRecord
from django_tasks_q.rate_limits.backends import StubBackend
from django_tasks_q.results import Results
from django_tasks_q.results.backends import StubBackend as StubResults
from django_tasks_q.testing import drain
from tests.admin.pages import url


@pytest.fixture
def members(broker: DatabaseBroker) -> group:
    """Two pipelines of two steps, side by side in a pipeline, of which one has ended."""
    broker.add_middleware(Results(backend=StubResults(), store_results=True))
    broker.add_middleware(GroupCallbacks(StubBackend()))
    echo = actor(lambda value=1: value, actor_name="echo", broker=broker)
    slow = actor(lambda value: value, actor_name="slow", queue_name="slow", broker=broker)
    total = actor(sum, actor_name="total", broker=broker)
    members = group([echo.message() | echo.message(), echo.message() | slow.message()])
    members.add_failure_callback(echo.message())
    (members | total.message() | group([echo.message(), echo.message()])).run()
    drain("default", broker=broker)
    return members


def shown(nodes: list[Any]) -> list[Any]:
    return [(node.name, node.record.state, shown(node.children)) for node in nodes]


def test_the_page_of_a_member_shows_the_others_who_sent_whom_and_what_follows(admin: Client, members: group) -> None:
    first = MessageRecord.objects.filter(group_id=members.group_id, actor_name="echo", parent_id="").first()
    assert first is not None
    page = admin.get(url("messagerecord_change", first.pk))
    tree = page.context["composition"]
    assert sorted(shown(tree.roots)) == [
        ("echo", "succeeded", [("echo", "succeeded", [])]),
        ("echo", "succeeded", [("slow", "enqueued", [])]),
    ]
    assert tree.following[1:] == ["total", "a group of 2 messages", "when one has failed: echo"]
    assert 'aria-current="page"' in page.content.decode()
    found = admin.get(url("messagerecord_changelist"), {SEARCH_VAR: members.group_id})
    assert found.context["cl"].result_count == 4


def test_groups_within_are_shown_to_who_looks_from_outside(admin: Client, members: group) -> None:
    echo = members.broker.actors["echo"]
    inner = group([echo.message(2), echo.message(3)])
    outer = group([echo.message(1), inner]).run()
    steps = (echo.message(1) | group([echo.message(), echo.message()]) | members.broker.actors["total"].message()).run()
    drain("default", broker=members.broker)
    for composed, names in ((outer, ["echo"] * 3), (steps, ["echo", "echo", "echo", "total"])):
        seen = MessageRecord.objects.filter(group_id=composed.group_id)
        for record in seen:
            tree = admin.get(url("messagerecord_change", record.pk)).context["composition"]
            assert sorted(re.findall("echo|total", str(shown(tree.roots)))) == names
        assert len(seen) < len(names)


def test_a_large_group_costs_no_more_queries_and_the_rest_is_a_link_away(
    admin: Client, members: group, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = url("messagerecord_change", MessageRecord.objects.filter(group_id=members.group_id)[0].pk)
    admin.get(page)
    with CaptureQueriesContext(connection) as few:
        admin.get(page)
    MessageRecord.objects.bulk_create(
        MessageRecord(message_id=f"m{number}", state="dead", group_id=members.group_id, created_at=timezone.now())
        for number in range(composition.MOST)
    )
    with CaptureQueriesContext(connection) as many:
        large = admin.get(page)
    assert len(many) == len(few)
    assert large.context["composition"].is_cut
    assert str(shown(large.context["composition"].roots)).count("(") == composition.MOST


def test_options_that_mean_nothing_break_no_page(admin: Client, broker: DatabaseBroker) -> None:
    odd: list[Any] = [
        None,
        7,
        {"group_outer": 7, "pipe_target": 7},
        {"group_outer": {"group_id": 7}, "group_target": {}},
    ]
    odd += [{"group_inner": 7}, {"group_inner": [7, "", "\ud800", "x" * 300]}]
    odd += [{"group_completion_callbacks": 7}, {"group_failure_callbacks": [7]}, {"pipe_target": {"group": [7]}}]
    for number, options in enumerate(odd):
        MessageRecord.objects.create(message_id=f"m{number}", state="dead", group_id="g", options=options)
        assert admin.get(url("messagerecord_change", f"m{number}")).status_code == 200
