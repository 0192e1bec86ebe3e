"""What people may do to messages: with which permission, to messages in which state, and how it is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from django.contrib import messages
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..errors import BrokerError
from ..models import MessageRecord
from ..operations import repair
from ..operations.repair import Tally
from ..states import State
from . import audit, permissions, presentation, reach

WAITING = frozenset({State.ENQUEUED, State.DELAYED, State.RETRYING})


class Deed(NamedTuple):
    """Something that is done to messages. ``question`` and ``consequence`` are asked and said before it is done."""

    name: str
    permission: str
    states: frozenset[State]
    act: Callable[[list[str]], Tally]
    label: Promise
    question: Promise
    consequence: Promise
    logged: Promise
    is_destructive: bool = False


DEEDS = {
    "requeue": Deed(
        "requeue",
        permissions.REQUEUE,
        frozenset({State.DEAD, State.UNKNOWN}),
        repair.requeue,
        _("Requeue"),
        _("Requeue?"),
        _("A new life begins: the message goes to the end of its queue with its full arguments and all its attempts."),
        _("Requeued."),
    ),
    "discard": Deed(
        "discard",
        permissions.DISCARD,
        WAITING | {State.DEAD, State.UNKNOWN},
        repair.discard,
        _("Discard"),
        _("Discard?"),
        _("The message is thrown away and will never run. This cannot be undone; its record stays."),
        _("Discarded."),
        is_destructive=True,
    ),
}


def carry_out(request: HttpRequest, deed: Deed, ids: list[str]) -> Tally:
    """Do it, log it, and tell the person how it went; trouble with the broker is told as well."""
    try:
        reach.require_answer()
        tally = audit.carry_out(request, deed.act, ids, str(deed.logged))
    except BrokerError as error:
        tell_of_trouble(request, error)
        return Tally([], ids)
    _tell(request, deed, tally)
    return tally


def doubt(things: Iterable[MessageRecord]) -> str:
    """What is to be said before something is done to messages of which nobody knows where they are; else nothing."""
    if not any(record.state == State.UNKNOWN or record.dead_reason == "lost" for record in things):
        return ""
    return gettext(
        "Nobody knows whether an unknown or lost message has run, or still will. If you requeue it, it may run twice; "
        "if you discard it, it may run all the same."
    )


def tell_of_trouble(request: HttpRequest, error: Exception) -> None:
    """That the broker could not do it."""
    text = _("Nothing was changed: %(error)s") % {"error": presentation.short(str(error), 500)}
    messages.error(request, text)


def _tell(request: HttpRequest, deed: Deed, tally: Tally) -> None:
    if tally.done:
        messages.success(request, _done(deed, len(tally.done)))
    if tally.skipped:
        count = len(tally.skipped)
        text = ngettext(
            "%(count)s message was skipped: it is in another state by now, or not even its record has all of it.",
            "%(count)s messages were skipped: they are in another state by now, or not even their records have all.",
            count,
        )
        messages.warning(request, text % {"count": presentation.number(count)})


def _done(deed: Deed, count: int) -> str:
    if deed.name == "requeue":
        text = ngettext("%(count)s message was requeued.", "%(count)s messages were requeued.", count)
    else:
        text = ngettext("%(count)s message was discarded.", "%(count)s messages were discarded.", count)
    return text % {"count": presentation.number(count)}
