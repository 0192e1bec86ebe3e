"""What stands in for a broker that the settings fail to describe, so that a project can still say what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..actor import Actor


class UnusableBroker:
    """Actors can be declared on it, so that modules with actors import and system checks run.

    Whatever else is asked of it raises the error that it was made of.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.actors: dict[str, Actor[Any, Any]] = {}
        self.queues: dict[str, None] = {}
        self.actor_options = _Everything()
        self.actor_defaults: Mapping[str, Any] = {}

    def declare_actor(self, actor: Actor[Any, Any]) -> None:
        self.declare_queue(actor.queue_name)
        self.actors[actor.actor_name] = actor

    def declare_queue(self, queue_name: str) -> None:
        self.queues[queue_name] = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by Python itself, to copy or show it
            raise AttributeError(name)
        raise self.error


class _Everything(frozenset[str]):
    """The names of all options there may be: nobody knows the middleware that reads them."""

    def __contains__(self, name: object) -> bool:
        return True

    def __or__(self, other: Set[Any]) -> _Everything:
        return self

    def __sub__(self, other: Set[Any]) -> _Everything:
        return self
