"""Schedules: what runs again and again, when next and when last; and whether it does.

What runs is what the code says. Nothing can be typed here: people choose among entries, each of a registered actor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.db.models import OuterRef, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern
from django.utils.translation import gettext as _

from ..broker import get_broker
from ..errors import BrokerError
from ..models import ScheduleEntry, ScheduleRun
from ..schedules import ScheduleRows, declared, run_now
from ..sql import Database
from . import audit, permissions, presentation, reach, rows
from .deeds import tell_of_trouble
from .read_only import ReadOnlyAdmin, records_alias

if TYPE_CHECKING:
    Base = ReadOnlyAdmin[ScheduleEntry]
else:
    Base = ReadOnlyAdmin

MOST_SHOWN = 500


class ScheduleAdmin(Base):
    """All entries by name, with what people may do to each."""

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("<str:object_id>/enable/", self.enable_view, "enable"),
            self.page("<str:object_id>/disable/", self.disable_view, "disable"),
            self.page("<str:object_id>/run/", self.run_view, "run"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        last = ScheduleRun.objects.filter(entry=OuterRef("pk")).order_by("-slot").values("message_id")[:1]
        entries = ScheduleEntry.objects.using(records_alias()).order_by("name").annotate(last_message=Subquery(last))
        may_control = permissions.may(request, permissions.VIEW, permissions.CONTROL)
        return self.render(
            request,
            "schedules.html",
            title=_("Schedules"),
            is_list=True,
            entries=[self._row(entry, may_control) for entry in entries[:MOST_SHOWN]],
            left_out=max(0, entries.count() - MOST_SHOWN),
            may_control=may_control,
        )

    def _row(self, entry: Any, may_control: bool) -> dict[str, Any]:
        deed = "disable" if entry.enabled else "enable"
        message_id = entry.last_message or ""
        return {
            "name": presentation.text(entry.name),
            "actor": presentation.text(entry.actor_name),
            "spec": presentation.text(entry.spec),
            "time_zone": presentation.text(entry.time_zone),
            "catch_up": entry.get_catch_up_display(),
            "enabled": entry.enabled,
            "state": "alive" if entry.enabled else "stale",
            "state_text": _("enabled") if entry.enabled else _("disabled"),
            "next": presentation.moment(entry.next_at) if entry.next_at else "–",
            "last": presentation.moment(entry.last_at) if entry.last_at else "–",
            "message_url": rows.message_address(self.address)(message_id) if message_id else "",
            "switch_url": self.address(deed, quote(entry.name)) if may_control else "",
            "run_url": self.address("run", quote(entry.name)) if may_control else "",
        }

    def enable_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let it run from its next slot on."""
        return self._switch(request, object_id, ScheduleRows.enable, _("Enabled."), _("%(name)s is enabled."))

    def disable_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let nothing run until somebody enables it. What passes meanwhile is not caught up."""
        return self._switch(request, object_id, ScheduleRows.disable, _("Disabled."), _("%(name)s is disabled."))

    def _switch(
        self,
        request: HttpRequest,
        object_id: str,
        switch: Callable[[ScheduleRows, str], bool],
        logged: str,
        told: str,
    ) -> HttpResponse:
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        entry = _entry(object_id)
        with audit.logged_together():
            changed = switch(ScheduleRows(Database(records_alias())), entry.name)
            if changed:
                audit.log(request, [entry], logged)
        if changed:
            messages.success(request, told % {"name": presentation.short(entry.name)})
        else:
            messages.warning(request, _("Somebody else was faster: nothing was changed."))
        return HttpResponseRedirect(self.address("changelist"))

    def run_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Send what the entry sends, now; its next slot stays."""
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        row, back = _entry(object_id), HttpResponseRedirect(self.address("changelist"))
        broker = get_broker()
        entry = declared(broker).get(row.name)
        if entry is None:
            messages.error(request, _("The code that serves this page does not have this schedule."))
            return back
        try:
            reach.require_answer()
            with audit.logged_together():
                run_now(broker, Database(records_alias()), entry)
                audit.log(request, [row], _("Run now."))
        except (BrokerError, TypeError, ValueError) as error:
            tell_of_trouble(request, error)
            return back
        messages.success(request, _("%(name)s is on its way.") % {"name": presentation.short(row.name)})
        return back

    def _refuse(self, request: HttpRequest) -> HttpResponse | None:
        """An answer to whoever does not POST; PermissionDenied for who may not do anything here."""
        self.require_view(request)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        permissions.require(request, permissions.VIEW, permissions.CONTROL)
        return None


def _entry(object_id: str) -> ScheduleEntry:
    entry = ScheduleEntry.objects.using(records_alias()).filter(pk=unquote(object_id)).first()
    if entry is None:
        raise Http404(_("There is no such schedule."))
    return entry
