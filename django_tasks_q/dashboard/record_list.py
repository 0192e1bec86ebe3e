"""The lists of records: found by :class:`Filter`, newest first, without a full count and without the large columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast, Substr
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..models import MessageRecord
from ..operations.filters import Filter
from ..states import State
from . import permissions, presentation, progress
from .read_only import ReadOnlyAdmin
from .record_filters import (
    ActorFilter,
    AppFilter,
    PeriodFilter,
    QueueFilter,
    StampFilter,
    StateFilter,
    beginning,
    wrong_stamp,
)
from .standing import catch_up_alone

if TYPE_CHECKING:
    RecordsBase = ReadOnlyAdmin[MessageRecord]
else:
    RecordsBase = ReadOnlyAdmin

FIELDS = ("state", "actor_name", "app_label", "queue_name", "dead_reason", "stamp", "created_from", "created_to")
PARAMETERS = {*FIELDS, "created", SEARCH_VAR, "p", "e", "o", "all", "_changelist_filters"}

HEAVY = ("args", "kwargs", "options", "raw", "error_message")
SHORT_ERROR = 200
SHORT_ARGUMENTS = 60
"""Enough to tell one order from another; the page of the message shows them whole."""


def filter_of(parameters: Mapping[str, str], **fixed: str) -> Filter:
    """What the address of a list asks for; ``fixed`` is what the list itself says. ValueError naming a wrong field."""
    values = {name: parameters.get(name, "") for name in FIELDS}
    if not values["created_from"] and not values["created_to"]:
        values["created_from"] = beginning(parameters.get("created", ""))
    # What a browser cannot send is not in any record either.
    values = {name: value.replace("\x00", "") for name, value in values.items()}
    search = parameters.get(SEARCH_VAR, "").strip().replace("\x00", "")
    return Filter(**{**values, "search": search, **fixed})


class RecordChangeList(ChangeList):
    """The stock list, except for who finds the rows and where they lead."""

    model_admin: RecordList

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        self.filter_specs, self.has_filters, _rest, _duplicates, self.has_active_filters = self.get_filters(request)
        self.clear_all_filters_qs = self.get_query_string(remove=list(self.get_filters_params()))
        if wrong_stamp(self.params):  # said by the page
            self.filter = Filter()
            return self.model_admin.found(self.filter).none()
        try:
            self.filter = self.model_admin.filter_of(self.params)
        except ValueError as error:
            raise IncorrectLookupParameters(error) from error
        return self.model_admin.found(self.filter)

    def url_for_result(self, result: Any) -> str:
        return self.model_admin.address("change", quote(result.pk), model=MessageRecord)


class RecordList(RecordsBase):
    """A list of records, all of them or those in one state."""

    state = ""
    """Records in this state only."""
    unread: ClassVar[tuple[str, ...]] = (*HEAVY, "progress_text")
    """Columns that are not read."""
    list_display: Any = ("state_badge", "message", "where", "created", "waited", "ran", "retries")
    list_display_links: Any = ("message",)
    list_filter: ClassVar[Any] = (StateFilter, StampFilter, PeriodFilter, QueueFilter, AppFilter, ActorFilter)
    search_fields: ClassVar[Any] = ("message_id",)
    search_help_text = _("A whole message id, correlation id or group id.")

    def filter_of(self, parameters: Mapping[str, str]) -> Filter:
        fixed = {"state": self.state} if self.state else {}
        return filter_of(parameters, **fixed)

    def found(self, filter: Filter) -> QuerySet[MessageRecord]:
        """The rows of the list."""
        beginnings = {
            "short_error": Substr("error_message", 1, SHORT_ERROR),
            "short_args": Substr(Cast("args", TextField()), 1, SHORT_ARGUMENTS + 1),
            "short_kwargs": Substr(Cast("kwargs", TextField()), 1, SHORT_ARGUMENTS + 1),
        }
        return filter.queryset().defer(*self.unread).annotate(**beginnings)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return RecordChangeList

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in PARAMETERS

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.require_view(request)
        self._require_action(request)
        catch_up_alone()
        if request.method == "GET" and (error := wrong_stamp(request.GET.dict())):
            messages.error(request, error)
        return super().changelist_view(request, extra_context)

    def _require_action(self, request: HttpRequest) -> None:
        """The stock view would only say that no action was selected."""
        known = {action.__name__: action for action in self.actions or ()}
        for name in request.POST.getlist("action"):
            if name in known and name not in self.get_actions(request):
                raise PermissionDenied

    def has_requeue_permission(self, request: HttpRequest) -> bool:
        return permissions.may(request, permissions.VIEW, permissions.REQUEUE)

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return permissions.may(request, permissions.VIEW, permissions.DISCARD)

    def has_control_permission(self, request: HttpRequest) -> bool:
        return permissions.may(request, permissions.VIEW, permissions.CONTROL)

    # Columns

    @admin.display(description=_("state"))
    def state_badge(self, record: MessageRecord) -> SafeString:
        return presentation.badge(record.state)

    @admin.display(description=_("message"))
    def message(self, record: MessageRecord) -> SafeString:
        name, whole_id = presentation.text(record.actor_name) or "?", presentation.text(record.message_id)
        return format_html(
            '<bdi class="dtq-actor">{}</bdi> <bdi class="dtq-arguments">{}</bdi> '
            '<span class="dtq-id" title="{}">{}</span>',
            name,
            _arguments(record),
            whole_id,
            presentation.middle(whole_id),
        )

    @admin.display(description=_("queue, app"))
    def where(self, record: MessageRecord) -> SafeString:
        return format_html(
            '<bdi>{}</bdi> <span class="dtq-app">{}</span>', presentation.text(record.queue_name), record.app_label
        )

    @admin.display(description=_("created"))
    def created(self, record: MessageRecord) -> SafeString | str:
        return presentation.moment(record.created_at)

    @admin.display(description=_("waited"))
    def waited(self, record: MessageRecord) -> str:
        begin = record.enqueued_at
        end = timezone.now() if record.state == State.ENQUEUED else record.started_at
        return "–" if begin is None or end is None or end < begin else presentation.duration(end - begin)

    @admin.display(description=_("ran"))
    def ran(self, record: MessageRecord) -> str:
        begin = record.started_at
        end = timezone.now() if record.state == State.RUNNING else record.finished_at
        return "–" if begin is None or end is None or end < begin else presentation.duration(end - begin)

    @admin.display(description=_("due"))
    def due(self, record: MessageRecord) -> SafeString | str:
        return presentation.moment(record.eta)

    @admin.display(description=_("died"))
    def died(self, record: MessageRecord) -> SafeString | str:
        return presentation.moment(record.finished_at)

    @admin.display(description=_("started"))
    def started(self, record: MessageRecord) -> SafeString | str:
        return presentation.moment(record.started_at)

    @admin.display(description=_("progress"))
    def how_far(self, record: MessageRecord) -> SafeString | str:
        return progress.of_message(record) or "–"

    @admin.display(description=_("worker"))
    def running_on(self, record: MessageRecord) -> str:
        return presentation.text(record.worker) or "–"

    @admin.display(description=_("reason"))
    def reason(self, record: MessageRecord) -> SafeString:
        parts = (record.error_type, record.short_error)  # type: ignore[attr-defined]
        error = presentation.short(": ".join(presentation.text(part) for part in parts if part))
        return format_html(
            '<span class="dtq-reason">{}</span> <bdi class="dtq-error-line">{}</bdi>',
            record.dead_reason.replace("_", " "),
            error,
        )


def _arguments(record: Any) -> str:
    """The beginning of what a message was sent with, as it is recorded; nothing for nothing."""
    shown = [text for text in (record.short_args, record.short_kwargs) if text not in (None, "[]", "{}", "null")]
    return presentation.short(" ".join(shown), SHORT_ARGUMENTS)
