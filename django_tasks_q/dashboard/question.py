"""A question before something is done to what is no message: asked by GET, done by POST."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect

from ..errors import BrokerError
from . import audit, obedience
from .deeds import tell_of_trouble
from .read_only import ReadOnlyAdmin


class Question(NamedTuple):
    """What is asked, and what happens on yes.

    ``act`` tells whether it did something; ``thing`` is what it was done to, and ``logged`` what its history says then.
    People are told ``done``, or else ``too_late``. ``facts`` and ``counts`` are shown with the question.
    """

    title: str
    question: str
    consequence: str
    button: str
    act: Callable[[], bool]
    thing: Model
    logged: str
    done: str
    too_late: str
    back: str
    facts: Sequence[tuple[str, str]] = ()
    counts: Sequence[tuple[str, str]] = ()
    is_destructive: bool = False


def ask_or_do(page: ReadOnlyAdmin[Any], request: HttpRequest, question: Question) -> HttpResponse:
    """Who gets here may do it."""
    if request.method == "POST":
        _do(request, question)
        return HttpResponseRedirect(question.back)
    if request.method not in ("GET", "HEAD"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    return page.render(request, "question.html", title=question.title, question=question)


def _do(request: HttpRequest, question: Question) -> None:
    try:
        with audit.logged_together():
            is_done = question.act()
            if is_done:
                audit.log(request, [question.thing], question.logged)
    except BrokerError as error:
        tell_of_trouble(request, error)
        return
    if is_done:
        messages.success(request, question.done)
        obedience.tell(request)
    else:
        messages.warning(request, question.too_late)
