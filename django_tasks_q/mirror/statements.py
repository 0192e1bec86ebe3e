"""The statements that write records, for each vendor.

Contract of each: one row for each message in a batch; a row's state columns change only when its guard rises; ``eta``
and ``enqueued_at`` are the latest of the life; birth columns are filled where they are empty and replaced by younger
ones, which an id has that was sent again. The outcome is the same in whatever order events come. All of it happens in
the caller's transaction.

The update sees known records in the usual order; the upsert copes with everything.

Parameters of a state change, in this order: message_id, guard, state, retries, deliveries, lost, life, worker, eta,
enqueued_at, started_at, finished_at, dead_reason, error_type, error_message. Times are epoch milliseconds on PostgreSQL
and formatted text elsewhere. A birth adds: queue_name, actor_name, app_label, priority, args, kwargs, options, raw,
created_at, correlation_id, parent_id, group_id. Progress: message_id, progress_done, progress_total, progress_text,
progress_guard; it is written by a statement of its own, when there is some, and moves when its own guard rises.
"""

from __future__ import annotations

from collections.abc import Callable

from ..dialect import POSTGRESQL, Dialect
from ..states import FINAL, State

STATE_COLUMNS = (
    "message_id", "guard", "state", "retries", "deliveries", "lost", "life", "worker", "eta", "enqueued_at",
    "started_at", "finished_at", "dead_reason", "error_type", "error_message",
)  # fmt: skip
BIRTH_COLUMNS = (
    "queue_name", "actor_name", "app_label", "priority", "args", "kwargs", "options", "raw", "created_at",
    "correlation_id", "parent_id", "group_id",
)  # fmt: skip
PROGRESS_COLUMNS = ("message_id", "progress_done", "progress_total", "progress_text", "progress_guard")
ATTEMPT_COLUMNS = (
    "message_id", "number", "started_at", "finished_at", "worker", "outcome", "error_type", "error_message",
    "traceback",
)  # fmt: skip

_TYPES = {
    "guard": "bigint", "retries": "int", "deliveries": "int", "lost": "int", "life": "int", "priority": "smallint",
    "number": "int", "args": "jsonb", "kwargs": "jsonb", "options": "jsonb", "raw": "bytea", "eta": "time",
    "enqueued_at": "time", "started_at": "time", "finished_at": "time", "created_at": "time",
    "progress_done": "bigint", "progress_total": "bigint", "progress_guard": "bigint",
}  # fmt: skip
"""PostgreSQL's types of the columns that are not text; ``time`` travels as epoch milliseconds."""

_DEFAULTS = {"progress_text": "''"}
_EMPTY_TEXT = ("queue_name", "actor_name", "app_label", "correlation_id", "parent_id", "group_id")


_LASTING = ("eta", "enqueued_at")
"""Times that later events do not repeat."""

# What follows builds expressions; ``new`` and ``old`` are prefixes of column names.


def _later_postgresql(new: str, old: str) -> str:
    return f"GREATEST({new}, {old})"


def _later_sqlite(new: str, old: str) -> str:
    return f"COALESCE(MAX({new}, {old}), {new}, {old})"  # its MAX() knows nothing when one of them is NULL


def _lasting(new: str, old: str, later: Callable[[str, str], str]) -> dict[str, str]:
    """The latest of the latest life."""
    return {
        name: f"CASE WHEN {new}life > {old}life THEN {new}{name} WHEN {new}life < {old}life THEN {old}{name} "
        f"ELSE {later(new + name, old + name)} END"
        for name in _LASTING
    }


def _moved(new: str) -> dict[str, str]:
    """What the event with the highest guard says."""
    return {name: f"{new}{name}" for name in STATE_COLUMNS if name not in ("message_id", *_LASTING)}


def _replaces(new: str, old: str) -> str:
    """Whether a birth puts another one out: an older one, or that of a message that nobody could read."""
    return (
        f"({new}created_at IS NOT NULL AND {new}raw IS NULL AND "
        f"({new}created_at > {old}created_at OR {old}raw IS NOT NULL AND {old}actor_name = ''))"
    )


