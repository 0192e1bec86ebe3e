"""Who reaches what: every page of the admin, every role, every method. A page without a row here is a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from django.contrib import admin as django_admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from django_tasks_q import revoke
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.models import (
    ActorState,
    BulkOperation,
    MessageRecord,
    QueuedMessage,
    QueueState,
    RateLimitMutex,
    Revocation,
    ScheduleEntry,
    ScheduleRun,
)
from django_tasks_q.operations import bulk
from django_tasks_q.operations.filters import Filter
from django_tasks_q.rate_limits.backends import DatabaseBackend
from django_tasks_q.rate_limits.mutex import Owner
from tests.admin.conftest import LABEL, person
from tests.admin.pages import url

VIEW, REQUEUE, DISCARD, CONTROL = (
    {"viewer", "requeuer", "discarder", "controller", "superuser"},
    {"requeuer", "superuser"},
    {"discarder", "superuser"},
    {"controller", "superuser"},
)
EVERYBODY = (
    "anonymous",
    "staff",
    "requeuer without view",
    "viewer",
    "requeuer",
    "discarder",
    "controller",
    "superuser",
)
METHODS = ("get", "head", "post", "put", "patch", "delete")


class Page(NamedTuple):
    """Who may use a page by which method; another method is refused with 405, whoever may use some is told so."""

    get: set[str] | None
    post: set[str] | None = None
    argument: str = ""


LISTS = (
    "revocation",
    "messagerecord",
    "deadletter",
    "delayedmessage",
    "runningmessage",
    "waitingmessage",
    "bulkoperation",
)

MATRIX: dict[str, Page] = {
    "overview_changelist": Page(VIEW),
    "overview_data": Page(VIEW),
    "queuestate_changelist": Page(VIEW),
    "queuestate_pause": Page(CONTROL, CONTROL, "queue"),
    "queuestate_resume": Page(CONTROL, CONTROL, "queue"),
    "queuestate_purge": Page(DISCARD, DISCARD, "queue"),
    "actorstate_changelist": Page(VIEW),
    "actorstate_pause": Page(CONTROL, CONTROL, "actor"),
    "actorstate_resume": Page(CONTROL, CONTROL, "actor"),
    "stamp_changelist": Page(VIEW),
    "stamp_batch": Page(VIEW),
    "revocation_new": Page(CONTROL, CONTROL),
    "revocation_change": Page(VIEW, None, "revocation"),
    "revocation_lift": Page(CONTROL, CONTROL, "revocation"),
    "workerprocess_changelist": Page(VIEW),
    "ratelimitmutex_changelist": Page(VIEW),
    "ratelimitmutex_release": Page(CONTROL, CONTROL, "key"),
    "scheduleentry_changelist": Page(VIEW),
    "scheduleentry_enable": Page(None, CONTROL, "disabled entry"),
    "scheduleentry_disable": Page(None, CONTROL, "entry"),
    "scheduleentry_run": Page(None, CONTROL, "entry"),
    # A POST to a list without an action shows the list.
    **{f"{name}_changelist": Page(VIEW, VIEW) for name in LISTS},
    "messagerecord_change": Page(VIEW, None, "message"),
    "messagerecord_history": Page(VIEW, VIEW, "message"),
    "messagerecord_requeue": Page(REQUEUE, REQUEUE, "message"),
    "messagerecord_discard": Page(DISCARD, DISCARD, "message"),
    "messagerecord_revoke": Page(CONTROL, CONTROL, "message"),
    "messagerecord_terminate": Page(CONTROL, CONTROL, "message"),
    "messagerecord_edit": Page(REQUEUE, REQUEUE, "message"),
    "messagerecord_progress": Page(VIEW, None, "message"),
    "messagerecord_group_progress": Page(VIEW, None, "group"),
    "deadletter_change": Page(VIEW, VIEW, "message"),
    "deadletter_requeue_everything": Page(REQUEUE, REQUEUE),
    "deadletter_discard_everything": Page(DISCARD, DISCARD),
    "delayedmessage_change": Page(VIEW, VIEW, "message"),
    "runningmessage_change": Page(VIEW, VIEW, "message"),
    "bulkoperation_change": Page(VIEW, None, "operation"),
    "bulkoperation_step": Page(None, REQUEUE, "operation"),
}


QUERIES = {"stamp_batch": "?stamp=batch%3D42"}
"""What the address of a page says besides."""


def registered_pages() -> set[str]:
    """The names of all pages that the app has on the admin site, as the site itself resolves them."""
    names = set()
    for model, model_admin in django_admin.site._registry.items():
        if model._meta.app_label == LABEL:
            names |= {str(pattern.name).removeprefix(f"{LABEL}_") for pattern in model_admin.get_urls()}
    return names


def test_every_page_has_a_row_in_the_matrix() -> None:
    assert registered_pages() == set(MATRIX)


def test_no_page_of_the_stock_admin_adds_changes_or_deletes() -> None:
    verbs = {name.rpartition("_")[2] for name in registered_pages()}

    assert not verbs & {"add", "delete"}


@pytest.fixture
def addresses(dead_letter: str) -> dict[str, str]:
    """The address of each page, about things that exist."""
    backend = DatabaseBackend()
    token = backend.acquire("key", Owner("worker", "message"), 1, 60_000)
    operation = bulk.begin("requeue", Filter(), "somebody")
    MessageRecord.objects.create(message_id="member", state="running", group_id="group")
    ScheduleEntry.objects.create(name="charge", actor_name="charge", spec="0 3 * * *", declared_at=timezone.now())
    ScheduleEntry.objects.create(name="off", actor_name="charge", enabled=False, declared_at=timezone.now())
    arguments = {
        "": (),
        "message": (dead_letter,),
        "operation": (operation.pk,),
        "key": ("key",),
        "group": ("group",),
        "entry": ("charge",),
        "disabled entry": ("off",),
        "queue": ("shop",),
        "actor": ("charge",),
        "revocation": (revoke(stamps={"batch": 42}).id,),
    }
    queries = {**QUERIES, "ratelimitmutex_release": f"?token={token}"}
    return {name: url(name, *arguments[page.argument]) + queries.get(name, "") for name, page in MATRIX.items()}


def everything_there_is() -> list[object]:
    """What a page without side effects leaves as it is."""
    tables = (
        MessageRecord,
        QueuedMessage,
        BulkOperation,
        RateLimitMutex,
        Revocation,
        QueueState,
        ActorState,
        ScheduleEntry,
        ScheduleRun,
        LogEntry,
    )
    return [sorted(map(str, table.objects.values_list())) for table in tables]


@pytest.mark.parametrize("role", EVERYBODY)
def test_pages_open_for_those_who_may_and_for_nobody_else(
    role: str, log_in: Callable[[str], Client], addresses: dict[str, str]
) -> None:
    client = log_in(role)
    before = everything_there_is()

    wrong = {
        f"{method} {name}": answer.status_code
        for name, address in addresses.items()
        for method in ("get", "head")
        if (answer := getattr(client, method)(address)).status_code not in expected(role, MATRIX[name].get)
        or (role == "anonymous" and "/login/" not in answer.url)
    }

    assert wrong == {}
    assert everything_there_is() == before


def expected(role: str, allowed: set[str] | None) -> set[int]:
    if role == "anonymous":
        return {302}
    if allowed is None:
        return {405} if role in VIEW else {403}
    return {200, 302} if role in allowed else {403}


@pytest.mark.parametrize("role", [role for role in EVERYBODY if role != "superuser"])
def test_who_may_not_changes_nothing_by_any_method(
    role: str, log_in: Callable[[str], Client], addresses: dict[str, str]
) -> None:
    client = log_in(role)
    before = everything_there_is()

    for name, address in addresses.items():
        for method in METHODS:
            allowed = (MATRIX[name].post if method == "post" else MATRIX[name].get) or set()
            if role in allowed:
                continue
            answer = getattr(client, method)(address, {"confirmed": "yes", "args": "[1]", "kwargs": "{}"})
            assert answer.status_code in {302 if role == "anonymous" else 403, 405}, f"{method} {name}"

    assert everything_there_is() == before


@pytest.mark.parametrize("method", ["put", "patch", "delete"])
def test_other_methods_change_nothing_for_anybody(method: str, admin: Client, addresses: dict[str, str]) -> None:
    before = everything_there_is()

    for address in addresses.values():
        getattr(admin, method)(address)

    assert everything_there_is() == before


@pytest.mark.parametrize(
    ("role", "page"), [("requeuer", "messagerecord_requeue"), ("discarder", "messagerecord_discard")]
)
def test_who_may_does(role: str, page: str, log_in: Callable[[str], Client], dead_letter: str) -> None:
    assert log_in(role).post(url(page, dead_letter)).status_code == 302

    assert MessageRecord.objects.get(pk=dead_letter).state != "dead"
    assert LogEntry.objects.get().user.username == role


@pytest.mark.parametrize(
    ("role", "action"),
    [("viewer", "requeue_selected"), ("discarder", "requeue_selected"), ("requeuer", "discard_selected")],
)
@pytest.mark.parametrize("page", ["messagerecord_changelist", "deadletter_changelist"])
def test_an_action_that_somebody_may_not_is_refused(
    role: str, action: str, page: str, log_in: Callable[[str], Client], dead_letter: str
) -> None:
    form = {"action": action, ACTION_CHECKBOX_NAME: [dead_letter], "confirmed": "yes"}

    assert log_in(role).post(url(page), form).status_code == 403
    assert MessageRecord.objects.get(pk=dead_letter).state == "dead"


def test_steps_of_a_discard_need_the_permission_to_discard(log_in: Callable[[str], Client], dead: list[str]) -> None:
    operation = bulk.begin("discard", Filter(), "somebody")
    step = url("bulkoperation_step", operation.pk)

    assert log_in("requeuer").post(step).status_code == 403
    assert MessageRecord.objects.filter(state="dead").count() == 3
    assert log_in("discarder").post(step).status_code == 302
    assert not MessageRecord.objects.filter(state="dead").exists()


def test_nothing_is_offered_that_somebody_may_not(log_in: Callable[[str], Client], dead_letter: str) -> None:
    client = log_in("viewer")

    assert client.get(url("messagerecord_change", dead_letter)).context["buttons"] == []
    page = client.get(url("deadletter_changelist"))
    assert page.context["tools"] == []
    assert page.context["action_form"] is None


def test_everything_that_changes_something_wants_the_token_against_forgery(
    log_in: Callable[..., Client], addresses: dict[str, str]
) -> None:
    client = log_in("superuser", enforce_csrf_checks=True)
    before = everything_there_is()

    for name, address in addresses.items():
        answer = client.post(address, {"confirmed": "yes", "args": "[1]", "kwargs": "{}"})
        assert answer.status_code == 403, name

    assert everything_there_is() == before


@pytest.mark.parametrize(
    "model",
    [
        "workerprocess",
        "queuestate",
        "actorstate",
        "scheduleentry",
        "revocation",
        "ratelimitmutex",
        "waitingmessage",
        "bulkoperation",
    ],
)
def test_a_model_with_a_permission_of_its_own_is_seen_with_it(
    model: str, log_in: Callable[[str], Client], broker: DatabaseBroker
) -> None:
    user = person("staff")
    user.user_permissions.add(Permission.objects.get(codename=f"view_{model}"))
    client = Client()
    client.force_login(user)

    assert client.get(url(f"{model}_changelist")).status_code == 200
    assert client.get(url("messagerecord_changelist")).status_code == 403
