"""Messages that follow each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from itertools import pairwise
from typing import Any

from .. import stamps
from ..broker import Broker, get_broker
from ..deliveries import MessageProxy
from ..errors import ResultFailure, ResultTimeout
from ..message import Message, generate_unique_id
from ..middleware.membership import MESSAGE, member_name, takes_results, within
from ..middleware.middleware import option
from ..results import ResultBackend, Results
from ..sending import send_through
from ..stamps import Stamps
from .composition import Composition, End, are_there, await_end_of, end_of, messages_of, result_of
from .deadline import Deadline
from .group import group
from .left_out import check_members
from .waits import postponed

_LOOK = 500
"""Milliseconds after which who waits for the end of a pipeline looks whether a step before it has failed."""

Step = Message[Any] | group


class pipeline(Composition):
    """Steps that run one after the other, each getting the result of the one before as its last argument.

    A group is a step too: each of its messages gets the result of the step before, and the step after it gets the list
    of their results when all of them are done.

    Parameters:
        children: messages, groups and pipelines; pipelines are laid end to end.
        broker: the process's broker when not given.

    Raises:
        ValueError: there are no steps, a group among them is empty, or the step after a group wants results that
            are not stored.
    """

    is_line = True

    def __init__(self, children: Iterable[Message[Any] | Composition], *, broker: Broker | None = None) -> None:
        super().__init__()
        self.broker = broker or get_broker()
        self.messages: list[Step]
        steps: list[Step] = []
        for child in children:
            if isinstance(child, pipeline):
                child.put_stamps({})  # it loses itself in this one, and its messages keep what was put on it
                steps += child.messages
            elif isinstance(child, Message | group):
                steps.append(child)
            else:
                raise TypeError(
                    f"A pipeline is made of messages (actor.message(...)), groups and pipelines, not of {child!r}."
                )
        if not steps:
            raise ValueError("A pipeline has at least one message.")
        if any(isinstance(step, group) and not len(step) for step in steps):
            raise ValueError("A group that is a step of a pipeline has at least one message: nothing would follow it.")
        self.messages = _chained(steps)
        for step, following in pairwise(steps):
            if isinstance(step, group):
                self._check_results(step, following)

    def __len__(self) -> int:
        return len(self.messages)

    def __or__(self, other: Message[Any] | Composition) -> pipeline:
        return type(self)([self, other], broker=self.broker)

    def __str__(self) -> str:
        return f"pipeline([{', '.join(str(message) for message in self.messages)}])"

    def run(self, *, delay: int | timedelta | None = None) -> pipeline:
        """Send the first step, ``delay`` milliseconds from now or after its own delay, whichever is longer.

        A pipeline that is run once more is another one, with an id of its own. RuntimeError when it has a group before
        its last step and the broker has no ``GroupCallbacks``.
        """
        self.check_callbacks()
        if self._has_run:
            self.renew()
        self.put_stamps({})
        send_through(self.broker, [postponed(message, delay) for message in self.sealed()])
        self._has_run = True
        return self

    def renew(self) -> None:
        self.group_id = generate_unique_id()
        for step in self.messages:
            if isinstance(step, group):
                step.renew()

    def put_stamps(self, outer: Stamps) -> Stamps:
        own = stamps.united(outer, self.stamps)
        before: Stamps = {}
        for index, step in enumerate(self.messages):
            if isinstance(step, group):
                before = stamps.united(before, step.put_stamps(own))
            else:
                self.messages[index] = step = self._following(step, own, before)
                before = stamps.united(before, self._stamps_of(step))
        return stamps.united(own, before)

    def sealed(self, owner: Mapping[str, Any] | None = None) -> list[Message[Any]]:
        own = self.named if owner is None else owner
        target: dict[str, Any] | None = None
        for step in reversed(self.messages[1:]):
            target = _wire(step, target)
        first = self.messages[0]
        if isinstance(first, group):
            return [within(member, own, target) for member in first.sealed()]
        return [_unchained(first).copy(options={**own, **({"pipe_target": target} if target else {})})]

    @property
    def parts(self) -> Iterable[Message[Any] | Composition]:
        return self.messages

    def own_ids(self) -> Iterator[str]:
        """As a member of a group its messages carry the group's."""
        return self.groups_within()

    @property
    def end(self) -> End:
        return end_of(self.messages[-1])

    def member_name(self, index: int) -> str:
        last = self.messages[-1]
        return last.member_name(index) if isinstance(last, group) else member_name(index, MESSAGE, last.message_id)

    def check_callbacks(self) -> None:
        for step in self.messages:
            if isinstance(step, group):
                step.check_callbacks(is_waited_for=step is not self.messages[-1])
        # The step before sends them, and nobody is there who could be refused.
        check_members(self.broker, (step for step in self.messages[1:] if isinstance(step, group)), at_once=False)

    def _check_results(self, step: group, following: Step) -> None:
        """What is handed on has to be kept until the last member is done."""
        if not takes_results(_wire(following, None)):
            return
        default = next((item.store_results for item in self.broker.middleware if isinstance(item, Results)), None)
        for message in messages_of(step.end):
            if default is None or not _stores_results(self.broker, message, default):
                raise ValueError(
                    f"The results of {message.actor_name} are not stored, and the step after its group gets them: "
                    "declare the actor with store_results=True (the broker needs Results in its middleware), or give "
                    "that step pipe_ignore=True."
                )

    # Results

    @property
    def completed_count(self) -> int:
        """How many of the steps have ended, as far as results tell."""
        return sum(are_there([end_of(step) for step in self.messages], self._store()))

    def get_result(
        self, *, backend: ResultBackend | None = None, block: bool = False, timeout: int | None = None
    ) -> Any:
        """The result of the last step; parameters and errors as :meth:`Message.get_result`.

        Who waits gets the ResultFailure of an earlier step as well: nothing follows it.
        """
        last, store = self.messages[-1], self._store(backend)
        if not block:
            return result_of(last, store, block=False, timeout=None)
        return self._patiently(
            lambda moment: result_of(last, store, block=True, timeout=moment.left), store, Deadline(timeout)
        )

    def await_end(self, store: ResultBackend, deadline: Deadline) -> None:
        with suppress(ResultFailure):  # of a step before the last: nothing follows it
            self._patiently(lambda moment: await_end_of(self.messages[-1], store, moment), store, deadline)

    def _patiently(self, wait: Callable[[Deadline], Any], store: ResultBackend, deadline: Deadline) -> Any:
        """What ``wait`` for the last step returns, which is asked again and again. ResultFailure of an earlier step."""
        while True:
            left = deadline.left
            try:
                return wait(Deadline(min(left, _LOOK)))
            except ResultTimeout:
                self._raise_failure(store)
                if left <= _LOOK:
                    raise

    def get_results(
        self, *, backend: ResultBackend | None = None, block: bool = False, timeout: int | None = None
    ) -> Iterator[Any]:
        """The results of all steps, in their order; ``timeout`` is for all of them together."""
        store, deadline = self._store(backend), Deadline(timeout)
        for step in self.messages:
            yield result_of(step, store, block=block, timeout=deadline.left)

    def outcome(self, store: ResultBackend, *, block: bool, timeout: int | None) -> Any:
        return self.get_result(backend=store, block=block, timeout=timeout)

    def _raise_failure(self, store: ResultBackend) -> None:
        before = [message for step in self.messages[:-1] for message in messages_of(end_of(step))]
        for found in store.peek(before):
            if isinstance(found, ResultFailure):
                raise found


