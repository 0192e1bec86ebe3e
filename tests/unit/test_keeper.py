"""The keeper's duties, without its process: what must never keep it from the leases of the living."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from django_tasks_q import BrokerConnectionError, actor, clock
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.deliveries import Casualty, Delivery, WorkerInfo
from django_tasks_q.judge import make_judge
from django_tasks_q.keeper.keeper import Keeper
from django_tasks_q.keeper.leases import Leases
from django_tasks_q.keeper.rescuer import Rescuer
from django_tasks_q.outcomes import Dead
from django_tasks_q.supervisor.channel import Channel
from django_tasks_q.worker.board import Board
from django_tasks_q.worker.duties import Duties
from django_tasks_q.worker.lease import TRUSTED

ROOT = Path(__file__).parents[2]


class Unsteady(StubBroker):
    """Refuses what it is told to refuse, and notes the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.calls: list[str] = []

    def _note_call(self, name: str) -> None:
        self.calls.append(name)
        if self.error is not None:
            raise self.error

    def renew(self, worker_ids: Any) -> Any:
        self._note_call("renew")
        return super().renew(worker_ids)

    def bury(self, worker_id: str, *args: Any) -> int:
        self._note_call(f"bury {worker_id}")
        return 0

    def rescue(self, judge: Any) -> list[str]:
        self._note_call("rescue")
        return []

    def has_suspects(self) -> bool:
        self._note_call("has_suspects")
        return False


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of this machine, to be set; the wall clock goes with it."""
    time = [1_000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: time[0])
    monkeypatch.setattr(clock, "wall_ms", lambda: round(time[0] * 1000))
    return time


@pytest.mark.parametrize("options", [{"min_backoff": "soon"}, {"max_retries": "3"}, {"max_backoff": [1]}])
def test_options_that_mean_nothing_do_not_confuse_the_judge(stub: StubBroker, options: dict[str, Any]) -> None:
    def work() -> None: ...

    # Another program may have made the message; send_with_options() would refuse such options.
    message = actor(work, broker=stub).message().copy(options=options)
    delivery = Delivery(1, message.message_id, "default", message.encode(), 1)

    assert make_judge(stub)(delivery, Casualty(message.message_id, 1, "time_limit")) == Dead("time_limit")


def test_a_burial_that_fails_oddly_keeps_nobody_from_leases_and_other_burials() -> None:
    broker = Unsteady()
    broker.error = ValueError("odd")
    ours, theirs = Channel.pair()
    keeper = Keeper(broker, Board(1, 1), theirs, shutdown_timeout=1)
    for worker_id in ("first", "second"):
        ours.send(kind="dead", worker_id=worker_id, casualties=[], reason="")

    keeper._listen()
    keeper._round()

    assert broker.calls[:3] == ["bury first", "bury second", "renew"]
    assert [note["worker_id"] for note in ours.receive()] == ["first", "second"]
    ours.close()
    theirs.close()


def test_services_hear_of_every_burial(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Unsteady()
    ours, theirs = Channel.pair()
    keeper = Keeper(broker, Board(1, 1), theirs, shutdown_timeout=1)
    heard: list[str] = []
    monkeypatch.setattr(keeper._others, "buried", heard.append)
    monkeypatch.setattr(broker, "rescue", lambda judge: ["of another host"])
    ours.send(kind="dead", worker_id="mine", casualties=[], reason="")

    keeper._listen()
    keeper._round()

    assert heard == ["mine", "of another host"]
    ours.close()
    theirs.close()


def test_a_lease_that_could_not_be_renewed_is_tried_again_soon(now: list[float]) -> None:
    broker = Unsteady()
    leases = Leases(broker, Board(1, 1))
    broker.error = BrokerConnectionError("gone")
    leases.run_if_due()

    now[0] += 1.1
    leases.run_if_due()

    assert broker.calls == ["renew", "renew"]


def test_the_board_says_until_when_a_lease_was_certainly_renewed(now: list[float]) -> None:
    broker, board = Unsteady(), Board(2, 1)
    for region, name in zip(board, ["alive", "buried"], strict=True):
        region.assign(name, 1)
        broker.consume(WorkerInfo(name)).close(give_back=False)
    leases, relied_on = Leases(broker, board), broker.lease / 1000 * TRUSTED
    leases.run_if_due()

    # From when it was sent, for who was there; and what was not heard changes nothing.
    StubBroker.bury(broker, "buried", (), make_judge(broker))
    now[0] += relied_on - 1
    leases.run_if_due()
    broker.error = BrokerConnectionError("gone")
    now[0] += relied_on - 1
    leases.run_if_due()

    assert [region.is_lease_over(now[0]) for region in board] == [False, True]
    assert all(region.is_lease_over(now[0] + 1) for region in board)


def test_after_an_outage_the_living_have_a_whole_lease_to_say_so(now: list[float]) -> None:
    broker = Unsteady()
    rescuer = Rescuer(broker, make_judge(broker), lambda: None)
    broker.error = BrokerConnectionError("gone")
    rescuer.run_if_due()
    broker.error = None
    broker.calls.clear()

    now[0] += broker.lease / 1000 - 1
    rescuer.run_if_due()
    assert "rescue" not in broker.calls

    now[0] += rescuer.interval
    rescuer.run_if_due()
    assert "rescue" in broker.calls


def test_after_a_renewal_that_failed_the_living_have_a_whole_lease_too(
    now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, renew = Unsteady(), Mock(side_effect=BrokerConnectionError("reset"))
    ours, theirs = Channel.pair()
    keeper = Keeper(broker, Board(1, 1), theirs, shutdown_timeout=1)
    monkeypatch.setattr(broker, "renew", renew)
    keeper._round()  # what asked first found the connection broken, and what came next has another one
    renew.side_effect = None
    assert "rescue" not in broker.calls

    now[0] += broker.lease / 1000 - 1
    keeper._round()
    assert "rescue" not in broker.calls

    now[0] += Rescuer.interval
    keeper._round()
    assert "rescue" in broker.calls
    ours.close()
    theirs.close()


def test_after_an_outage_a_worker_without_a_keeper_leaves_others_a_whole_lease_too(now: list[float]) -> None:
    broker = Unsteady()
    duties = Duties(broker, Board(1, 1).regions[0])
    broker.error = BrokerConnectionError("gone")
    duties._round()
    broker.error = None
    broker.calls.clear()

    now[0] += broker.lease / 1000 - 1
    duties._round()
    assert broker.calls == ["renew"]

    now[0] += 1
    duties._round()
    assert broker.calls == ["renew", "renew", "rescue"]


@pytest.mark.parametrize("seconds", [3_600, -3_600])
def test_after_a_sleep_or_a_new_time_the_living_have_a_whole_lease_to_say_so(
    now: list[float], monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    broker = Unsteady()
    rescuer = Rescuer(broker, make_judge(broker), lambda: None)
    rescuer.run_if_due()
    assert broker.calls.count("rescue") == 1

    monkeypatch.setattr(clock, "wall_ms", lambda: round((now[0] + seconds) * 1000))
    while now[0] < 1_000 + broker.lease / 1000:
        now[0] += rescuer.interval
        rescuer.run_if_due()
    assert broker.calls.count("rescue") == 1

    now[0] += rescuer.interval
    rescuer.run_if_due()
    assert broker.calls.count("rescue") == 2


def test_who_repairs_messages_loads_no_machinery_for_processes() -> None:
    program = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
import django
django.setup()
from django_tasks_q.operations import bulk, repair, stats
assert not [name for name in sys.modules if name.startswith("django_tasks_q.supervisor")]
assert "django_tasks_q.keeper.keeper" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=200, cwd=ROOT)
