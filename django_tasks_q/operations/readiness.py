"""Before workers start: can what they do be recorded?"""

from __future__ import annotations

from .. import records_database
from ..broker import Broker
from ..models import MessageRecord
from ..sql import Database


def check_records(broker: Broker) -> None:
    """Look whether the tables of the records are there.

    Raises BrokerNotReady, with the next step in words, when they are missing, and BrokerConnectionError when their
    database cannot be reached.
    """
    database = Database(records_database.alias(broker))
    with database.errors():
        database.rows(f"SELECT message_id FROM {MessageRecord._meta.db_table} LIMIT 1")
