"""People with one permission each, and messages in every state, made the way workers make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client

from django_tasks_q import Message, actor, set_broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.models import ActorState, BulkOperation, QueueState, RateLimitMutex, Revocation
from tests.support.dead_letters import bury

LABEL = "django_tasks_q"
ROLES: dict[str, tuple[str, ...]] = {
    "staff": (),
    "viewer": ("view",),
    "requeuer": ("view", "requeue"),
    "discarder": ("view", "discard"),
    "controller": ("view", "control"),
    "requeuer without view": ("requeue",),
}
"""Staff, by the permissions they have."""


@pytest.fixture
def tidy(databases: None) -> Iterator[None]:
    """Real commits, as consumers make them; what the admin wrote besides is gone afterwards."""
    yield
    for model in (LogEntry, BulkOperation, RateLimitMutex, Revocation, ActorState, QueueState, Session, User):
        model.objects.all().delete()


@pytest.fixture
def broker(tidy: None) -> Iterator[DatabaseBroker]:
    """The database broker on the records' database, with an actor whose arguments can be wrong."""
    broker = DatabaseBroker()
    set_broker(broker)

    def charge(order: int, currency: str = "EUR") -> None: ...

    actor(charge, broker=broker, queue_name="shop")
    yield broker
    broker.close()


def charges(broker: DatabaseBroker, count: int) -> list[Message[Any]]:
    return [broker.actors["charge"].message(number) for number in range(count)]


@pytest.fixture
def dead(broker: DatabaseBroker) -> list[str]:
    """The ids of three dead letters."""
    return bury(broker, charges(broker, 3))


@pytest.fixture
def dead_letter(dead: list[str]) -> str:
    return dead[0]


@pytest.fixture
def log_in(broker: DatabaseBroker) -> Callable[[str], Client]:
    """A browser of somebody with a role; ``anonymous`` and ``superuser`` are roles as well."""

    def log_in(role: str, **more: Any) -> Client:
        client = Client(**more)
        if role != "anonymous":
            client.force_login(person(role))
        return client

    return log_in


def person(role: str) -> User:
    existing = User.objects.filter(username=role).first()
    if existing is not None:
        return existing
    if role == "superuser":
        return User.objects.create_superuser(role)
    user = User.objects.create_user(role, is_staff=True)
    names = [f"{verb}_messagerecord" for verb in ROLES[role]]
    user.user_permissions.set(Permission.objects.filter(content_type__app_label=LABEL, codename__in=names))
    return user


@pytest.fixture
def admin(log_in: Callable[[str], Client]) -> Client:
    """The browser of somebody who may do everything."""
    return log_in("superuser")
