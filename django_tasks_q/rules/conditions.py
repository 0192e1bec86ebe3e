"""Which messages a revocation is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from .. import stamps
from ..common import MAX_NAME_LENGTH
from ..message import MAX_ID_LENGTH, Message
from ..sendable import refuse_one_id

Match = Literal["any", "all"]


class Conditions(msgspec.Struct, frozen=True, omit_defaults=True):
    """Conditions, of which a message has to fulfil one (``any``) or each (``all``).

    A condition is the list of ids, each name of a stamp (one of the message's values has to be among those given), the
    actor, or the queue. ``future``: by actor or queue, also what is sent later. ``everything`` stands alone: all that
    was sent before.
    """

    ids: frozenset[str] = frozenset()
    stamps: dict[str, list[str]] = {}
    actor: str = ""
    queue: str = ""
    match: Match = "any"
    future: bool = False
    everything: bool = False

    @classmethod
    def of(
        cls,
        ids: Iterable[str] = (),
        named: Mapping[str, Any] | None = None,
        actor: str = "",
        queue: str = "",
        match: Match | None = None,
        future: bool = False,
        everything: bool = False,
    ) -> Conditions:
        """Conditions as people give them.

        ValueError for none, for what cannot be an id, a stamp or a name, for a ``match`` that is neither, and for
        conditions of several kinds that nobody says how to match, or with ``everything``: one whole queue is easily
        revoked by mistake.
        TypeError for one id where a list is wanted.
        """
        refuse_one_id(ids)
        _check_name("actor", actor)
        _check_name("queue", queue)
        if type(everything) is not bool:
            raise ValueError(f"everything is True or False: {everything!r:.80}")
        found = cls(
            frozenset(map(_checked_id, ids)), stamps.read(named or {}), actor, queue, match or "any", future, everything
        )
        if not (found.kinds or everything):
            raise ValueError("Say what is revoked: ids=, stamps=, actor=, queue= or everything=True.")
        if everything and (found.kinds or future):
            raise ValueError("everything= stands alone: it means all that was sent before, and nothing that comes.")
        if match not in (None, "any", "all"):
            raise ValueError(f'match is "any" or "all": {match!r}')
        if match is None and len(found.kinds) > 1:
            raise ValueError(
                f"{', '.join(found.kinds)}: say match='all' for messages that fulfil each of these, or match='any' "
                "for those that fulfil one."
            )
        if future and not (actor or queue):
            raise ValueError("future= is for actor= and queue=; ids and stamps always mean what is sent later as well.")
        return found

    @property
    def kinds(self) -> list[str]:
        """Of what it speaks."""
        return [kind for kind in ("ids", "stamps", "actor", "queue") if getattr(self, kind)]

    def fit(self, message: Message[Any], is_older: bool) -> bool:
        """Whether they are about a message. ``is_older``: it was sent before they were said."""
        if self.everything:
            return is_older
        told: list[bool] = []
        if self.ids:
            told.append(message.message_id in self.ids)
        if self.stamps:
            carried = message.stamps
            told += [not set(values).isdisjoint(carried.get(name, ())) for name, values in self.stamps.items()]
        if self.actor:
            told.append(message.actor_name == self.actor and (is_older or self.future))
        if self.queue:
            told.append(message.queue_name == self.queue and (is_older or self.future))
        return all(told) if self.match == "all" else any(told)


def _check_name(kind: str, name: Any) -> None:
    """What is kept must be readable: every worker reads it before it starts anything."""
    if not isinstance(name, str) or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise ValueError(f"The name of the {kind} has at most {MAX_NAME_LENGTH} printable characters: {name!r:.80}")


def _checked_id(message_id: Any) -> str:
    if not isinstance(message_id, str) or not 0 < len(message_id) <= MAX_ID_LENGTH or not message_id.isprintable():
        raise ValueError(f"A message id has 1 to {MAX_ID_LENGTH} printable characters: {message_id!r:.80}")
    return message_id
