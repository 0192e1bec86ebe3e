"""``taskq requeue`` and ``taskq discard``: some by id, or everything that fits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from django_tasks_q import get_broker
from django_tasks_q.operations import bulk, repair
from django_tasks_q.operations.filters import Filter, capped_count

from .output import Output
from .selection import add_filters, selected
from .subcommand import DONE, INTERRUPTED, NOTHING, Subcommand, refuse


class Repair(Subcommand):
    """Ids, or a filter, or ``--all``; never nothing, and never both."""

    past: ClassVar[str]
    places: ClassVar[frozenset[str]]
    """Where a message may be that this can be done to."""

    @abstractmethod
    def act(self, ids: list[str]) -> repair.Tally: ...

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("ids", nargs="*", metavar="ID")
        add_filters(add)
        add("--all", action="store_true", help="all dead letters")
        add("--dry-run", action="store_true", help="only say how many there are")

    def run(self, given: dict[str, Any], out: Output) -> int:
        wanted = selected(given)
        if bool(given["ids"]) + bool(wanted.as_dict()) + given["all"] != 1:
            refuse(f"What to {self.name}? Name message ids, or filters, or --all: one of the three.")
        if given["ids"]:
            return self._some(given["ids"], given["dry_run"], out)
        try:
            wanted = bulk.narrowed(self.name, wanted)
        except ValueError as error:
            refuse(str(error))
        if given["limit"]:
            ids = wanted.queryset().order_by("created_at", "message_id").values_list("message_id", flat=True)
            return self._some(list(ids[: given["limit"]]), given["dry_run"], out)
        if given["dry_run"]:
            return self._tell(out, capped_count(wanted.queryset(), bulk.TOTAL_CAP), 0, is_dry=True)
        return self._all(wanted, out)

    def _some(self, ids: list[str], is_dry: bool, out: Output) -> int:
        if is_dry:
            held = get_broker().look_up(ids)
            done = [one for one in ids if one in held and held[one].state in self.places]
            skipped = [one for one in ids if one not in done]
        else:
            done, skipped = self.act(ids)
        for one in skipped:
            out.note(f"{one}: nothing to {self.name}.")
        return self._tell(out, len(done), len(skipped), is_dry=is_dry, skipped_ids=skipped)

    def _all(self, wanted: Filter, out: Output) -> int:
        operation = bulk.begin(self.name, wanted, "taskq")
        try:
            while operation.finished_at is None:
                operation = bulk.step(operation.pk, 0.5)
                seen = operation.done + operation.skipped
                out.progress(seen, max(operation.total, seen), is_over=operation.finished_at is not None)
        except KeyboardInterrupt:
            out.note(f"\nStopped. {operation.done} and more were {self.past}; the same command does the rest.")
            return INTERRUPTED
        return self._tell(out, operation.done, operation.skipped)

    def _tell(self, out: Output, done: int, skipped: int, *, is_dry: bool = False, **more: Any) -> int:
        if out.as_json:
            out.json({"action": self.name, "done": done, "skipped": skipped, "dry_run": is_dry, **more})
        elif is_dry:
            at_least = "at least " if done == bulk.TOTAL_CAP else ""
            out.line(f"{at_least}{done} would be {self.past}")
        else:
            out.line(f"{done} {self.past}" + (f", {skipped} skipped" if skipped else ""))
        return DONE if done else NOTHING


class Requeue(Repair):
    name = "requeue"
    help = "give dead letters a new life"
    past = "requeued"
    places = frozenset({"dead"})

    def act(self, ids: list[str]) -> repair.Tally:
        return repair.requeue(ids)


class Discard(Repair):
    name = "discard"
    help = "throw messages away: dead letters, or those of another --state that wait"
    past = "discarded"
    places = frozenset({"ready", "delayed", "dead"})

    def act(self, ids: list[str]) -> repair.Tally:
        return repair.discard(ids)