def _fills(new: str, old: str) -> str:
    """Whether a birth knows what is not known yet: everything, the arguments, or the bytes."""
    return (
        f"({new}created_at IS NOT NULL AND ({old}created_at IS NULL OR {new}args IS NOT NULL AND {old}args IS NULL "
        f"OR {new}raw IS NOT NULL AND {old}raw IS NULL))"
    )


def _births(new: str, old: str) -> dict[str, str]:
    filled = {name: f"COALESCE({old}{name}, {new}{name})" for name in BIRTH_COLUMNS}
    filled |= {name: f"CASE WHEN {old}{name} = '' THEN {new}{name} ELSE {old}{name} END" for name in _EMPTY_TEXT}
    # A number has no empty value: whoever was not born yet has no creation time either.
    filled["priority"] = f"CASE WHEN {old}created_at IS NULL THEN {new}priority ELSE {old}priority END"
    replaces = _replaces(new, old)
    births = {name: f"CASE WHEN {replaces} THEN {new}{name} ELSE {value} END" for name, value in filled.items()}
    return births | {"raw": filled["raw"]}


def _merged(new: str, old: str, later: Callable[[str, str], str]) -> tuple[dict[str, str], str]:
    """What a known row becomes: births fill what is empty, states move when the guard rises, times do when they are
    later. And the condition under which that changes anything."""
    rises = f"{new}guard > {old}guard"
    values = _births(new, old) | _lasting(new, old, later)
    values |= {name: f"CASE WHEN {rises} THEN {value} ELSE {old}{name} END" for name, value in _moved(new).items()}
    is_later = " OR ".join(
        f"{new}{name} > {old}{name} OR {new}{name} IS NOT NULL AND {old}{name} IS NULL" for name in _LASTING
    )
    return values, f"{rises} OR {_fills(new, old)} OR {_replaces(new, old)} OR {new}life = {old}life AND ({is_later})"


def _conflict(table: str, later: Callable[[str, str], str]) -> str:
    values, matters = _merged("excluded.", f"{table}.", later)
    parts = ", ".join(f"{name} = {value}" for name, value in values.items())
    return f"ON CONFLICT (message_id) DO UPDATE SET {parts} WHERE {matters}"


def _is_further(old: str, new: str) -> str:
    """Whether a progress with the guard ``new`` is later than the one of the row."""
    return f"({old}progress_guard IS NULL OR {old}progress_guard < {new})"


def lose_sight(table: str, words: Dialect, queues: int) -> str:
    """Records of messages that could move by themselves become unknown. Parameters: names of queues, how many most."""
    live = ", ".join(f"'{state}'" for state in State if state not in FINAL and state is not State.UNKNOWN)
    where = f" AND queue_name IN ({', '.join([words.mark] * queues)})" if queues else ""
    chosen = f"WHERE state IN ({live}){where} LIMIT {words.mark}"
    if not words.returning:  # MySQL limits an UPDATE, and no subquery
        return f"UPDATE {table} SET state = '{State.UNKNOWN}' {chosen}"
    among = words.among.format(f"SELECT message_id FROM {table} {chosen}")
    return f"UPDATE {table} SET state = '{State.UNKNOWN}' WHERE message_id {among}"


def disown(table: str, words: Dialect) -> str:
    """Parameter: a message id."""
    return f"UPDATE {table} SET state = '{State.UNKNOWN}' WHERE message_id = {words.mark}"


def forget(table: str, words: Dialect) -> str:
    """Set back the guard of a record that says unknown. Parameters: the guard, a message id, the guard it has."""
    return (
        f"UPDATE {table} SET guard = {words.mark} WHERE message_id = {words.mark} AND guard = {words.mark} "
        f"AND state = '{State.UNKNOWN}'"
    )


# --- SQLite: one prepared statement, run for each row of the batch (executemany)


def sqlite_update(table: str) -> str:
    """State changes of known messages. Parameters: a state change, then message_id and guard again."""
    values = {name: f"?{index + 1}" for index, name in enumerate(STATE_COLUMNS)}
    parts = []
    for name, value in (_moved("@") | _lasting("@", "#", _later_sqlite)).items():
        text = value.replace("#", "")
        for column in sorted(values, key=len, reverse=True):
            text = text.replace(f"@{column}", values[column])
        parts.append(f"{name} = {text}")
    return f"UPDATE {table} SET {', '.join(parts)} WHERE message_id = ?1 AND guard < ?2"


