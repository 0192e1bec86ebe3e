"""The first page: how everything stands, refreshed by its script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.translation import gettext as _

from ..models import (
    DeadLetter,
    DelayedMessage,
    MessageRecord,
    Overview,
    RunningMessage,
    WaitingMessage,
    WorkerProcess,
)
from . import presentation, rows
from .read_only import ReadOnlyAdmin
from .standing import standing
from .warnings import warnings

if TYPE_CHECKING:
    Base = ReadOnlyAdmin[Overview]
else:
    Base = ReadOnlyAdmin

REFRESH = 5_000
"""Milliseconds between two looks of the script, while somebody looks at the page."""


class OverviewAdmin(Base):
    """No list at all."""

    def own_urls(self) -> list[URLPattern]:
        return [self.page("data/", self.data_view, "data")]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return self.render(
            request,
            "overview.html",
            title=_("Overview"),
            is_list=True,
            refresh=REFRESH,
            data_url=self.address("data"),
            broker_trouble="",  # one of the warnings, which the script refreshes
            **self._data(),
        )

    def data_view(self, request: HttpRequest) -> HttpResponse:
        """What the page shows, for its script."""
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        return JsonResponse(self._data())

    def _data(self) -> dict[str, Any]:
        now, address = standing(), rows.message_address(self.address)
        return {
            "at": presentation.absolute(timezone.now()),
            "cards": rows.cards(now, self._addresses()),
            "warnings": [warning._asdict() for warning in warnings(now)],
            "queues": [rows.queue_row(queue, now.paused.queues.get(queue.queue_name)) for queue in now.queues],
            "workers": [rows.worker_row(worker, now.at, address) | {"current": []} for worker in now.workers],
            "dead_letters": [rows.message_row(record, address) for record in now.dead_letters],
            "running": [rows.message_row(record, address) for record in now.running],
        }

    def _addresses(self) -> dict[str, str]:
        """Where each card leads."""
        return {
            "ready": self.address("changelist", model=MessageRecord) + "?state=enqueued",
            "delayed": self.address("changelist", model=DelayedMessage),
            "running": self.address("changelist", model=RunningMessage),
            "dead": self.address("changelist", model=DeadLetter),
            "finished": self.address("changelist", model=MessageRecord) + "?state=succeeded",
            "workers": self.address("changelist", model=WorkerProcess),
            "outbox": self.address("changelist", model=WaitingMessage),
        }
