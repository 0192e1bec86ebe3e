"""Whatever is in a message, a worker or a filter: pages show it, and nothing of it runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.test import Client
from django.utils import timezone
from django.utils.http import urlencode

from django_tasks_q import Message, actor, set_broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.events import Event, Kind, progress_guard
from django_tasks_q.mirror.text import storable
from django_tasks_q.models import (
    ActorState,
    Attempt,
    BulkOperation,
    MessageRecord,
    QueuedMessage,
    QueueState,
    RateLimitMutex,
    Revocation,
    ScheduleEntry,
    Stamp,
    WaitingMessage,
    WorkerProcess,
)
from django_tasks_q.recording import HIDDEN, Recording
from django_tasks_q.states import State
from django_tasks_q.testing import drain
from tests.admin.markup import Markup
from tests.admin.pages import url
from tests.admin.test_permissions import MATRIX
from tests.support.dead_letters import bury

ID = """'"><script>alert("dtq")</script>"""
TEXT = f"""{ID}</textarea></template><img src=x onerror='alert("dtq")'> javascript:alert(1) \x1b[31m\u202e"""
SHOWN = '<script>alert("dtq")</script>'
GUARD = progress_guard(Event(Kind.STARTED, ID, State.RUNNING, 0, delivery=1, report=1))
IN_JSON = '<script>alert(\\"dtq\\")</script>'


def make_everything_hostile(broker: DatabaseBroker) -> int:
    """Every text that a page shows; returns the id of the bulk operation."""
    now = timezone.now()
    bury(broker, [Message("shop", "charge", (TEXT,), {"currency": TEXT}, {"note": TEXT}, message_id=ID)])
    texts = {
        "actor_name": TEXT,
        "queue_name": TEXT,
        "app_label": TEXT[:100],
        "correlation_id": ID,
        "worker": TEXT[:96],
        "error_type": TEXT,
        "error_message": TEXT,
        "dead_reason": SHOWN,
        "parent_id": ID,
        "group_id": ID,
        "progress_text": TEXT,
    }
    numbers = {"deliveries": 1, "progress_done": 7, "progress_total": 2**63 - 1, "progress_guard": GUARD}
    documents = {"args": [TEXT], "kwargs": {TEXT: TEXT}, "options": {TEXT: [TEXT]}}
    MessageRecord.objects.filter(pk=ID).update(**texts, **numbers, **documents, raw=TEXT.encode())
    for state in ("running", "delayed"):
        MessageRecord.objects.create(
            message_id=ID + state, state=state, created_at=now, started_at=now, eta=now, **texts, **numbers, **documents
        )
    Attempt.objects.filter(message_id=ID).update(
        outcome=SHOWN[:16], error_type=TEXT, error_message=TEXT, traceback=TEXT, worker=TEXT[:96]
    )
    WorkerProcess.objects.create(
        worker_id=TEXT[:96],
        hostname=TEXT,
        queues=[TEXT],
        current=[{"message_id": TEXT, "queue_name": TEXT, "since": 1}, TEXT],
        heartbeat_at=now,
    )
    QueueState.objects.create(queue_name=TEXT, ready=1, oldest_at=now, paused_at=now, sampled_at=now)
    QueueState.objects.create(queue_name="shop", sampled_at=now)
    QueueState.objects.create(queue_name=SHOWN, ready=1, sampled_at=now)
    WaitingMessage.objects.create(message_id=ID, queue_name=TEXT, kind="commit", payload=TEXT.encode(), created_at=now)
    holder = {"message_id": TEXT, "worker": TEXT, "since": 1, "token": 7, "expires_at": 2**42, "ttl": 1000}
    RateLimitMutex.objects.create(key=ID, holders=[holder], expires_at=now.replace(year=now.year + 1), version=7)
    ScheduleEntry.objects.create(
        name=TEXT, actor_name=TEXT, spec=TEXT, time_zone=TEXT[:100], catch_up=SHOWN[:8], declared_at=now
    )
    Stamp.objects.create(message_id=ID, name="batch", value=SHOWN)
    conditions = {"stamps": {"batch": [SHOWN]}, "ids": [ID], "actor": TEXT, "queue": TEXT}
    Revocation.objects.create(
        target="several", conditions=conditions, created_at=now, reason=TEXT, created_by=TEXT, counts={"dead": TEXT}
    )
    ActorState.objects.create(actor_name=SHOWN, paused_at=now)
    filters = {"state": "dead", "actor_name": TEXT, "search": TEXT}
    operation = BulkOperation.objects.create(
        action="requeue", filters=filters, started_by=TEXT, started_at=now, updated_at=now
    )
    return int(operation.pk)


