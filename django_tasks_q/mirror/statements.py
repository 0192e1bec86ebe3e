"""The statements that write records, for each vendor.

Contract of each: one row for each message in a batch; a row's state columns change only when its guard rises; birth
columns are filled where they are empty, in whatever order events come. All of it happens in the caller's transaction.

Parameters of a state change, in this order: message_id, guard, state, retries, deliveries, lost, life, worker, eta,
enqueued_at, started_at, finished_at, dead_reason, error_type, error_message. Times are epoch milliseconds on PostgreSQL
and formatted text on SQLite. A birth adds: queue_name, actor_name, app_label, priority, args, kwargs, options, raw,
created_at, correlation_id, parent_id, group_id.
"""

from __future__ import annotations

STATE_COLUMNS = (
    "message_id", "guard", "state", "retries", "deliveries", "lost", "life", "worker", "eta", "enqueued_at",
    "started_at", "finished_at", "dead_reason", "error_type", "error_message",
)  # fmt: skip
BIRTH_COLUMNS = (
    "queue_name", "actor_name", "app_label", "priority", "args", "kwargs", "options", "raw", "created_at",
    "correlation_id", "parent_id", "group_id",
)  # fmt: skip
ATTEMPT_COLUMNS = (
    "message_id", "number", "started_at", "finished_at", "worker", "outcome", "error_type", "error_message",
    "traceback",
)  # fmt: skip

_TYPES = {
    "guard": "bigint", "retries": "int", "deliveries": "int", "lost": "int", "life": "int", "priority": "smallint",
    "number": "int", "args": "jsonb", "kwargs": "jsonb", "options": "jsonb", "raw": "bytea", "eta": "time",
    "enqueued_at": "time", "started_at": "time", "finished_at": "time", "created_at": "time",
}  # fmt: skip
"""PostgreSQL's types of the columns that are not text; ``time`` travels as epoch milliseconds."""

_DEFAULTS = {"progress_text": "''"}
_EMPTY_TEXT = ("queue_name", "actor_name", "app_label", "correlation_id", "parent_id", "group_id")


def _assignments(new: str, old: str) -> dict[str, str]:
    """What each state column becomes when the guard rises. ``new`` and ``old`` are prefixes of column names."""
    kept = {name: f"COALESCE({new}{name}, {old}{name})" for name in ("eta", "enqueued_at", "started_at")}
    kept["worker"] = f"COALESCE(NULLIF({new}worker, ''), {old}worker)"
    return {name: kept.get(name, f"{new}{name}") for name in STATE_COLUMNS if name != "message_id"}


def _births(new: str, old: str) -> dict[str, str]:
    filled = {name: f"COALESCE({old}{name}, {new}{name})" for name in BIRTH_COLUMNS}
    filled |= {name: f"CASE WHEN {old}{name} = '' THEN {new}{name} ELSE {old}{name} END" for name in _EMPTY_TEXT}
    # A number has no empty value: whoever was not born yet has no creation time either.
    filled["priority"] = f"CASE WHEN {old}created_at IS NULL THEN {new}priority ELSE {old}priority END"
    return filled


def _conflict(table: str) -> str:
    """ON CONFLICT: births fill what is empty, states move when the guard rises."""
    old, new = f"{table}.", "excluded."
    rises = f"{new}guard > {old}guard"
    parts = [f"{name} = {value}" for name, value in _births(new, old).items()]
    parts += [
        f"{name} = CASE WHEN {rises} THEN {value} ELSE {old}{name} END"
        for name, value in _assignments(new, old).items()
    ]
    return f"ON CONFLICT (message_id) DO UPDATE SET {', '.join(parts)} WHERE {rises} OR {old}created_at IS NULL"


# --- SQLite: one prepared statement, run for each row of the batch (executemany)


def sqlite_update(table: str) -> str:
    """State changes of known messages. Parameters: a state change, then message_id and guard again."""
    values = {name: f"?{index + 1}" for index, name in enumerate(STATE_COLUMNS)}
    assigned = _assignments("@", "#")
    parts = []
    for name, value in assigned.items():
        text = value.replace("#", "")
        for column in sorted(values, key=len, reverse=True):
            text = text.replace(f"@{column}", values[column])
        parts.append(f"{name} = {text}")
    return f'UPDATE "{table}" SET {", ".join(parts)} WHERE message_id = ?1 AND guard < ?2'


def sqlite_upsert(table: str) -> str:
    """Births, or state changes of messages that nobody knows yet. Parameters: a state change and a birth."""
    columns = (*STATE_COLUMNS, *BIRTH_COLUMNS, *_DEFAULTS)
    marks = ["?"] * (len(STATE_COLUMNS) + len(BIRTH_COLUMNS)) + list(_DEFAULTS.values())
    return f'INSERT INTO "{table}" ({", ".join(columns)}) VALUES ({", ".join(marks)}) {_conflict(f"{table}")}'


def sqlite_attempts(table: str) -> str:
    """Attempts; one that is there already stays as it is. Parameters: an attempt."""
    return (
        f'INSERT INTO "{table}" ({", ".join(ATTEMPT_COLUMNS)}) VALUES ({", ".join("?" * len(ATTEMPT_COLUMNS))}) '
        "ON CONFLICT DO NOTHING"
    )


# --- PostgreSQL: one statement for the whole batch, its columns as arrays


def _array(name: str) -> str:
    kind = _TYPES.get(name, "text")
    # JSON travels as text: an array of jsonb would have to be escaped twice.
    return {"time": "%s::bigint[]", "jsonb": "%s::text[]"}.get(kind, f"%s::{kind}[]")


def _cast(name: str, prefix: str = "c.") -> str:
    kind = _TYPES.get(name, "text")
    if kind == "time":
        return f"to_timestamp({prefix}{name} / 1000.0)"
    return f"{prefix}{name}::jsonb" if kind == "jsonb" else f"{prefix}{name}"


def _batch(columns: tuple[str, ...]) -> str:
    """The batch as a table ``c`` whose times and JSON have their real types."""
    selected = ", ".join(f"{_cast(name, 'u.')} AS {name}" for name in columns)
    return f"(SELECT {selected} FROM unnest({', '.join(map(_array, columns))}) AS u({', '.join(columns)})) AS c"


def postgresql_update(table: str) -> str:
    """State changes of known messages. Parameters: one array for each column of a state change."""
    parts = [f"{name} = {value}" for name, value in _assignments("c.", "r.").items()]
    return (
        f'UPDATE "{table}" AS r SET {", ".join(parts)} FROM {_batch(STATE_COLUMNS)} '
        "WHERE r.message_id = c.message_id AND r.guard < c.guard"
    )


def postgresql_upsert(table: str) -> str:
    """Births, or state changes of messages that nobody knows yet. Parameters: arrays of a state change and a birth."""
    columns = (*STATE_COLUMNS, *BIRTH_COLUMNS)
    return (
        f'INSERT INTO "{table}" ({", ".join((*columns, *_DEFAULTS))}) '
        f"SELECT {', '.join('c.' + name for name in columns)}, {', '.join(_DEFAULTS.values())} "
        f"FROM {_batch(columns)} {_conflict(f'{chr(34)}{table}{chr(34)}')}"
    )


def postgresql_attempts(table: str) -> str:
    return (
        f'INSERT INTO "{table}" ({", ".join(ATTEMPT_COLUMNS)}) '
        f"SELECT {', '.join('c.' + name for name in ATTEMPT_COLUMNS)} FROM {_batch(ATTEMPT_COLUMNS)} "
        "ON CONFLICT DO NOTHING"
    )
