"""What each actor has, in one question that stays cheap however many messages there are."""

from __future__ import annotations

from collections import defaultdict

from .. import records_database
from ..broker import get_broker
from ..models import MessageRecord
from ..sql import Database
from ..states import State
from .queue_counts import CAP

COUNTED = (State.ENQUEUED, State.DELAYED, State.RETRYING, State.RUNNING, State.DEAD)

_RECORDS = MessageRecord._meta.db_table


def actor_counts() -> tuple[dict[str, dict[str, int]], set[str]]:
    """Records by actor and state, and the states that have more than were counted.

    Of each state the newest :data:`~.queue_counts.CAP` are looked at, those of all actors together.
    """
    database = Database(records_database.alias(get_broker()))
    # The second condition is that of the index, word for word; states are literals, so that it is used.
    sql = " UNION ALL ".join(
        f"SELECT '{state}', actor_name, COUNT(*) FROM (SELECT actor_name FROM {_RECORDS} "
        f"WHERE state = '{state}' AND NOT (state = '{State.SUCCEEDED}') ORDER BY created_at DESC LIMIT {CAP}) "
        f"AS line_{state} GROUP BY actor_name"
        for state in COUNTED
    )
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for state, actor_name, number in database.rows(sql):
        found[actor_name][state] = int(number)
    capped = {state.value for state in COUNTED if sum(of.get(state, 0) for of in found.values()) >= CAP}
    return dict(found), capped
