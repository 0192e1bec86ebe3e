"""What all tests share: databases, brokers that are put back, and the watch for threads that are left behind."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator

import pytest
from django.db import connections
from django.test.utils import setup_databases, teardown_databases
from hypothesis import settings as hypothesis_settings

from django_tasks_q import broker as broker_module
from django_tasks_q import get_encoder, set_encoder
from django_tasks_q.brokers.stub import StubBroker
from tests import settings
from tests.support.waiting import until

# Machines that test are busy: how long one example takes says nothing.
hypothesis_settings.register_profile("tests", deadline=None, database=None, print_blob=True)
hypothesis_settings.load_profile("tests")

TABLES = (
    "django_tasks_q_attempt",
    "django_tasks_q_messagerecord",
    "django_tasks_q_queuedmessage",
    "django_tasks_q_queuestate",
    "django_tasks_q_queueworker",
    "django_tasks_q_ratelimitmutex",
    "django_tasks_q_servicelease",
    "django_tasks_q_waitingmessage",
    "django_tasks_q_workerprocess",
)


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker: pytest.FixtureRequest, django_db_modify_db_settings: None
) -> Iterator[None]:
    """Both vendors' databases, whatever the tests ask for. One that cannot be had fails the run."""
    settings.FOLDER.mkdir(exist_ok=True)
    with django_db_blocker.unblock():
        made = setup_databases(0, interactive=False, serialized_aliases=set())
    yield
    with django_db_blocker.unblock():
        connections.close_all()
        teardown_databases(made, 0)
    shutil.rmtree(settings.FOLDER, ignore_errors=True)


@pytest.fixture
def databases(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[None]:
    """The databases for tests that really commit, from several threads; the engine's tables are emptied afterwards.

    Emptying these is ten times faster than pytest-django's flush of everything.
    """
    with django_db_blocker.unblock():
        yield
        for connection in connections.all():
            connection.close()
            with connection.cursor() as cursor:
                for table in TABLES:
                    cursor.execute(f"DELETE FROM {table}")
            connection.close()


@pytest.fixture(autouse=True)
def no_thread_is_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until(lambda: not _foreign(before), 5, lambda: f"threads left behind: {_foreign(before)}")


def _foreign(before: set[threading.Thread]) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread not in before and thread.is_alive()]


@pytest.fixture(autouse=True)
def globals_are_put_back() -> Iterator[None]:
    """The process's broker and encoder, which tests may set."""
    broker, encoder = broker_module._broker, get_encoder()
    yield
    broker_module._broker = broker
    set_encoder(encoder)


@pytest.fixture
def stub() -> Iterator[StubBroker]:
    broker = StubBroker()
    broker.declare_queue("default")
    yield broker
    broker.close()
