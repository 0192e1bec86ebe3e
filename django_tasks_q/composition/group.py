"""Messages that belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

from .. import stamps
from ..broker import Broker, get_broker
from ..message import Message, generate_unique_id
from ..middleware.group_callbacks import GroupCallbacks
from ..middleware.membership import GROUP, MESSAGE, member_name
from ..results import ResultBackend
from ..sending import send_through
from ..stamps import Stamps
from .composition import Composition, End, are_there, await_end_of, end_of, result_of
from .deadline import Deadline
from .left_out import check_members
from .waits import postponed

_NAMESPACE = UUID("0d1b9d34-52c5-4f0e-9f0c-6b6a0a4cf9f1")


class group(Composition):
    """Messages that run side by side.

    Parameters:
        children: messages, pipelines and groups. The last step of a pipeline is the member.
        broker: the process's broker when not given.
    """

    def __init__(self, children: Iterable[Message[Any] | Composition], *, broker: Broker | None = None) -> None:
        super().__init__()
        self.broker = broker or get_broker()
        self.children = list(children)
        for child in self.children:
            if not isinstance(child, Message | Composition):
                raise TypeError(
                    f"A group is made of messages (actor.message(...)), pipelines and groups, not of {child!r}."
                )
            if isinstance(child, group) and not len(child):
                raise ValueError("A group within a group has at least one message.")
        self.completion_callbacks: list[Message[Any]] = []
        self.failure_callbacks: list[Message[Any]] = []

    def __len__(self) -> int:
        return len(self.children)

    def __or__(self, other: Message[Any] | Composition) -> Any:
        from .pipeline import pipeline  # which knows groups

        return pipeline([self, other], broker=self.broker)

    def __str__(self) -> str:
        return f"group([{', '.join(map(str, self.children))}])"

    def add_completion_callback(self, message: Message[Any]) -> Message[Any]:
        """Have ``message`` sent once when all members have succeeded.

        Returns it as it will be sent: its id is derived from the group's, so that what is repeated after a crash is
        known to be the same.
        """
        return self._add(self.completion_callbacks, message, "completion")

    def add_failure_callback(self, message: Message[Any]) -> Message[Any]:
        """Have ``message`` sent once when all members have ended and one of them at least has failed for good.

        Failed is also who was revoked or discarded. Otherwise as :meth:`add_completion_callback`.
        """
        return self._add(self.failure_callbacks, message, "failure")

    def _add(self, callbacks: list[Message[Any]], message: Message[Any], role: str) -> Message[Any]:
        if not isinstance(message, Message):
            raise TypeError(f"A callback is a message (actor.message(...)), not {message!r:.80}.")
        callbacks.append(message.copy(message_id=str(uuid5(_NAMESPACE, f"{self.group_id}:{role}:{len(callbacks)}"))))
        return callbacks[-1]

    def run(self, *, delay: int | timedelta | None = None) -> group:
        """Send everything that comes first, in as few round trips as possible.

        A group that is run once more is another one, with an id of its own.

        Parameters:
            delay: milliseconds, or a timedelta; a message with a longer one keeps its own.

        Raises:
            RuntimeError: it has callbacks and the broker has no ``GroupCallbacks`` in its middleware.
            ValueError: a member might be left out because its key is held (:mod:`django_tasks_q.unique`).
            DuplicateMessage: the key of a member is held, and its ``on_conflict`` is "raise".
            EncodeError: an argument cannot be encoded; nothing was sent.
            BrokerConnectionError: the broker cannot be reached.
        """
        self.check_callbacks()
        if self._has_run:
            self.renew()
        self.put_stamps({})
        send_through(self.broker, [postponed(message, delay) for message in self.sealed() or self.completion_callbacks])
        self._has_run = True
        return self

    def renew(self) -> None:
        self.group_id = generate_unique_id()
        for callbacks, role in ((self.completion_callbacks, "completion"), (self.failure_callbacks, "failure")):
            given, callbacks[:] = list(callbacks), []
            for message in given:
                self._add(callbacks, message, role)
        for child in self.children:
            if isinstance(child, Composition):
                child.renew()

    def put_stamps(self, outer: Stamps) -> Stamps:
        own, everything = stamps.united(outer, self.stamps), dict(outer)
        for index, child in enumerate(self.children):
            if isinstance(child, Composition):
                found = child.put_stamps(own)
            else:
                self.children[index] = child = self._stamped(child, own)
                found = self._stamps_of(child)
            everything = stamps.united(everything, found)
        for callbacks in (self.completion_callbacks, self.failure_callbacks):
            callbacks[:] = [self._following(callback, own, everything) for callback in callbacks]
        return stamps.united(own, everything)

    def sealed(self, owner: Mapping[str, Any] | None = None) -> list[Message[Any]]:
        level = {
            **self.named,
            "group_size": len(self),
            **_wired("group_completion_callbacks", self.completion_callbacks),
            **_wired("group_failure_callbacks", self.failure_callbacks),
            **({} if owner is None else {"group_outer": dict(owner)}),
        }
        messages: list[Message[Any]] = []
        for index, child in enumerate(self.children):
            if isinstance(child, Composition):
                messages += child.sealed({**level, "group_member": child.member_name(index)})
            else:
                name = member_name(index, MESSAGE, child.message_id)
                messages.append(child.copy(options={**level, "group_member": name}))
        return messages

    @property
    def parts(self) -> Iterable[Message[Any] | Composition]:
        return self.children

    @property
    def end(self) -> End:
        return [end_of(child) for child in self.children]

    def member_name(self, index: int) -> str:
        return member_name(index, GROUP, self.group_id)

    def check_callbacks(self, *, is_waited_for: bool = False) -> None:
        """``is_waited_for``: something follows the group."""
        check_members(self.broker, self.children)
        needs = is_waited_for or self.completion_callbacks or self.failure_callbacks
        if needs and not any(isinstance(item, GroupCallbacks) for item in self.broker.middleware):
            raise RuntimeError(
                "What follows a group needs GroupCallbacks(rate_limiter_backend) in the middleware of the broker."
            )
        for child in self.children:
            if isinstance(child, Composition):
                child.check_callbacks()

    # Results

    @property
    def completed(self) -> bool:
        """Whether all members have ended, as far as results tell; one that was never run is not complete."""
        return self._has_run if not self.children else super().completed

    @property
    def completed_count(self) -> int:
        """How many of the children have ended, as far as results tell."""
        return sum(are_there([end_of(child) for child in self.children], self._store())) if self.children else 0

    def get_results(
        self, *, backend: ResultBackend | None = None, block: bool = False, timeout: int | None = None
    ) -> Iterator[Any]:
        """The result of each child, in their order: of a pipeline that of its last step, of a group a list.

        ``timeout`` is for all of them together; otherwise as :meth:`Message.get_result`.
        """
        store, deadline = self._store(backend), Deadline(timeout)
        for child in self.children:
            yield result_of(child, store, block=block, timeout=deadline.left)

    def outcome(self, store: ResultBackend, *, block: bool, timeout: int | None) -> Any:
        return list(self.get_results(backend=store, block=block, timeout=timeout))

    def wait(self, *, timeout: int | None = None) -> None:
        """Wait until all members have ended, well or not. ResultTimeout when they have not within ``timeout`` ms."""
        self.await_end(self._store(), Deadline(timeout))

    def await_end(self, store: ResultBackend, deadline: Deadline) -> None:
        for child in self.children:
            await_end_of(child, store, deadline)


def _wired(name: str, messages: list[Message[Any]]) -> dict[str, Any]:
    return {name: [message.asdict() for message in messages]} if messages else {}
