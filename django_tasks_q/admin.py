"""The pages of the admin. :func:`register` puts them on any AdminSite; here they are put on Django's own."""

from __future__ import annotations

from django.contrib import admin

from .dashboard.actor_pages import ActorAdmin
from .dashboard.batch_pages import BatchAdmin
from .dashboard.bulk_pages import BulkOperationAdmin
from .dashboard.infrastructure_pages import WaitingAdmin, WorkerAdmin
from .dashboard.message_pages import MessageAdmin
from .dashboard.mutex_pages import MutexAdmin
from .dashboard.overview_page import OverviewAdmin
from .dashboard.queue_pages import QueueAdmin
from .dashboard.revocation_pages import RevocationAdmin
from .dashboard.schedule_pages import ScheduleAdmin
from .dashboard.state_pages import DeadLetterAdmin, DelayedAdmin, RunningAdmin
from .models import (
    ActorState,
    BulkOperation,
    DeadLetter,
    DelayedMessage,
    MessageRecord,
    Overview,
    QueueState,
    RateLimitMutex,
    Revocation,
    RunningMessage,
    ScheduleEntry,
    Stamp,
    WaitingMessage,
    WorkerProcess,
)


def register(site: admin.AdminSite) -> None:
    """Put all pages on an AdminSite."""
    site.register(Overview, OverviewAdmin)
    site.register(MessageRecord, MessageAdmin)
    site.register(DeadLetter, DeadLetterAdmin)
    site.register(DelayedMessage, DelayedAdmin)
    site.register(RunningMessage, RunningAdmin)
    site.register(Stamp, BatchAdmin)
    site.register(Revocation, RevocationAdmin)
    site.register(QueueState, QueueAdmin)
    site.register(ActorState, ActorAdmin)
    site.register(WorkerProcess, WorkerAdmin)
    site.register(ScheduleEntry, ScheduleAdmin)
    site.register(RateLimitMutex, MutexAdmin)
    site.register(WaitingMessage, WaitingAdmin)
    site.register(BulkOperation, BulkOperationAdmin)


register(admin.site)
