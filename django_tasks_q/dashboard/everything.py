"""Everything that a filter matches: asked once more, then begun as one bulk operation."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, HttpResponseNotAllowed, HttpResponseRedirect
from django.utils import timezone
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from ..models import BulkOperation, MessageRecord
from ..operations import bulk
from ..operations.filters import Filter, capped_count
from . import audit, permissions, presentation
from .deeds import Deed
from .once import asked_at, one_at_a_time
from .paginator import CAP
from .read_only import records_alias

if TYPE_CHECKING:
    from .state_pages import DeadLetterAdmin


def ask_or_begin(page: DeadLetterAdmin, request: HttpRequest, deed: Deed) -> HttpResponse:
    """GET asks, POST begins and leads to the page where it goes on."""
    permissions.require(request, permissions.VIEW, deed.permission)
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    try:
        filter = _asked_for(page, request)
    except (ValueError, RecursionError) as error:
        return HttpResponseBadRequest(presentation.text(str(error)), content_type="text/plain; charset=utf-8")
    if request.method != "POST":
        return _ask(page, request, deed, filter)
    operation = begin_once(request, deed, filter, asked_at(request))
    return HttpResponseRedirect(page.address("change", operation.pk, model=BulkOperation) + "?run")


def _asked_for(page: DeadLetterAdmin, request: HttpRequest) -> Filter:
    """What the list showed; once asked, the words of the question count, or "the last hour" would be a later one."""
    if request.method == "POST" and "filter" in request.POST:
        asked = json.loads(request.POST["filter"])
        if not isinstance(asked, dict):
            raise ValueError("filter: an object is wanted")
        return Filter.from_dict({**asked, "state": page.state})
    return page.filter_of(request.GET.dict())


def _ask(page: DeadLetterAdmin, request: HttpRequest, deed: Deed, filter: Filter) -> HttpResponse:
    return page.render(
        request,
        "everything.html",
        title=_("%(action)s everything that matches") % {"action": capfirst(str(deed.label))},
        deed=deed,
        conditions=conditions(filter.as_dict()),
        filter=json.dumps(filter.as_dict()),
        count=presentation.number(capped_count(filter.queryset(), CAP), CAP),
        asked_at=timezone.now().isoformat(),
        back=page.address("changelist") + page.query_of(request),
    )


def conditions(filters: dict[str, Any]) -> list[tuple[str, str]]:
    """A filter in words."""
    named = {
        "stamp": _("stamp"),
        "search": _("search"),
        "created_from": _("created from"),
        "created_to": _("created to"),
    }
    fields = MessageRecord._meta
    return [
        (capfirst(named.get(name) or str(fields.get_field(name).verbose_name)), _said(value))  # type: ignore[union-attr]
        for name, value in filters.items()
        if value and name != "state"
    ]


def _said(value: Any) -> str:
    """A moment as everywhere else on these pages, anything else as it is."""
    text = presentation.text(str(value))
    try:
        moment = datetime.fromisoformat(text)
        return presentation.absolute(moment) if timezone.is_aware(moment) else text
    except (ValueError, OverflowError):
        return text


def begin_once(request: HttpRequest, deed: Deed, filter: Filter, asked_at: datetime) -> BulkOperation:
    """Begin, unless this person has begun the same since the question was asked: a form may be sent twice at once."""
    started_by = request.user.get_username()
    with audit.logged_together():
        one_at_a_time(request)
        operation = _begun_since(asked_at, deed, filter, started_by)
        if operation is None:
            operation = bulk.begin(deed.name, filter, started_by)
            audit.log(request, [operation], _("Begun, for everything that matches the filter."))
    return operation


def _begun_since(asked_at: datetime, deed: Deed, filter: Filter, started_by: str) -> BulkOperation | None:
    mine = BulkOperation.objects.using(records_alias()).filter(
        action=deed.name, started_by=started_by[:200], started_at__gte=asked_at
    )
    wanted = {**filter.as_dict(), "state": filter.state or "dead"}
    return next((operation for operation in mine.order_by("-started_at")[:20] if operation.filters == wanted), None)
