"""The demo as people start it: a command in a terminal."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import until, within

pytestmark = [pytest.mark.lifecycle, pytest.mark.slow]

READY = "Ctrl-C stops everything"
COMMAND = [sys.executable, "-m", "testproject.demo"]
ROOT = Path(__file__).parents[2]


def run_demo(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *arguments, "--timeout", "180", "--directory", str(directory)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)


@contextmanager
def running_demo(directory: Path, stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    command = [*COMMAND, "--directory", str(directory)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as demo:
        try:
            wait_for(demo, READY)
            yield demo
        finally:
            demo.terminate()


def wait_for(demo: subprocess.Popen[str], text: str) -> None:
    assert demo.stdout
    seen = ""
    for line in demo.stdout:
        seen += line
        if text in line:
            return
    pytest.fail(f"the demo ended without saying {text!r}:\n{seen}")


def descendants(pid: int) -> set[int]:
    table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parent_of = {int(child): int(parent) for child, parent in map(str.split, table.splitlines())}
    found: set[int] = set()
    parents = {pid}
    while parents := {child for child, parent in parent_of.items() if parent in parents}:
        found |= parents
    return found


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if _exists(pid)}


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


BROKERS = {
    "sqlite": "database://default",
    "redis": os.environ.get("DTQ_TEST_REDIS_URL", "redis://127.0.0.1:6379/0"),
    "rabbitmq": os.environ.get("DTQ_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/"),
}


@pytest.mark.parametrize("broker", ["sqlite", "redis", "rabbitmq"])
def test_once_does_the_work_and_checks_every_message(broker: str, tmp_path: Path) -> None:
    finished = run_demo("--once", "--broker-url", BROKERS[broker], directory=tmp_path)

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert re.search(r"^index_chapter +25 +24 +1 +0 +28 ", finished.stdout, re.MULTILINE)
    assert re.search(r"^print_catalogue +2 +2 +0 +0 ", finished.stdout, re.MULTILINE)
    assert re.search(
        r"^47 messages \(\d+ runs\), each checked against its record and the ledger", finished.stdout, re.MULTILINE
    )


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_what_a_demo_that_was_killed_left_at_the_broker_does_not_disturb_the_next_one(
    broker: str, tmp_path: Path
) -> None:
    # Given a demo that was killed with messages running and waiting
    url = ["--broker-url", BROKERS[broker]]
    with subprocess.Popen([*COMMAND, "--once", *url, "--directory", str(tmp_path)], cwd=ROOT) as demo:
        until(lambda: (tmp_path / "once" / "ledger.jsonl").exists(), 90)
        killed = {demo.pid, *descendants(demo.pid)}
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(killed), 10)

    # When another one begins there
    finished = run_demo("--once", *url, directory=tmp_path)

    # Then it finds nothing but what is its own
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize(
    ("url", "words"),
    [("redis://127.0.0.1:x/0", "a port that is none"), ("redis://:secret@127.0.0.1:1/0", "the broker does not answer")],
)
def test_a_broker_that_cannot_be_used_is_said_at_once_and_without_its_password(
    url: str, words: str, tmp_path: Path
) -> None:
    finished = run_demo("--once", "--broker-url", url, directory=tmp_path)

    assert finished.returncode == 1
    assert words in finished.stderr
    assert "Traceback" not in finished.stderr
    assert "secret" not in finished.stdout + finished.stderr


def test_once_without_workers_fails_and_says_why(tmp_path: Path) -> None:
    started = time.monotonic()
    finished = run_demo("--once", "--no-worker", directory=tmp_path)

    assert finished.returncode == 1
    waiting = "3 messages are still enqueued (2 cut_up enqueued, 1 import_library enqueued)"
    assert f"no worker is running: {waiting}" in finished.stderr
    assert time.monotonic() - started < within(60)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_leaves_no_process_behind(tmp_path: Path, signal_number: signal.Signals) -> None:
    with running_demo(tmp_path) as demo:
        children = descendants(demo.pid)
        assert len(children) >= 2

        demo.send_signal(signal_number)

        assert demo.wait(60) == 0
    assert not alive(children)


def test_closing_its_terminal_ends_it_even_when_no_signal_arrives(tmp_path: Path) -> None:
    terminal, inside = os.openpty()
    with running_demo(tmp_path, stdin=inside) as demo:
        os.close(inside)
        children = descendants(demo.pid)

        os.close(terminal)

        assert demo.wait(60) == 0
    assert not alive(children)


def test_a_signal_is_heard_whatever_its_receiver_is_doing() -> None:
    program = """if True:
        import os, signal
        from testproject.demo.children import Stop
        stop, receiver = Stop(), os.getpid()
        sender = os.fork()
        if not sender:
            for _ in range(20_000):
                os.kill(receiver, signal.SIGTERM)
            os._exit(0)
        while os.waitpid(sender, os.WNOHANG) == (0, 0):
            stop.wait(0)
        assert stop.wait(60)
    """
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


def test_a_second_start_takes_less_than_15_seconds(tmp_path: Path) -> None:
    for _ in range(2):
        started = time.monotonic()
        with running_demo(tmp_path):
            seconds = time.monotonic() - started
    assert seconds < within(15)


def test_only_one_demo_runs_in_a_directory(tmp_path: Path) -> None:
    with running_demo(tmp_path):
        finished = run_demo(directory=tmp_path)

    assert finished.returncode == 1
    assert "another demo is running" in finished.stderr


def test_two_demos_that_start_at_once_get_a_web_server_each(tmp_path: Path) -> None:
    with ExitStack() as stack:
        demos = [
            stack.enter_context(
                subprocess.Popen(
                    [*COMMAND, "--once", "--directory", str(tmp_path / name)], cwd=ROOT, stdout=subprocess.DEVNULL
                )
            )
            for name in ("one", "two")
        ]

        assert [demo.wait(90) for demo in demos] == [0, 0]
