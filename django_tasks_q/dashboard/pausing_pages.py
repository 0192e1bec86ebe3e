"""Letting what has a name wait, and end that: the same two pages for queues and for actors, in their own words."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from django.contrib.admin.utils import quote, unquote
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from . import permissions, presentation
from .question import Question, ask_or_do
from .read_only import ReadOnlyAdmin

if TYPE_CHECKING:
    Base = ReadOnlyAdmin[Model]
else:
    Base = ReadOnlyAdmin


class Words(NamedTuple):
    """What one of the pages says, with ``%(name)s`` for what it is about."""

    title: str | Promise
    question: str | Promise
    consequence: str | Promise
    done: str | Promise


class _Both(NamedTuple):
    """What it says of either kind of thing."""

    button: str
    logged: str
    too_late: str


class PausingAdmin(Base):
    """Pages that pause and resume what this process declares; of another process's it knows nothing."""

    name_field: ClassVar[str]
    """The field of the model that has the name."""
    pausing: ClassVar[Words]
    resuming: ClassVar[Words]
    unknown: ClassVar[str | Promise]

    @abstractmethod
    def declared_names(self) -> Collection[str]: ...

    @abstractmethod
    def pause(self, name: str) -> bool:
        """False when it is paused already."""

    @abstractmethod
    def resume(self, name: str) -> bool:
        """False when it is not paused any more."""

    def own_urls(self) -> list[URLPattern]:
        return [
            self.page("<str:object_id>/pause/", self.pause_view, "pause"),
            self.page("<str:object_id>/resume/", self.resume_view, "resume"),
        ]

    def pausing_links(self, request: HttpRequest, name: str, paused_at: datetime | None) -> list[dict[str, str]]:
        """The way to the one of the two that can be done now, for who may."""
        if name not in self.declared_names() or not permissions.may(request, permissions.VIEW, permissions.CONTROL):
            return []
        verb, text = ("resume", _("Resume…")) if paused_at else ("pause", _("Pause…"))
        return [{"name": verb, "text": text, "url": self.address(verb, quote(name))}]

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        both = _Both(_("Pause"), _("Paused."), _("It is paused already."))
        return self._ask(request, object_id, self.pause, self.pausing, both)

    def resume_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        both = _Both(_("Resume"), _("Resumed."), _("It is not paused any more."))
        return self._ask(request, object_id, self.resume, self.resuming, both)

    def _ask(
        self, request: HttpRequest, object_id: str, act: Callable[[str], bool], words: Words, both: _Both
    ) -> HttpResponse:
        permissions.require(request, permissions.VIEW, permissions.CONTROL)
        name = self.declared(object_id)
        shown = {"name": presentation.text(name)}
        question = Question(
            title=str(words.title),
            question=words.question % shown,
            consequence=str(words.consequence),
            button=both.button,
            act=lambda: act(name),
            thing=self.thing(name),
            logged=both.logged,
            done=words.done % shown,
            too_late=both.too_late,
            back=self.address("changelist"),
        )
        return ask_or_do(self, request, question)

    def thing(self, name: str) -> Any:
        """What stands in the log of the admin."""
        return self.model(**{self.name_field: name})

    def declared(self, object_id: str) -> str:
        """The name in the address of a page; Http404 for what this process does not declare."""
        name = unquote(object_id)
        if name not in self.declared_names():
            raise Http404(str(self.unknown))
        return name
