"""Fixtures for pytest. Nothing of Django is imported before a test asks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import Ran
    from .testing.stand_in import StandIn
    from .testing.workers import TaskWorker

_DATABASE_FIXTURES = ("transactional_db", "db", "live_server")


@pytest.fixture
def task_broker() -> Iterator[StandIn]:
    """A broker in memory in the place of the real one, for one test; see ``django_tasks_q.testing.capture``."""
    from .testing import capture

    with capture() as broker:
        yield broker


@pytest.fixture
def drain() -> Callable[..., list[Ran]]:
    """``django_tasks_q.testing.drain``."""
    from .testing import drain

    return drain


@pytest.fixture
def task_worker(request: pytest.FixtureRequest) -> Iterator[TaskWorker]:
    """A real worker in threads, on ``task_broker`` if the test has it too, else on the real broker.

    Only for tests that really commit; ``task_worker.wait()`` waits until everything is done.
    """
    for name in (*_DATABASE_FIXTURES, "task_broker"):
        if name in request.fixturenames:
            request.getfixturevalue(name)  # they have to be there first, and to go last
    from .broker import get_broker
    from .testing.workers import UnsuitableTest, check_suitable, task_worker

    try:
        check_suitable(get_broker())
    except UnsuitableTest as error:
        pytest.fail(str(error), pytrace=False)
    with task_worker() as worker:
        yield worker
