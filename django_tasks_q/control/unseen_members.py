"""Members of groups that have no record, so that the keeper does not see them thrown away or called off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress

from ..broker import Broker
from ..deliveries import Held
from ..errors import DecodeError, DuplicateMessage
from ..logging import get_logger
from ..message import Message
from ..middleware import GroupCallbacks
from ..middleware.membership import is_counted

logger = get_logger(__name__)


class UnseenMembers:
    """Those among some messages, as the broker held them before they were thrown away or called off.

    Telling their groups is no part of removing them: a process that is killed in between leaves the groups open.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._groups = next((item for item in broker.middleware if isinstance(item, GroupCallbacks)), None)
        self._members: dict[str, Message[object]] = {}

    @property
    def are_counted(self) -> bool:
        """Whether this broker has groups that wait for their members at all."""
        return self._groups is not None

    def look_up(self, message_ids: Sequence[str]) -> None:
        """Note those of these that are members, before they are removed. Raises BrokerConnectionError."""
        if self.are_counted:
            self.note(self._broker.look_up(message_ids).values())

    def note(self, held: Iterable[Held]) -> None:
        """As :meth:`look_up`, of what was looked up already."""
        for one in held if self.are_counted else ():
            self._note(one)

    def _note(self, held: Held) -> None:
        if held.delivery.record or held.state == "dead":  # who is dead has a record, and its group has heard of it
            return
        with suppress(DecodeError):
            message: Message[object] = Message.decode(held.delivery.payload)
            if is_counted(message.options):
                self._members[message.message_id] = message

    def were_removed(self, message_ids: Iterable[str]) -> None:
        """Tell the groups of these, as the keeper would; what goes wrong is logged, because they are gone."""
        for message_id in message_ids:
            member = self._members.get(message_id)
            if member is not None:
                try:
                    self._tell(member)
                except Exception:
                    logger.exception("The group of message %s cannot be told of its end.", message_id)

    def _tell(self, member: Message[object]) -> None:
        assert self._groups is not None
        for follower in self._groups.ended(self._broker, member.options):
            with suppress(DuplicateMessage):
                outgoing = self._broker.prepare(follower, parent_id=member.message_id, stamps=member.stamps)
                self._broker.publish([outgoing])