def _stores_results(broker: Broker, message: Message[Any], default: bool) -> bool:
    """Whether they are, as far as this process knows the actor."""
    known = message.actor_name in broker.actors
    return bool(option(broker, MessageProxy(message), "store_results", default if known else True))


def _chained(steps: list[Step]) -> list[Step]:
    """Each message with the rest of the chain in its ``pipe_target``, made from the end."""
    chained: list[Step] = []
    target: dict[str, Any] | None = None
    for step in reversed(steps):
        if isinstance(step, Message):
            step = _unchained(step)
            chained.insert(0, step if target is None else step.copy(options={"pipe_target": target}))
        else:
            chained.insert(0, step)
        target = _wire(step, target)
    return chained


def _wire(step: Step, target: dict[str, Any] | None) -> dict[str, Any]:
    """A step as the one before it carries it."""
    rest = {} if target is None else {"pipe_target": target}
    if isinstance(step, group):
        return {"group": [member.asdict() for member in step.sealed()], **rest}
    return _unchained(step).copy(options=rest).asdict()


def _unchained(step: Message[Any]) -> Message[Any]:
    options = {name: value for name, value in step.options.items() if name != "pipe_target"}
    return Message(
        step.queue_name,
        step.actor_name,
        step.args,
        step.kwargs,
        options,
        step.message_id,
        step.message_timestamp,
        step.unknown,
    )
