"""What people may do to messages: with which permission, to messages in which state, and how it is said."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from django.contrib import messages
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..control import revoke
from ..errors import BrokerError
from ..models import MessageRecord
from ..operations import repair
from ..operations.filters import records
from ..operations.repair import Tally
from ..states import State
from . import audit, obedience, permissions, presentation, reach

WAITING = frozenset({State.ENQUEUED, State.DELAYED, State.RETRYING})
LIVE = WAITING | {State.RUNNING}

MOST_NAME = 200
"""Characters of the name of who wants something, as its row keeps them."""


class Deed(NamedTuple):
    """Something that is done to messages. ``question`` and ``consequence`` are asked and said before it is done.

    ``act`` gets their ids and the name of who wants it. ``is_counted``: people are told how many are in which state.
    """

    name: str
    permission: str
    states: frozenset[State]
    act: Callable[[list[str], str], Tally]
    label: Promise
    question: Promise
    consequence: Promise
    logged: Promise
    is_destructive: bool = False
    is_counted: bool = False


def _requeue(ids: list[str], who: str) -> Tally:
    return repair.requeue(ids)


def _discard(ids: list[str], who: str) -> Tally:
    return repair.discard(ids)


def _revoke(ids: list[str], who: str) -> Tally:
    return _call_off(ids, who, terminate=False)


def _terminate(ids: list[str], who: str) -> Tally:
    return _call_off(ids, who, terminate=True)


def _call_off(ids: list[str], who: str, *, terminate: bool) -> Tally:
    """Nothing is kept of what has ended: a revocation of it would be about nothing."""
    live = set(records().filter(pk__in=ids, state__in=[str(state) for state in LIVE]).values_list("pk", flat=True))
    wanted = [one for one in ids if one in live]
    if wanted:
        revoke(ids=wanted, terminate=terminate, by=who[:MOST_NAME])
    return Tally(wanted, [one for one in ids if one not in live])


DEEDS = {
    "requeue": Deed(
        "requeue",
        permissions.REQUEUE,
        frozenset({State.DEAD, State.UNKNOWN}),
        _requeue,
        _("Requeue"),
        _("Requeue?"),
        _("A new life begins: the message goes to the end of its queue with its full arguments and all its attempts."),
        _("Requeued."),
    ),
    "discard": Deed(
        "discard",
        permissions.DISCARD,
        WAITING | {State.DEAD, State.UNKNOWN},
        _discard,
        _("Discard"),
        _("Discard?"),
        _("The message is thrown away and will never run. This cannot be undone; its record stays."),
        _("Discarded."),
        is_destructive=True,
    ),
    "revoke": Deed(
        "revoke",
        permissions.CONTROL,
        LIVE,
        _revoke,
        _("Revoke"),
        _("Revoke?"),
        _("What waits will not run. What runs goes on to its end, and is not tried again. Both end as revoked."),
        _("Revoked."),
        is_destructive=True,
        is_counted=True,
    ),
    "terminate": Deed(
        "terminate",
        permissions.CONTROL,
        LIVE,
        _terminate,
        _("Revoke and terminate"),
        _("Revoke and terminate?"),
        _(
            "What waits will not run. What runs is interrupted; if that does not end it within seconds, its process "
            "is ended, with whatever else runs there."
        ),
        _("Revoked and terminated."),
        is_destructive=True,
        is_counted=True,
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
    if deed.is_counted and tally.done:
        obedience.tell(request)
    return tally


def counts(deed: Deed, ids: list[str]) -> list[tuple[str, str]]:
    """How many of these messages it is about, by their state; empty where people are shown nothing but the messages."""
    return presentation.by_state(revoke(ids=ids, dry_run=True).counts) if deed.is_counted and ids else []


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
    elif deed.name == "discard":
        text = ngettext("%(count)s message was discarded.", "%(count)s messages were discarded.", count)
    else:
        text = ngettext("%(count)s message was revoked.", "%(count)s messages were revoked.", count)
    return text % {"count": presentation.number(count)}
