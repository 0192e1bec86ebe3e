"""The small parts: signatures, fairness, wake-ups, log lines, durations, the pid file."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_tasks_q.common import dq_name, getenv_int, iter_queue, join_all, join_queue, q_name, xq_name
from django_tasks_q.context import Running, context_of
from django_tasks_q.durations import parse_milliseconds, parse_seconds
from django_tasks_q.errors import BadArguments, ProcessesFailed, QueueJoinTimeout
from django_tasks_q.fairness import quotas
from django_tasks_q.logging import MessageFilter, get_logger
from django_tasks_q.message import Message
from django_tasks_q.signature import Signature
from django_tasks_q.supervisor.logs import JSONFormatter, TextFormatter
from django_tasks_q.supervisor.pidfile import PidFile
from django_tasks_q.waker import Waker
from tests.support.waiting import within

# Signatures


def plain(a: int, b: int = 2) -> None: ...


def keywords(a: int, *, b: int) -> None: ...


def anything(*args: int, **kwargs: int) -> None: ...


def positional(a: int, /, b: int) -> None: ...


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}), ((1,), {}), ((1, 2), {}), ((1, 2, 3), {}), ((), {"a": 1}), ((1,), {"b": 2}), ((1,), {"a": 2}),
    ((), {"a": 1, "b": 2}), ((1,), {"c": 3}),
]  # fmt: skip


@pytest.mark.parametrize("fn", [plain, keywords, anything, positional])
@pytest.mark.parametrize(("args", "kwargs"), CALLS)
def test_arguments_are_accepted_exactly_when_the_call_would_be(fn: Any, args: Any, kwargs: Any) -> None:
    try:
        fn(*args, **kwargs)
        fits = True
    except TypeError:
        fits = False

    try:
        Signature(fn).check(args, kwargs)
        assert fits
    except BadArguments as error:
        assert not fits
        assert "expected (" in str(error)


# Fairness

WEIGHTS = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 100), max_size=30)


@given(WEIGHTS, st.integers(0, 1_000), st.integers(0, 10_000), st.integers(1, 20))
def test_every_queue_asked_gets_a_share_and_the_shares_fill_the_room(
    weights: dict[str, int], room: int, turn: int, most: int
) -> None:
    shares = dict(quotas(weights, room, turn, most))

    asked = min(len(weights), most) if room else 0
    assert len(shares) == asked
    assert all(share >= 1 for share in shares.values())
    assert not shares or room <= sum(shares.values()) <= room + asked


@given(WEIGHTS.filter(bool), st.integers(1, 20))
def test_every_queue_is_asked_within_one_round(weights: dict[str, int], most: int) -> None:
    turns = range(7, 7 + len(weights) * most)

    assert {name for turn in turns for name, _ in quotas(weights, 5, turn, most)} == set(weights)


def test_room_is_divided_by_weight() -> None:
    assert dict(quotas({"high": 3, "low": 1}, 8, 0, 16)) == {"high": 6, "low": 2}


# Wake-ups


def test_a_wake_is_heard_once_and_before_its_time() -> None:
    waker = Waker()
    waker.wake()
    waker.wake()

    assert waker.wait(10)
    assert not waker.wait(0.01)
    waker.close()
    waker.wake()


def test_no_wake_is_lost_in_a_race() -> None:
    waker = Waker()
    said, heard = 0, 0
    ending = threading.Event()

    def say() -> None:
        nonlocal said
        for _ in range(20_000):
            said += 1
            waker.wake()
        ending.set()

    thread = threading.Thread(target=say)
    thread.start()
    began = time.monotonic()
    while not (ending.is_set() and heard == said):
        waker.wait(5)
        heard = said
        if ending.is_set():
            heard = said
            break
    thread.join()

    assert heard == 20_000
    assert time.monotonic() - began < within(10)
    waker.close()


def test_a_watched_descriptor_ends_a_wait_and_is_no_wake() -> None:
    waker = Waker()
    reader, writer = os.pipe()
    waker.watch(reader)
    os.write(writer, b"x")
    began = time.monotonic()

    assert not waker.wait(10)
    assert time.monotonic() - began < within(5)
    waker.unwatch(reader)
    assert not waker.wait(0.01)
    waker.close()
    os.close(reader)
    os.close(writer)


# Log lines


def record(text: str, **fields: Any) -> logging.LogRecord:
    made = logging.makeLogRecord(
        {"msg": "%s", "args": (text,), "levelname": "INFO", "name": "a.b", "threadName": "T", **fields}
    )
    MessageFilter().filter(made)
    return made


HOSTILE = st.text() | st.sampled_from(
    ["a\nb", "\r\nfake [INFO] line", "\x1b[31mred", "\x00", "\u2028", "\x85", "\x9b1m"]
)


@given(HOSTILE)
def test_whatever_a_text_holds_it_cannot_look_like_another_record(text: str) -> None:
    line = TextFormatter().format(record(text))

    first, *rest = line.split("\n")
    assert first.startswith("[") and all(part.startswith("    ") for part in rest)
    assert not any(ord(character) < 32 and character not in "\n\t" for character in line)
    assert "\x7f" not in line and not any(0x80 <= ord(character) < 0xA0 for character in line)


@given(HOSTILE, HOSTILE)
def test_a_json_line_is_one_line_and_one_object(text: str, name: str) -> None:
    line = JSONFormatter().format(record(text, name=name))

    assert len(line.split("\n")) == 1
    json.loads(line)


def test_a_json_line_says_everything() -> None:
    try:
        raise ValueError("boom")
    except ValueError as error:
        made = record("hello", exc_info=(ValueError, error, error.__traceback__), message_id="m", actor="work")

    line = json.loads(JSONFormatter().format(made))

    assert {"time", "level", "logger", "pid", "thread", "text", "message_id", "actor", "traceback"} <= set(line)
    assert (line["text"], line["message_id"]) == ("hello", "m") and "ValueError: boom" in line["traceback"]


def test_the_filter_puts_the_running_message_on_records_and_leaves_their_own_fields() -> None:
    context = context_of(Running(Message("q", "work", message_id="m"), 2, 5, None))
    inside, own = context.run(record, "x"), context.run(record, "x", actor="mine")
    outside = record("x")

    fields = ("message_id", "actor", "queue", "retries")
    assert [getattr(inside, name) for name in fields] == ["m", "work", "q", 2]
    assert own.actor == "mine"  # type: ignore[attr-defined]
    assert [getattr(outside, name) for name in fields] == [None] * 4
    assert "[m] x" in TextFormatter().format(inside) and "[-] x" in TextFormatter().format(outside)


def test_loggers_are_named_after_a_module_and_a_name() -> None:
    assert get_logger("a.b", "C").name == "a.b.C"
    assert get_logger(json).name == "json"


# Durations and names


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1500", 1_500), ("0", 0), ("250ms", 250), ("30s", 30_000), ("10m", 600_000), ("2h", 7_200_000),
     ("1d", 86_400_000),
     (" 5s ", 5_000)],
)  # fmt: skip
def test_durations_are_milliseconds_or_have_a_unit(text: str, expected: int) -> None:
    assert parse_milliseconds(text) == expected


@pytest.mark.parametrize("text", ["", "s", "-1", "1.5s", "1 s", "1w", "1e3", "0x10", "1s2", "inf"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whole number"):
        parse_milliseconds(text)


def test_seconds_are_the_default_where_they_are_asked_for() -> None:
    assert (parse_seconds("90"), parse_seconds("2m"), parse_seconds("1500ms")) == (90, 120, 1)


def test_dramatiqs_queue_names_lead_back_to_ours() -> None:
    assert {q_name(name) for name in ("mail", dq_name("mail"), xq_name("mail"), xq_name(dq_name("mail")))} == {"mail"}
    assert dq_name(dq_name("mail")) == "mail.DQ"


def test_a_queue_is_emptied_and_waited_for() -> None:
    queue: Queue[int] = Queue()
    for number in range(3):
        queue.put(number)

    with pytest.raises(QueueJoinTimeout, match="3 items"):
        join_queue(queue, timeout=0.01)
    assert list(iter_queue(queue)) == [0, 1, 2]
    join_queue(queue, timeout=0)


def test_threads_are_joined_within_one_time() -> None:
    may_end = threading.Event()
    threads = [threading.Thread(target=may_end.wait, args=(60,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    began = time.monotonic()

    join_all(threads, 100)

    assert 0.1 <= time.monotonic() - began < within(5)
    assert all(thread.is_alive() for thread in threads)
    may_end.set()
    join_all(threads, 10_000)
    assert not any(thread.is_alive() for thread in threads)


def test_a_number_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert getenv_int("dtq_a_number") is None
    monkeypatch.setenv("dtq_a_number", "12")
    assert getenv_int("dtq_a_number") == 12
    monkeypatch.setenv("dtq_a_number", "twelve")
    with pytest.raises(ValueError, match="dtq_a_number in the environment"):
        getenv_int("dtq_a_number")


# The pid file


def test_a_pid_file_belongs_to_one_process_and_is_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "workers.pid"
    with PidFile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"
        with pytest.raises(ProcessesFailed, match=f"process {os.getpid()}") as caught, PidFile(str(path)):
            pass
        assert caught.value.exit_code == 4

    assert not path.exists()


@pytest.mark.parametrize("content", ["999999999\n", "not a number", "", "x" * 10_000])
def test_what_a_dead_process_left_keeps_nobody_out(tmp_path: Path, content: str) -> None:
    path = tmp_path / "workers.pid"
    path.write_text(content)

    with PidFile(str(path)):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_pid_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProcessesFailed, match="nowhere") as caught, PidFile(str(tmp_path / "nowhere" / "x.pid")):
        pass

    assert caught.value.exit_code == 4
