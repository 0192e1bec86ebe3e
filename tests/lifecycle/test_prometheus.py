"""What Prometheus is told of a tree of processes."""

from __future__ import annotations

import re
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from django_tasks_q.middleware import default_middleware
from testproject import coroutines, misbehave
from tests.support.ports import free_port
from tests.support.runworkers import Tree, Trees
from tests.support.stores import Store
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle

STACK = [
    "django_tasks_q.middleware.prometheus.Prometheus",
    "django_tasks_q.middleware.database_connections.DatabaseConnections",
    *(f"django_tasks_q.middleware.{kind.__name__}" for kind in default_middleware),
]
SAMPLE = re.compile(r'django_tasks_q_(\w+)\{actor_name="(\w+)",(?:le="\+Inf",)?queue_name="default"\} (\S+)')


class Metrics:
    """What the workers' port says."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"

    def of(self, actor: str) -> Counter[str]:
        """The values of one actor that are not zero; nothing while nobody answers."""
        try:
            with urlopen(self._url, timeout=5) as answer:
                text = answer.read().decode()
        except URLError:
            return Counter()
        found = {name: float(value) for name, labelled, value in SAMPLE.findall(text) if labelled == actor}
        return Counter({name: int(value) for name, value in found.items() if value and not name.endswith("_sum")})


def ended(total: int, *, timed: int | None = None, **more: int) -> Counter[str]:
    times = total if timed is None else timed
    duration = "message_duration_milliseconds_"
    return Counter({"messages_total": total, f"{duration}count": times, f"{duration}bucket": times, **more})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "metrics"


def start(
    trees: Trees, folder: Path, *arguments: str, modules: Sequence[str] = ("tasks", "coroutines")
) -> tuple[Tree, Metrics]:
    port = free_port()
    settings = {"MIDDLEWARE": STACK, "AUTODISCOVER": modules}
    variables = {"dramatiq_prom_port": str(port), "dramatiq_prom_db": str(folder)}
    return trees.start("-t", "2", *arguments, settings=settings, variables=variables), Metrics(port)


def test_the_sums_of_all_workers_outlive_one_and_begin_anew_with_new_code(
    store: Store, trees: Trees, folder: Path, tmp_path: Path
) -> None:
    # Given two processes
    gate = tmp_path / "gate"
    tree, metrics = start(trees, folder, "-p", "2")
    store.send(misbehave.noop.message() for _ in range(20))
    store.send([misbehave.fail.message(1), misbehave.fail_always.message_with_options(max_retries=0)])
    until(lambda: metrics.of("noop") == ended(20), 10, tree.story)
    until(lambda: metrics.of("fail") == ended(2, message_errors_total=1, message_retries_total=1))
    until(lambda: metrics.of("fail_always") == ended(1, message_errors_total=1, message_rejects_total=1))

    # When every thread is busy, and their loops beside them
    store.send(coroutines.nap.message(1.0) for _ in range(6))
    store.send(misbehave.wait_for_file.message(str(gate)) for _ in range(4))

    # Then all of it is in progress
    until(lambda: metrics.of("nap") == {"messages_inprogress": 6}, 10, tree.story)
    until(lambda: metrics.of("wait_for_file") == {"messages_inprogress": 4}, 10, tree.story)

    # When one process is killed, then what it was running is in progress no more, until another runs it
    before = tree.workers
    tree.signal(signal.SIGKILL, before[0])
    until(lambda: metrics.of("wait_for_file") == {"messages_inprogress": 2}, 10, tree.story)
    until(lambda: metrics.of("wait_for_file") == {"messages_inprogress": 4}, 10, tree.story)
    gate.touch()
    until(lambda: metrics.of("wait_for_file") == ended(4), 10, tree.story)
    until(lambda: metrics.of("nap") == ended(6), 10, tree.story)
    assert metrics.of("noop") == ended(20)
    [generation] = folder.iterdir()
    assert sorted(path.name for path in generation.glob("*.lock")) == ["0.lock", "1.lock"]

    # When new code is loaded, then its generation counts from nothing, on the same port
    tree.signal(signal.SIGHUP)
    until(lambda: "Reloaded in" in tree.output, 10, tree.story)
    until(lambda: not generation.exists(), 10, tree.story)
    store.send([misbehave.noop.message()])
    until(lambda: metrics.of("noop") == ended(1), 10, tree.story)

    # When it ends, then nothing stays behind
    assert tree.stop() == 0
    assert list(folder.iterdir()) == []
    assert "Unexpected failure" not in tree.log


def test_greenlets_of_fresh_interpreters_count_in_the_same_place(
    store: Store, trees: Trees, folder: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    tree, metrics = start(trees, folder, "-p", "1", "-t", "20", "--use-gevent", modules=["tasks"])
    store.send(misbehave.wait_for_file.message(str(gate)) for _ in range(20))
    until(lambda: metrics.of("wait_for_file") == {"messages_inprogress": 20}, 10, tree.story)
    gate.touch()
    until(lambda: metrics.of("wait_for_file") == ended(20), 10, tree.story)
    assert tree.stop() == 0
    assert list(folder.iterdir()) == []
