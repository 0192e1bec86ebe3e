"""What all tests share: databases, brokers that are put back, and the watch for threads that are left behind."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Collection, Iterator

import pytest
from asgiref.sync import SyncToAsync
from django.db import connections
from hypothesis import settings as hypothesis_settings

from django_tasks_q import broker as broker_module
from django_tasks_q import get_encoder, set_encoder
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.configured.backends import rate_limiter_backend
from django_tasks_q.configured.following import settings_broker
from django_tasks_q.rate_limits import RateLimiterBackend
from django_tasks_q.rate_limits import backend as rate_limits_module
from tests import settings
from tests.support import run, templates
from tests.support.emptying import empty_what_was_used, let_go
from tests.support.order import slow_ones_first
from tests.support.signals import heed_signals
from tests.support.waiting import until

# Machines that test are busy: how long one example takes says nothing.
hypothesis_settings.register_profile("tests", deadline=None, database=None, print_blob=True)
hypothesis_settings.load_profile("tests")
heed_signals()

_THREADS = pytest.StashKey[set[threading.Thread]]()

OWN = {"default": "sqlite", "postgresql": "postgresql", "mariadb": "mariadb"}
"""Vendors of the tests' own databases, by alias."""


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """Every vendor's database, whatever the tests ask for. One that cannot be had fails the run."""
    settings.FOLDER.mkdir(exist_ok=True)
    with django_db_blocker.unblock():
        for connection in connections.all():
            templates.OF_VENDOR[OWN[connection.alias]].copy(str(connection.settings_dict["NAME"]))
            connection.get_database_version()  # Django's checks want to know, also where a test may not connect
            connection.close()
    yield
    let_go()
    with django_db_blocker.unblock():
        for connection in connections.all():
            connection.close()
            templates.OF_VENDOR[OWN[connection.alias]].remove(str(connection.settings_dict["NAME"]))
    shutil.rmtree(settings.FOLDER, ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        items[:] = slow_ones_first(items, worker["workercount"])


def pytest_unconfigure(config: pytest.Config) -> None:
    """Who began clears away what all shared, when the others have ended."""
    if not run.IS_WORKER:
        templates.clear_away()


@pytest.fixture
def databases(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """The databases for tests that really commit, from several threads; the engine's tables are emptied afterwards.

    Emptying these is ten times faster than pytest-django's flush of everything.
    """
    with django_db_blocker.unblock():
        yield
        empty_what_was_used()


@pytest.fixture(autouse=True)
def threads_are_noted(request: pytest.FixtureRequest) -> None:
    request.node.stash[_THREADS] = set(threading.enumerate())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """No thread is left behind, once the test's transaction has ended, for which one may be waiting."""
    yield
    before = item.stash.get(_THREADS, None)
    if before is not None:
        until(lambda: not _foreign(before), 5, lambda: f"threads left behind: {_foreign(before)}")


def _foreign(before: set[threading.Thread]) -> list[threading.Thread]:
    """Not the one that asgiref keeps for the whole process."""
    known = before | SyncToAsync.single_thread_executor._threads  # type: ignore[attr-defined]
    return [thread for thread in threading.enumerate() if thread not in known and thread.is_alive()]


@pytest.fixture(autouse=True)
def globals_are_put_back() -> Iterator[None]:
    """The process's broker, the actors on it, and the encoder, which tests may set or have others stand in for.

    The stores of rate limits that a test names are forgotten with it: a worker of a later test would look for its
    leases there, and a store that is nowhere keeps it waiting for seconds.
    """
    broker, encoder = broker_module._broker, get_encoder()
    settings_state = dict(vars(settings_broker))
    actors = {} if broker is None else dict(broker.actors)
    limits = set(rate_limits_module._backends)
    yield
    if set(rate_limits_module._backends) != limits:
        _forget_all_limits_but(limits)
    broker_module._broker = broker
    vars(settings_broker).update(settings_state)
    for actor in actors.values():
        if broker is not None and broker.actors.get(actor.actor_name) is actor:
            actor.broker = broker
    set_encoder(encoder)


def _forget_all_limits_but(known: Collection[RateLimiterBackend]) -> None:
    """The one of the settings as well, which would stay in use though nobody looks after its leases any more."""
    rate_limiter_backend._named.cache_clear()
    rate_limiter_backend._beside = None
    rate_limits_module._backends.clear()
    rate_limits_module._backends.update(known)


@pytest.fixture
def stub() -> Iterator[StubBroker]:
    broker = StubBroker()
    broker.declare_queue("default")
    yield broker
    broker.close()
