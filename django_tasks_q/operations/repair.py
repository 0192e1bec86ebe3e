"""Giving dead letters another life, throwing messages away: always the broker's whole message, never the record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..broker import get_broker, refuse_one_id
from ..control.unseen_members import UnseenMembers
from ..deliveries import Held
from ..errors import NotADeadLetter
from ..gathering import with_items
from ..message import Message
from . import forgotten


class Tally(NamedTuple):
    """Ids in the order in which they were given. ``skipped``: nothing could be done, for example it was done before."""

    done: list[str]
    skipped: list[str]


def requeue(ids: Iterable[str]) -> Tally:
    """Give dead letters, and what nobody knows the end of, a new life; what is none is skipped.

    Raises BrokerConnectionError. See :func:`forgotten.requeue`.
    """
    wanted = _distinct(ids)
    done = _tally(wanted, get_broker().requeue(wanted))
    return _tally(wanted, [*done.done, *forgotten.requeue(done.skipped)])


def discard(ids: Iterable[str]) -> Tally:
    """Throw away what waits, is delayed or dead, and cross off what nobody knows the end of.

    What runs or has ended is skipped. Raises BrokerConnectionError.
    """
    wanted, broker = _distinct(ids), get_broker()
    unseen = UnseenMembers(broker)
    unseen.look_up(wanted)
    discarded = broker.discard(wanted)
    unseen.were_removed(discarded)
    done = _tally(wanted, discarded)
    return _tally(wanted, [*done.done, *forgotten.discard(done.skipped)])


def requeue_edited(message_id: str, args: list[Any], kwargs: dict[str, Any]) -> Message[Any]:
    """Send a copy with other arguments in the place of a dead letter, and return it.

    The copy has an id of its own, ``parent_id`` is the dead letter's; what it was sent with (stamps, limits, callbacks,
    its correlation id, the rest of its pipeline) stays. Asked twice, it happens once.

    Raises:
        NotADeadLetter: it is none any more.
        ActorNotFound: its actor is not declared here.
        TypeError: the arguments do not fit the actor's signature; the error says what was expected and what came.
        EncodeError: an argument cannot be encoded; the error names its path.
        ValueError: the actor's ``unique_key`` makes no text of these arguments.
        DecodeError: it is one that nobody can read.
        BrokerConnectionError: the broker cannot be reached.
    """
    broker = get_broker()
    message = with_items(broker, Message.decode(_dead(message_id).delivery.payload))
    copy = _edited(message, args, kwargs)
    broker.get_actor(message.actor_name).signature.check(copy.args, copy.kwargs)
    if not broker.replace(message_id, copy):
        raise _gone(message_id)
    return copy


def original(message_id: str) -> Message[Any] | None:
    """A whole dead letter, with the arguments that records may hide, and the items that were gathered for it; None when
    the broker has it no more.

    Who shows it has asked for the permission to requeue, which says nothing about messages that still wait or run: of
    those NotADeadLetter is raised. DecodeError for one that nobody can read.
    """
    broker = get_broker()
    held = broker.look_up([message_id]).get(message_id)
    if held is not None and held.state != "dead":
        raise _gone(message_id)
    return None if held is None else with_items(broker, Message.decode(held.delivery.payload))


def _dead(message_id: str) -> Held:
    held = get_broker().look_up([message_id]).get(message_id)
    if held is None or held.state != "dead":
        raise _gone(message_id)
    return held


def _gone(message_id: str) -> NotADeadLetter:
    return NotADeadLetter(f"{message_id} is no dead letter any more.")


def _edited(message: Message[Any], args: list[Any], kwargs: dict[str, Any]) -> Message[Any]:
    if not isinstance(args, list | tuple):
        raise TypeError(f"args is a list, not a {type(args).__name__}.")
    if not isinstance(kwargs, dict) or not all(isinstance(name, str) for name in kwargs):
        raise TypeError("kwargs is a dict whose keys are names of parameters.")
    options = {name: value for name, value in message.options.items() if name not in forgotten.OF_THE_LAST_LIFE}
    if "group_size" in options:
        options["group_told"] = True
    return Message(message.queue_name, message.actor_name, tuple(args), kwargs, options, unknown=message.unknown)


def _distinct(ids: Iterable[str]) -> list[str]:
    refuse_one_id(ids)
    return list(dict.fromkeys(ids))


def _tally(wanted: list[str], done: list[str]) -> Tally:
    known = set(done)
    return Tally([one for one in wanted if one in known], [one for one in wanted if one not in known])
