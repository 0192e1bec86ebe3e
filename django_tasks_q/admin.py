"""The records in the admin, to look at; nobody edits by hand what the engine writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest

from .models import Attempt, MessageRecord

if TYPE_CHECKING:
    RecordAdmin = admin.ModelAdmin[MessageRecord]
    AttemptTable = admin.TabularInline[Attempt, MessageRecord]
else:
    RecordAdmin = admin.ModelAdmin
    AttemptTable = admin.TabularInline


class AttemptInline(AttemptTable):
    model = Attempt
    extra = 0
    can_delete = False
    fields = ("number", "outcome", "worker", "started_at", "finished_at", "error_type", "error_message", "traceback")
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(MessageRecord)
class MessageRecordAdmin(RecordAdmin):
    list_display = ["message_id", "actor_name", "queue_name", "state", "retries", "created_at", "finished_at"]
    list_filter = ["state"]
    search_fields = ["message_id__exact", "correlation_id__exact"]
    ordering = ["-created_at"]
    inlines = [AttemptInline]
    show_full_result_count = False  # a COUNT(*) over millions of rows on every page

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
