"""The relay: it publishes what a crash or an outage left in rows."""

from __future__ import annotations

from collections.abc import Sequence
from logging import ERROR, INFO

from django.db import connections

from .. import clock
from ..broker import Broker
from ..deliveries import Outgoing
from ..dialect import VENDORS
from ..errors import BrokerConnectionError, BrokerNotReady, DecodeError, DuplicateMessage
from ..logging import get_logger
from ..outbox import safe
from ..sql import Database
from ..waiting import WaitingRow, WaitingRows, note_left_out, sent_before
from .service import Service
from .service_lease import LeaderLease

logger = get_logger(__name__)

_LEASE = 6_000
"""Milliseconds: a relay that died is replaced soon enough for a message to leave 5 s after its broker is back."""

_ABSENCE = 30.0
"""Seconds until a database without our tables, or that cannot be reached, is asked again."""

_AWAY = (BrokerConnectionError, BrokerNotReady)
"""What every message would meet; any other error is about one of them."""


class Relay(Service):
    """Looks into every database of the project for rows whose sender did not publish them.

    A row is claimed before it is published and deleted after it. When the relay dies in between, the row is published
    again by the next one; brokers that can tell leave out what they know already.
    """

    interval = 1.0

    def __init__(self, broker: Broker, owner: str) -> None:
        super().__init__()
        self._broker = broker
        self._databases = [Database(alias) for alias in connections if connections[alias].vendor in VENDORS]
        self._leases = {
            database.alias: LeaderLease(database, "relay", owner, ttl_ms=_LEASE) for database in self._databases
        }
        self._led: set[str] = set()
        self._absent_until: dict[str, float] = {}

    def work(self) -> None:
        for database in self._databases:
            if clock.monotonic() >= self._absent_until.get(database.alias, 0.0):
                self._look_into(database)

    def close(self) -> None:
        """The next one need not wait for the leases to run out: messages wait meanwhile."""
        for alias in self._led:
            self._leases[alias].release()

    def _look_into(self, database: Database) -> None:
        try:
            database.own()
            rows = WaitingRows(database)
            # The look costs a read; only who finds something asks for the lease, which is a write.
            if rows.has_due() and self._leases[database.alias].hold():
                self._led.add(database.alias)
                self._relay(rows)
        except BrokerNotReady:
            self._absent_until[database.alias] = clock.monotonic() + _ABSENCE
        except BrokerConnectionError as error:
            self._absent_until[database.alias] = clock.monotonic() + 1.0
            logger.warning("The rows that wait in %r cannot be reached: %s", database.alias, error)
        except Exception:
            # A read-only copy, for example. The other databases must not wait for it.
            self._absent_until[database.alias] = clock.monotonic() + _ABSENCE
            logger.exception("The relay stumbled over %r.", database.alias)

    def _relay(self, rows: WaitingRows) -> None:
        claimed = rows.claim_due()
        readable = [(row, item) for row in claimed if (item := self._open(rows, row)) is not None]
        if not readable:
            return
        try:
            self._publish(rows, readable)
        except _AWAY as error:
            arrived = sent_before(error)
            rows.delete(list(arrived))
            left = [row.message_id for row, _ in readable if row.message_id not in arrived]
            rows.give_up(left)
            logger.warning("%d messages wait in rows for their broker: %s", len(left), error)
            return
        logger.info("%d messages that waited in rows are on their way.", len(readable))
        if len(claimed) > 1:
            self.hurry()

    def _open(self, rows: WaitingRows, row: WaitingRow) -> Outgoing | None:
        try:
            return self._broker.reopen(row.payload, row.parent_id, row.made_at)
        except DecodeError:
            logger.exception("Waiting message %s cannot be read; it stays where it is.", row.message_id)
            rows.set_aside([row.message_id])
            return None

    def _publish(self, rows: WaitingRows, readable: Sequence[tuple[WaitingRow, Outgoing]]) -> None:
        """Together; what the broker refuses is found one by one, so that it does not keep the others back."""
        try:
            with safe():
                left_out = self._broker.publish([item for _, item in readable])
        except _AWAY:
            raise
        except Exception:
            for row, item in readable:
                self._publish_one(rows, row, item)
        else:
            rows.delete([row.message_id for row, _ in readable])
            note_left_out(self._broker, list(left_out))

    def _publish_one(self, rows: WaitingRows, row: WaitingRow, item: Outgoing) -> None:
        try:
            with safe():
                left_out = self._broker.publish([item])
        except _AWAY:
            raise
        except DuplicateMessage as error:
            logger.log(ERROR if error.holder else INFO, "Waiting message %s is not sent: %s", row.message_id, error)
            rows.delete([row.message_id])
            note_left_out(self._broker, [row.message_id] if error.holder else [])
        except Exception:
            logger.exception("The broker does not take waiting message %s; it stays where it is.", row.message_id)
            rows.set_aside([row.message_id])
        else:
            rows.delete([row.message_id])
            note_left_out(self._broker, list(left_out))
