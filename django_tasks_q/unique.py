"""Messages of which one at a time is enough: what their key is, until when it is held, and what happens on a conflict.

A key belongs to its actor: two actors that make the same text of their arguments do not meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from hashlib import blake2b
from logging import ERROR, INFO, Logger
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from .errors import DecodeError, DuplicateMessage, EncodeError
from .message import Message, get_encoder

if TYPE_CHECKING:
    from .actor import Actor
    from .deliveries import Outgoing

OnConflict = Literal["drop", "raise", "replace", "refresh"]
CONFLICTS: tuple[str, ...] = get_args(OnConflict)

UNTIL_DONE, UNTIL_STARTED = "until_done", "until_started"

HELD = "unique_hash"
"""The option in which a message carries its key as brokers know it: 32 hexadecimal digits."""

LONGEST = 366 * 86_400_000
"""Milliseconds; a ttl is no longer."""


class Unique(msgspec.Struct, frozen=True):
    """What a message asks for that is to be there once.

    ``key``: 32 hexadecimal digits. ``ttl``: milliseconds after which the key is free whatever becomes of the message;
    None: as long as it is not finished.
    """

    key: str
    on_conflict: OnConflict = "drop"
    ttl: int | None = None


def check_unique(options: Mapping[str, Any]) -> None:
    """Raise ValueError for values of ``unique`` and ``on_conflict`` that mean nothing."""
    unique, on_conflict = options.get("unique"), options.get("on_conflict", "drop")
    until = _until(unique)
    if type(until) is int:
        is_fine = 1 <= until <= LONGEST
    else:
        is_fine = until is None or until is False or until in (UNTIL_DONE, UNTIL_STARTED)
    if not is_fine:
        raise ValueError(
            f"unique is True, {UNTIL_DONE!r}, {UNTIL_STARTED!r}, or how long at most: milliseconds from 1 on or a "
            f"timedelta, up to a year; not {unique!r:.80}"
        )
    if on_conflict not in CONFLICTS:
        raise ValueError(f"on_conflict is one of {', '.join(map(repr, CONFLICTS))}: {on_conflict!r:.80}")


def is_unique(message: Message[Any], actor: Actor[Any, Any] | None) -> bool:
    """Whether a message takes a key, by its own options or those of its actor."""
    options = message.options
    return bool(options["unique"] if "unique" in options else actor is not None and actor.options.get("unique"))


def with_key(message: Message[Any], actor: Actor[Any, Any] | None) -> Message[Any]:
    """A message that is to be unique with everything that says so in its own options, whatever its actor is later.

    Raises:
        ValueError: ``unique_key`` of the actor gave no text or failed, or the options are wrong.
        EncodeError: an argument cannot be encoded.
    """
    options = {} if actor is None else {name: actor.options[name] for name in _OWN if name in actor.options}
    options |= {name: message.options[name] for name in _OWN if name in message.options}
    check_unique(options)
    until = _until(options["unique"])
    on_conflict = options.get("on_conflict", "drop")
    key = _hash(message.actor_name, _text(message, actor, options.get("unique_key")))
    return message.copy(options={"unique": until, "on_conflict": on_conflict, HELD: key})


def unique_of(message: Message[Any]) -> Unique | None:
    """What a message that was prepared says of its key; None where it takes none."""
    options = message.options
    if HELD not in options or not options.get("unique"):
        return None
    until = options["unique"]
    return Unique(options[HELD], options.get("on_conflict", "drop"), until if type(until) is int else None)


def take_keys(outgoing: Iterable[Outgoing]) -> bool:
    """Whether one of these takes a key."""
    for item in outgoing:
        if item.unique is not None:
            return True
    return False


def key_in(payload: bytes) -> str:
    """The key that an encoded message carries; empty where it takes none, or cannot be read."""
    try:
        return str(Message.decode(payload).options.get(HELD, ""))
    except DecodeError:
        return ""


def tell_of_left_out(logger: Logger, item: Outgoing, holder: str) -> None:
    """What another message caused is not sent, because its key is held; there is nobody else who could be told."""
    message, unique = item.message, item.unique
    level = ERROR if unique is not None and unique.on_conflict == "raise" else INFO
    logger.log(level, "%s %s is left out: %s holds its key.", message.actor_name, message.message_id, holder)


def held_by(item: Outgoing, holder: str) -> DuplicateMessage:
    """The error for who wants to hear of it."""
    return DuplicateMessage(f"{holder} holds the key of {item.message.actor_name} {item.message.message_id}.", holder)


def _until(unique: Any) -> Any:
    """The option in the form that is sent."""
    if isinstance(unique, timedelta):
        return round(unique.total_seconds() * 1000)
    return UNTIL_DONE if unique is True else unique


_OWN = ("unique", "unique_key", "on_conflict")


def _text(message: Message[Any], actor: Actor[Any, Any] | None, key: Any) -> bytes:
    """What the key is made of; the arguments, where nobody says anything else."""
    if key is None:
        return b"arguments " + _canonical_arguments(message, actor)
    try:
        text = key(*message.args, **message.kwargs) if callable(key) else key
    except Exception as error:
        raise ValueError(
            f"{message.actor_name}: unique_key makes no text of these arguments: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(text, str) or not text:
        raise ValueError(f"{message.actor_name}: unique_key is text or a callable that makes it, not {text!r:.80}.")
    return b"text " + text.encode("utf-8", "surrogatepass")


def _canonical_arguments(message: Message[Any], actor: Actor[Any, Any] | None) -> bytes:
    """The same bytes for the same call, however its arguments were passed and its dicts were filled."""
    arguments = {"args": message.args, "kwargs": message.kwargs}
    encoder = get_encoder()
    encoder.encode(arguments)  # with the path of what cannot be encoded
    if actor is not None:
        arguments = actor.signature.named(message.args, message.kwargs)
    try:
        return encoder.encode({"": _sorted(arguments)})
    except RecursionError as error:
        raise EncodeError(f"{message.actor_name}: arguments that contain themselves need a unique_key.") from error


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=repr)}
    if type(value) in (list, tuple):
        return [_sorted(item) for item in value]
    if type(value) in (set, frozenset):  # its order is another one in each process
        return [type(value).__name__, *sorted(map(_sorted, value), key=repr)]
    return value


def _hash(actor_name: str, text: bytes) -> str:
    return blake2b(actor_name.encode("utf-8", "surrogatepass") + b"\0" + text, digest_size=16).hexdigest()
