"""What pipelines and groups have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Self

from .. import stamps
from ..broker import Broker
from ..errors import ResultFailure
from ..message import Message, generate_unique_id
from ..results import Missing, ResultBackend
from ..stamps import Stamps
from .deadline import Deadline

_MOST_INNER = 10
"""Groups within that are named to people: a tree that is shown has a hundred messages."""

End = Message[Any] | list["End"]
"""Where the result of something is: a message's own, or a list of them for a group."""


class Composition(ABC):
    """Messages in an order. ``group_id`` names it: every message that it sends carries it, and so do the records."""

    broker: Broker
    is_line: bool = False
    """Whether each part is sent on account of the one before."""

    def __init__(self) -> None:
        self.group_id = generate_unique_id()
        self.stamps: Stamps = {}
        self._has_run = False

    def stamp(self, more: Mapping[str, Any] | None = None, /, **named: Any) -> Self:
        """Put stamps on everything in it, callbacks and whatever is added before it runs included; returns it.

        ``group.stamp(batch_id=42)``. ValueError as of :func:`django_tasks_q.stamps.read`.
        """
        self.stamps = stamps.united(self.stamps, stamps.read({**(more or {}), **named}))
        return self

    @abstractmethod
    def put_stamps(self, outer: Stamps) -> Stamps:
        """Put ``outer`` and its own stamps on everything in it, before it is sealed. Returns those of all of it, which
        is what follows all of it inherits."""

    def _stamped(self, message: Message[Any], given: Stamps) -> Message[Any]:
        return message.stamp(given) if given else message

    def _stamps_of(self, message: Message[Any]) -> Stamps:
        """All that a message will have, of what is known before it is sent."""
        actor = self.broker.actors.get(message.actor_name)
        declared = {} if actor is None else actor.options.get(stamps.OPTION) or {}
        return stamps.united(declared, message.stamps)

    def _following(self, message: Message[Any], given: Stamps, before: Stamps) -> Message[Any]:
        """What follows others, with the stamps of these unless it says that it inherits none."""
        inherits = message.options.get("inherit_stamps") is not False
        return self._stamped(message, stamps.united(before, given) if inherits else given)

    @abstractmethod
    def sealed(self, owner: Mapping[str, Any] | None = None) -> list[Message[Any]]:
        """The messages that are sent first, with all that follows in their options.

        ``owner``: what says of which group this is a member.
        """

    @property
    @abstractmethod
    def parts(self) -> Iterable[Message[Any] | Composition]:
        """What it is made of."""

    def groups_within(self) -> Iterator[str]:
        """The ids that messages within it carry, which are other ones than its own."""
        for part in self.parts:
            if isinstance(part, Composition):
                yield from part.own_ids()

    def own_ids(self) -> Iterator[str]:
        """Of a part: its id, where it keeps it within others, and those within it."""
        yield self.group_id
        yield from self.groups_within()

    @property
    def named(self) -> dict[str, Any]:
        """What each of its messages says of it."""
        inner = list(islice(self.groups_within(), _MOST_INNER))
        return {"group_id": self.group_id, **({"group_inner": inner} if inner else {})}

    @property
    @abstractmethod
    def end(self) -> End:
        """Where its result is."""

    @abstractmethod
    def member_name(self, index: int) -> str:
        """What it is called as a member of a group."""

    @abstractmethod
    def renew(self) -> None:
        """Become another composition of the same messages."""

    @abstractmethod
    def check_callbacks(self) -> None:
        """RuntimeError when something in it needs ``GroupCallbacks`` and the broker has none; ValueError for a member
        of a group that might never be sent."""

    @abstractmethod
    def outcome(self, store: ResultBackend, *, block: bool, timeout: int | None) -> Any:
        """Its result as a member of a group or a step of a pipeline; errors as :meth:`Message.get_result`."""

    @abstractmethod
    def await_end(self, store: ResultBackend, deadline: Deadline) -> None:
        """Wait until all that will run of it has ended, well or not. ResultTimeout when the deadline comes first."""

    @property
    def completed(self) -> bool:
        """Whether its end has come, as far as results tell: a failed message has a result too."""
        return are_there([self.end], self._store())[0]

    def _store(self, backend: ResultBackend | None = None) -> ResultBackend:
        return backend or self.broker.get_results_backend()


def end_of(child: Message[Any] | Composition) -> End:
    """Where the result of a message or composition is."""
    return child.end if isinstance(child, Composition) else child


def result_of(child: Message[Any] | Composition, store: ResultBackend, *, block: bool, timeout: int | None) -> Any:
    """The result of a message or composition."""
    if isinstance(child, Composition):
        return child.outcome(store, block=block, timeout=timeout)
    return store.get_result(child, block=block, timeout=timeout)


def await_end_of(child: Message[Any] | Composition, store: ResultBackend, deadline: Deadline) -> None:
    """Wait until a message or composition has ended, well or not."""
    if isinstance(child, Composition):
        child.await_end(store, deadline)
        return
    with suppress(ResultFailure):
        store.get_result(child, block=True, timeout=deadline.left)


def messages_of(end: End) -> Iterator[Message[Any]]:
    """The messages whose results an end is made of."""
    if isinstance(end, list):
        for part in end:
            yield from messages_of(part)
    else:
        yield end


def are_there(ends: Sequence[End], store: ResultBackend) -> list[bool]:
    """Which of these ends have come, in one round trip."""
    parts = [list(messages_of(end)) for end in ends]
    found = iter(store.peek([message for part in parts for message in part]))
    return [not any(value is Missing for value in list(islice(found, len(part)))) for part in parts]
