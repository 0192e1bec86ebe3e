"""Everything that is known of one message, in the order in which people ask."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..models import Attempt, MessageRecord, Revocation, Stamp
from ..operations.filters import records
from ..progress import LONGEST_TEXT
from ..states import State
from . import presentation, progress
from .gathered_items import gathered_items
from .stored_result import stored_result

MOST_ATTEMPTS = 100
MOST_CHILDREN = 25

STRETCH = 5_000
"""Records that are looked through for children, from each of the times at which this one may have sent them."""


MOST_STAMPS = 32
"""By which revocations are looked for."""

_REVOCATION = re.compile(r"Revocation (\d{1,18})\b", re.ASCII)
"""How the error of a message begins that a worker called off."""


class Step(NamedTuple):
    """A point of the timeline. ``after``: how long since the one before."""

    at: datetime
    name: str
    detail: str
    kind: str
    after: str = ""


class Document(NamedTuple):
    """Recorded JSON, pretty printed; an empty text means that it was not recorded."""

    name: str
    text: str


def attempts_of(record: MessageRecord) -> list[Attempt]:
    """What failed, was lost or interrupted; of very many the last ones."""
    found = Attempt.objects.using(record._state.db).filter(message_id=record.pk).order_by("-id")[:MOST_ATTEMPTS]
    return list(found)[::-1]


def stamps_of(record: MessageRecord) -> list[str]:
    """Its stamps, each as ``name=value``."""
    rows = Stamp.objects.using(record._state.db).filter(message_id=record.pk).order_by("name", "value")
    return [f"{name}={value}" for name, value in rows.values_list("name", "value")]


def revocation_of(record: MessageRecord, stamps: list[str]) -> Revocation | None:
    """What called it off: its error says it where a worker got it, else the latest that names it or a stamp of it."""
    if record.state != State.REVOKED:
        return None
    rows = Revocation.objects.using(record._state.db).order_by("-pk")
    said = _REVOCATION.match(record.error_message)
    if said:
        return rows.filter(pk=int(said[1])).first()
    about = Q(name="", value=record.pk)
    for name, _sign, value in (stamp.partition("=") for stamp in stamps[:MOST_STAMPS]):
        about |= Q(name=name, value=value)
    return rows.filter(about).first()


def timeline(record: MessageRecord, attempts: list[Attempt]) -> list[Step]:
    """What happened when."""
    steps = [
        *_step(
            record.created_at, _("Created"), presentation.text(record.parent_id and _("by another message")), "born"
        ),
        *_step(record.enqueued_at, _("Enqueued"), _lives(record), "enqueued"),
        *(step for attempt in attempts for step in _steps_of(attempt)),
        *_last_start(record, attempts),
        *_end(record),
        *_future(record),
    ]
    return _with_pauses(sorted(steps, key=lambda step: step.at))


def _step(at: datetime | None, name: str, detail: str, kind: str) -> list[Step]:
    return [] if at is None else [Step(at, name, detail, kind)]


def _lives(record: MessageRecord) -> str:
    return _("life %(number)d") % {"number": record.life + 1} if record.life else ""


def _steps_of(attempt: Attempt) -> list[Step]:
    name = _("Attempt %(number)d") % {"number": attempt.number}
    started = _step(attempt.started_at, _("%(attempt)s started") % {"attempt": name}, "", "started")
    error = presentation.short(attempt.error_message or attempt.error_type)
    outcome = _("%(attempt)s: %(outcome)s") % {"attempt": name, "outcome": _(attempt.outcome)}
    return [*started, *_step(attempt.finished_at, outcome, error, "failed")]


def _last_start(record: MessageRecord, attempts: list[Attempt]) -> list[Step]:
    """The start that no attempt tells of: of what succeeded, or still runs."""
    if any(attempt.started_at == record.started_at for attempt in attempts):
        return []
    return _step(record.started_at, _("Started"), presentation.text(record.worker), "started")


def _end(record: MessageRecord) -> list[Step]:
    reason = record.dead_reason.replace("_", " ")
    return _step(record.finished_at, _(record.state).capitalize(), reason, record.state)


def _future(record: MessageRecord) -> list[Step]:
    is_waiting = record.state in (State.DELAYED, State.RETRYING)
    return _step(record.eta, _("Due"), presentation.relative(record.eta), "due") if is_waiting and record.eta else []


def _with_pauses(steps: list[Step]) -> list[Step]:
    pairs = zip([None, *steps], steps, strict=False)
    return [
        step if before is None else step._replace(after=presentation.duration(step.at - before.at))
        for before, step in pairs
    ]


def documents(record: MessageRecord) -> list[Document]:
    """Arguments and options as they were recorded, which may be redacted."""
    named = ((_("Arguments"), record.args), (_("Keyword arguments"), record.kwargs), (_("Options"), record.options))
    return [Document(name, "" if value is None else presentation.pretty(value)) for name, value in named]


def children_of(record: MessageRecord, attempts: list[Attempt]) -> list[MessageRecord]:
    """Messages that this one sent, or that were sent in its place.

    No index knows parents: every send would pay for it. They are created while it runs or when it is settled, so a
    stretch of records from each of these moments is looked through.
    """
    starts = [at for at in (record.started_at, *(attempt.started_at for attempt in attempts)) if at is not None]
    moments = {at for at in (min(starts, default=record.created_at), record.finished_at) if at is not None}
    found: dict[str, MessageRecord] = {}
    for moment in moments:
        for child in _sent_since(moment - timedelta(seconds=1), record.pk):
            found[child.pk] = child
    return sorted(found.values(), key=lambda child: child.pk)[:MOST_CHILDREN]


def _sent_since(moment: datetime, parent_id: str) -> QuerySet[MessageRecord]:
    line = records().filter(created_at__gte=moment).order_by("created_at")
    edge = line.values_list("created_at", flat=True)[STRETCH : STRETCH + 1].first()
    stretch = line if edge is None else line.filter(created_at__lt=edge)
    return stretch.filter(parent_id=parent_id).only("message_id", "actor_name", "state")[:MOST_CHILDREN]


def facts(record: MessageRecord) -> list[tuple[str, Any]]:
    """The small fields that say something."""
    named = [
        (_("Queue"), record.queue_name),
        (_("App"), record.app_label),
        (_("Priority"), record.priority or ""),
        (_("Correlation id"), presentation.text(record.correlation_id)),
        (_("Group"), presentation.text(record.group_id)),
        (_("Worker"), presentation.text(record.worker)),
        (_("Failed attempts"), record.retries),
        (_("Deliveries"), record.deliveries),
        (_("Lost deliveries"), record.lost or ""),
        (_("Life"), record.life + 1),
        (_("Progress"), _progress(record)),
        (_("Gathered items"), gathered_items(record)),
        (_("Result"), stored_result(record)),
    ]
    return [(name, value) for name, value in named if value != ""]


def _progress(record: MessageRecord) -> SafeString | str:
    """Where the page's script finds it again."""
    shown = progress.of_message(record, length=LONGEST_TEXT)
    return format_html('<span class="dtq-how-far">{}</span>', shown) if shown else ""
