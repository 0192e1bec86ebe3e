"""``kill -9`` of a mirror wherever it is, and the loss of its database: no history is lost, none is told twice."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from django_tasks_q import actor
from django_tasks_q.models import Attempt, MessageRecord
from tests.support.fixtures import BOTH
from tests.support.journal_broker import JournalBroker
from tests.support.stores import ROOT, Store, environment
from tests.support.truth import differences
from tests.support.waiting import until
from tests.unit.conftest import running

pytestmark = [pytest.mark.lifecycle, pytest.mark.slow]


def cut_off(store: Store, folder: Path, *budget: str) -> list[str]:
    outcome = subprocess.run(
        [sys.executable, "-m", "tests.support.mirror_cut_off", str(folder), *budget],
        cwd=ROOT,
        env=environment(store.url),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return outcome.stdout.splitlines()


@BOTH
def test_records_are_the_fold_of_all_events_wherever_a_mirror_was_killed(store: Store, tmp_path: Path) -> None:
    lines = cut_off(store, tmp_path)

    kills = set(lines)
    assert {"killed at commit", "killed at before trim", "killed at after trim", "killed at insert"} <= kills
    assert len(lines) > 20, "many batches of several steps each"


@BOTH
def test_records_inside_a_gap_say_unknown_and_never_something_wrong_wherever_a_mirror_was_killed(
    store: Store, tmp_path: Path
) -> None:
    lines = cut_off(store, tmp_path, "2500")

    assert {"killed at before trim gap", "killed at after trim gap", "some are unknown"} <= set(lines)
    assert "none is unknown" not in lines


@BOTH
def test_a_mirror_that_is_killed_again_and_again_under_load_loses_nothing(store: Store, tmp_path: Path) -> None:
    # Given actors that succeed, fail and die in this process, and a mirror in another one
    broker = JournalBroker(tmp_path / "journal", fail_fast_default=False)
    alias = store.broker.using
    records = MessageRecord.objects.using(alias)

    @actor(broker=broker, queue_name="default", max_retries=2, min_backoff=1, max_backoff=2)
    def work(number: int) -> None:
        if number % 5 == 0:
            raise ValueError(number)

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.support.mirror_process", str(tmp_path / "journal"), "the mirror"]
        process = subprocess.Popen(command, cwd=ROOT, env=environment(store.url), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    # When the mirror is killed while they run
    chance = random.Random(7)
    mirror = start()
    try:
        with running(broker):
            for turn in range(4):
                for number in range(60):
                    work.send(turn * 60 + number)
                wanted = chance.randrange(turn * 60, turn * 60 + 60)
                until(lambda wanted=wanted: records.count() >= wanted)
                mirror.kill()
                mirror.wait(10)
                mirror.stdout.close()
                mirror = start()
            broker.join("default", timeout=20_000, fail_fast=False)

        # Then the records tell everything that happened, once
        until(lambda: not broker.journal.backlog("default").events, 20)
    finally:
        mirror.kill()
        mirror.wait(10)
        mirror.stdout.close()
    assert differences(broker.told, alias) == []
    assert records.filter(state="dead").count() == 48
    assert Attempt.objects.using(alias).count() == 48 * 3
    broker.close()
