"""A real worker in a test's process, and the fixtures of the pytest plugin."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import SimpleTestCase, TestCase, TransactionTestCase

from django_tasks_q import QueueJoinTimeout, actor, get_broker, set_broker
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.configured import make_middleware
from django_tasks_q.keeper.scheduler import Scheduler
from django_tasks_q.models import QueuedMessage, QueueWorker, ScheduleEntry
from django_tasks_q.sql import Database
from django_tasks_q.testing import TaskWorker, UnsuitableTest, assert_sent, task_worker
from django_tasks_q.testing.stand_in import StandIn
from testproject.misbehave import echo

both_databases = pytest.mark.django_db(transaction=True, databases=["default", "postgresql", "mariadb"])


def test_the_broker_fixture_captures_and_the_drain_fixture_runs(
    task_broker: StandIn, drain: Callable[..., Any]
) -> None:
    assert get_broker() is task_broker
    message = echo.send("a")

    assert [result.message for result in drain()] == [message]
    assert_sent(echo, args=["a"])


@pytest.mark.django_db(transaction=True)
def test_beside_the_worker_of_a_test_nothing_is_scheduled() -> None:
    broker = DatabaseBroker(middleware=make_middleware())
    set_broker(broker)
    actor(lambda: None, actor_name="tick", broker=broker, schedule=timedelta(seconds=1))
    scheduler = Scheduler(broker, Database("default"), "a keeper")

    with task_worker():
        scheduler.work()
        assert not ScheduleEntry.objects.exists()
    scheduler.work()

    assert ScheduleEntry.objects.get().next_at is not None
    scheduler.close()


@pytest.fixture
def on_database(request: pytest.FixtureRequest, transactional_db: None) -> DatabaseBroker:
    broker = DatabaseBroker(using=request.param, middleware=make_middleware())
    set_broker(broker)
    return broker


@both_databases
@pytest.mark.parametrize("on_database", ["default", "postgresql"], indirect=True)
def test_the_worker_fixture_runs_on_the_real_broker_in_threads(
    on_database: DatabaseBroker, task_worker: TaskWorker
) -> None:
    ran: list[tuple[int, bool]] = []

    @actor
    def write(number: int) -> None:
        Group.objects.create(name=str(number))
        ran.append((number, threading.current_thread() is threading.main_thread()))

    for number in range(20):
        write.send(number)
    task_worker.wait()

    assert sorted(ran) == [(number, False) for number in range(20)]
    assert Group.objects.count() == 20
    assert not QueuedMessage.objects.using(on_database.using).exists()
    assert task_worker.broker is on_database


@both_databases
def test_the_worker_fixture_runs_on_the_captured_broker_if_the_test_has_it(
    task_worker: TaskWorker, task_broker: StandIn
) -> None:
    ran: list[str] = []
    note = actor(ran.append, actor_name="note")
    note.send("a")
    task_worker.wait()

    assert ran == ["a"]
    assert task_worker.broker is task_broker
    assert_sent(note, count=1)


@both_databases
def test_what_takes_too_long_is_named(task_worker: TaskWorker, task_broker: StandIn) -> None:
    go_on = threading.Event()
    actor(lambda: go_on.wait(20) and None, actor_name="slow").send()

    with pytest.raises(QueueJoinTimeout, match=r"default \((1 ready, 0|0 ready, 1) running\)"):
        task_worker.wait(timeout=50)
    go_on.set()
    task_worker.wait()


class WithRealCommits(TransactionTestCase):
    def test_a_worker_runs_and_leaves_nothing(self) -> None:
        threads = threading.enumerate()
        with task_worker() as worker:
            echo.send("a")
            worker.wait()
        self.assertFalse(QueuedMessage.objects.exists() or QueueWorker.objects.exists())
        self.assertEqual(threading.enumerate(), threads)


class WithinATransaction(TestCase):
    def test_a_worker_is_refused(self) -> None:
        with self.assertRaisesRegex(UnsuitableTest, "TransactionTestCase"), task_worker():
            self.fail("The worker began.")


class WithoutADatabase(SimpleTestCase):
    def test_a_worker_is_refused(self) -> None:
        with self.assertRaisesRegex(UnsuitableTest, "TransactionTestCase"), task_worker():
            self.fail("The worker began.")


# The plugin in other projects


def run_pytest(folder: Path, tests: str, *arguments: str, **files: str) -> str:
    """What pytest says of a project with these tests."""
    for name, text in {"test_project": tests, **files}.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "DJANGO_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *arguments]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=200)
    return done.stdout + done.stderr


SETTINGS = """
    SECRET_KEY = "for tests"
    INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_tasks_q"]
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
    USE_TZ = True
"""


def test_loading_the_plugin_imports_nothing_of_django() -> None:
    code = (
        "import sys, django_tasks_q.pytest_plugin; print([name for name in sys.modules if name.startswith('django.')])"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_fixtures_work_without_django_configured(tmp_path: Path) -> None:
    said = run_pytest(
        tmp_path,
        """
        from django_tasks_q import actor
        from django_tasks_q.testing import assert_sent, immediate

        def test_drain(task_broker, drain):
            ran = []
            note = actor(ran.append, actor_name="note")
            note.send_on_commit("a")
            drain()
            assert ran == ["a"]
            assert_sent(note)

        def test_worker(task_broker, task_worker):
            ran = []
            actor(ran.append, actor_name="note").send("a")
            task_worker.wait()
            assert ran == ["a"]

        @immediate()
        def test_immediate():
            ran = []
            actor(ran.append, actor_name="note").send("a")
            assert ran == ["a"]
        """,
        "-p",
        "no:django",
    )

    assert "3 passed" in said, said


def test_unsuitable_tests_are_told_what_to_do(tmp_path: Path) -> None:
    said = run_pytest(
        tmp_path,
        """
        import pytest

        def test_no_database(task_worker): ...

        @pytest.mark.django_db
        def test_in_a_transaction(task_worker): ...

        def test_in_another_transaction(task_worker, db): ...

        @pytest.mark.django_db(transaction=True)
        def test_in_memory(task_worker): ...
        """,
        "--ds=project_settings",
        project_settings=SETTINGS,
    )

    assert "4 errors" in said, said
    assert said.count("use TransactionTestCase or @pytest.mark.django_db(transaction=True)") >= 3
    assert '"TEST"' in said


def test_a_project_in_memory_captures_drains_and_runs_at_once(tmp_path: Path) -> None:
    said = run_pytest(
        tmp_path,
        """
        import pytest
        from django.contrib.auth.models import Group
        from django_tasks_q import actor
        from django_tasks_q.testing import assert_sent, immediate

        @actor
        def write(name):
            Group.objects.create(name=name)

        @pytest.mark.django_db
        def test_database_broker(drain):
            write.send("a")
            drain()
            assert Group.objects.get().name == "a"
            assert_sent(write, args=["a"])

        @pytest.mark.django_db
        def test_captured(task_broker, drain, django_capture_on_commit_callbacks):
            with django_capture_on_commit_callbacks(execute=True):
                write.send_on_commit("a")
                assert drain() == []
            drain()
            assert Group.objects.get().name == "a"

        @pytest.mark.django_db
        @immediate()
        def test_immediate():
            write.send("a")
            assert Group.objects.get().name == "a"

        def test_without_a_database(task_broker):
            write.send_on_commit("a")
            assert_sent(write)
        """,
        "--ds=project_settings",
        project_settings=SETTINGS,
    )

    assert "4 passed" in said, said