def sqlite_upsert(table: str) -> str:
    """Births, or state changes of messages that nobody knows yet. Parameters: a state change and a birth."""
    columns = (*STATE_COLUMNS, *BIRTH_COLUMNS, *_DEFAULTS)
    marks = ["?"] * (len(STATE_COLUMNS) + len(BIRTH_COLUMNS)) + list(_DEFAULTS.values())
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(marks)}) {_conflict(table, _later_sqlite)}"


def sqlite_attempts(table: str) -> str:
    """Attempts; one that is there already stays as it is. Parameters: an attempt."""
    return (
        f"INSERT INTO {table} ({', '.join(ATTEMPT_COLUMNS)}) VALUES ({', '.join('?' * len(ATTEMPT_COLUMNS))}) "
        "ON CONFLICT DO NOTHING"
    )


def sqlite_progress(table: str) -> str:
    """Progress of known messages. Parameters: a progress."""
    mark = {name: f"?{index + 1}" for index, name in enumerate(PROGRESS_COLUMNS)}
    parts = ", ".join(f"{name} = {value}" for name, value in mark.items() if name != "message_id")
    return f"UPDATE {table} SET {parts} WHERE message_id = ?1 AND {_is_further('', mark['progress_guard'])}"


# --- PostgreSQL: one statement for the whole batch, its columns as arrays

_KNOWN = f"r.message_id {POSTGRESQL.among.format('SELECT message_id FROM c')} AND r.message_id = c.message_id"
"""Rows of the table for those of a batch ``c``, by their keys also where the server takes the table for empty."""


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
    assigned = _moved("c.") | _lasting("c.", "r.", _later_postgresql)
    parts = [f"{name} = {value}" for name, value in assigned.items()]
    return (
        f"WITH c AS MATERIALIZED (SELECT * FROM {_batch(STATE_COLUMNS)}) "
        f"UPDATE {table} AS r SET {', '.join(parts)} FROM c WHERE {_KNOWN} AND r.guard < c.guard"
    )


def postgresql_upsert(table: str) -> str:
    """Births, or state changes of messages that nobody knows yet. Parameters: arrays of a state change and a birth."""
    columns = (*STATE_COLUMNS, *BIRTH_COLUMNS)
    return (
        f"INSERT INTO {table} ({', '.join((*columns, *_DEFAULTS))}) "
        f"SELECT {', '.join('c.' + name for name in columns)}, {', '.join(_DEFAULTS.values())} "
        f"FROM {_batch(columns)} {_conflict(table, _later_postgresql)}"
    )


def postgresql_attempts(table: str) -> str:
    return (
        f"INSERT INTO {table} ({', '.join(ATTEMPT_COLUMNS)}) "
        f"SELECT {', '.join('c.' + name for name in ATTEMPT_COLUMNS)} FROM {_batch(ATTEMPT_COLUMNS)} "
        "ON CONFLICT DO NOTHING"
    )


def postgresql_progress(table: str) -> str:
    """Progress of known messages. Parameters: one array for each column of a progress."""
    parts = ", ".join(f"{name} = c.{name}" for name in PROGRESS_COLUMNS if name != "message_id")
    return (
        f"WITH c AS MATERIALIZED (SELECT * FROM {_batch(PROGRESS_COLUMNS)}) "
        f"UPDATE {table} AS r SET {parts} FROM c WHERE {_KNOWN} AND {_is_further('r.', 'c.progress_guard')}"
    )


# --- MySQL and MariaDB: the batch as one JSON document, a list of rows

_MYSQL_TYPES = {
    "guard": "BIGINT", "retries": "INT", "deliveries": "INT", "lost": "INT", "life": "INT", "priority": "SMALLINT",
    "eta": "DATETIME(6)", "enqueued_at": "DATETIME(6)", "started_at": "DATETIME(6)", "finished_at": "DATETIME(6)",
    "created_at": "DATETIME(6)", "message_id": "VARCHAR(255)", "progress_done": "BIGINT", "progress_total": "BIGINT",
    "progress_guard": "BIGINT",
}  # fmt: skip
"""The types of the columns that are not text; ``raw`` travels as base64."""

