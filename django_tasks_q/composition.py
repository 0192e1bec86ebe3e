"""Messages that follow each other."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from .broker import Broker, get_broker
from .message import Message, set_join
from .outcomes import milliseconds


class pipeline:
    """Messages that run one after the other, each getting the result of the one before as its last argument.

    Parameters:
        children: messages and pipelines; pipelines are laid end to end.
        broker: the process's broker when not given.
    """

    def __init__(self, children: Iterable[Message[Any] | pipeline], *, broker: Broker | None = None) -> None:
        self.broker = broker or get_broker()
        self.messages: list[Message[Any]]
        steps: list[Message[Any]] = []
        for child in children:
            if not isinstance(child, Message | pipeline):
                raise TypeError(f"A pipeline is made of messages (actor.message(...)) and pipelines, not of {child!r}.")
            steps += child.messages if isinstance(child, pipeline) else [child]
        if not steps:
            raise ValueError("A pipeline has at least one message.")
        self.messages = _chained(steps)

    def __len__(self) -> int:
        return len(self.messages)

    def __or__(self, other: Message[Any] | pipeline) -> pipeline:
        return type(self)([self, other], broker=self.broker)

    def __str__(self) -> str:
        return f"pipeline([{', '.join(str(message) for message in self.messages)}])"

    def run(self, *, delay: int | timedelta | None = None) -> pipeline:
        """Send the first message, ``delay`` milliseconds from now or after its own delay, whichever is longer."""
        first = self.messages[0]
        waits = [wait for wait in (delay, first.options.get("delay")) if wait is not None]
        wait = max(map(milliseconds, waits)) if waits else None
        actor = self.broker.actors.get(first.actor_name)
        if actor is not None and actor.options.get("on_commit"):
            self.broker.enqueue_on_commit([first if wait is None else first.copy(options={"delay": wait})])
        else:
            self.broker.enqueue(first, delay=wait)
        return self


def _chained(steps: list[Message[Any]]) -> list[Message[Any]]:
    """Each message with the rest of the chain in its ``pipe_target``, made from the end."""
    chained: list[Message[Any]] = []
    target: Message[Any] | None = None
    for step in reversed(steps):
        options = {name: value for name, value in step.options.items() if name != "pipe_target"}
        if target is not None:
            options["pipe_target"] = target.asdict()
        target = Message(
            step.queue_name,
            step.actor_name,
            step.args,
            step.kwargs,
            options,
            step.message_id,
            step.message_timestamp,
            step.unknown,
        )
        chained.insert(0, target)
    return chained


def _join(first: Message[Any], second: Message[Any] | pipeline) -> pipeline:
    return pipeline([first, second])


set_join(_join)
