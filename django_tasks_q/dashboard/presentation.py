"""Values as people read them. Everything here is plain text: templates and ``format_html`` escape it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..mirror.text import original
from ..models import STATE_LABELS
from ..states import State

LONGEST = 50_000
"""Characters of one value on a page; more would keep browsers busy and help nobody."""

BYTES_PER_LINE = 16
MOST_BYTES = 4_096


def text(value: str) -> str:
    """A recorded text in a form that can be sent to a browser: what HTML in UTF-8 cannot say is shown as its escape."""
    return original(value).replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def short(value: str, length: int = 120) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text(value[: length + 1]).split())
    return line if len(value) <= length else line[:length].rstrip() + "…"


def middle(value: str) -> str:
    """An id without its middle: its beginning tells the time, its end the one among others."""
    return value if len(value) <= 24 else f"{value[:8]}…{value[-12:]}"


def pretty(value: Any) -> str:
    """A recorded value as indented JSON."""
    whole = text(json.dumps(_shown(value), indent=2, ensure_ascii=False))
    if len(whole) <= LONGEST:
        return whole
    left = _("… %(count)s more characters") % {"count": number(len(whole) - LONGEST)}
    return f"{whole[:LONGEST]}\n{left}"


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        return {text(str(name)): _shown(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return value


def dump(data: bytes) -> str:
    """Bytes in hexadecimal, with what is printable beside them."""
    shown = data[:MOST_BYTES]
    lines = [_dump_line(start, shown[start : start + BYTES_PER_LINE]) for start in range(0, len(shown), BYTES_PER_LINE)]
    if len(data) > MOST_BYTES:
        lines.append(_("… %(count)s more bytes") % {"count": number(len(data) - MOST_BYTES)})
    return "\n".join(lines)


def _dump_line(start: int, part: bytes) -> str:
    printable = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in part)
    return f"{start:06x}  {part.hex(' '):<{BYTES_PER_LINE * 3 - 1}}  {printable}"


def number(value: int, cap: int | None = None) -> str:
    """A number with separators; one that reached its cap means "at least"."""
    if cap is not None and value >= cap:
        return f"{number(cap)}+"
    return number_format(value, use_l10n=True, force_grouping=True)


def size(value: int) -> str:
    """Bytes, as memory is read."""
    if value < 1024:
        return _("%(count)s bytes") % {"count": number(value)}
    if value < 1024 * 1024:
        return _("%(count)s KiB") % {"count": number(round(value / 1024))}
    return _("%(count)s MiB") % {"count": number(round(value / 1024 / 1024))}


def duration(value: timedelta) -> str:
    """A length of time in at most two units."""
    ms = max(0, round(value.total_seconds() * 1000))
    if ms < 1000:
        return _("%(count)d ms") % {"count": ms}
    if ms < 60_000:
        return _("%(count)s s") % {"count": number_format(ms / 1000, 1 if ms < 10_000 else 0)}
    return _in_two_units(ms // 1000)


def milliseconds(value: int) -> str:
    """A length of time that came as a number."""
    return duration(timedelta(milliseconds=value))


def _in_two_units(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return _("%(days)d d %(hours)d h") % {"days": days, "hours": hours}
    if hours:
        return _("%(hours)d h %(minutes)d min") % {"hours": hours, "minutes": minutes}
    return _("%(minutes)d min %(seconds)d s") % {"minutes": minutes, "seconds": seconds}


def relative(moment: datetime) -> str:
    """How long ago a moment was, or how far ahead it is, roughly."""
    away = moment - timezone.now()
    if away > timedelta(0):
        return _("in %(duration)s") % {"duration": _roughly(away)}
    return _("%(duration)s ago") % {"duration": _roughly(-away)}


def _roughly(value: timedelta) -> str:
    """A length of time in one unit."""
    seconds = int(value.total_seconds())
    if seconds < 60:
        return _("%(count)s s") % {"count": seconds}
    if seconds < 3600:
        return _("%(count)d min") % {"count": seconds // 60}
    if seconds < 2 * 86_400:
        return _("%(count)d h") % {"count": seconds // 3600}
    return _("%(count)d d") % {"count": seconds // 86_400}


def absolute(moment: datetime) -> str:
    """A moment to the second, in the current time zone."""
    return date_format(timezone.localtime(moment), "Y-m-d H:i:s")


def moment(value: datetime | None) -> SafeString | str:
    """A moment as it is said, and exactly for whoever points at it."""
    if value is None:
        return "–"
    return format_html('<time datetime="{}" title="{}">{}</time>', value.isoformat(), absolute(value), relative(value))


def by_state(counts: Any) -> list[tuple[str, str]]:
    """Numbers of messages by their states, in the order of a message's life; what is no such count is left out."""
    known = counts if isinstance(counts, dict) else {}
    return [
        (str(STATE_LABELS[state]), number(known[state]))
        for state in State
        if isinstance(known.get(state.value), int) and known[state.value]
    ]


def badge(state: str) -> SafeString:
    """A state as a coloured word."""
    return format_html('<span class="dtq-state" data-state="{}">{}</span>', state, _(state) if state else "–")
