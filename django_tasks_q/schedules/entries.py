"""What the code wants to be sent again and again: actors with a schedule, and the setting ``SCHEDULES``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from .. import clock, conf
from ..broker import Broker
from ..errors import ActorNotFound
from ..message import Message
from ..timetable import Timetable, make_timetable

_NAMESPACE = UUID("1b4f2f7e-3f6a-4f8c-9a43-5b1d0c9e7a21")


class Entry(NamedTuple):
    """A schedule by its name; ``catch_up`` is one of :data:`django_tasks_q.conf.CATCH_UP`."""

    name: str
    actor_name: str
    timetable: Timetable
    time_zone: str
    catch_up: str = "skip"
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}

    def message(self, broker: Broker) -> Message[Any]:
        """What is sent. Its option ``scheduled_by`` says why.

        Raises:
            ActorNotFound: nobody declared the actor here.
            TypeError, ValueError: the arguments or options are not for this actor.
        """
        actor = broker.get_actor(self.actor_name)
        actor.signature.check(self.args, self.kwargs)
        message = actor.message_with_options(args=self.args, kwargs=self.kwargs, **self.options)
        return message.copy(options={"scheduled_by": self.name})

    def message_of(self, broker: Broker, slot: int) -> Message[Any]:
        """What is sent for a slot (epoch milliseconds), which is the option ``scheduled_for``.

        The id is a UUID version 5 (RFC 9562) of name and slot: whoever makes it, a broker sees that it is the same.
        """
        return self.message(broker).copy(
            message_id=str(uuid5(_NAMESPACE, f"{self.name}:{slot}")),
            options={"scheduled_for": clock.as_datetime(slot).isoformat()},
        )


def declared(broker: Broker) -> dict[str, Entry]:
    """All entries by name. One of ``SCHEDULES`` with the name of an actor replaces that actor's own schedule."""
    zone = conf.time_zone()
    found = {
        name: Entry(name, name, make_timetable(actor.options["schedule"], zone), zone)
        for name, actor in list(broker.actors.items())
        if actor.options.get("schedule") is not None
    }
    for name, given in conf.schedules().items():
        timetable = make_timetable(given["schedule"], given["time_zone"])
        found[name] = Entry(
            name,
            given["actor"],
            timetable,
            given["time_zone"],
            given["catch_up"],
            tuple(given["args"]),
            given["kwargs"],
            given["options"],
        )
    return found


def problems(broker: Broker) -> Iterator[tuple[str, str]]:
    """Entries that cannot be run, by name, and why: another actor's name, or what their actors do not take."""
    for name, entry in declared(broker).items():
        namesake = broker.actors.get(name)
        if namesake is not None and namesake.options.get("schedule") is not None and entry.actor_name != name:
            yield name, f"it has the name of an actor with a schedule, and calls another one, {entry.actor_name!r}."
            continue
        try:
            entry.message(broker).encode()
        except (ActorNotFound, TypeError, ValueError) as error:
            yield name, str(error)
