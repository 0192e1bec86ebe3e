"""Bulk operations: who began which, how far it is, and the steps that carry it on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseNotAllowed,
    HttpResponseRedirect,
    JsonResponse,
)
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..errors import BrokerError
from ..models import BulkOperation
from ..operations import bulk
from . import permissions, presentation, reach
from .deeds import DEEDS, tell_of_trouble
from .everything import conditions
from .read_only import ReadOnlyAdmin, records_alias

if TYPE_CHECKING:
    Base = ReadOnlyAdmin[BulkOperation]
else:
    Base = ReadOnlyAdmin


class BulkOperationAdmin(Base):
    """What was begun stays here; what was interrupted goes on from where it stopped."""

    list_display: Any = ("what", "filter", "progress", "started_by", "started", "finished")
    list_display_links: Any = ("what",)
    ordering: ClassVar[Any] = ("-started_at",)

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("<int:object_id>/change/", self.change_view, "change"),
            self.page("<int:object_id>/step/", self.step_view, "step"),
        ]

    def change_view(
        self, request: HttpRequest, object_id: Any, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """How far it is. The page's script, or a button, asks for one step after the other."""
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        operation = _operation(object_id)
        deed = DEEDS[operation.action]
        return self.render(
            request,
            "bulk_operation.html",
            title=_("%(action)s everything that matches") % {"action": str(deed.label)},
            operation=operation,
            conditions=conditions(operation.filters),
            step_url=self.address("step", operation.pk),
            may_step=permissions.may(request, permissions.VIEW, deed.permission),
            runs_by_itself="run" in request.GET,
            **_progress(operation),
        )

    def step_view(self, request: HttpRequest, object_id: int) -> HttpResponse:
        """Go on for about a second; told as JSON to who asks for it, else by going back to the page."""
        self.require_view(request)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        operation = _operation(object_id)
        permissions.require(request, permissions.VIEW, DEEDS[operation.action].permission)
        wants_json = "application/json" in request.headers.get("Accept", "")
        try:
            reach.require_answer()
            operation = bulk.step(operation.pk)
        except BrokerError as error:
            if wants_json:
                return JsonResponse({"error": presentation.short(str(error), 500)}, status=503)
            tell_of_trouble(request, error)
        if wants_json:
            return JsonResponse(_progress(operation))
        return HttpResponseRedirect(self.address("change", operation.pk))

    # Columns

    @admin.display(description=gettext_lazy("action"))
    def what(self, operation: BulkOperation) -> str:
        return f"{DEEDS[operation.action].label} #{operation.pk}"

    @admin.display(description=gettext_lazy("filter"))
    def filter(self, operation: BulkOperation) -> str:
        named = [f"{name}: {presentation.short(value, 60)}" for name, value in conditions(operation.filters)]
        return ", ".join(named) or _("all")

    @admin.display(description=gettext_lazy("progress"))
    def progress(self, operation: BulkOperation) -> SafeString:
        told = _progress(operation)
        return format_html('<span class="dtq-number">{}</span>', told["summary"])

    @admin.display(description=gettext_lazy("started"))
    def started(self, operation: BulkOperation) -> SafeString | str:
        return presentation.moment(operation.started_at)

    @admin.display(description=gettext_lazy("finished"))
    def finished(self, operation: BulkOperation) -> SafeString | str:
        if operation.finished_at is None:
            return _("not yet")
        return presentation.moment(operation.finished_at)


def _operation(object_id: int) -> BulkOperation:
    operation = BulkOperation.objects.using(records_alias()).filter(pk=object_id).first()
    if operation is None:
        raise Http404(_("There is no such bulk operation."))
    return operation


def _progress(operation: BulkOperation) -> dict[str, Any]:
    """How far it is, in numbers and in words. The total was counted before it began, and not to the end."""
    seen = operation.done + operation.skipped
    total = max(operation.total, seen)
    is_finished = operation.finished_at is not None
    share = 100 if is_finished else min(99, 100 * seen // max(1, total))
    numbers = {
        "done": presentation.number(operation.done),
        "skipped": presentation.number(operation.skipped),
        "total": presentation.number(total, bulk.TOTAL_CAP if operation.total >= bulk.TOTAL_CAP else None),
    }
    if is_finished:
        summary = _("%(done)s done, %(skipped)s skipped") % numbers
    else:
        summary = _("%(done)s done, %(skipped)s skipped of about %(total)s") % numbers
    return {"finished": is_finished, "percent": share, "summary": summary}