@pytest.fixture
def addresses(broker: DatabaseBroker) -> dict[str, str]:
    operation = make_everything_hostile(broker)
    for name in (TEXT, SHOWN):
        broker.declare_queue("odd")
        broker.queues[name] = broker.queues["odd"]
    actor(lambda: None, broker=broker, actor_name=SHOWN, queue_name="shop", on_failure=broker.actors["charge"])
    arguments: dict[str, tuple[Any, ...]] = {
        "": (),
        "message": (ID,),
        "operation": (operation,),
        "key": (ID,),
        "queue": (SHOWN,),
        "actor": (SHOWN,),
        "revocation": (Revocation.objects.latest("pk").pk,),
        "group": (ID,),
    }
    found = {name: url(name, *arguments[page.argument]) for name, page in MATRIX.items() if page.get}
    found["stamp_batch"] += "?" + urlencode({"stamp": f"batch={SHOWN}"})
    found["revocation_new"] += "?" + urlencode({"stamp": f"batch={SHOWN}", "reason": TEXT, "expires": "week"})
    found["ratelimitmutex_release"] += "?token=7"
    return found


ABOUT_NOTHING = {"deadletter_requeue_everything", "deadletter_discard_everything"}
"""Their question is about a filter, and there is none here."""


def test_nothing_in_a_message_runs_on_any_page(admin: Client, addresses: dict[str, str]) -> None:
    MessageRecord.objects.filter(pk=ID).update(raw=None)

    for name, address in addresses.items():
        page = admin.get(address, follow=True)
        assert page.status_code == 200, name
        if page["Content-Type"] == "application/json":
            continue
        markup = Markup(page.text)
        assert markup.dangers == [], name
        shown = SHOWN in markup.text or IN_JSON in markup.text or any(SHOWN in value for value in markup.values)
        assert shown or name in ABOUT_NOTHING, f"{name} shows none of it: the test proves nothing there"


def test_the_overview_s_script_gets_json_that_no_browser_takes_for_a_page(
    admin: Client, addresses: dict[str, str]
) -> None:
    answer = admin.get(addresses["overview_data"])

    assert answer["Content-Type"] == "application/json"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert SHOWN in answer.json()["workers"][0]["name"]


@pytest.mark.parametrize("page", ["messagerecord_change", "runningmessage_changelist", "messagerecord_progress"])
def test_what_a_message_says_of_its_progress_is_on_its_pages(
    page: str, admin: Client, addresses: dict[str, str]
) -> None:
    MessageRecord.objects.update(progress_text=storable("lone \ud800 surrogate"))

    answer = admin.get(addresses[page])

    assert answer.status_code == 200
    assert "lone \\ud800 surrogate" in answer.text


def test_raw_bytes_are_shown_as_numbers(admin: Client, addresses: dict[str, str]) -> None:
    page = admin.get(addresses["messagerecord_change"])

    assert "000000  27 22 3e 3c 73" in Markup(page.text).text
    assert Markup(page.text).dangers == []


@pytest.mark.parametrize("list", ["messagerecord", "deadletter", "delayedmessage", "runningmessage"])
@pytest.mark.parametrize(
    "field", ["actor_name", "queue_name", "app_label", "dead_reason", "stamp", "q", "created", "state"]
)
def test_nothing_in_an_address_runs(list: str, field: str, admin: Client, addresses: dict[str, str]) -> None:
    for value in (TEXT, "\x00", "\ud800".encode("utf-8", "surrogatepass")):
        page = admin.get(url(f"{list}_changelist"), {field: value}, follow=True)

        assert page.status_code == 200
        assert Markup(page.text).dangers == []


