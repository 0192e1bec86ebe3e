"""Revocations as people read them: what each is about, and whether it holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from ..models import MessageRecord, QueueState, Revocation
from . import permissions, presentation
from .rows import Address, batch_address

MOST = 20
"""Ids or values that are named; the rest is counted."""


def conditions(row: Revocation) -> dict[str, Any]:
    """What a row says, whoever wrote it."""
    return row.conditions if isinstance(row.conditions, dict) else {}


def about(row: Revocation) -> str:
    """What it is about, on one line."""
    return joined(conditions(row), [f"{label} {value}" for label, value in in_words(conditions(row))])


def joined(said: dict[str, Any], parts: list[str]) -> str:
    """Parts of a sentence, as the conditions count: each of them, or one."""
    word = _("and") if said.get("match") == "all" else _("or")
    return presentation.short(f" {word} ".join(parts), 200)


def in_words(said: dict[str, Any]) -> list[tuple[str, str]]:
    """Each condition with its name, as text."""
    return [(label, _listed([text for text, _url in things])) for label, things in _things(said, None)]


def with_links(address: Address, said: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each condition with its name, and the pages that tell more."""
    return [(label, things[:MOST]) for label, things in _things(said, address)]


Thing = tuple[str, str]


def _things(said: dict[str, Any], address: Address | None) -> Iterator[tuple[str, list[Thing]]]:
    def page(name: str, *args: Any, model: Any, query: str = "") -> str:
        return "" if address is None else address(name, *args, model=model) + query

    ids = [str(one) for one in _list(said.get("ids"))]
    if ids:
        yield _("message"), [(presentation.text(one), page("change", quote(one), model=MessageRecord)) for one in ids]
    stamps = said.get("stamps")
    for name, values in stamps.items() if isinstance(stamps, dict) else ():
        texts = [f"{name}={value}" for value in _list(values)]
        yield _("stamp"), [(presentation.text(one), batch_address(address, one) if address else "") for one in texts]
    if said.get("actor"):
        query = f"?{urlencode({'actor_name': str(said['actor'])})}"
        yield (
            _("actor"),
            [(presentation.text(str(said["actor"])), page("changelist", model=MessageRecord, query=query))],
        )
    if said.get("queue"):
        yield _("queue"), [(presentation.text(str(said["queue"])), page("changelist", model=QueueState))]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _listed(texts: list[str]) -> str:
    more = len(texts) - MOST
    return ", ".join(texts[:MOST]) + (f", … (+{presentation.number(more)})" if more > 0 else "")


def holds(row: Revocation) -> bool:
    """Whether it is obeyed now."""
    return row.lifted_at is None and (row.expires_at is None or row.expires_at > timezone.now())


def standing(row: Revocation) -> tuple[str, str]:
    """A word for what has become of it, to choose a colour by, and for people."""
    if row.lifted_at is not None:
        return "lifted", _("lifted")
    return ("holds", _("holds")) if holds(row) else ("expired", _("expired"))


def revocation_row(address: Address, request: HttpRequest, row: Revocation) -> dict[str, str]:
    """One line of a table."""
    state, text = standing(row)
    may_lift = holds(row) and permissions.may(request, permissions.VIEW, permissions.CONTROL)
    return {
        "url": address("change", row.pk, model=Revocation),
        "number": str(row.pk),
        "about": about(row),
        "state": state,
        "state_text": text,
        "what": _("Revoke and terminate") if row.terminate else _("Revoke"),
        "reason": presentation.short(row.reason, 200),
        "who": presentation.text(row.created_by) or "–",
        "when": presentation.relative(row.created_at),
        "lift_url": address("lift", row.pk, model=Revocation) if may_lift else "",
    }
