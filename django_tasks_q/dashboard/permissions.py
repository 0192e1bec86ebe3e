"""Who may do what: four permissions, whatever the page."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

VIEW = "django_tasks_q.view_messagerecord"
REQUEUE = "django_tasks_q.requeue_messagerecord"
DISCARD = "django_tasks_q.discard_messagerecord"
CONTROL = "django_tasks_q.control_messagerecord"


def may(request: HttpRequest, *permissions: str) -> bool:
    """Whether the person has all of them."""
    return request.user.is_active and request.user.has_perms(permissions)


def require(request: HttpRequest, *permissions: str) -> None:
    """PermissionDenied unless the person has all of them."""
    if not may(request, *permissions):
        raise PermissionDenied
