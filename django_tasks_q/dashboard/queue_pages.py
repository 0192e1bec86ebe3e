"""Queues: what they hold; letting their messages wait, and throwing away what waits."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote, unquote
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern
from django.utils.translation import gettext as _

from ..broker import get_broker
from ..control import pause_queue, resume_queue
from ..errors import BrokerError
from ..models import QueueState
from ..operations.stats import QueueStats, queues_and_workers
from . import permissions, presentation, reach, rows
from .question import Question, ask_or_do
from .read_only import ReadOnlyAdmin, broker_trouble
from .standing import pauses

if TYPE_CHECKING:
    Base = ReadOnlyAdmin[QueueState]
else:
    Base = ReadOnlyAdmin


class QueueAdmin(Base):
    """What each queue holds: the last count where it is fresh, else a live one that goes no further than it must."""

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("<str:object_id>/pause/", self.pause_view, "pause"),
            self.page("<str:object_id>/resume/", self.resume_view, "resume"),
            self.page("<str:object_id>/purge/", self.purge_view, "purge"),
        ]

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
        if name not in get_broker().queues:
            return []
        pausing = ("resume", _("Resume…")) if paused_at else ("pause", _("Pause…"))
        offered = [(*pausing, permissions.CONTROL), ("purge", _("Purge…"), permissions.DISCARD)]
        return [
            {"name": verb, "text": text, "url": self.address(verb, quote(name))}
            for verb, text, permission in offered
            if permissions.may(request, permissions.VIEW, permission)
        ]

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        permissions.require(request, permissions.VIEW, permissions.CONTROL)
        name = _declared(object_id)
        question = Question(
            title=_("Pause a queue"),
            question=_("Pause queue “%(queue)s”?") % {"queue": presentation.text(name)},
            consequence=_(
                "No worker takes messages from it, until somebody resumes it. What runs is finished, and sending goes "
                "on."
            ),
            button=_("Pause"),
            act=lambda: pause_queue(name),
            thing=QueueState(queue_name=name),
            logged=_("Paused."),
            done=_("Queue “%(queue)s” is paused.") % {"queue": presentation.text(name)},
            too_late=_("It is paused already."),
            back=self.address("changelist"),
        )
        return ask_or_do(self, request, question)

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        permissions.require(request, permissions.VIEW, permissions.CONTROL)
        name = _declared(object_id)
        question = Question(
            title=_("Resume a queue"),
            question=_("Resume queue “%(queue)s”?") % {"queue": presentation.text(name)},
            consequence=_("Workers take its messages again."),
            button=_("Resume"),
            act=lambda: resume_queue(name),
            thing=QueueState(queue_name=name),
            logged=_("Resumed."),
            done=_("Queue “%(queue)s” goes on.") % {"queue": presentation.text(name)},
            too_late=_("It is not paused any more."),
            back=self.address("changelist"),
        )
        return ask_or_do(self, request, question)

    def purge_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        permissions.require(request, permissions.VIEW, permissions.DISCARD)
        name = _declared(object_id)
        question = Question(
            title=_("Purge a queue"),
            question=_("Throw away everything in queue “%(queue)s”?") % {"queue": presentation.text(name)},
            consequence=_(
                "What waits, is delayed or dead is discarded and will never run. This cannot be undone; records stay. "
                "What runs is left alone."
            ),
            button=_("Purge"),
            act=lambda: _purge(name),
            thing=QueueState(queue_name=name),
            logged=_("Purged."),
            done=_("Queue “%(queue)s” was purged.") % {"queue": presentation.text(name)},
            too_late="",
            back=self.address("changelist"),
            counts=[] if request.method == "POST" else _counts(name),
            is_destructive=True,
        )
        return ask_or_do(self, request, question)


def _declared(object_id: str) -> str:
    name = unquote(object_id)
    if name not in get_broker().queues:
        raise Http404(_("This process knows no such queue."))
    return name


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
