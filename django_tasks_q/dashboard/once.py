"""What keeps a form that is sent twice from acting twice."""

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.db import router
from django.db.models import F
from django.http import HttpRequest
from django.utils import timezone


def one_at_a_time(request: HttpRequest) -> None:
    """Locks the person's row until the transaction ends; an update that changes nothing does so on every database."""
    people = get_user_model()._default_manager.using(router.db_for_write(LogEntry))
    key = people.model._meta.pk.attname
    people.filter(**{key: request.user.pk}).update(**{key: F(key)})


def asked_at(request: HttpRequest) -> datetime:
    """When the question was asked that a form answers, as the form says; now, where it says nothing that is a time."""
    try:
        moment = datetime.fromisoformat(request.POST.get("asked_at", ""))
        # At the ends of the calendar there is no such moment in other time zones.
        return moment.astimezone(UTC) if timezone.is_aware(moment) else timezone.now()
    except (ValueError, OverflowError):
        return timezone.now()
