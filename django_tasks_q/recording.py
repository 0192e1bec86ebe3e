"""What is recorded of messages, and what of it people may see. The writers of records obey it; the engine only asks.

A message without a record travels as any other. When it dies it gets one after all, because a dead letter that nobody
can see is a lost message.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .events import Birth, Event
from .logging import get_logger
from .states import State

logger = get_logger(__name__)

Redact = Callable[[str, list[Any], dict[str, Any]], tuple[list[Any], dict[str, Any]]]
"""``redact(actor_name, args, kwargs)`` returns the arguments as people may see them. It gets copies."""

HIDDEN = "<hidden>"

_CARRIED = (
    "pipe_target",
    "group",
    "group_completion_callbacks",
    "group_failure_callbacks",
    "group_target",
    "group_outer",
)
"""Options that hold whole messages, or options that do."""

_MESSAGE = {"actor_name", "args", "kwargs", "options", "message_id"}
"""What an argument has that is a message: callbacks are told of the one that they follow."""


class Recording(msgspec.Struct, frozen=True):
    """The project's wishes.

    Parameters:
        enabled: whether messages are recorded that do not say so themselves.
        arguments: whether their arguments are recorded.
        redact: changes arguments before they are recorded.
    """

    enabled: bool = True
    arguments: bool = True
    redact: Redact | None = None

    def wants(self, options: Mapping[str, Any], actor_options: Mapping[str, Any]) -> bool:
        """Whether a message with these options is recorded."""
        wish = options.get("record", actor_options.get("record"))
        return self.enabled if wish is None else bool(wish)

    @property
    def hides(self) -> bool:
        """Whether people may not see all arguments."""
        return not self.arguments or self.redact is not None

    def shown(self, birth: Birth) -> Birth:
        """A birth as it is recorded."""
        if not self.hides:
            return birth
        args, kwargs = self.shown_arguments(birth.actor_name, birth.args, birth.kwargs)
        return msgspec.structs.replace(birth, args=args, kwargs=kwargs, options=self._shown_options(birth.options))

    def shown_arguments(self, actor_name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Arguments as people may see them, in records and log lines."""
        if not self.arguments:
            return [], {}
        if self.redact is None or (args is None and kwargs is None):
            return args, kwargs
        try:
            args = [self._shown_argument(arg) for arg in copy.deepcopy(list(args))]
            kwargs = {name: self._shown_argument(arg) for name, arg in copy.deepcopy(dict(kwargs)).items()}
            args, kwargs = self.redact(actor_name, args, kwargs)
            return list(args), dict(kwargs)
        except Exception as error:
            # What cannot be redacted must not be shown; the message itself is none the worse for it.
            quoting = RuntimeError(f"{type(error).__name__}, whose text may quote the arguments")
            logger.error(
                "RECORDS: REDACT failed for %s; its arguments are hidden.",
                actor_name,
                exc_info=(RuntimeError, quoting, error.__traceback__),
            )
            return [HIDDEN], {}

    def _shown_argument(self, argument: Any) -> Any:
        """A message among the arguments is shown as its own record shows it, whoever is told of it."""
        is_message = isinstance(argument, dict) and argument.keys() >= _MESSAGE
        return self._shown_carried(argument) if is_message else argument

    def _shown_options(self, options: dict[str, Any] | None) -> dict[str, Any] | None:
        """Later steps of a pipeline and callbacks of groups travel in the options, arguments and all."""
        if options is None or not any(name in options for name in _CARRIED):
            return options
        return {name: self._shown_carried(value) if name in _CARRIED else value for name, value in options.items()}

    def _shown_carried(self, carried: Any) -> Any:
        if isinstance(carried, list):
            return [self._shown_carried(one) for one in carried]
        if not isinstance(carried, dict):
            return carried
        if "actor_name" not in carried:  # a step that is a group, or what a group is a member of
            return self._shown_options(carried)
        args, kwargs = self.shown_arguments(
            str(carried["actor_name"]), carried.get("args", ()), carried.get("kwargs", {})
        )
        return {**carried, "args": args, "kwargs": kwargs, "options": self._shown_options(carried.get("options", {}))}


def is_recorded(event: Event) -> bool:
    """Whether an event is written: of a message without a record only its death, and what happens to it after that."""
    return event.record or event.life > 0 or event.state is State.DEAD
