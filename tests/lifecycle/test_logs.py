"""What is written where, and what happens when it cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from django_tasks_q import Message
from testproject import misbehave
from tests.support.ledger import Ledger
from tests.support.project import Project
from tests.support.runworkers import Trees
from tests.support.stores import ROOT, Store, environment
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


def test_every_line_of_a_json_log_is_an_object_that_names_its_message(
    store: Store, trees: Trees, project: Project
) -> None:
    # Given workers that log JSON to a file
    path = trees.folder / "workers.log"
    tree = trees.start(
        "-p", "2", "-t", "2", "--log-format", "json", "--log-file", str(path),
        cwd=project.folder, variables=project.variables,
    )  # fmt: skip
    sent = store.send(Message("default", "version", (), {}, {}) for _ in range(20))
    odd = store.send([misbehave.odd_exception.message_with_options(args=("two\nlines \x1b[31m red",), max_retries=0)])
    until(lambda: store.unfinished() == 0, 10, tree.story)
    tree.kill("worker")
    until(lambda: len(tree.workers) == 2 and "killed by signal 9" in path.read_text(), 10, tree.story)
    assert tree.stop() == 0

    # Then each line is an object, and what an actor logged carries its message
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert all({"time", "level", "logger", "pid", "text"} <= line.keys() for line in lines)
    by_actor = [line for line in lines if line["logger"] == "shop"]
    assert {line["message_id"] for line in by_actor} == set(sent)
    assert {(line["actor"], line["queue"]) for line in by_actor} == {("version", "default")}
    [death] = [line for line in lines if line.get("message_id") == odd[0] and "dead" in line["text"]]
    assert "Misbehaviour" in death["traceback"]
    assert tree.log == "", "the log is in its file, and nowhere else"


def test_a_text_log_carries_the_message_id_and_one_line_for_each_event(store: Store, trees: Trees) -> None:
    tree = trees.start("-p", "1", "-t", "1")
    [message_id] = store.send(
        [misbehave.odd_exception.message_with_options(args=("one\n[fake] line\x1b[31m",), max_retries=0)]
    )
    until(lambda: store.unfinished() == 0, 10, tree.story)
    assert tree.stop() == 0
    [line] = [line for line in tree.log.splitlines() if "is dead" in line]
    assert f"[{message_id}]" in line and "[ERROR]" in line
    assert not [line for line in tree.log.splitlines() if line.startswith("[fake]")]
    assert "\x1b" not in tree.log


def test_a_log_file_that_was_moved_away_is_opened_again(store: Store, trees: Trees, project: Project) -> None:
    path = trees.folder / "workers.log"
    tree = trees.start("-p", "1", "--log-file", str(path), cwd=project.folder, variables=project.variables)
    store.send([Message("default", "version", (), {}, {})])
    until(lambda: path.exists() and "version 1" in path.read_text(), 10, tree.story)
    path.rename(trees.folder / "rotated.log")
    store.send([Message("default", "version", (), {}, {})])
    until(lambda: path.exists() and "version 1" in path.read_text(), 10, tree.story)
    assert tree.stop() == 0


def test_a_disk_that_is_full_stops_no_task(store: Store, trees: Trees, ledger: Ledger) -> None:
    tree = trees.start("-p", "1", "-t", "2", "--log-file", "/dev/full")
    sent = store.send(misbehave.noop.message() for _ in range(20))
    bad = store.send([misbehave.fail_always.message_with_options(max_retries=0)])
    until(lambda: store.unfinished() == 0, 10, tree.story)
    assert ledger.completed() == set(sent)
    assert store.dead() == dict.fromkeys(bad, "retries_exhausted")
    assert tree.stop() == 0


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "> /dev/full 2> /dev/full"])
def test_closed_or_full_output_stops_no_task(streams: str, store: Store, ledger: Ledger, tmp_path: Path) -> None:
    sent = store.send([misbehave.noop.message(), misbehave.big_print.message(10)])
    command = f'exec "$0" manage.py runworkers -p 1 -t 2 --burst {streams}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        cwd=ROOT,
        env=environment(store.url, DTQ_LEDGER=str(ledger.path)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=200,
    )
    assert sent[0] in ledger.completed()
    assert store.unfinished() == 0
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_reader_that_goes_away_stops_no_task(store: Store, ledger: Ledger) -> None:
    reader, writer = os.pipe()
    sent = store.send(misbehave.sleep.message(0.1) for _ in range(20))
    process = subprocess.Popen(
        [sys.executable, "manage.py", "runworkers", "-p", "1", "-t", "2", "--burst"],
        cwd=ROOT,
        env=environment(store.url, DTQ_LEDGER=str(ledger.path)),
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=writer,
    )
    os.close(writer)
    os.read(reader, 10)
    os.close(reader)
    assert process.wait(30) == 0
    assert ledger.completed() == set(sent)
