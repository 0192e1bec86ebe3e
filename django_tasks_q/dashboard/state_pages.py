"""The records in one state each: dead letters, delayed messages, what runs now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from django.contrib.admin.utils import quote, unquote
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from ..models import MessageRecord
from ..operations.filters import Filter
from ..states import State
from . import permissions
from .deeds import DEEDS
from .everything import ask_or_begin
from .record_filters import (
    ActorFilter,
    AppFilter,
    DelayFilter,
    PeriodFilter,
    QueueFilter,
    ReasonFilter,
    StampFilter,
)
from .record_list import HEAVY, PARAMETERS, RecordList
from .selected import discard_selected, requeue_selected, revoke_selected, terminate_selected


class StateList(RecordList):
    """A list whose rows lead to the page of the message."""

    list_filter: ClassVar[Any] = (StampFilter, PeriodFilter, QueueFilter, AppFilter, ActorFilter)

    def own_urls(self) -> list[URLPattern]:
        return [self.page("<str:object_id>/change/", self.change_view, "change")]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        self.require_view(request)
        return HttpResponseRedirect(self.address("change", quote(unquote(object_id)), model=MessageRecord))


class DeadLetterAdmin(StateList):
    """What will not run unless somebody requeues it."""

    state = State.DEAD.value
    list_display: Any = ("message", "reason", "where", "died", "retries")
    list_filter: ClassVar[Any] = (ReasonFilter, *StateList.list_filter)
    actions: Any = (requeue_selected, discard_selected)

    def own_urls(self) -> list[URLPattern]:
        return [
            *super().own_urls(),
            self.page("everything/requeue/", self.requeue_everything, "requeue_everything"),
            self.page("everything/discard/", self.discard_everything, "discard_everything"),
        ]

    def requeue_everything(self, request: HttpRequest) -> HttpResponse:
        return ask_or_begin(self, request, DEEDS["requeue"])

    def discard_everything(self, request: HttpRequest) -> HttpResponse:
        return ask_or_begin(self, request, DEEDS["discard"])

    def query_of(self, request: HttpRequest) -> str:
        """The part of the address that says what the list shows."""
        kept = PARAMETERS - {"p", "e"}
        wanted = {name: value for name, value in request.GET.dict().items() if name in kept}
        return f"?{urlencode(wanted)}" if wanted else ""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"tools": self._tools(request), **(extra_context or {})})

    def _tools(self, request: HttpRequest) -> list[dict[str, str]]:
        texts = {
            "requeue": _("Requeue everything that matches"),
            "discard": _("Discard everything that matches"),
        }
        return [
            {
                "name": f"{deed.name}-everything",
                "text": texts[deed.name],
                "url": self.address(f"{deed.name}_everything") + self.query_of(request),
            }
            for deed in (DEEDS["requeue"], DEEDS["discard"])
            if permissions.may(request, permissions.VIEW, deed.permission)
        ]


class DelayedAdmin(StateList):
    """What waits for its time."""

    list_display: Any = ("state_badge", "message", "where", "due", "created", "retries")
    list_filter: ClassVar[Any] = (DelayFilter, *StateList.list_filter)
    actions: Any = (discard_selected, revoke_selected)

    STATES = (State.DELAYED.value, State.RETRYING.value)

    def filter_of(self, parameters: Mapping[str, str]) -> Filter:
        state = parameters.get("state", "")
        return super().filter_of({**parameters, "state": state if state in self.STATES else ""})

    def found(self, filter: Filter) -> QuerySet[MessageRecord]:
        found = super().found(filter)
        if filter.state:
            return found
        # The exclusion is the condition of the index, word for word.
        return found.filter(state__in=self.STATES).exclude(state=State.SUCCEEDED.value)


class RunningAdmin(StateList):
    """What a worker is running now, and has been for longer than a moment."""

    state = State.RUNNING.value
    list_display: Any = ("message", "how_far", "where", "started", "ran", "running_on", "retries")
    unread: ClassVar[tuple[str, ...]] = HEAVY
    actions: Any = (revoke_selected, terminate_selected)
