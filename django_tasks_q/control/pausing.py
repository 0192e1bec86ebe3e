"""Letting the messages of a queue or an actor wait, until somebody resumes it."""

from __future__ import annotations

from .. import clock
from ..broker import MAX_BATCH, Broker, get_broker
from ..errors import ActorNotFound, BrokerError, QueueNotFound, did_you_mean
from ..logging import get_logger
from ..rules import ControlStore, paused_key
from .place import store_of
from .revoking import PATIENCE, await_obedience, wait_for_workers

logger = get_logger(__name__)


def pause_queue(queue_name: str) -> bool:
    """Let no worker take messages from a queue, from now on and after restarts; what runs is finished.

    It waits until every live worker obeys, which takes less than a second, and at most two seconds; within an open
    transaction of the records' database it holds when that has committed. Sending goes on. False when it is paused
    already.

    Raises:
        QueueNotFound: nobody declared it.
        BrokerConnectionError: the database cannot be reached.
        RuntimeError: there is no database.
    """
    store = _queues(queue_name)
    return _waited_for(store, store.pause(queue=queue_name))


def resume_queue(queue_name: str) -> bool:
    """End :func:`pause_queue`; False when it was not paused. Errors alike; what is paused may have left the code."""
    if not store_of(get_broker()).resume(queue=queue_name):
        _queues(queue_name)
        return False
    return True


def pause_actor(actor_name: str) -> bool:
    """Start no message of an actor, from now on and after restarts; others of its queue go on.

    Its messages are parked, no attempt is counted. Otherwise as :func:`pause_queue`; ActorNotFound for an unknown one.
    """
    store = _actors(actor_name)
    return _waited_for(store, store.pause(actor=actor_name))


def resume_actor(actor_name: str) -> bool:
    """End :func:`pause_actor`, and call the messages that are parked; False when it was not paused. Errors alike."""
    store = store_of(get_broker())
    if not store.resume(actor=actor_name):
        _actors(actor_name)
        return False
    store.when_committed(lambda: _call(store, actor_name))
    return True


def _waited_for(store: ControlStore, has_changed: bool) -> bool:
    if has_changed and not store.waits_for_commit:
        wait_for_workers(store)
    return has_changed


def _call(store: ControlStore, actor_name: str) -> None:
    """Once the workers obey: what one of them parks after that comes back by itself, but only after a minute."""
    until = clock.monotonic() + PATIENCE
    broker = get_broker()
    queue_names = list(broker.queues)
    try:
        await_obedience(store, store.version(), until)
        while broker.unpark(paused_key(actor_name), MAX_BATCH, queue_names) and clock.monotonic() < until + PATIENCE:
            pass
    except BrokerError as error:  # the pause has ended all the same
        logger.warning(
            "Messages of %s that are parked cannot be called; they come by themselves: %s", actor_name, error
        )


def _queues(queue_name: str) -> ControlStore:
    broker = get_broker()
    if queue_name not in broker.queues:
        hint = did_you_mean(queue_name, list(broker.queues))
        raise QueueNotFound(f"No queue is called {queue_name!r}.{hint}")
    return store_of(broker)


def _actors(actor_name: str) -> ControlStore:
    broker: Broker = get_broker()
    if actor_name not in broker.actors:
        hint = did_you_mean(actor_name, list(broker.actors))
        raise ActorNotFound(f"No actor is called {actor_name!r}.{hint}")
    return store_of(broker)
