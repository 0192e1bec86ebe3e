"""Messages that may be left out, because their key is held: no group can wait for one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..actor import Actor
from ..broker import Broker
from ..message import Message
from ..outbox import get_outbox
from ..unique import is_unique, with_key
from .composition import Composition


def check_members(broker: Broker, members: Iterable[Message[Any] | Composition], *, at_once: bool = True) -> None:
    """Raise ValueError for a member of a group that might never be sent, for which the group would wait for ever.

    ``at_once``: the members are sent by who runs the group, and can be refused.
    """
    for member in members:
        if isinstance(member, Composition):
            first, *others = member.parts
            check_members(broker, [first], at_once=at_once)
            check_members(broker, others, at_once=at_once and not member.is_line)
        else:
            _check(broker, member, at_once)


def _check(broker: Broker, member: Message[Any], at_once: bool) -> None:
    actor = broker.actors.get(member.actor_name)
    if not is_unique(member, actor):
        return
    if not at_once:
        raise ValueError(
            f"{member.actor_name} is unique, and what a group waits for at a later step of a pipeline: it might be "
            "left out, and the group would wait for ever. unique=None sends it in any case."
        )
    if _waits_for_commit(broker, actor):
        raise ValueError(
            f"{member.actor_name} is unique, a member of a group, and sent when its transaction has committed: it "
            "might be left out then, and its group would wait for ever. unique=None sends it in any case."
        )
    if with_key(member, actor).options["on_conflict"] != "raise":
        raise ValueError(
            f"{member.actor_name} is unique, and a member of a group: it might be left out, and its group would wait "
            "for ever. on_conflict='raise' refuses the whole group instead, unique=None sends it in any case."
        )


def _waits_for_commit(broker: Broker, actor: Actor[Any, Any] | None) -> bool:
    """Whether nobody is there to be told of a conflict, since it comes up after the commit of Django's default
    database."""
    on_commit = actor is not None and bool(actor.options.get("on_commit"))
    return on_commit and get_outbox() is not None and not broker.sends_within("default")
