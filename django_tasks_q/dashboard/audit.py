"""What people did, in Django's own log, and what they are told of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from django.contrib.admin.models import CHANGE, LogEntry
from django.db import router, transaction
from django.db.models import Model
from django.http import HttpRequest

from ..operations.filters import records
from ..operations.repair import Tally


def log(request: HttpRequest, things: Iterable[Model], message: str) -> None:
    """One entry for each thing."""
    found = list(things)
    if found:
        LogEntry.objects.log_actions(request.user.pk, found, CHANGE, message)  # type: ignore[arg-type]


def log_messages(request: HttpRequest, message_ids: Iterable[str], message: str) -> None:
    """One entry for each message, to be found in its history."""
    log(request, records().filter(pk__in=list(message_ids)).only("message_id", "actor_name"), message)


@contextmanager
def logged_together() -> Iterator[None]:
    """What is done inside is logged or, where both are in one database, not done."""
    with transaction.atomic(using=router.db_for_write(LogEntry)):
        yield


def carry_out(request: HttpRequest, act: Callable[[list[str], str], Tally], ids: list[str], message: str) -> Tally:
    """Do something to messages, and log it for those that it was done to. Raises what ``act`` raises."""
    with logged_together():
        tally = act(ids, request.user.get_username())
        log_messages(request, tally.done, message)
    return tally
