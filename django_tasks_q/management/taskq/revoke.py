"""``taskq revoke``, ``lift`` and ``revocations``: calling messages off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import Q, QuerySet

from django_tasks_q import Revocation, clock, get_broker, lift, models, records_database, revoke
from django_tasks_q.control.revoking import WEEK
from django_tasks_q.dialect import now_ms
from django_tasks_q.durations import parse_milliseconds
from django_tasks_q.sql import Database

from . import records
from .asking import add_yes, is_wanted
from .output import Output, age, until
from .selection import add_stamps, check_names, stamps_of
from .subcommand import DONE, NOTHING, Subcommand, positive, refuse, typed


def _expiry(text: str) -> int | None:
    """Milliseconds, or None for never. ValueError for what is neither, or no time at all."""
    if text == "never":
        return None
    duration = parse_milliseconds(text)
    if not 0 < duration <= clock.wall_ms():
        raise ValueError(f"a duration like 7d, or never, is wanted, not {text!r:.80}")
    return duration


class Revoke(Subcommand):
    name = "revoke"
    help = "call messages off: what waits, is to run again, or comes later with that id or stamp"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("ids", nargs="*", metavar="ID")
        add_stamps(add, "messages with this stamp, sent later ones included; a name given twice has two values")
        add("--actor", metavar="NAME", default="", help="messages of this actor that were sent before now")
        add("--queue", metavar="NAME", default="", help="messages of this queue that were sent before now")
        add("--all", action="store_true", help="all messages that were sent before now")
        add("--match", choices=["any", "all"], help="messages that one of several conditions fits, or each of them")
        add("--future", action="store_true", help="by actor or queue, also what is sent later")
        add("--terminate", action="store_true", help="interrupt what runs")
        add("--reason", metavar="TEXT", default="", help="for people")
        add("--expires", type=typed(_expiry), default=WEEK, metavar="7d", help="for how long it holds, or never")
        add("--dry-run", action="store_true", help="only say how many there are")
        add_yes(add)

    def run(self, given: dict[str, Any], out: Output) -> int:
        _check(given)
        if given["all"] and not (given["yes"] or given["dry_run"] or _are_all_wanted(out)):
            out.note("Nothing was revoked.")
            return NOTHING
        check_names(given["actor"], given["queue"])
        names = ("ids", "actor", "queue", "match", "future", "terminate", "reason", "expires", "dry_run")
        try:
            named = {name: given[name] for name in names}
            revocation = revoke(stamps=stamps_of(given), everything=given["all"], by="taskq", **named)
        except ValueError as error:
            refuse(str(error))
        _tell(revocation, given["dry_run"], out)
        return DONE if revocation.total else NOTHING


def _check(given: dict[str, Any]) -> None:
    """What the function would refuse, in the words of a command line."""
    named = [option for option in ("ids", "stamp", "actor", "queue") if given[option]]
    if bool(named) == given["all"]:
        refuse("What to revoke? Name message ids, --stamp, --actor or --queue, or --all alone.")
    if len(named) > 1 and given["match"] is None:
        refuse(f"{', '.join(named)}: say --match all for messages that fit each of these, or --match any.")
    if given["future"] and not (given["actor"] or given["queue"]):
        refuse("--future is for --actor and --queue; ids and stamps always mean what is sent later as well.")


def _are_all_wanted(out: Output) -> bool:
    found = revoke(everything=True, dry_run=True)
    return is_wanted([_counts(found)], "Call all of them off?", "This calls off every message that waits", out)


def _counts(revocation: Revocation) -> str:
    return ", ".join(f"{number} {state}" for state, number in sorted(revocation.counts.items())) or "no messages"


def _tell(revocation: Revocation, is_dry: bool, out: Output) -> None:
    if out.as_json:
        told = {"id": revocation.id, "counts": revocation.counts, "total": revocation.total}
        out.json(told | {"unreached": revocation.unreached, "confirmed": revocation.is_confirmed, "dry_run": is_dry})
        return
    counts = _counts(revocation)
    out.line(f"{counts} would be called off" if is_dry else f"revocation {revocation.id}: {counts}")
    if not revocation.is_confirmed:
        out.note("It holds, but the database has gone since: who obeys it is not known.")
    if revocation.unreached:
        out.note(f"Not obeyed yet by {', '.join(revocation.unreached)}: cut off, or standing still.")


class Lift(Subcommand):
    name = "lift"
    help = "end a revocation"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("id", type=typed(positive), metavar="ID", help="of the revocation, as revoke and revocations print it")

    def run(self, given: dict[str, Any], out: Output) -> int:
        number = given["id"]
        is_lifted = lift(number)
        if out.as_json:
            out.json({"id": number, "lifted": is_lifted})
        elif is_lifted:
            out.line(f"revocation {number} lifted")
        else:
            out.note(f"No revocation {number} holds.")
        return DONE if is_lifted else NOTHING


class Revocations(Subcommand):
    name = "revocations"
    help = "what is called off"

    def add_arguments(self, add: Callable[..., Any]) -> None:
        add("--all", action="store_true", help="those that were lifted or have expired too")
        add("--limit", type=typed(positive), metavar="N", default=50, help="at most so many, the newest (default 50)")

    def run(self, given: dict[str, Any], out: Output) -> int:
        found = list(_revocations(with_past=given["all"])[: given["limit"]])
        if out.as_json:
            out.json([records.as_dict(row) for row in found])
        elif found:
            out.table(_NAMES, [_row(row) for row in found], shrink=["WHAT", "REASON"])
        else:
            out.note("No revocation holds." if not given["all"] else "Nothing was ever called off.")
        return DONE if found else NOTHING


_NAMES = ("ID", "WHAT", "FOUND", "BY", "AGE", "HOLDS", "REASON")


def _revocations(*, with_past: bool) -> QuerySet[models.Revocation]:
    """The newest first."""
    database = Database(records_database.alias(get_broker()))
    rows = models.Revocation.objects.using(database.alias).order_by("-created_at", "-id")
    if with_past:
        return rows
    now = clock.as_datetime(now_ms(database))
    return rows.filter(Q(expires_at=None) | Q(expires_at__gt=now), lifted_at=None)


def _row(row: models.Revocation) -> list[Any]:
    what = f"{row.target} {row.name}={row.value}" if row.name else f"{row.target} {row.value}".strip()
    if row.lifted_at is not None:
        holds = "lifted"
    else:
        holds = "for ever" if row.expires_at is None else until(row.expires_at) or "expired"
    return [row.pk, what, sum(row.counts.values()), row.created_by, age(row.created_at), holds, row.reason]
