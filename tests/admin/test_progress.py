"""How far messages are, on the pages of the admin and for pages of a project's own."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from django_tasks_q import Progress
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.events import Event, Kind
from django_tasks_q.mirror import RecordWriter
from django_tasks_q.models import MessageRecord
from django_tasks_q.sql import Database
from django_tasks_q.states import State
from tests.admin.markup import Element, Markup
from tests.admin.pages import url


def says(progress: Progress | None, state: State = State.RUNNING) -> None:
    """Message ``m`` of group ``g`` is in this state, and its worker has told of this."""
    kind = Kind.STARTED if state is State.RUNNING else Kind.SETTLED
    event = Event(kind, "m", state, 1, delivery=1, started_at=1, progress=progress, report=1)
    RecordWriter(Database("default")).write([event])
    MessageRecord.objects.update(group_id="g", actor_name="resize", created_at=timezone.now())


def bars(page: str) -> list[Element]:
    return [element for element in Markup(page).elements if element.name == "progress"]


@pytest.mark.parametrize("page", ["messagerecord_change", "runningmessage_changelist"])
def test_a_page_shows_how_far_a_message_is(page: str, admin: Client, broker: DatabaseBroker) -> None:
    says(Progress(1_999, 2_000, "page 1999 of <b>many</b>"))

    answer = admin.get(url(page, *(["m"] if page.endswith("change") else [])))

    bar = bars(answer.text)[0]
    assert bar.attributes == {"class": "dtq-progress", "aria-label": "Progress", "max": "100", "value": "99"}
    text = Markup(answer.text).text
    assert "1,999 / 2,000, 99 %" in text
    assert "page 1999 of <b>many</b>" in text
    assert Markup(answer.text).dangers == []


def test_without_a_total_only_what_runs_has_a_bar(admin: Client, broker: DatabaseBroker) -> None:
    MessageRecord.objects.all().delete()
    says(Progress(7))
    [bar] = bars(admin.get(url("runningmessage_changelist")).text)
    assert "value" not in bar.attributes and bar.attributes["aria-label"] == "Progress"

    says(Progress(8), State.SUCCEEDED)
    facts = dict(admin.get(url("messagerecord_change", "m")).context["facts"])
    assert "<progress" not in facts["Progress"] and ">8<" in facts["Progress"]


def test_what_says_nothing_has_no_bar(admin: Client, broker: DatabaseBroker) -> None:
    says(None)

    assert "Progress" not in dict(admin.get(url("messagerecord_change", "m")).context["facts"])
    assert bars(admin.get(url("runningmessage_changelist")).text) == []


def test_the_page_of_a_member_says_how_many_of_its_group_have_ended(admin: Client, broker: DatabaseBroker) -> None:
    says(None)
    for number, state in enumerate(("succeeded", "succeeded", "dead")):
        MessageRecord.objects.create(message_id=f"m{number}", state=state, group_id="g", created_at=timezone.now())

    page = Markup(admin.get(url("messagerecord_change", "m")).text)

    [bar] = [element for element in page.elements if element.name == "progress"]
    assert (bar.attributes["max"], bar.attributes["value"]) == ("100", "75")
    assert "3 of 4 have ended 1 running 2 succeeded 1 dead" in " ".join(page.text.split())


def test_a_page_of_ones_own_can_ask_how_far_a_message_is(admin: Client, broker: DatabaseBroker) -> None:
    says(Progress(1, 3, "one third"))

    answer = admin.get(url("messagerecord_progress", "m"))

    assert answer.json() == {
        "message_id": "m",
        "state": "running",
        "is_over": False,
        "progress": {"done": 1, "total": 3, "text": "one third", "percent": 33},
    }
    assert "no-store" in answer["Cache-Control"]
    says(None, State.SUCCEEDED)
    assert admin.get(url("messagerecord_progress", "m")).json()["is_over"] is True


def test_a_message_without_progress_has_none(admin: Client, broker: DatabaseBroker) -> None:
    says(None)

    assert admin.get(url("messagerecord_progress", "m")).json()["progress"] is None


def test_a_page_of_ones_own_can_ask_how_many_of_a_group_have_ended(admin: Client, broker: DatabaseBroker) -> None:
    says(None)
    MessageRecord.objects.create(message_id="other", state="dead", group_id="g")

    assert admin.get(url("messagerecord_group_progress", "g")).json() == {
        "group_id": "g",
        "total": 2,
        "ended": 1,
        "percent": 50,
        "is_over": False,
        "counts": {"running": 1, "dead": 1},
    }


@pytest.mark.parametrize("page", ["messagerecord_progress", "messagerecord_group_progress"])
def test_what_is_not_recorded_is_404(page: str, admin: Client, broker: DatabaseBroker) -> None:
    assert admin.get(url(page, "nobody")).status_code == 404
