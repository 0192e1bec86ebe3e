"""Messages of which one is enough: RabbitMQ cannot tell, so their keys are rows, taken before they are published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from ... import changes, clock
from ...deliveries import Outgoing, Settlement
from ...errors import BrokerError, BrokerNotReady, DecodeError
from ...logging import get_logger
from ...message import Message
from ...outcomes import Dead, Done, Revoked, Skipped
from ...unique import take_keys, tell_of_left_out, unique_of
from ...unique_holders import UniqueHolders, get_unique_holders
from ...waiting_room import Kept, get_waiting_room
from .releases import Releases

if TYPE_CHECKING:
    from .operating import Operating
    from .parcel import Item

logger = get_logger(__name__)

_FINAL = (Done, Skipped, Revoked, Dead)


def require_holders() -> UniqueHolders:
    """Where keys are kept. BrokerNotReady where there is no place for them."""
    holders = get_unique_holders()
    if holders is None:
        raise BrokerNotReady(
            "RabbitMQ cannot know which keys are held, and there is no database to keep them: unique messages need "
            "'django_tasks_q' in INSTALLED_APPS and `manage.py migrate`."
        )
    return holders


def recorded(item: Outgoing) -> Outgoing:
    """With a record in any case: that its message has ended is what frees a key that nobody lets go of."""
    return item if item.unique is None or item.record else msgspec.structs.replace(item, record=True)


class Keys:
    """Takes keys for what is sent and frees those of what has ended."""

    def __init__(self, broker: Operating) -> None:
        self._broker = broker
        self._releases = Releases()

    # Sending

    def take(self, outgoing: Sequence[Outgoing]) -> Mapping[str, str]:
        """Take the keys that these messages want; who holds the others, by their ids. DuplicateMessage."""
        wanting = [item for item in outgoing if item.unique is not None]
        holders = require_holders()
        left_out = dict(holders.take(wanting))
        free, replaced = [], set()
        for item in wanting:
            holder = left_out.get(item.message.message_id)
            # What an earlier one of the batch has replaced holds nothing any more, and nobody may be told that it does.
            if holder in replaced or self._makes_way(holders, item, holder):
                free.append(item)
                replaced.add(holder)
        if free:
            for item in free:
                del left_out[item.message.message_id]
            left_out.update(holders.take(free))
        return left_out

    def _makes_way(self, holders: UniqueHolders, item: Outgoing, holder: str | None) -> bool:
        """Whether who held the key is replaced; one that is to wait anew does so now. Only what waits in rows can."""
        unique = item.unique
        if holder is None or unique is None:
            return False
        if unique.on_conflict == "replace" and self._waits(holder):
            return bool(self._broker.discard([holder]))
        if unique.on_conflict == "refresh":
            room, now = get_waiting_room(), clock.wall_ms()
            if self._waits(holder) and room is not None and room.postpone(holder, changes.due_at(item, now) or now):
                holders.extend(unique.key, holder, unique.ttl)
        return False

    def _waits(self, message_id: str) -> bool:
        held = self._broker.look_up([message_id]).get(message_id)
        return held is not None and held.state == "delayed"

    def published(self, outgoing: Sequence[Outgoing], items: Sequence[Item]) -> None:
        """What became of messages: who took a key for one that was surely not sent gives it up."""
        pairs = [(one, item) for one, item in zip(outgoing, items, strict=True) if one.unique is not None]
        self.confirm([one for one, item in pairs if item.is_confirmed])
        self.forget([one.message.message_id for one, item in pairs if not item.is_confirmed and item.error is not None])

    def confirm(self, outgoing: Sequence[Outgoing]) -> None:
        """These are where nothing loses them."""
        holders, sent = get_unique_holders(), [one.message.message_id for one in outgoing if one.unique is not None]
        if holders is not None and sent:
            _or_the_keeper(lambda: holders.sent(sent))

    def take_again(self, revived: Sequence[Kept]) -> None:
        """Dead letters live again: each with its key, unless somebody holds that."""
        wanting = [item for letter in revived if (item := _reopened(letter)) is not None]
        holders = get_unique_holders()
        if wanting and holders is not None:
            _or_the_keeper(lambda: _take_if_free(holders, wanting))

    def take_for_caused(self, settlement: Settlement) -> Sequence[Outgoing]:
        """What a settlement causes, without those whose keys are held. While keys cannot be asked for, all of it."""
        if not take_keys(settlement.then):
            return settlement.then
        wanting = [item for item in settlement.then if item.unique is not None]
        left_out: Mapping[str, str] = {}
        try:
            holders = require_holders()
            if isinstance(settlement.outcome, _FINAL) and settlement.unique in map(_key, wanting):
                # What comes next may take the key of what ends with it.
                holders.release([(settlement.unique, settlement.delivery.message_id)])
            left_out = holders.take(wanting, caused=True)
            self._releases.sent(
                [item.message.message_id for item in wanting if item.message.message_id not in left_out]
            )
        except BrokerError as error:
            logger.warning("Messages that were caused are sent whoever holds their keys: %s", error)
        for item in wanting:
            if item.message.message_id in left_out:
                tell_of_left_out(logger, item, left_out[item.message.message_id])
        return [recorded(item) for item in settlement.then if item.message.message_id not in left_out]

    # Ending

    def settled(self, settlements: Sequence[Settlement]) -> None:
        """These were acknowledged; the keys of those that have ended are free in a moment."""
        ended = [s for s in settlements if s.unique and isinstance(s.outcome, _FINAL)]
        if ended:
            self._releases.release([(s.unique, s.delivery.message_id) for s in ended])

    def forget(self, message_ids: Sequence[str]) -> None:
        """These were dropped."""
        holders = get_unique_holders()
        if holders is not None and message_ids:
            _or_the_keeper(lambda: holders.forget(message_ids))

    def close(self) -> None:
        self._releases.close()
        holders = get_unique_holders()
        if holders is not None:
            holders.close()


def _key(item: Outgoing) -> str:
    return "" if item.unique is None else item.unique.key


def _reopened(letter: Kept) -> Outgoing | None:
    """A dead letter as it was sent, if it took a key."""
    try:
        message = Message.decode(letter.payload)
    except DecodeError:
        return None
    unique = unique_of(message)
    return None if unique is None else Outgoing(message, letter.payload, unique=unique)


def _take_if_free(holders: UniqueHolders, wanting: Sequence[Outgoing]) -> None:
    left_out = holders.take([_quietly(item) for item in wanting])
    holders.sent([item.message.message_id for item in wanting if item.message.message_id not in left_out])


def _quietly(item: Outgoing) -> Outgoing:
    """Whose conflict is nobody's error."""
    assert item.unique is not None
    return msgspec.structs.replace(item, unique=msgspec.structs.replace(item.unique, on_conflict="drop"))


def _or_the_keeper(step: Callable[[], None]) -> None:
    """What fails here the keeper makes up for, by what is recorded."""
    try:
        step()
    except BrokerError as error:
        logger.warning("Keys stay taken until the keeper looks: %s", error)
