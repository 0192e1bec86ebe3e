"""The first lines, the last lines, and everything that keeps workers from starting."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import time
from pathlib import Path

import pytest

from testproject import misbehave
from tests.support import processes
from tests.support.fixtures import BOTH
from tests.support.ledger import Ledger
from tests.support.runworkers import KEEPER, SUPERVISOR, WORKER, Tree, Trees
from tests.support.stores import SQLiteStore, Store
from tests.support.waiting import until, within

pytestmark = pytest.mark.lifecycle


@BOTH
def test_the_first_and_the_last_lines_say_what_a_person_wants_to_know(store: Store, trees: Trees) -> None:
    tree = trees.start("-p", "2", "-t", "3")
    lines = tree.output.splitlines()
    assert lines[0].startswith("django_tasks_q ") and lines[0].endswith(", broker database://default")
    facts = dict(line.split(maxsplit=1) for line in lines[1:4])
    assert facts["queues"] == "default"
    assert "testproject" in facts["actors"]
    assert facts["processes"] == "2 x 3 threads"
    assert lines[4:] == ["Stop with Ctrl-C.", "Ready."]

    store.send([misbehave.noop.message(), misbehave.fail_always.message_with_options(max_retries=0)])
    until(lambda: store.unfinished() == 0, 10, tree.story)
    assert tree.stop() == 0
    last = tree.output.splitlines()[len(lines) :]
    assert last[0].startswith("Stopping: what runs has 30 s to finish")
    assert last[1:] == ["Stopped. 2 messages run, 1 attempts failed."]


def test_the_tree_is_what_the_architecture_says(store: Store, trees: Trees) -> None:
    tree = trees.start("-p", "3", "-t", "2")
    roles = sorted(tree.roles().values())
    assert roles == ["generation", KEEPER, SUPERVISOR, WORKER, WORKER, WORKER]
    assert len(store.leases()) == 3
    assert tree.stop() == 0
    assert store.leases() == []
    without = trees.start("-p", "1", "--no-maintenance")
    assert sorted(without.roles().values()) == ["generation", SUPERVISOR, WORKER]
    assert without.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "next_step"),
    [
        (["-t", "0"], "a whole number from 1 on"),
        (["-p", "x"], "a whole number from 1 on"),
        (["-Q", "defualt"], "Did you mean 'default'?"),
        (["-Q", "default=0"], "The weight of a queue"),
        (["--worker-shutdown-timeout", "soon"], "soon"),
        (["--no-such-option"], "--no-such-option"),
        (["--watch", "/no/such/folder"], "--watch needs a folder"),
        (["--log-file", "/no/such/folder/log"], "Log file /no/such/folder/log"),
    ],
)
def test_wrong_arguments_end_with_two_and_the_next_step(
    arguments: list[str], next_step: str, store: Store, trees: Trees
) -> None:
    tree = trees.start(*arguments, wait=False)
    assert tree.wait() == 2, tree.story()
    assert next_step in tree.log
    assert "Traceback" not in tree.log


@pytest.mark.parametrize(
    ("setting", "next_step"),
    [
        ({"BROKR_URL": "stub://"}, "Did you mean 'BROKER_URL'?"),
        ({"BROKER_URL": "datbase://default"}, "Did you mean 'database'?"),
        ({"BROKER_URL": "database://other"}, "DATABASES has no 'other', only: default"),
        ({"THREADS": 0}, "THREADS is an integer of at least 1"),
    ],
)
def test_wrong_settings_end_with_two_and_one_line(
    setting: dict[str, object], next_step: str, store: Store, tmp_path: Path
) -> None:
    tree = Tree(tmp_path, store, settings=setting)
    assert tree.wait() == 2, tree.story()
    assert next_step in tree.log
    assert "Traceback" not in tree.log


def test_missing_tables_end_with_two_and_name_migrate(tmp_path: Path) -> None:
    tree = Tree(tmp_path, SQLiteStore(tmp_path / "empty.sqlite3"))
    try:
        assert tree.wait() == 2, tree.story()
        assert "manage.py migrate" in tree.log and "Traceback" not in tree.log
    finally:
        tree.clear_away()


def test_an_unreachable_database_ends_with_three_after_the_wait(tmp_path: Path) -> None:
    # Given a port where nobody listens
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        store = SQLiteStore(tmp_path / "unused.sqlite3")
        store.url = f"postgres://postgres@127.0.0.1:{taken.getsockname()[1]}/nothing"
        before = time.monotonic()
        tree = Tree(tmp_path, store, "--wait-for-broker", "1500")
        try:
            # Then it waits as long as it was told to, and says what was wrong
            assert tree.wait() == 3, tree.story()
            assert 1.0 < time.monotonic() - before < within(8)
            assert "cannot be reached" in tree.log and "Traceback" not in tree.log
        finally:
            tree.clear_away()


@BOTH
def test_a_burst_ends_with_zero_when_nothing_is_left(store: Store, trees: Trees, ledger: Ledger) -> None:
    sent = store.send(misbehave.sleep.message(0.02) for _ in range(100))
    tree = trees.start("-p", "2", "-t", "4", "--burst", wait=False)
    assert tree.wait(30) == 0, tree.story()
    assert ledger.completed() == set(sent), tree.story()
    assert tree.output.splitlines()[-1].startswith("Stopped. ")
    before = time.monotonic()
    idle = trees.start("-p", "2", "--burst", wait=False)
    assert idle.wait() == 0
    assert idle.output.splitlines()[-1] == "Stopped. 0 messages run, 0 attempts failed."
    assert time.monotonic() - before < within(5)


def test_a_burst_that_loses_a_worker_after_another_was_replaced_still_does_everything(
    store: Store, trees: Trees, ledger: Ledger
) -> None:
    # Given workers that are replaced after a few messages, and messages that kill them
    marker = trees.folder
    messages = [misbehave.sleep.message(0.05) for _ in range(60)]
    for number in (20, 40, 59):
        messages.insert(number, misbehave.kill_once.message(str(marker / f"marker{number}")))
    sent = store.send(messages)
    tree = trees.start("-p", "1", "-t", "2", "--burst", "--max-messages", "10", wait=False)
    assert tree.wait(40) == 0, tree.story()
    assert ledger.completed() == set(sent)
    assert store.unfinished() == 0


# ---- Pid file ------------------------------------------------------------------------------------------------------


def test_a_pid_file_keeps_a_second_one_out_and_a_stale_one_nobody(store: Store, trees: Trees) -> None:
    # Given a file that a dead process left behind
    path = trees.folder / "workers.pid"
    path.write_text("1\n")

    # When two are started with it
    tree = trees.start("-p", "1", "--pid-file", str(path))
    assert path.read_text() == f"{tree.pid}\n"
    second = trees.start("-p", "1", "--pid-file", str(path), wait=False)

    # Then the second ends with four and names the first, which is undisturbed and tidies up at its end
    assert second.wait() == 4
    assert str(tree.pid) in second.log and "Traceback" not in second.log
    assert path.read_text() == f"{tree.pid}\n"
    assert tree.stop() == 0
    assert not path.exists()


def test_the_lock_of_a_killed_supervisor_goes_with_it(store: Store, trees: Trees) -> None:
    path = trees.folder / "workers.pid"
    tree = trees.start("-p", "1", "--watch", str(trees.folder), "--pid-file", str(path))
    with path.open("rb") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    tree.kill(SUPERVISOR)
    tree.wait_gone(5)
    again = trees.start("-p", "1", "--pid-file", str(path))
    assert again.stop() == 0


def test_a_pid_file_that_cannot_be_written_ends_with_four(store: Store, trees: Trees) -> None:
    tree = trees.start("--pid-file", str(trees.folder / "missing" / "workers.pid"), wait=False)
    assert tree.wait() == 4
    assert "No such file" in tree.log and "Traceback" not in tree.log


# ---- Idle ----------------------------------------------------------------------------------------------------------


@BOTH
def test_an_idle_tree_uses_little_of_the_processor(store: Store, trees: Trees) -> None:
    # Given a tree that has nothing to do
    tree = trees.start("-p", "2", "-t", "8")
    used: dict[str, float] = {}

    def rests() -> bool:
        """Whether no process uses three hundredths of a core for two seconds."""
        roles = tree.roles()
        before = {pid: processes.cpu_seconds(pid) for pid in roles}
        time.sleep(2)
        used.update({f"{roles[pid]} {pid}": processes.cpu_seconds(pid) - before[pid] for pid in roles})
        return max(used.values()) / 2 < 0.03

    # Then it rests, as soon as it is done with what there is to do in the beginning
    until(rests, 8, lambda: str(used))
    assert tree.stop() == 0


def test_a_job_control_stop_of_the_terminal_hurts_nobody(store: Store, trees: Trees, ledger: Ledger) -> None:
    """Ctrl-Z stops the whole process group; `fg` goes on with it."""
    tree = trees.start("-p", "1", "-t", "2")
    os.killpg(tree.pid, signal.SIGTSTP)
    sent = store.send([misbehave.noop.message()])
    os.killpg(tree.pid, signal.SIGCONT)
    until(lambda: ledger.completed() == set(sent), 10, tree.story)
    assert tree.stop() == 0
