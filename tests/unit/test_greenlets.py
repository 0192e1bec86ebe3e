"""Greenlets in place of threads: what reaches one of them, how their process starts, and who may not have it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from django_tasks_q import actor
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.deliveries import Delivery
from django_tasks_q.errors import Shutdown, TimeLimitExceeded
from django_tasks_q.management.commands import runworkers
from django_tasks_q.middleware import AsyncIO
from django_tasks_q.supervisor import command_line
from django_tasks_q.threading import is_gevent_active
from django_tasks_q.worker.board import Board
from django_tasks_q.worker.greenlet_slot import GreenletSlot

# Interrupts


def make_slot() -> GreenletSlot:
    return GreenletSlot(Board(1, 1).regions[0], 0)


@contextmanager
def running(slot: GreenletSlot, time_limit: int | None = None) -> Iterator[None]:
    """The life of one message in its place, as a worker leads it."""
    slot.begin(Delivery(1, "some id", "default", b"{}", 1))
    try:
        slot.open(time_limit, 1_000, False)
        yield
    finally:
        slot.close()
        slot.end()


def wait(slot: GreenletSlot, ended: list[str]) -> None:
    try:
        with running(slot, time_limit=0):
            gevent.sleep(0.1)
    except TimeLimitExceeded:
        ended.append("interrupted")
    else:
        ended.append("finished")


def test_an_interrupt_reaches_its_greenlet_and_no_other() -> None:
    late, other = make_slot(), make_slot()
    first: list[str] = []
    second: list[str] = []
    greenlets = [gevent.spawn(wait, late, first), gevent.spawn(wait, other, second)]
    gevent.sleep(0)

    assert late.interrupt_overdue(TimeLimitExceeded)
    gevent.joinall(greenlets)

    assert (first, second) == (["interrupted"], ["finished"])


def test_an_interrupt_that_comes_too_late_does_not_hit_the_next_message() -> None:
    def two_messages() -> None:
        with running(slot):
            assert slot.interrupt(TimeLimitExceeded)
        with running(slot):
            gevent.sleep(0.01)

    slot = make_slot()
    gevent.spawn(two_messages).get()


def test_nothing_is_thrown_into_the_engine() -> None:
    def message_and_engine() -> None:
        with running(slot):
            assert slot.interrupt(TimeLimitExceeded)
            slot._open = False  # closed, and the engine waits before it takes the interrupt back
            gevent.sleep(0.01)

    slot = make_slot()
    gevent.spawn(message_and_engine).get()
    assert not slot.interrupt(Shutdown)


# The start of a process

PROGRAM = """\
import json, sys
patched = "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("queue")
print(json.dumps([__name__, sys.argv, sys.path[0], sys.flags.dev_mode, patched]))
"""


@pytest.mark.parametrize("how", [["site/manage.py"], ["-bum", "manage"], ["-P", "site/manage.py"], ["-c", PROGRAM]])
def test_the_command_line_runs_as_before_but_patched(
    how: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a program, and how a person started it
    (tmp_path / "site").mkdir()
    for path in (tmp_path / "site" / "manage.py", tmp_path / "manage.py"):
        path.write_text(PROGRAM)
    given = [sys.executable, "-X", "dev", "-Werror", *how, "-c", "runworkers", "-p", "2", "--use-gevent"]

    # When it is started again, with greenlets
    monkeypatch.setattr(sys, "orig_argv", given)
    before, after = (_said(command, tmp_path) for command in (command_line.again(), command_line.with_greenlets()))

    # Then it has the same name, arguments, path and options
    *facts, is_patched = json.loads(after)
    assert [*facts, False] == json.loads(before)
    assert is_patched


def _said(command: list[str], cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=200).stdout


def test_this_process_has_threads() -> None:
    assert not is_gevent_active()


# Who may not have it


@pytest.fixture
def broker(stub: StubBroker, monkeypatch: pytest.MonkeyPatch) -> StubBroker:
    monkeypatch.setattr(runworkers, "get_broker", lambda: stub)
    return stub


def refusal() -> str:
    with pytest.raises(CommandError) as refused:
        call_command("runworkers", "--use-gevent")
    assert refused.value.returncode == 2
    return str(refused.value)


def test_without_gevent_the_way_to_it_is_named(broker: StubBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gevent", None)

    assert refusal() == '--use-gevent needs gevent: pip install "django-tasks-q[gevent]"'


def test_what_needs_an_event_loop_is_refused(broker: StubBroker) -> None:
    @actor(broker=broker, queue_name="loops")
    async def gather() -> None: ...

    assert "async actors: gather" in refusal()
    del broker.actors["gather"]
    broker.add_middleware(AsyncIO())
    assert "AsyncIO" in refusal()