_NEVER_MERGED = "LIMIT 1000000"
"""Makes a subquery a table of its own, which is read before anything is changed."""


def _later_mysql(new: str, old: str) -> str:
    return f"COALESCE(GREATEST({new}, {old}), {new}, {old})"  # its GREATEST() knows nothing when one of them is NULL


def _document(columns: tuple[str, ...]) -> str:
    """The batch as a table ``c``. What does not fit a type is an error, not NULL."""
    typed = (
        f"{name} {_MYSQL_TYPES.get(name, 'LONGTEXT')} PATH '$[{index}]' ERROR ON ERROR"
        for index, name in enumerate(columns)
    )
    return f"JSON_TABLE(%s, '$[*]' COLUMNS ({', '.join(typed)})) AS c"


def _joined(table: str, name: str, batch: str) -> str:
    """``table``, looked up row by row for those of ``batch``, in this order whatever the statistics say."""
    return (
        f"STRAIGHT_JOIN {table} AS {name} FORCE INDEX (PRIMARY) "
        f"ON {name}.message_id = CONVERT({batch}.message_id USING utf8mb4) COLLATE utf8mb4_bin"
    )


def mysql_update(table: str) -> str:
    """State changes of known messages. Parameter: a document of state changes."""
    # In this order: MySQL may assign one after the other, and see what it has assigned.
    assigned = _lasting("c.", "r.", _later_mysql) | _moved("c.")
    parts = [f"r.{name} = {value}" for name, value in assigned.items()]
    return (
        f"UPDATE {_document(STATE_COLUMNS)} {_joined(table, 'r', 'c')} SET {', '.join(parts)} WHERE r.guard < c.guard"
    )


def mysql_stubs(table: str, messages: int) -> str:
    """Rows of which nothing is known yet, for messages that have none; all of them are locked then.

    Parameters: the ids. It and :func:`mysql_upsert` happen in one transaction.
    """
    empty = {"state": f"'{State.UNKNOWN}'", "guard": "-1"} | _DEFAULTS
    empty |= dict.fromkeys(("retries", "deliveries", "lost", "life", "priority"), "0")
    empty |= dict.fromkeys(("worker", "dead_reason", "error_type", "error_message", *_EMPTY_TEXT), "''")
    values = f"(%s, {', '.join(empty.values())})"
    return (
        f"INSERT INTO {table} (message_id, {', '.join(empty)}) VALUES {', '.join([values] * messages)} "
        "ON DUPLICATE KEY UPDATE message_id = VALUES(message_id)"
    )


def mysql_upsert(table: str) -> str:
    """Births, or state changes of messages that were not known. Parameter: a document of state changes with births."""
    columns = (*STATE_COLUMNS, *BIRTH_COLUMNS)
    new = [f"{'FROM_BASE64(c.raw)' if name == 'raw' else f'c.{name}'} AS {name}" for name in columns]
    old = [f"o.{name} AS o_{name}" for name in columns]
    batch = (
        f"(SELECT {', '.join((*new, *old))} FROM {_document(columns)} {_joined(table, 'o', 'c')} {_NEVER_MERGED}) AS n"
    )
    values, matters = _merged("n.", "n.o_", _later_mysql)
    parts = ", ".join(f"r.{name} = {value}" for name, value in values.items())
    return f"UPDATE {batch} {_joined(table, 'r', 'n')} SET {parts} WHERE {matters}"


def mysql_progress(table: str) -> str:
    """Progress of known messages. Parameter: a document of progress."""
    # The guard is the last of them: MySQL may see what it has assigned.
    parts = ", ".join(f"r.{name} = c.{name}" for name in PROGRESS_COLUMNS if name != "message_id")
    batch = f"{_document(PROGRESS_COLUMNS)} {_joined(table, 'r', 'c')}"
    return f"UPDATE {batch} SET {parts} WHERE {_is_further('r.', 'c.progress_guard')}"


def mysql_attempts(table: str) -> str:
    """Attempts; one that is there already stays as it is. Parameters: an attempt."""
    return (
        f"INSERT INTO {table} ({', '.join(ATTEMPT_COLUMNS)}) VALUES ({', '.join(['%s'] * len(ATTEMPT_COLUMNS))}) "
        "ON DUPLICATE KEY UPDATE number = VALUES(number)"
    )
