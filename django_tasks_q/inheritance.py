"""Which stamps a message is sent with: its own, its actor's, those of the block, those of what causes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import stamps
from .context import get_running
from .message import Message
from .stamps import OPTION, of_block, of_options


def stamped(
    message: Message[Any], actor_options: Mapping[str, Any], inherited: Mapping[str, list[str]] | None = None
) -> Message[Any]:
    """The message with all of its stamps, in canonical form.

    ``inherited``: those of what causes it; those of the message that runs here, when not given. It has none of them
    where ``inherit_stamps`` is False, for the message or for its actor. ValueError for stamps that cannot be.
    """
    options = message.options
    if inherited is None:
        running = get_running()
        inherited = {} if running is None else of_options(running.message.options)
    block, declared = of_block(), actor_options.get(OPTION)
    if inherited and options.get("inherit_stamps", actor_options.get("inherit_stamps")) is False:
        inherited = {}
    if not (inherited or block or declared or OPTION in options):
        return message
    own = stamps.read(options[OPTION]) if options.get(OPTION) is not None else {}
    together = stamps.united(inherited, block or {}, declared or {}, own)
    return message if together == options.get(OPTION) else message.copy(options={OPTION: together})
