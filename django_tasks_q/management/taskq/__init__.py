"""The subcommands of ``manage.py taskq``."""

from __future__ import annotations

from .health import Health
from .messages import Messages
from .pause import Pause, Resume
from .purge import Purge
from .purge_records import PurgeRecords
from .repair import Discard, Requeue
from .revoke import Lift, Revocations, Revoke
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
    Revoke(),
    Lift(),
    Revocations(),
    Pause(),
    Resume(),
    Purge(),
    Workers(),
    Schedules(),
    Health(),
    PurgeRecords(),
)
