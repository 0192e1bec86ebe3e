"""Workers and waiting messages: what carries the messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.db.models.functions import Length
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..models import WaitingMessage, WorkerProcess
from . import presentation, rows
from .read_only import ReadOnlyAdmin
from .standing import all_workers, database_now

if TYPE_CHECKING:
    WorkerBase = ReadOnlyAdmin[WorkerProcess]
    WaitingBase = ReadOnlyAdmin[WaitingMessage]
else:
    WorkerBase = WaitingBase = ReadOnlyAdmin


class WorkerAdmin(WorkerBase):
    """The worker processes and what they run."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        now, address = database_now(), rows.message_address(self.address)
        workers = [rows.worker_row(worker, now, address) for worker in all_workers()]
        return self.render(request, "workers.html", title=_("Workers"), is_list=True, workers=workers)


class WaitingAdmin(WaitingBase):
    """Messages of committed transactions on their way to the broker. Their payloads are nobody's to read.

    What waits in the room beside them is delayed or dead, and shown as such.
    """

    list_display: Any = ("message", "queue_name", "due", "created", "size")
    list_display_links: Any = None
    ordering: ClassVar[Any] = ("-id",)
    search_fields: ClassVar[Any] = ("message_id__exact",)
    search_help_text = gettext_lazy("A whole message id.")

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        return lookup in ("message_id", "message_id__exact")

    def get_queryset(self, request: HttpRequest) -> QuerySet[WaitingMessage]:
        found = super().get_queryset(request).filter(kind=WaitingMessage.Kind.COMMIT)
        return found.defer("payload").annotate(bytes=Length("payload"))

    @admin.display(description=gettext_lazy("message"))
    def message(self, row: WaitingMessage) -> str:
        return presentation.text(row.message_id)

    @admin.display(description=gettext_lazy("due"))
    def due(self, row: WaitingMessage) -> SafeString | str:
        return presentation.moment(row.due_at) if row.due_at else _("when somebody decides")

    @admin.display(description=gettext_lazy("created"))
    def created(self, row: WaitingMessage) -> SafeString | str:
        return presentation.moment(row.created_at)

    @admin.display(description=gettext_lazy("size"))
    def size(self, row: WaitingMessage) -> str:
        return presentation.size(row.bytes)  # type: ignore[attr-defined]