def test_nothing_runs_on_the_question_before_an_action(admin: Client, addresses: dict[str, str]) -> None:
    form = {"action": "requeue_selected", ACTION_CHECKBOX_NAME: [ID]}

    page = Markup(admin.post(url("deadletter_changelist"), form).text)

    assert SHOWN in page.text
    assert page.dangers == []


def test_nothing_runs_in_the_errors_of_an_edited_copy(admin: Client, addresses: dict[str, str]) -> None:
    misfit = json.dumps({SHOWN: 1})
    for form in ({"args": TEXT, "kwargs": TEXT}, {"args": "[]", "kwargs": misfit}):
        page = admin.post(addresses["messagerecord_edit"], form)

        assert page.status_code == 200
        assert Markup(page.text).dangers == []


@pytest.mark.parametrize("text", ["\x00", "a\ud800b", "\ufdd0", "\U0010ffff", "\r\n", "x" * 200_000])
def test_texts_that_html_cannot_say_are_shown_all_the_same(text: str, admin: Client, broker: DatabaseBroker) -> None:
    [message_id] = bury(broker, [broker.actors["charge"].message(text)])

    page = admin.get(url("messagerecord_change", message_id))

    assert page.status_code == 200
    assert "\x00" not in page.text
    assert len(page.content) < 200_000


def test_what_is_hidden_from_records_is_on_no_page_but_the_form_of_who_may_requeue(
    admin: Client, broker: DatabaseBroker
) -> None:
    broker.recording = Recording(redact=lambda actor_name, args, kwargs: ([HIDDEN], {"currency": HIDDEN}))
    [message_id] = bury(broker, [broker.actors["charge"].message("4242 4242", currency="4343 4343")])
    operation = BulkOperation.objects.create(action="requeue", started_at=timezone.now(), updated_at=timezone.now())
    arguments: dict[str, tuple[Any, ...]] = {"": (), "message": (message_id,), "operation": (operation.pk,)}

    showing = {
        name
        for name, page in MATRIX.items()
        if page.get and page.argument in arguments
        if "4242 4242" in (text := admin.get(url(name, *arguments[page.argument]), follow=True).text)
        or "4343 4343" in text
    }

    assert showing == {"messagerecord_edit"}


def test_what_came_is_not_in_the_error_of_arguments_that_do_not_fit(
    log_in: Callable[[str], Client], broker: DatabaseBroker
) -> None:
    broker.recording = Recording(arguments=False)
    message = broker.enqueue(Message("shop", "charge", ("4242 4242", 2, 3), {}, {}))
    drain(broker=broker, raise_errors=False)

    page = log_in("viewer").get(url("messagerecord_change", message.message_id))

    assert "BadArguments" in page.text
    assert "4242" not in page.text


@pytest.mark.parametrize("recording", [Recording(arguments=False), Recording(redact=lambda name, *call: call)])
@pytest.mark.parametrize(("role", "sees"), [("viewer", False), ("requeuer", True)])
def test_bytes_that_nobody_can_redact_are_for_those_who_may_see_whole_messages(
    role: str, sees: bool, recording: Recording, log_in: Callable[[str], Client], broker: DatabaseBroker
) -> None:
    broker.recording = recording
    message = broker.actors["charge"].send(1)
    QueuedMessage.objects.filter(message_id=message.message_id).update(payload=b'["secret')
    drain(broker=broker, raise_errors=False)

    page = log_in(role).get(url("messagerecord_change", message.message_id))

    assert ("secret" in page.text) is sees
    assert ("8 bytes" in page.text) is not sees


def test_what_no_database_can_look_for_is_a_bad_request(admin: Client, broker: DatabaseBroker) -> None:
    elsewhere = DatabaseBroker(using="postgresql")
    set_broker(elsewhere)

    for address, form in (
        (url("waitingmessage_changelist") + "?message_id__exact=%00", None),
        (url("deadletter_changelist"), {"action": "requeue_selected", ACTION_CHECKBOX_NAME: ["\x00"]}),
    ):
        answer = admin.get(address) if form is None else admin.post(address, form)
        assert answer.status_code == 400
        assert "NUL" in answer.text
    elsewhere.close()
