"""The list of all messages, the page of one message, and what can be done there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.views.main import SEARCH_VAR
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    JsonResponse,
)
from django.urls import URLPattern
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from ..broker import get_broker
from ..models import MessageRecord, Revocation
from ..operations import progress
from ..operations.filters import records
from ..recording import HIDDEN
from ..states import FINAL, State
from . import permissions, presentation, record_detail
from .composition import Composition
from .deeds import DEEDS, Deed, carry_out, counts, doubt
from .edited_copy import EditedCopy
from .record_list import RecordList
from .rows import batch_address
from .selected import discard_selected, requeue_selected, revoke_selected, terminate_selected
from .standing import catch_up_alone


def _unquoted(object_id: str) -> str:
    return str(unquote(object_id)).replace("\x00", "")


class MessageAdmin(RecordList):
    """All messages."""

    actions: Any = (requeue_selected, discard_selected, revoke_selected, terminate_selected)

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("<str:object_id>/change/", self.change_view, "change"),
            self.page("<str:object_id>/history/", self.history_view, "history"),
            self.page("<str:object_id>/requeue/", self.requeue_view, "requeue"),
            self.page("<str:object_id>/discard/", self.discard_view, "discard"),
            self.page("<str:object_id>/revoke/", self.revoke_view, "revoke"),
            self.page("<str:object_id>/terminate/", self.terminate_view, "terminate"),
            self.page("<str:object_id>/edit/", self.edit_view, "edit"),
            self.page("<str:object_id>/progress/", self.progress_view, "progress"),
            self.page("groups/<str:group_id>/progress/", self.group_progress_view, "group_progress"),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of one message; there is nothing to change on it."""
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        catch_up_alone()
        record = self._record(object_id)
        attempts, stamps = record_detail.attempts_of(record), record_detail.stamps_of(record)
        revocation = record_detail.revocation_of(record, stamps)
        return self.render(
            request,
            "message.html",
            title=presentation.text(record.actor_name) or _("Message"),
            record=record,
            shown_id=presentation.text(record.pk),
            dead_reason=record.dead_reason.replace("_", " "),
            error_type=presentation.text(record.error_type),
            error_message=presentation.text(record.error_message)[: presentation.LONGEST],
            attempts=attempts,
            timeline=record_detail.timeline(record, attempts),
            documents=record_detail.documents(record),
            facts=record_detail.facts(record),
            stamps=[(stamp, batch_address(self.address, stamp)) for stamp in stamps],
            revocation=revocation and (f"#{revocation.pk}", self.address("change", revocation.pk, model=Revocation)),
            raw=self._raw(request, record),
            composition=Composition(record, self._page_of) if record.group_id else None,
            composition_url=f"{self.address('changelist')}?{urlencode({SEARCH_VAR: record.group_id})}",
            parent_url=self.address("change", quote(record.parent_id)) if record.parent_id else "",
            children=[
                (child, self.address("change", quote(child.pk)))
                for child in record_detail.children_of(record, attempts)
            ],
            buttons=self._buttons(request, record),
            history_url=self.address("history", quote(record.pk)),
            progress_url="" if record.state in FINAL else self.address("progress", quote(record.pk)),
        )

    def progress_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """One message as JSON: its state and how far it is."""
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        catch_up_alone()
        return JsonResponse(progress.as_json(self._record(object_id, progress.PROGRESS_FIELDS)))

    def group_progress_view(self, request: HttpRequest, group_id: str) -> HttpResponse:
        """The messages of a group as JSON: how many of them are in which state."""
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        catch_up_alone()
        group_id = _unquoted(group_id)
        members = progress.tally(progress.of_group(group_id))
        if not members.total:
            raise Http404(_("No message of this group is recorded."))
        return JsonResponse({"group_id": group_id, **members.as_json()})

    def _page_of(self, message_id: str) -> str:
        return self.address("change", quote(message_id))

    def _raw(self, request: HttpRequest, record: MessageRecord) -> str:
        """Bytes that nobody can decode are bytes that nobody can redact."""
        if record.raw is None:
            return ""
        data = bytes(record.raw)
        if get_broker().recording.hides and not permissions.may(request, permissions.REQUEUE):
            return f"{HIDDEN} ({presentation.size(len(data))})"
        return presentation.dump(data)

    def _buttons(self, request: HttpRequest, record: MessageRecord) -> list[dict[str, Any]]:
        """What the state allows and the person may."""
        buttons: list[dict[str, Any]] = [
            {"name": deed.name, "label": deed.label, "is_destructive": deed.is_destructive}
            for deed in DEEDS.values()
            if record.state in deed.states and permissions.may(request, deed.permission)
        ]
        if record.state == State.DEAD and record.raw is None and permissions.may(request, permissions.REQUEUE):
            buttons.insert(1, {"name": "edit", "label": _("Requeue an edited copy"), "is_destructive": False})
        return [{**button, "url": self.address(button["name"], quote(record.pk))} for button in buttons]

    def _record(self, object_id: str, fields: Sequence[str] = ()) -> MessageRecord:
        """All of it, or these fields alone."""
        found = records().filter(pk=_unquoted(object_id))
        record = (found.only(*fields) if fields else found).first()
        if record is None:
            raise Http404(_("No message with this id is recorded."))
        return record

    # Doing something to one message

    def requeue_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._ask_or_do(request, object_id, DEEDS["requeue"])

    def discard_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._ask_or_do(request, object_id, DEEDS["discard"])

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._ask_or_do(request, object_id, DEEDS["revoke"])

    def terminate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._ask_or_do(request, object_id, DEEDS["terminate"])

    def _ask_or_do(self, request: HttpRequest, object_id: str, deed: Deed) -> HttpResponse:
        permissions.require(request, permissions.VIEW, deed.permission)
        record = self._record(object_id)
        back = self.address("change", quote(record.pk))
        if request.method == "POST":
            carry_out(request, deed, [record.pk])
            return HttpResponseRedirect(back)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
        return self.render(
            request,
            "confirm.html",
            title=deed.label,
            deed=deed,
            things=[record],
            counts=counts(deed, [record.pk]),
            doubt=doubt([record]),
            back=back,
        )

    def edit_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        permissions.require(request, permissions.VIEW, permissions.REQUEUE)
        return EditedCopy(self, self._record(object_id)).respond(request)
