"""``taskq send``: a message for an actor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from django_tasks_q import ActorNotFound, Message, QueueNotFound, get_broker
from django_tasks_q.durations import parse_milliseconds

from .output import Output
from .subcommand import DONE, Subcommand, refuse, typed


def parse_json(text: str) -> Any:
    """The value, else ValueError with what is wrong and where."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ValueError(f"not JSON: {error}") from error


def _list(text: str) -> list[Any]:
    value = parse_json(text)
    if not isinstance(value, list):
        raise ValueError(f"a JSON list is wanted, as in '[1, \"two\"]', not {text}")
    return value


def _object(text: str) -> dict[str, Any]:
    value = parse_json(text)
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is wanted, as in '{{\"name\": 1}}', not {text}")
    return value


def _option(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"an option is NAME=JSON, not {text!r}")
    return name, parse_json(value)


class Send(Subcommand):
    name = "send"
    help = "send a message"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("actor", metavar="ACTOR")
        # Under another name than "args", which Django keeps for itself.
        add("--args", dest="positional", type=typed(_list), default=[], metavar="JSON", help="a list: '[1, \"two\"]'")
        add("--kwargs", type=typed(_object), default={}, metavar="JSON", help="an object: '{\"name\": 1}'")
        add("--delay", type=typed(parse_milliseconds), metavar="MS", help="milliseconds from now, or 30s, 10m, 2h")
        add("--queue", metavar="NAME", help="another queue than the actor's")
        add(
            "--option",
            type=typed(_option),
            action="append",
            default=[],
            metavar="NAME=JSON",
            help="any option of a message: --option max_retries=3",
        )

    def run(self, given: dict[str, Any], out: Output) -> int:
        try:
            message = get_broker().enqueue(_message(given))
        except (ActorNotFound, QueueNotFound, TypeError, ValueError) as error:
            refuse(str(error))
        if out.as_json:
            names = ("message_id", "actor_name", "queue_name", "args", "kwargs", "options")
            out.json({name: getattr(message, name) for name in names})
        else:
            out.line(message.message_id)
        return DONE


def _message(given: dict[str, Any]) -> Message[Any]:
    actor = get_broker().get_actor(given["actor"])
    args, kwargs = tuple(given["positional"]), given["kwargs"]
    actor.signature.check(args, kwargs)
    message = actor.message_with_options(args=args, kwargs=kwargs, delay=given["delay"], **dict(given["option"]))
    return message.copy(queue_name=given["queue"]) if given["queue"] else message
