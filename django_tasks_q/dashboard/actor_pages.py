"""Actors: which there are, what they have to do, and letting their messages wait."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib.admin.utils import quote, unquote
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import URLPattern
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from ..actor import Actor
from ..broker import get_broker
from ..control import pause_actor, resume_actor
from ..models import ActorState, MessageRecord
from ..operations.actor_counts import actor_counts
from ..states import State
from . import permissions, presentation, rows
from .question import Question, ask_or_do
from .read_only import ReadOnlyAdmin
from .standing import pauses

if TYPE_CHECKING:
    Base = ReadOnlyAdmin[ActorState]
else:
    Base = ReadOnlyAdmin

WAITING = (State.ENQUEUED, State.DELAYED, State.RETRYING)
MOST_OPTIONS = 160
"""Characters of an actor's options."""


class ActorAdmin(Base):
    """What this process declares, and what is paused."""

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("<str:object_id>/pause/", self.pause_view, "pause"),
            self.page("<str:object_id>/resume/", self.resume_view, "resume"),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        self.require_view(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        actors, since, (counts, capped) = get_broker().actors, pauses().actors, actor_counts()
        return self.render(
            request,
            "actors.html",
            title=_("Actors"),
            is_list=True,
            actors=[
                {
                    **_declaration(actors.get(name)),
                    **_numbers(counts.get(name, {}), capped),
                    "name": presentation.text(name),
                    "paused": rows.paused(since[name]) if name in since else "",
                    "level": "warning" if name in since else "",
                    "url": f"{self.address('changelist', model=MessageRecord)}?{urlencode({'actor_name': name})}",
                    "links": self._links(request, name, since.get(name)) if name in actors else [],
                }
                for name in sorted({*actors, *since})
            ],
        )

    def _links(self, request: HttpRequest, name: str, paused_at: datetime | None) -> list[dict[str, str]]:
        if not permissions.may(request, permissions.VIEW, permissions.CONTROL):
            return []
        verb, text = ("resume", _("Resume…")) if paused_at else ("pause", _("Pause…"))
        return [{"name": verb, "text": text, "url": self.address(verb, quote(name))}]

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        permissions.require(request, permissions.VIEW, permissions.CONTROL)
        name = _declared(object_id)
        question = Question(
            title=_("Pause an actor"),
            question=_("Pause actor “%(actor)s”?") % {"actor": presentation.text(name)},
            consequence=_(
                "None of its messages starts, until somebody resumes it; they are put aside, and no attempt is "
                "counted. Others of its queue go on, and what runs is finished."
            ),
            button=_("Pause"),
            act=lambda: pause_actor(name),
            thing=ActorState(actor_name=name),
            logged=_("Paused."),
            done=_("Actor “%(actor)s” is paused.") % {"actor": presentation.text(name)},
            too_late=_("It is paused already."),
            back=self.address("changelist"),
        )
        return ask_or_do(self, request, question)

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        permissions.require(request, permissions.VIEW, permissions.CONTROL)
        name = _declared(object_id)
        question = Question(
            title=_("Resume an actor"),
            question=_("Resume actor “%(actor)s”?") % {"actor": presentation.text(name)},
            consequence=_("Its messages start again, those first that were put aside."),
            button=_("Resume"),
            act=lambda: resume_actor(name),
            thing=ActorState(actor_name=name),
            logged=_("Resumed."),
            done=_("Actor “%(actor)s” goes on.") % {"actor": presentation.text(name)},
            too_late=_("It is not paused any more."),
            back=self.address("changelist"),
        )
        return ask_or_do(self, request, question)


def _declared(object_id: str) -> str:
    name = unquote(object_id)
    if name not in get_broker().actors:
        raise Http404(_("This process knows no such actor."))
    return name


def _declaration(actor: Actor[Any, Any] | None) -> dict[str, str]:
    """Where its messages go, and with which options; one that is paused may be somebody else's."""
    if actor is None:
        return {"queue": "", "options": _("not declared in this process")}
    options: dict[str, Any] = {**({"priority": actor.priority} if actor.priority else {}), **actor.options}
    said = ", ".join(f"{name}={_said(value)}" for name, value in options.items() if value is not None)
    return {"queue": actor.queue_name, "options": presentation.short(said, MOST_OPTIONS)}


def _said(value: Any) -> str:
    if isinstance(value, Actor):
        return value.actor_name
    return getattr(value, "__name__", "") or str(value)


def _numbers(counts: Mapping[str, int], capped: set[str]) -> dict[str, str]:
    def told(*states: State) -> str:
        more = "+" if capped.intersection(states) else ""
        return presentation.number(sum(counts.get(state, 0) for state in states)) + more

    return {"waiting": told(*WAITING), "running": told(State.RUNNING), "dead": told(State.DEAD)}
