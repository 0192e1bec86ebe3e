"""How far one message, or many, are: as a bar with its numbers, without script or style of its own."""

from __future__ import annotations

from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..models import MessageRecord
from ..operations.progress import Tally, progress_of
from ..states import State
from . import presentation

SHORT_TEXT = 120


def of_message(record: MessageRecord, *, length: int = SHORT_TEXT) -> SafeString | str:
    """What the message says of itself; nothing where it says nothing."""
    progress = progress_of(record)
    if progress is None:
        return ""
    done, percent = presentation.number(progress.done), progress.percent
    text = presentation.short(progress.text, length)
    if progress.total is None or percent is None:
        # Without an end only what runs has a bar, one that moves by itself.
        bar = _bar(done) if record.state == State.RUNNING else ""
        return _together(bar, done, text)
    numbers = f"{done} / {presentation.number(progress.total)}"
    return _together(_bar(numbers, max=100, value=percent), f"{numbers}, {percent} %", text)


def of_many(tally: Tally) -> SafeString:
    """How many of them have ended."""
    numbers = _("%(ended)s of %(total)s have ended") % {
        "ended": presentation.number(tally.ended),
        "total": presentation.number(tally.total),
    }
    states = format_html_join(
        " ",
        '<span class="dtq-state" data-state="{}">{} {}</span>',
        ((state, presentation.number(number), _(state)) for state, number in tally.counts.items()),
    )
    return format_html("{} {}", _together(_bar(numbers, max=100, value=tally.percent), numbers, ""), states)


def _bar(text: str, **numbers: int) -> SafeString:
    """``text`` is for browsers that draw none."""
    attributes = format_html_join("", ' {}="{}"', numbers.items())
    return format_html(
        '<progress class="dtq-progress" aria-label="{}"{}>{}</progress>', _("Progress"), attributes, text
    )


def _together(bar: Any, numbers: str, text: str) -> SafeString:
    words = format_html(' <bdi class="dtq-progress-text">{}</bdi>', text) if text else ""
    return format_html('{} <span class="dtq-number">{}</span>{}', bar, numbers, words)
