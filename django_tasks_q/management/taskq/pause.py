"""``taskq pause`` and ``taskq resume``: letting a queue or an actor wait."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from django_tasks_q import ActorNotFound, QueueNotFound, pause_actor, pause_queue, resume_actor, resume_queue

from .output import Output
from .subcommand import DONE, NOTHING, Subcommand, refuse


class Waiting(Subcommand):
    """Of one queue or one actor."""

    past: ClassVar[str]

    @abstractmethod
    def act(self, kind: str, name: str) -> bool:
        """``kind`` is "queue" or "actor"; False when nothing had to change."""

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("--queue", metavar="NAME", default="")
        add("--actor", metavar="NAME", default="")

    def run(self, given: dict[str, Any], out: Output) -> int:
        if bool(given["queue"]) == bool(given["actor"]):
            refuse(f"What to {self.name}? Name --queue or --actor: one of the two.")
        kind = "queue" if given["queue"] else "actor"
        try:
            has_changed = self.act(kind, given[kind])
        except (ActorNotFound, QueueNotFound) as error:
            refuse(str(error))
        if out.as_json:
            out.json({"action": self.name, f"{kind}_name": given[kind], "changed": has_changed})
        elif has_changed:
            out.line(f"{kind} {given[kind]} {self.past}")
        else:
            out.note(f"Nothing to {self.name}.")
        return DONE if has_changed else NOTHING


class Pause(Waiting):
    name = "pause"
    help = "let a queue or an actor wait: what runs is finished, and nothing else starts until it is resumed"
    past = "paused"

    def act(self, kind: str, name: str) -> bool:
        return pause_queue(name) if kind == "queue" else pause_actor(name)


class Resume(Waiting):
    name = "resume"
    help = "end a pause"
    past = "resumed"

    def act(self, kind: str, name: str) -> bool:
        return resume_queue(name) if kind == "queue" else resume_actor(name)
