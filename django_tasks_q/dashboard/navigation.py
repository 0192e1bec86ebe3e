"""The row of links on top of every page."""

from __future__ import annotations

from typing import NamedTuple

from django.contrib.admin import AdminSite
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ..models import (
    ActorState,
    BulkOperation,
    DeadLetter,
    DelayedMessage,
    MessageRecord,
    Overview,
    QueueState,
    RateLimitMutex,
    Revocation,
    RunningMessage,
    ScheduleEntry,
    Stamp,
    WaitingMessage,
    WorkerProcess,
)

ORDER: tuple[tuple[type[Model], Promise], ...] = (
    (Overview, _("Overview")),
    (MessageRecord, _("Messages")),
    (DeadLetter, _("Dead letters")),
    (DelayedMessage, _("Delayed")),
    (RunningMessage, _("Running")),
    (Stamp, _("Batches")),
    (Revocation, _("Revocations")),
    (QueueState, _("Queues")),
    (ActorState, _("Actors")),
    (WorkerProcess, _("Workers")),
    (ScheduleEntry, _("Schedules")),
    (RateLimitMutex, _("Mutexes")),
    (WaitingMessage, _("Outbox")),
    (BulkOperation, _("Bulk")),
)


class Link(NamedTuple):
    text: str
    url: str
    is_current: bool


def navigation(request: HttpRequest, site: AdminSite, current: type[Model]) -> list[Link]:
    """The pages of this site that the person may see, in the order of their use."""
    return [
        _link(site, model, text, model is current)
        for model, text in ORDER
        if site.is_registered(model) and site.get_model_admin(model).has_view_permission(request)
    ]


def _link(site: AdminSite, model: type[Model], text: Promise, is_current: bool) -> Link:
    opts = model._meta
    url = reverse(f"admin:{opts.app_label}_{opts.model_name}_changelist", current_app=site.name)
    return Link(str(text), url, is_current)
