"""What a message knows of the composition that it belongs to: options that travel with it.

``group_id`` names the composition, and ``group_inner`` some groups within, for people who look at it from outside. A
member of a group says besides how many there are (``group_size``), which of them it is (``group_member``), what is sent
in the end (``group_completion_callbacks``, ``group_failure_callbacks``, and ``group_target``, the next step of the
pipeline that the group is a step of), and what the group itself is a member of (``group_outer``, the same options). A
pipeline hands them on from step to step, so that only its first message carries them; ``group_told`` says of what
follows a member that was dead before that its group has heard of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..message import Message

MEMBERSHIP = (
    "group_id",
    "group_size",
    "group_member",
    "group_completion_callbacks",
    "group_failure_callbacks",
    "group_target",
    "group_outer",
    "group_inner",
    "group_told",
)
_SENDS = ("group_completion_callbacks", "group_failure_callbacks", "group_target")

MESSAGE, GROUP = "m", "g"


def membership(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a message that say what it belongs to."""
    return {name: options[name] for name in MEMBERSHIP if name in options}


def levels(options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The group of a message, the group which that is a member of, and so on."""
    level: Any = options
    while isinstance(level, Mapping) and "group_size" in level:
        yield level
        level = level.get("group_outer")


def is_counted(options: Mapping[str, Any]) -> bool:
    """Whether somebody waits for the end of this group, or of one around it."""
    return any(name in level for level in levels(options) for name in _SENDS)


def member_name(index: int, kind: str, member_id: str) -> str:
    """What a member is called among those who have arrived: its place, and whose result is there."""
    return f"{index}:{kind}:{member_id}"


def read_member_name(name: str) -> tuple[int, str, str]:
    """The place, the kind and the id in a :func:`member_name`."""
    index, kind, member_id = name.split(":", 2)
    return int(index), kind, member_id


def next_messages(owner: Mapping[str, Any], target: Mapping[str, Any], passed: tuple[Any, ...]) -> list[Message[Any]]:
    """The next step of a pipeline: one message, or those of a group.

    Parameters:
        owner: what the step before says of the composition; the next one belongs to the same.
        target: the step as the message before carries it.
        passed: what is added to the positional arguments of who does not say ``pipe_ignore``.
    """
    own = membership(owner)
    if "group" not in target:
        return [_given(Message.from_dict(dict(target)), passed).copy(options=own)]
    rest = target.get("pipe_target")
    members = [Message.from_dict(dict(wire)) for wire in target["group"]]
    return [_given(within(member, own, rest), passed) for member in members]


def within(member: Message[Any], outer: Mapping[str, Any], target: Mapping[str, Any] | None) -> Message[Any]:
    """A message of a group that is a step of a pipeline, with what that belongs to, and its next step."""
    return member.copy(options=_placed(member.options, outer, target))


def _placed(level: Mapping[str, Any], outer: Mapping[str, Any], target: Mapping[str, Any] | None) -> dict[str, Any]:
    own = membership(level)
    if "group_outer" in own:
        return {**own, "group_outer": _placed(own["group_outer"], outer, target)}
    return {**own, **({"group_outer": dict(outer)} if outer else {}), **({"group_target": target} if target else {})}


def _given(message: Message[Any], passed: tuple[Any, ...]) -> Message[Any]:
    if not passed or message.options.get("pipe_ignore", False):
        return message
    return message.copy(args=(*message.args, *passed))


def takes_results(target: Mapping[str, Any]) -> bool:
    """Whether a step of a pipeline gets what the one before returns."""
    messages = target.get("group", [target])
    return not all(message.get("options", {}).get("pipe_ignore", False) for message in messages)
