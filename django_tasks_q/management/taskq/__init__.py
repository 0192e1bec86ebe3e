"""The subcommands of ``manage.py taskq``."""

from __future__ import annotations

from .health import Health
from .messages import Messages
from .purge_records import PurgeRecords
from .repair import Discard, Requeue
from .schedules import Schedules
from .send import Send
from .show import Show
from .stats import Stats
from .subcommand import Subcommand
from .workers import Workers

SUBCOMMANDS: tuple[Subcommand, ...] = (
    Stats(),
    Messages(),
    Show(),
    Send(),
    Requeue(),
    Discard(),
    Workers(),
    Schedules(),
    Health(),
    PurgeRecords(),
)
