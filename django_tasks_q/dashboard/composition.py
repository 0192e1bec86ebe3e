"""The pipelines and groups that a message belongs to, as far as records know them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..message import MAX_ID_LENGTH
from ..models import MessageRecord
from ..operations.filters import records
from ..operations.progress import tally
from . import presentation, progress

MOST = 100
"""Messages of a tree; the rest is found in the list of messages, by the id of the group."""

_DEPTH, _MOST_INNER = 10, 20


class Node:
    """A message of the tree, and those that were sent because of it."""

    def __init__(self, record: MessageRecord, url: str, is_here: bool) -> None:
        self.record = record
        self.url = url
        self.is_here = is_here
        self.id = presentation.text(record.pk)
        self.name = presentation.text(record.actor_name)
        self.children: list[Node] = []


class Composition:
    """What belongs together with a message: who was sent, and what follows. Two queries, whatever its size.

    Attributes:
        ids: of the group or pipeline of the message, of those around it, and of groups within these.
        roots: the messages that were sent first, each with what it caused.
        is_cut: there are more than are shown.
        bar: how many of all of them have ended, drawn.
        following: what is sent after this message, in words.
    """

    def __init__(self, record: MessageRecord, address: Callable[[str], str]) -> None:
        options = record.options if isinstance(record.options, dict) else {}
        self.ids = list(dict.fromkeys(_ids(record.group_id, options)))
        self.following = [presentation.text(step) for step in _following(options)]
        rows = list(
            records()
            .filter(group_id__in=self.ids)
            .exclude(group_id="")  # the condition of the index, word for word
            .order_by("created_at", "message_id")
            .only("message_id", "actor_name", "state", "parent_id")[: MOST + 1]
        )
        self.is_cut = len(rows) > MOST
        self.bar = progress.of_many(tally(Q(group_id__in=self.ids) & ~Q(group_id="")))
        nodes = {row.pk: Node(row, address(row.pk), row.pk == record.pk) for row in rows[:MOST]}
        self.roots: list[Node] = []
        for node in nodes.values():
            parent = nodes.get(node.record.parent_id)
            (self.roots if parent is None or parent is node else parent.children).append(node)


def _ids(group_id: str, options: Mapping[str, Any]) -> Iterator[str]:
    """From the inside outwards, and what is within; options are people's, and may be anything."""
    yield group_id
    level: Any = options
    for _level in range(_DEPTH):
        inner = level.get("group_inner")
        yield from filter(_is_id, inner[:_MOST_INNER] if isinstance(inner, list) else ())
        level = level.get("group_outer")
        if not isinstance(level, Mapping):
            return
        if _is_id(level.get("group_id")):
            yield level["group_id"]


def _is_id(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_ID_LENGTH and value.isprintable()


def _following(options: Mapping[str, Any]) -> Iterator[str]:
    yield from _steps(options.get("pipe_target"))
    level: Any = options
    for _level in range(_DEPTH):
        if not isinstance(level, Mapping):
            return
        yield from _steps(level.get("group_target"))
        for name, text in (
            ("group_completion_callbacks", _("when all have succeeded: %(actor)s")),
            ("group_failure_callbacks", _("when one has failed: %(actor)s")),
        ):
            callbacks = level.get(name)
            for callback in callbacks[:MOST] if isinstance(callbacks, list) else []:
                if isinstance(callback, Mapping):
                    yield text % {"actor": callback.get("actor_name", "")}
        level = level.get("group_outer")


def _steps(target: Any) -> Iterator[str]:
    for _step in range(MOST):
        if not isinstance(target, Mapping):
            return
        members = target.get("group")
        if isinstance(members, list):
            yield ngettext("a group of %(number)d message", "a group of %(number)d messages", len(members)) % {
                "number": len(members)
            }
            target = target.get("pipe_target")
        else:
            yield str(target.get("actor_name", ""))
            options = target.get("options")
            target = options.get("pipe_target") if isinstance(options, Mapping) else None
