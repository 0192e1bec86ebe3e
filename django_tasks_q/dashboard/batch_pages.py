"""Batches: the messages that carry one stamp, how far they are, and what can be done to all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote
from django.db.models.functions import Substr
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from ..models import STATE_LABELS, DeadLetter, MessageRecord, Revocation, Stamp
from ..operations.batches import LARGEST, Batch, batch, lately, revocations
from ..operations.filters import Filter
from ..states import State
from . import permissions, presentation, rows
from .read_only import ReadOnlyAdmin
from .record_filters import wrong_stamp
from .record_list import SHORT_ERROR
from .revoked import revocation_row
from .standing import catch_up_alone

if TYPE_CHECKING:
    Base = ReadOnlyAdmin[Stamp]
else:
    Base = ReadOnlyAdmin

MOST_FAILURES = 10
MOST_LATELY = 30


class BatchAdmin(Base):
    """A search for a stamp, and the page of one."""

    def own_urls(self) -> list[URLPattern]:
        return [self.page("batch/", self.batch_view, "batch")]

    def _has_own_permission(self, request: HttpRequest) -> bool:
        return False  # these pages show messages

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return self._search(request, "", "")

    def _search(self, request: HttpRequest, wanted: str, error: str) -> HttpResponse:
        found = [(presentation.text(stamp), rows.batch_address(self.address, stamp)) for stamp in lately()]
        return self.render(
            request,
            "batches.html",
            title=_("Batches"),
            is_list=True,
            wanted=wanted,
            error=error,
            stamps=found[:MOST_LATELY],
            search_url=self.address("batch"),
        )

    def batch_view(self, request: HttpRequest) -> HttpResponse:
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        stamp = request.GET.get("stamp", "")
        error = wrong_stamp({"stamp": stamp})
        if error or not stamp:
            return self._search(request, presentation.text(stamp), error)
        catch_up_alone()
        found = batch(stamp, whole="whole" in request.GET)
        return self.render(
            request,
            "batch.html",
            title=_("Batch %(stamp)s") % {"stamp": presentation.text(stamp)},
            stamp=presentation.text(stamp),
            wanted=presentation.text(stamp),
            search_url=self.address("batch"),
            batch=found,
            words=_words(found),
            states=self._states(stamp, found),
            list_url=self._list(stamp),
            whole_url="" if found.is_whole else f"{rows.batch_address(self.address, stamp)}&whole",
            failures=self._failures(stamp) if found.counts.get(State.DEAD) or not found.is_whole else [],
            revocations=[revocation_row(self.address, request, row) for row in revocations(stamp)],
            buttons=self._buttons(request, stamp, found),
        )

    def _list(self, stamp: str, **more: str) -> str:
        return f"{self.address('changelist', model=MessageRecord)}?{urlencode({'stamp': stamp, **more})}"

    def _states(self, stamp: str, found: Batch) -> list[dict[str, str]]:
        return [
            {
                "state": state,
                "label": str(STATE_LABELS[State(state)]),
                "number": presentation.number(number),
                "url": self._list(stamp, state=state),
            }
            for state, number in found.counts.items()
        ]

    def _failures(self, stamp: str) -> list[dict[str, str]]:
        """The newest dead ones."""
        dead = Filter(stamp=stamp, state=State.DEAD.value).queryset()
        short = dead.only("message_id", "actor_name", "error_type", "dead_reason", "finished_at")
        return [
            {
                "name": presentation.text(record.actor_name) or "?",
                "url": self.address("change", quote(record.pk), model=MessageRecord),
                "reason": record.dead_reason.replace("_", " "),
                "error": _error(record),
                "when": presentation.relative(record.finished_at) if record.finished_at else "–",
            }
            for record in short.annotate(short_error=Substr("error_message", 1, SHORT_ERROR))[:MOST_FAILURES]
        ]

    def _buttons(self, request: HttpRequest, stamp: str, found: Batch) -> list[dict[str, Any]]:
        """What the person may; lifting stands beside each revocation."""
        buttons = []
        ask = {"stamp": stamp, "expires": "week", "ask": "yes"}
        new = self.address("new", model=Revocation)
        if permissions.may(request, permissions.CONTROL):
            buttons = [
                _button("revoke", _("Revoke"), f"{new}?{urlencode(ask)}", True),
                _button("terminate", _("Revoke and terminate"), f"{new}?{urlencode({**ask, 'terminate': 'on'})}", True),
            ]
        has_dead = found.counts.get(State.DEAD) or not found.is_whole
        if has_dead and permissions.may(request, permissions.REQUEUE):
            url = f"{self.address('requeue_everything', model=DeadLetter)}?{urlencode({'stamp': stamp})}"
            buttons.insert(0, _button("requeue", _("Requeue the dead letters"), url, False))
        return buttons


def _button(name: str, label: str, url: str, is_destructive: bool) -> dict[str, Any]:
    return {"name": name, "label": label, "url": url, "is_destructive": is_destructive}


def _words(found: Batch) -> dict[str, str]:
    told = {"ended": presentation.number(found.ended), "seen": presentation.number(found.seen)}
    return {
        "summary": _("%(ended)s of %(seen)s messages have ended.") % told,
        "total": presentation.number(found.total, LARGEST),
        "last_minute": presentation.number(found.last_minute),
        "last_five_minutes": presentation.number(found.last_five_minutes),
    }


def _error(record: Any) -> str:
    parts = (record.error_type, record.short_error)
    return presentation.short(": ".join(presentation.text(part) for part in parts if part))
