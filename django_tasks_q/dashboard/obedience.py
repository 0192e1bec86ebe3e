"""Which live workers do not know yet what was revoked, paused or resumed."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest
from django.utils.translation import ngettext

from .. import clock
from ..broker import get_broker
from ..control.revoking import PATIENCE, await_obedience
from ..errors import BrokerError
from ..rules import control_store
from . import presentation

MOST_NAMED = 5


def unreached(patience: float = 0.0) -> list[str]:
    """Workers that do not obey yet, after so many seconds; none where nobody can tell.

    Where each request is a transaction nobody knows yet what this one changes.
    """
    store = control_store(get_broker())
    if store is None or store.waits_for_commit:
        return []
    try:
        return await_obedience(store, store.version(), clock.monotonic() + patience)
    except BrokerError:
        return []


def tell(request: HttpRequest) -> None:
    """Wait until all obey, two seconds at most, and name those that do not."""
    left = unreached(PATIENCE)
    if left:
        messages.warning(request, in_words(left))


def in_words(workers: list[str]) -> str:
    """That these workers do not obey yet; empty for none."""
    if not workers:
        return ""
    text = ngettext(
        "%(count)d worker does not know it yet: %(workers)s. It obeys as soon as it goes on.",
        "%(count)d workers do not know it yet: %(workers)s. They obey as soon as they go on.",
        len(workers),
    )
    named = [presentation.text(one) for one in workers[:MOST_NAMED]]
    return text % {"count": len(workers), "workers": ", ".join(named) + (", …" if len(workers) > MOST_NAMED else "")}
