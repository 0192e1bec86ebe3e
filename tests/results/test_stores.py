"""What every store of results promises."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async

from django_tasks_q import Message, PickleEncoder, ResultFailure, ResultMissing, ResultTimeout
from django_tasks_q.deliveries import Result
from django_tasks_q.results import Missing, ResultBackend
from django_tasks_q.results.backends import StubBackend
from tests.support.waiting import until, within


def message() -> Message[Any]:
    return Message("default", "work")


def in_thread(pool: ThreadPoolExecutor, backend: ResultBackend, call: Callable[[], Any]) -> Future[Any]:
    def run() -> Any:
        try:
            return call()
        finally:
            backend.release_thread()

    return pool.submit(run)


@pytest.mark.parametrize("value", [None, False, 0, "", [1, {"a": "ü\ud800"}], {"result": 1}, "x" * 300_000])
def test_a_result_is_read_as_often_as_one_likes(backend: ResultBackend, value: Any) -> None:
    done = message()
    backend.store_result(done, value)
    for _ in range(2):
        assert backend.get_result(done) == value
        assert backend.get_result(done, block=True, timeout=0) == value
        assert backend.get_result(done, block=True, timeout=1_000) == value


def test_a_result_that_is_not_there_is_missing_and_waiting_for_it_ends_in_time(backend: ResultBackend) -> None:
    with pytest.raises(ResultMissing, match="work"):
        backend.get_result(message())
    for timeout in (0, 150):
        began = time.monotonic()
        with pytest.raises(ResultTimeout, match="work"):
            backend.get_result(message(), block=True, timeout=timeout)
        assert timeout / 1000 <= time.monotonic() - began + 0.005 < timeout / 1000 + 1


def test_all_who_wait_get_the_result_when_it_comes(backend: ResultBackend) -> None:
    done = message()
    with ThreadPoolExecutor(12) as pool:
        waiting = [
            in_thread(pool, backend, lambda: backend.get_result(done, block=True, timeout=20_000)) for _ in range(12)
        ]
        time.sleep(0.1)  # so that some of them do wait
        backend.store_result(done, 42)
        assert [one.result(10) for one in waiting] == [42] * 12
    assert backend.get_result(done) == 42


def test_a_failure_has_type_text_and_traceback(backend: ResultBackend) -> None:
    failed = message()
    try:
        {}["key"]
    except KeyError as error:
        backend.store_exception(failed, error)
    with pytest.raises(ResultFailure, match="KeyError: 'key'") as raised:
        backend.get_result(failed)
    assert (raised.value.orig_exc_type, raised.value.orig_exc_msg) == ("KeyError", "'key'")
    assert "test_stores.py" in raised.value.traceback


def test_an_expired_result_is_gone(backend: ResultBackend) -> None:
    short, long = message(), message()
    backend.store_result(short, 1, ttl=60)
    backend.store_result(long, 2, ttl=60_000)
    until(lambda: backend.peek([short]) == [Missing])
    with pytest.raises(ResultMissing):
        backend.get_result(short)
    assert backend.get_result(long) == 2


def test_reading_and_waiting_do_not_make_a_result_last_longer(backend: ResultBackend) -> None:
    short = message()
    backend.store_result(short, 1, ttl=400)
    began = time.monotonic()
    while backend.peek([short]) != [Missing]:
        with pytest.raises((ResultTimeout, ResultMissing)):
            backend.get_result(short, block=True, timeout=20)
            raise ResultTimeout
        assert time.monotonic() - began < within(5)


def test_a_newer_result_replaces_an_older_one_and_its_time(backend: ResultBackend) -> None:
    done = message()
    backend.store_result(done, 1, ttl=100)
    backend.store_result(done, 2, ttl=60_000)
    until(lambda: backend.peek([done]) == [2])
    time.sleep(0.15)
    assert backend.get_result(done) == 2


def test_what_may_not_replace_does_not(backend: ResultBackend) -> None:
    known, new = message(), message()
    backend.store_result(known, 1)
    payload = backend.encoder.encode({"result": 2})
    keys = [backend.build_message_key(one) for one in (known, new)]
    backend.store([Result(key, payload, 60_000) for key in keys], replace=False)
    assert backend.peek([known, new]) == [1, 2]


def test_many_are_stored_and_read_at_once_and_one_that_is_there_twice_counts_last(backend: ResultBackend) -> None:
    many = [message() for _ in range(450)]
    results = [
        Result(backend.build_message_key(one), backend.encoder.encode({"result": index}), 60_000)
        for index, one in enumerate(many)
    ]
    again = Result(results[0].key, backend.encoder.encode({"result": "last"}), 60_000)
    backend.store([*results, again])
    assert backend.peek([*many, message()]) == ["last", *range(1, 450), Missing]


def test_what_is_forgotten_is_gone(backend: ResultBackend) -> None:
    one, other = message(), message()
    backend.store_result(one, 1)
    backend.store_result(other, 2)
    backend.forget(one)
    assert backend.peek([one, other]) == [Missing, 2]


def test_async_code_waits_without_holding_up_the_loop(backend: ResultBackend) -> None:
    done = message()
    beats = 0

    async def wait() -> Any:
        nonlocal beats
        waiting = asyncio.ensure_future(backend.aget_result(done, block=True, timeout=20_000))
        while not waiting.done():
            beats += 1
            if beats == 20:
                with ThreadPoolExecutor(1) as pool:
                    in_thread(pool, backend, lambda: backend.store_result(done, 42)).result(10)
            await asyncio.sleep(0.002)
        with pytest.raises(ResultMissing):
            await backend.aget_result(message())
        with pytest.raises(ResultTimeout):
            await backend.aget_result(message(), block=True, timeout=30)
        return waiting.result()

    async def wait_on_a_thread_of_its_own() -> Any:
        async with ThreadSensitiveContext():
            result = await wait()
            await sync_to_async(backend.release_thread)()
            return result

    assert asyncio.run(wait_on_a_thread_of_its_own()) == 42
    assert beats >= 20


def test_a_backend_may_have_an_encoder_of_its_own() -> None:
    backend, done = StubBackend(encoder=PickleEncoder()), message()
    backend.store_result(done, {1, 2})
    assert backend.get_result(done) == {1, 2}


@pytest.mark.parametrize("namespace", ["", "x" * 96, "line\nbreak"])
def test_a_namespace_that_no_store_takes_is_refused(namespace: str) -> None:
    with pytest.raises(ValueError, match="namespace"):
        StubBackend(namespace=namespace)


def test_a_result_may_be_meant_to_last_for_ever(backend: ResultBackend) -> None:
    one = message()
    for ttl in (1 << 62, 10**30):
        backend.store_result(one, ttl, ttl=ttl)
        assert backend.get_result(one) == ttl
    backend.forget(one)


def test_a_result_that_somebody_has_waited_for_does_not_last_longer(backend: ResultBackend) -> None:
    one = message()
    with ThreadPoolExecutor(1) as pool:
        waiting = in_thread(pool, backend, lambda: backend.get_result(one, block=True, timeout=10_000))
        backend.store_result(one, 1, ttl=1_500)
        assert waiting.result() == 1
    until(lambda: backend.peek([one]) == [Missing])
