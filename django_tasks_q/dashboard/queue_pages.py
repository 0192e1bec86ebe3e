"""Queues: what they hold; letting their messages wait, and throwing away what waits."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.contrib.admin.utils import quote
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..broker import get_broker
from ..control import pause_queue, resume_queue
from ..errors import BrokerError
from ..operations.stats import QueueStats, queues_and_workers
from . import permissions, presentation, reach, rows
from .pausing_pages import PausingAdmin, Words
from .question import Question, ask_or_do
from .read_only import broker_trouble
from .standing import pauses


class QueueAdmin(PausingAdmin):
    """What each queue holds: the last count where it is fresh, else a live one that goes no further than it must."""

    name_field = "queue_name"
    pausing = Words(
        title=gettext_lazy("Pause a queue"),
        question=gettext_lazy("Pause queue “%(name)s”?"),
        consequence=gettext_lazy(
            "No worker takes messages from it, until somebody resumes it. What runs is finished, and sending goes on."
        ),
        done=gettext_lazy("Queue “%(name)s” is paused."),
    )
    resuming = Words(
        title=gettext_lazy("Resume a queue"),
        question=gettext_lazy("Resume queue “%(name)s”?"),
        consequence=gettext_lazy("Workers take its messages again."),
        done=gettext_lazy("Queue “%(name)s” goes on."),
    )
    unknown = gettext_lazy("This process knows no such queue.")

    def own_urls(self) -> list[URLPattern]:
        return [*super().own_urls(), self.page("<str:object_id>/purge/", self.purge_view, "purge")]

    def declared_names(self) -> Collection[str]:
        return get_broker().queues

    def pause(self, name: str) -> bool:
        return pause_queue(name)

    def resume(self, name: str) -> bool:
        return resume_queue(name)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        trouble, queues, since = "", [], pauses().queues
        try:
            found, _workers = queues_and_workers(reach.PATIENCE)
            queues = [self._row(request, queue, since.get(queue.queue_name)) for queue in found]
        except BrokerError as error:
            trouble = presentation.short(str(error), 300)
        return self.render(
            request,
            "queues.html",
            title=_("Queues"),
            is_list=True,
            queues=queues,
            has_links=any(row["links"] for row in queues),
            trouble=trouble,
            broker_trouble="" if trouble else broker_trouble(),
        )

    def _row(self, request: HttpRequest, queue: QueueStats, paused_at: datetime | None) -> dict[str, Any]:
        return {**rows.queue_row(queue, paused_at), "links": self._links(request, queue.queue_name, paused_at)}

    def _links(self, request: HttpRequest, name: str, paused_at: datetime | None) -> list[dict[str, str]]:
        """What the person may do to it here; a queue that this process does not declare is somebody else's."""
        links = self.pausing_links(request, name, paused_at)
        if name in self.declared_names() and permissions.may(request, permissions.VIEW, permissions.DISCARD):
            links.append({"name": "purge", "text": _("Purge…"), "url": self.address("purge", quote(name))})
        return links

    def purge_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        permissions.require(request, permissions.VIEW, permissions.DISCARD)
        name = self.declared(object_id)
        question = Question(
            title=_("Purge a queue"),
            question=_("Throw away everything in queue “%(queue)s”?") % {"queue": presentation.text(name)},
            consequence=_(
                "What waits, is delayed or dead is discarded and will never run. This cannot be undone; records stay. "
                "What runs is left alone."
            ),
            button=_("Purge"),
            act=lambda: _purge(name),
            thing=self.thing(name),
            logged=_("Purged."),
            done=_("Queue “%(queue)s” was purged.") % {"queue": presentation.text(name)},
            too_late="",
            back=self.address("changelist"),
            counts=[] if request.method == "POST" else _counts(name),
            is_destructive=True,
        )
        return ask_or_do(self, request, question)


def _purge(name: str) -> bool:
    reach.require_answer()
    get_broker().flush(name)
    return True


def _counts(name: str) -> list[tuple[str, str]]:
    """What would be thrown away; empty where the broker is away, which the page says."""
    try:
        found, _workers = queues_and_workers(reach.PATIENCE)
    except BrokerError:
        return []
    queue = next((one for one in found if one.queue_name == name), QueueStats(name))
    named = [(_("Ready"), queue.ready), (_("Delayed"), queue.delayed), (_("Dead"), queue.dead)]
    return [(label, rows.count(value)) for label, value in named]
