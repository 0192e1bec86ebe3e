"""The middleware that counts, without a tree of processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from django_tasks_q import Message, MessageProxy, checks
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.middleware.prometheus import Prometheus
from django_tasks_q.middleware.prometheus.folder import folder_of, open_folder, remove_old
from django_tasks_q.outcomes import DONE

NAME = "django_tasks_q.middleware.prometheus.Prometheus"

IN_A_WEB_PROCESS = """
import os, sys
before = dict(os.environ)
from django_tasks_q import Worker, actor, set_broker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.middleware.prometheus import Prometheus
broker = StubBroker(middleware=[Prometheus()])
set_broker(broker)
actor(actor_name="work")(lambda: None).send()
worker = Worker(broker, worker_threads=1)
worker.start()
broker.join("default", timeout=20_000)
worker.stop()
assert os.environ == before and "prometheus_client" not in sys.modules
assert not os.path.exists(os.environ["dramatiq_prom_db"])
"""

IN_A_WORKER = """
import subprocess, sys
from django_tasks_q import Message, MessageProxy
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.middleware.prometheus import Prometheus
from django_tasks_q.outcomes import DONE, HANDED_BACK, SKIPPED, Parked

counts = Prometheus(prefix="dramatiq")
broker = StubBroker(middleware=[counts])
counts.after_process_boot(broker)
for outcome in (DONE, SKIPPED, Parked("key", 1000), HANDED_BACK):
    message = MessageProxy(Message("mail", "post", (), {}, {}))
    counts.before_process_message(broker, message)
    counts.after_outcome(broker, message, outcome=outcome)
counts.after_outcome(broker, MessageProxy(Message("mail", "post", (), {}, {})), outcome=SKIPPED)

subprocess.run([sys.executable, "-c", sys.argv[1], counts._folder()], check=True)
"""

KILLED = """
import os, signal, subprocess, sys
from django_tasks_q.middleware.prometheus.tally import Tally
if not os.fork():
    series = Tally(sys.argv[2], "x").series("mail", "post")
    series.begin()
    series.count(failed=False, retried=False)
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
subprocess.run([sys.executable, "-c", sys.argv[1], sys.argv[2]], check=True)
"""

BESIDE_IT = """
import sys
from prometheus_client import CollectorRegistry, generate_latest
from django_tasks_q.middleware.prometheus.exposition import Workers
registry = CollectorRegistry()
registry.register(Workers(sys.argv[1]))
print(generate_latest(registry).decode())
"""

IN_A_WORKER_ELSEWHERE = """
import sys
from django_tasks_q.middleware.prometheus.folder import take
assert take(sys.argv[1], 0) is not None
print("counts", flush=True)
input()
"""


def run(program: str, folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "dramatiq_prom_db": str(folder)}
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments], env=environment, capture_output=True, text=True, timeout=200
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_process_that_is_no_worker_is_left_as_it_was(tmp_path: Path) -> None:
    run(IN_A_WEB_PROCESS, tmp_path / "metrics")


def test_dashboards_made_for_dramatiq_find_their_names_and_what_had_to_wait_is_not_counted(tmp_path: Path) -> None:
    lines = run(IN_A_WORKER, tmp_path, BESIDE_IT).splitlines()

    labels = 'actor_name="post",queue_name="mail"'
    assert f"dramatiq_messages_total{{{labels}}} 3.0" in lines
    assert f"dramatiq_message_errors_total{{{labels}}} 0.0" in lines
    assert f"dramatiq_message_retries_total{{{labels}}} 0.0" in lines
    assert f"dramatiq_message_rejects_total{{{labels}}} 0.0" in lines
    assert f"dramatiq_messages_inprogress{{{labels}}} 0.0" in lines
    assert f"dramatiq_message_duration_milliseconds_count{{{labels}}} 2.0" in lines
    buckets = [line for line in lines if line.startswith("dramatiq_message_duration_milliseconds_bucket")]
    assert [line.partition('le="')[2].partition('"')[0] for line in buckets] == [
        *("5.0", "10.0", "25.0", "50.0", "75.0", "100.0", "250.0", "500.0", "750.0", "1000.0", "2500.0", "5000.0"),
        *("7500.0", "10000.0", "30000.0", "60000.0", "600000.0", "900000.0", "+Inf"),
    ]


def test_who_was_killed_has_counted_and_runs_nothing_any_more(tmp_path: Path) -> None:
    told = run(KILLED, tmp_path, BESIDE_IT, str(tmp_path / "metrics"))

    assert 'x_messages_total{actor_name="post",queue_name="mail"} 1.0' in told
    assert "x_messages_inprogress{" not in told


def test_no_message_fails_for_want_of_a_count(caplog: pytest.LogCaptureFixture) -> None:
    class Full:
        def series(self, queue_name: str, actor_name: str) -> None:
            raise OSError("no space left")

    counts = Prometheus()
    counts._tally = Full()  # type: ignore[assignment]
    broker = StubBroker(middleware=[counts])
    message = MessageProxy(Message("mail", "post", (), {}, {}))
    for _ in range(2):
        counts.before_process_message(broker, message)
        counts.after_outcome(broker, message, outcome=DONE)

    assert [record.getMessage() for record in caplog.records] == ["This process counts its messages no more."]


def test_without_the_library_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("django_tasks_q.middleware.prometheus")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "stub://", "MIDDLEWARE": [NAME]}):
        (found,) = checks.check_settings(None)
    assert found.id == "django_tasks_q.E008"
    assert 'pip install "django-tasks-q[prometheus]"' in found.msg


def test_what_a_killed_generation_left_is_removed_unless_somebody_counts_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("dramatiq_prom_db", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    here, left, elsewhere = (folder_of(pid, port) for pid, port in ((os.getpid(), 1), (ended.pid, 2), (ended.pid, 3)))
    for folder in (here, left, elsewhere):
        open_folder(folder)
    (Path(left) / "0.lock").touch()
    command = [sys.executable, "-c", IN_A_WORKER_ELSEWHERE, elsewhere]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as counts:
        assert counts.stdout is not None
        assert counts.stdout.readline() == b"counts\n"

        remove_old()

        assert {str(path) for path in tmp_path.iterdir()} == {here, elsewhere}
        counts.communicate(b"\n")


@pytest.mark.parametrize(
    "wrong", [{"http_port": 0}, {"http_port": 65_536}, {"http_port": "x"}, {"prefix": "a-b"}], ids=str
)
def test_arguments_that_nothing_could_be_served_with_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Prometheus(**wrong)


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    with pytest.raises(PermissionError, match="somebody else"):
        open_folder(str(tmp_path / "link"))
