"""What the page of a message says of its result."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from django_tasks_q import BrokerConnectionError, actor
from django_tasks_q.brokers.database import DatabaseBroker
from django_tasks_q.recording import Recording
from django_tasks_q.results import Results
from django_tasks_q.results.backends import DatabaseBackend
from django_tasks_q.testing import drain
from tests.admin.conftest import LABEL


@pytest.fixture
def store(broker: DatabaseBroker) -> DatabaseBackend:
    backend = DatabaseBackend()
    broker.add_middleware(Results(backend=backend))
    return backend


def page_of(client: Client, message: Any) -> str:
    return client.get(f"/admin/{LABEL}/messagerecord/{message.message_id}/change/").text


def test_the_page_shows_the_beginning_of_a_result_and_nothing_of_what_is_hidden(
    broker: DatabaseBroker, store: DatabaseBackend, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = actor(lambda text: text, actor_name="work", broker=broker, store_results=True)
    long, hostile = work.send("visible " + "x" * 1_000), work.send("<script>\ud800\x00")
    silent = broker.actors["charge"].send(1)
    failed = actor(lambda: 1 // 0, actor_name="fail", broker=broker, store_results=True, max_retries=0).send()
    odd = actor(lambda: {"user": object()}, actor_name="odd", broker=broker, store_results=True).send()
    drain(broker=broker, raise_errors=False)

    assert "The result is not stored: result.user is of type object" in page_of(admin, odd)
    assert "visible x" in page_of(admin, long).split("Result</dt>")[1][:400]
    assert "<script>\\" not in page_of(admin, hostile) and "&lt;script&gt;" in page_of(admin, hostile)
    assert "Result</dt>" not in page_of(admin, silent)
    assert "stored, as a failure" in page_of(admin, failed)

    broker.recording = Recording(arguments=False)
    assert "visible" not in page_of(admin, long).split("Result</dt>")[1][:400]
    store.forget(long)
    assert "not stored, or expired" in page_of(admin, long)

    def away(keys: Any) -> Any:
        raise BrokerConnectionError("The store is away.")

    monkeypatch.setattr(store, "load", away)
    assert "The store is away." in page_of(admin, long)
