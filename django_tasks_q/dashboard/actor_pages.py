"""Actors: which there are, what they have to do, and letting their messages wait."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..actor import Actor
from ..broker import get_broker
from ..control import pause_actor, resume_actor
from ..models import MessageRecord
from ..operations.actor_counts import actor_counts
from ..states import State
from . import presentation, rows
from .pausing_pages import PausingAdmin, Words
from .standing import pauses

WAITING = (State.ENQUEUED, State.DELAYED, State.RETRYING)
MOST_OPTIONS = 160
"""Characters of an actor's options."""


class ActorAdmin(PausingAdmin):
    """What this process declares, and what is paused."""

    name_field = "actor_name"
    pausing = Words(
        title=gettext_lazy("Pause an actor"),
        question=gettext_lazy("Pause actor “%(name)s”?"),
        consequence=gettext_lazy(
            "None of its messages starts, until somebody resumes it; they are put aside, and no attempt is "
            "counted. Others of its queue go on, and what runs is finished."
        ),
        done=gettext_lazy("Actor “%(name)s” is paused."),
    )
    resuming = Words(
        title=gettext_lazy("Resume an actor"),
        question=gettext_lazy("Resume actor “%(name)s”?"),
        consequence=gettext_lazy("Its messages start again, those first that were put aside."),
        done=gettext_lazy("Actor “%(name)s” goes on."),
    )
    unknown = gettext_lazy("This process knows no such actor.")

    def declared_names(self) -> Collection[str]:
        return get_broker().actors

    def pause(self, name: str) -> bool:
        return pause_actor(name)

    def resume(self, name: str) -> bool:
        return resume_actor(name)

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
                    "links": self.pausing_links(request, name, since.get(name)),
                }
                for name in sorted({*actors, *since})
            ],
        )


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
