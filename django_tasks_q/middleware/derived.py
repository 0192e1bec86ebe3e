"""Messages that the engine makes because of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from ..deliveries import MessageProxy
from ..message import Message

if TYPE_CHECKING:
    from ..broker import Broker

_NAMESPACE = UUID("6f1d3c52-9a0e-4c53-8d0e-7b1f2f6f9a55")


def derived_message(
    broker: Broker, cause: MessageProxy, actor_name: str, args: tuple[Any, ...], role: str
) -> Message[Any]:
    """A message for ``actor_name`` caused by ``cause``.

    Its id is a UUID version 5 (RFC 9562) of the cause's id, life, attempt and the role, so that an attempt that is
    repeated after a crash causes the same message again and not a second one. An actor that is not known here may be
    known elsewhere, or after a deploy: its message waits in the queue of its cause, as any other of an unknown actor.
    """
    actor = broker.actors.get(actor_name)
    delivery = cause.delivery
    life, retries = (0, 0) if delivery is None else (delivery.life, delivery.retries)
    name = f"{cause.message_id}:{life}:{retries}:{role}:{len(cause.caused)}"
    return Message(
        queue_name=cause.queue_name if actor is None else actor.queue_name,
        actor_name=actor_name,
        args=args,
        message_id=str(uuid5(_NAMESPACE, name)),
    )
