"""``taskq`` as a process: pipes that close, signals, databases that are not there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from django_tasks_q import Message
from tests.support.dead_letters import bury
from tests.support.fixtures import store, vendor  # noqa: F401 - pytest finds them here
from tests.support.stores import ROOT, Store, environment

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    started = []

    def begin(url: str, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "taskq", *words],
            cwd=ROOT,
            env=environment(url, PYTHONUNBUFFERED=""),  # unbuffered, a write to a closed pipe goes unnoticed
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_a_reader_who_leaves_causes_no_traceback(store: Store, start: Start) -> None:  # noqa: F811
    # Given more output than a pipe holds
    store.send(Message("default", "noop", ("x" * 200,)) for _ in range(1_000))
    process = start(store.url, "messages", "--json", "--limit", "1000")

    # When the reader leaves after the first line
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()

    assert process.wait(60) == 0
    assert process.stderr.read() == ""


def test_stats_goes_on_watching_until_it_is_interrupted(store: Store, start: Start) -> None:  # noqa: F811
    process = start(store.url, "stats", "--watch", "--json")
    assert process.stdout is not None

    looks: list[Any] = [json.loads(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGINT)

    assert [look["workers"] for look in looks] == [0, 0]
    assert process.wait(60) == 0
    assert process.stderr is not None and process.stderr.read() == ""


def test_no_bar_is_drawn_where_nobody_watches(store: Store, start: Start) -> None:  # noqa: F811
    bury(store.broker, [Message("default", "noop")])

    assert start(store.url, "requeue", "--all").communicate() == ("1 requeued\n", "")


def test_missing_tables_name_the_next_step(tmp_path: Path, start: Start) -> None:
    url = f"sqlite:///{tmp_path / 'empty.sqlite3'}"
    text = "The tables of django_tasks_q are missing in database 'default': run 'manage.py migrate'."

    health, stats = start(url, "health", "--json"), start(url, "stats")
    told, (_, complaint) = json.loads(health.communicate()[0]), stats.communicate()

    assert told == {"healthy": False, "problems": [text]}
    assert complaint == f"CommandError: {text}\n"
    assert health.returncode == stats.returncode == 1


def test_a_database_that_is_away_is_unhealthy(start: Start) -> None:
    process = start("postgres://postgres@127.0.0.1:1/nowhere", "health", "--json")
    told, complaint = process.communicate()

    assert (process.returncode, json.loads(told)["healthy"], complaint) == (1, False, "")
