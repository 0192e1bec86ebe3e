"""Actions on the messages that somebody ticked in a list: asked once more, then done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin import helpers
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from .deeds import DEEDS, Deed, carry_out, counts, doubt

if TYPE_CHECKING:
    from .record_list import RecordList


@admin.action(permissions=["requeue"], description=_("Requeue selected messages"))
def requeue_selected(page: RecordList, request: HttpRequest, found: QuerySet[Any]) -> HttpResponse | None:
    return _ask_or_do(page, request, found, DEEDS["requeue"], "requeue_selected")


@admin.action(permissions=["discard"], description=_("Discard selected messages"))
def discard_selected(page: RecordList, request: HttpRequest, found: QuerySet[Any]) -> HttpResponse | None:
    return _ask_or_do(page, request, found, DEEDS["discard"], "discard_selected")


@admin.action(permissions=["control"], description=_("Revoke selected messages"))
def revoke_selected(page: RecordList, request: HttpRequest, found: QuerySet[Any]) -> HttpResponse | None:
    return _ask_or_do(page, request, found, DEEDS["revoke"], "revoke_selected")


@admin.action(permissions=["control"], description=_("Revoke and terminate selected messages"))
def terminate_selected(page: RecordList, request: HttpRequest, found: QuerySet[Any]) -> HttpResponse | None:
    return _ask_or_do(page, request, found, DEEDS["terminate"], "terminate_selected")


def _ask_or_do(
    page: RecordList, request: HttpRequest, found: QuerySet[Any], deed: Deed, action: str
) -> HttpResponse | None:
    # Never "all pages" of a list: that is a bulk operation, which says so.
    rows = list(found.filter(pk__in=request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)))
    if request.POST.get("confirmed"):
        carry_out(request, deed, [row.pk for row in rows])
        return None
    return page.render(
        request,
        "confirm.html",
        title=deed.label,
        deed=deed,
        things=rows,
        counts=counts(deed, [row.pk for row in rows]),
        doubt=doubt(rows),
        hidden=[("action", action), *((helpers.ACTION_CHECKBOX_NAME, row.pk) for row in rows)],
        back=request.get_full_path(),
    )
