"""The control store in the database of the records, for every broker that outlives a process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from django.db import transaction
from django.db.models import F, Q

from .. import clock
from ..broker import MAX_BATCH, Broker
from ..deliveries import Held
from ..dialect import dialect, now_ms
from ..errors import BrokerNotReady
from ..models import ActorState, ControlVersion, QueueState, Revocation, WorkerProcess
from ..rules import Conditions, ControlStore, Rule, Rules
from ..sql import Database
from ..states import FINAL, State
from ..waiting.apart import is_a_tests
from .search import Search, unrecorded

FRESH = timedelta(seconds=15)
"""How old the sign of life of a worker may be that counts as alive."""

_MOST = 50_000
"""Messages that one look of a sweep finds."""

_STATES = {
    "ready": State.ENQUEUED.value,
    "delayed": State.DELAYED.value,
    "in_flight": State.RUNNING.value,
    "dead": State.DEAD.value,
}

_VERSIONS = ControlVersion._meta.db_table
_WORKERS = WorkerProcess._meta.db_table
_ROW = 1


class DatabaseControlStore(ControlStore):
    """Rows, each change in one transaction with the version.

    A change is part of the caller's transaction where one is open. Times are the database's.

    Parameters:
        alias: of the records' database.
    """

    def __init__(self, broker: Broker, alias: str) -> None:
        self._broker = broker
        self._alias = alias
        self._database = Database(alias)

    def version(self) -> int:
        try:
            rows = self._database.rows(f"SELECT MAX(version) FROM {_VERSIONS}")
        except BrokerNotReady:  # before the migration that brings it nobody has said anything
            return 0
        return int(rows[0][0] or 0)

    def rules(self) -> Rules:
        """None where the tables are not there yet: a release that knows nothing of them cannot have said anything."""
        try:
            return self._rules()
        except BrokerNotReady:
            return Rules()

    def _rules(self) -> Rules:
        self._database.own()
        with self._database.errors():
            version = self.version()  # first: what changes meanwhile is read again
            now = clock.as_datetime(now_ms(self._database))
            holding = Revocation.objects.using(self._alias).filter(
                Q(expires_at=None) | Q(expires_at__gt=now), lifted_at=None
            )
            queues = QueueState.objects.using(self._alias).exclude(paused_at=None)
            actors = ActorState.objects.using(self._alias).exclude(paused_at=None)
            return Rules(
                version,
                [rule_of(row) for row in holding.order_by("id")],
                queues.values_list("queue_name", flat=True),
                actors.values_list("actor_name", flat=True),
            )

    def add(self, rule: Rule, expires_in: int | None, counts: Mapping[str, int]) -> Rule:
        with self._change():
            now = now_ms(self._database)
            created_at = clock.as_datetime(now)
            row = Revocation.objects.using(self._alias).create(
                **_shown(rule.conditions),
                conditions=msgspec.to_builtins(rule.conditions, order="deterministic"),
                terminate=rule.terminate,
                reason=rule.reason,
                created_by=rule.created_by,
                created_at=created_at,
                expires_at=None if expires_in is None else created_at + timedelta(milliseconds=expires_in),
                counts=dict(counts),
            )
        return rule_of(row)

    def lift(self, rule_id: int) -> bool:
        with self._change():
            now = clock.as_datetime(now_ms(self._database))
            holding = Revocation.objects.using(self._alias).filter(
                Q(expires_at=None) | Q(expires_at__gt=now), pk=rule_id, lifted_at=None
            )
            return bool(holding.update(lifted_at=now))

    def pause(self, *, queue: str = "", actor: str = "") -> bool:
        with self._change():
            states, name = self._states(queue, actor)
            now = clock.as_datetime(now_ms(self._database))
            states.get_or_create(**name)
            return bool(states.filter(**name, paused_at=None).update(paused_at=now))

    def resume(self, *, queue: str = "", actor: str = "") -> bool:
        with self._change():
            states, name = self._states(queue, actor)
            return bool(states.filter(**name).exclude(paused_at=None).update(paused_at=None))

    def count(self, conditions: Conditions) -> dict[str, int]:
        counts = Search(self._database, conditions).counts()
        for held in self._unrecorded(conditions).values():
            state = _STATES[held.state]
            if state not in FINAL:
                counts[state] = counts.get(state, 0) + 1
        return counts

    def _unrecorded(self, conditions: Conditions) -> dict[str, Held]:
        """Those of the ids that are conditions whose messages have no record, as the broker holds them."""
        if not conditions.ids or (conditions.match == "all" and len(conditions.kinds) > 1):
            return {}
        unknown = unrecorded(self._database, conditions.ids)
        return self._broker.look_up(unknown) if unknown else {}

    def sweep(self, rule: Rule, until: float, remove: Callable[[Sequence[str]], int]) -> int:
        search, swept = Search(self._database, rule.conditions, rule.created_at), 0
        found = search.waiting(_MOST)
        found += [one for one, held in self._unrecorded(rule.conditions).items() if held.state != "dead"]
        for start in range(0, len(found), MAX_BATCH):
            swept += remove(found[start : start + MAX_BATCH])
            if clock.monotonic() >= until:
                break
        return swept

    def forget(self, ttl: int) -> int:
        with self._database.errors():
            before = clock.as_datetime(now_ms(self._database) - ttl)
            rows = Revocation.objects.using(self._alias).order_by("id")
            over = rows.filter(Q(expires_at__lt=before) | Q(lifted_at__lt=before)).values_list("pk", flat=True)
            return int(rows.filter(pk__in=list(over[:MAX_BATCH])).delete()[0])

    def unreached(self, version: int) -> Sequence[str]:
        with self._database.errors():
            since = clock.as_datetime(now_ms(self._database)) - FRESH
            alive = WorkerProcess.objects.using(self._alias).filter(heartbeat_at__gte=since)
            return list(alive.filter(control_version__lt=version).values_list("worker_id", flat=True))

    def note_obeyed(self, versions: Mapping[str, int]) -> None:
        self._database.own()
        mark = dialect(self._database).mark
        self._database.many(
            f"UPDATE {_WORKERS} SET control_version = {mark} WHERE worker_id = {mark}",
            [(version, worker_id) for worker_id, version in sorted(versions.items())],
        )

    def close(self) -> None:
        self._database.close()

    @property
    def waits_for_commit(self) -> bool:
        return self._database.is_in_transaction and not is_a_tests(self._database.connection)

    def when_committed(self, then: Callable[[], object]) -> None:
        if self.waits_for_commit:
            transaction.on_commit(lambda: then() and None, using=self._alias)
        else:
            then()

    def _states(self, queue: str, actor: str) -> tuple[Any, dict[str, str]]:
        if queue:
            return QueueState.objects.using(self._alias), {"queue_name": queue}
        return ActorState.objects.using(self._alias), {"actor_name": actor}

    def _change(self) -> Any:
        """What changes within, and the version that says so: both or neither."""
        return _Change(self._database)


class _Change:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._atomic = database.atomic(savepoint=True)

    def __enter__(self) -> None:
        self._atomic.__enter__()
        # First: whoever changes something waits here for who does so now, so that versions are seen in their order.
        versions = ControlVersion.objects.using(self._database.alias)
        versions.get_or_create(pk=_ROW)
        versions.filter(pk=_ROW).update(version=F("version") + 1)

    def __exit__(self, *error: Any) -> Any:
        return self._atomic.__exit__(*error)


def rule_of(row: Revocation) -> Rule:
    """A revocation as workers look it up."""
    return Rule(
        row.pk,
        msgspec.convert(row.conditions, Conditions),
        row.terminate,
        _ms(row.created_at) or 0,
        _ms(row.expires_at),
        row.reason,
        row.created_by,
    )


def _ms(moment: Any) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)


def _shown(conditions: Conditions) -> dict[str, str]:
    """Target, name and value, as people look for them."""
    if conditions.everything:
        return {"target": Revocation.Target.EVERYTHING}
    if len(conditions.kinds) > 1 or len(conditions.stamps) > 1:
        return {"target": Revocation.Target.SEVERAL}
    if conditions.ids:
        return {"target": Revocation.Target.MESSAGE, "value": min(conditions.ids)}
    for name, values in conditions.stamps.items():
        return {"target": Revocation.Target.STAMP, "name": name, "value": values[0]}
    if conditions.actor:
        return {"target": Revocation.Target.ACTOR, "value": conditions.actor}
    return {"target": Revocation.Target.QUEUE, "value": conditions.queue}
