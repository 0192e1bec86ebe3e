"""The examples of the pages that are about one thing each are run, with what their reader is taken to have."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest
from django.contrib.admin import AdminSite
from django.db import transaction
from django.test import Client, override_settings
from django.urls import reverse

from django_tasks_q import Message, Worker, actor, conf, configured, get_broker, schedules, set_broker
from django_tasks_q.models import MessageRecord, ServiceLease
from django_tasks_q.testing import drain, on_commit
from tests.docs.guide import DOCS, IN_MEMORY
from tests.docs.guide import PAGES as GUIDES

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)

HERE = {
    *("admin", "async", "composition", "monitoring", "progress", "rate_limits", "records", "results", "schedules"),
    *("settings", "transactions", "unique"),
}
ELSEWHERE = {*(page.stem for page in GUIDES), "testing"}
"""Pages whose examples other tests run: tests/docs/test_guides.py, tests/testing/test_documentation.py."""


class Examples:
    """Those of one page, typed one after the other into one module.

    Attributes:
        names: what the module holds; at first what the page's reader has.
        left: the examples that have not run.
    """

    def __init__(self, page: str, **names: Any) -> None:
        self.names: dict[str, Any] = {"__name__": "example", **names}
        self._page = DOCS / f"{page}.md"
        self.left = BLOCK.findall(self._page.read_text(encoding="utf-8"))

    def run(self, name: str = "") -> Any:
        """The next one, on a broker of its own; what it calls ``name``."""
        broker = configured.make_broker()
        broker.declare_queue("default")
        set_broker(broker)
        exec(compile(self.left.pop(0), self._page.name, "exec"), self.names)
        return self.names.get(name)

    def end(self) -> None:
        assert not self.left


@pytest.fixture
def read() -> Iterator[Callable[..., Examples]]:
    """``read(page, **names)`` opens a page; in the end all of its examples must have run."""
    opened: list[Examples] = []

    def open_page(page: str, **names: Any) -> Examples:
        opened.append(Examples(page, **names))
        return opened[-1]

    with override_settings(DJANGO_TASKS_Q=IN_MEMORY):
        yield open_page
    for examples in opened:
        examples.end()


def test_every_page_with_an_example_is_one_whose_examples_are_run() -> None:
    assert {page.stem for page in DOCS.glob("*.md") if BLOCK.search(page.read_text())} == HERE | ELSEWHERE


def test_admin(read: Callable[..., Examples]) -> None:
    site = AdminSite("mine")

    read("admin", my_admin_site=site).run()

    assert site.is_registered(MessageRecord)


def test_async(read: Callable[..., Examples], monkeypatch: pytest.MonkeyPatch) -> None:
    client = MagicMock()
    client.__aenter__.return_value.get = AsyncMock(return_value=SimpleNamespace(text="a page"))
    monkeypatch.setitem(sys.modules, "httpx", Mock(AsyncClient=lambda: client))
    create = AsyncMock()

    read("async", Page=Mock(objects=Mock(acreate=create))).run("fetch").send("https://example.org")
    drain()

    create.assert_awaited_once_with(url="https://example.org", text="a page")


def test_composition(read: Callable[..., Examples], capsys: pytest.CaptureFixture[str]) -> None:
    read("composition").run("steps").run()
    drain()

    assert capsys.readouterr().out == "2026 ['1-200.webp', '1-800.webp', '1-1600.webp']\n"


def test_monitoring(read: Callable[..., Examples]) -> None:
    examples = read("monitoring")
    usual = [type(item).__name__ for item in configured.make_middleware()]

    with override_settings(DJANGO_TASKS_Q={**IN_MEMORY, **examples.run("DJANGO_TASKS_Q")}):
        assert [type(item).__name__ for item in configured.make_middleware()] == ["Prometheus", *usual]

    metrics = examples.run("Metrics")()
    assert (metrics.http_host, metrics.http_port, metrics.prefix) == ("0.0.0.0", 9100, "dramatiq")


@pytest.mark.django_db
def test_progress(read: Callable[..., Examples], admin_client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    with override_settings(DJANGO_TASKS_Q={"BROKER_URL": "database://default"}):
        examples = read("progress", read_rows=lambda path: ["a", "b"], save=Mock(), Upload=Mock())
        work = examples.run("import_rows")
        drain(broker=work.broker)
        examples.run()
        told = admin_client.get(examples.run("address")).json()
        ask = examples.run("import_progress")
        examples.names["get_object_or_404"] = Mock(return_value=examples.names["message"])
        answer = ask(Mock(), 1)
        imports = examples.run("imports")
        address = reverse("admin:django_tasks_q_messagerecord_group_progress", args=[imports.group_id])
        counted = admin_client.get(address).json()["counts"]

    assert capsys.readouterr().out == "100 %: saving rows, 2 of 2\n0 of 2 have ended, 0 % {'enqueued': 2}\n"
    assert told["progress"] == {"done": 2, "total": 2, "text": "saving rows", "percent": 100}
    assert json.loads(answer.content) == told
    assert counted == {"enqueued": 2}


def test_rate_limits(read: Callable[..., Examples]) -> None:
    saved, published, feed = Mock(), Mock(), Mock()
    examples = read("rate_limits", download=lambda feed_id: ["entry"], save=saved, publish=published, number=7)
    for name in ("refresh", "refresh_unless_somebody_does", "refresh"):
        examples.run(name).send(1)
        drain()
    examples.names["call_api"].send(1)
    drain()
    examples.run()
    examples.names |= {"Feed": feed, "feed_id": 1, "token": 2, "entries": []}
    examples.run()

    assert [call.args for call in saved.call_args_list] == [(1, ["entry"])] * 2
    assert saved.call_args_list[0].kwargs["token"] < saved.call_args_list[1].kwargs["token"]
    published.assert_not_called()
    feed.objects.filter.assert_called_once_with(pk=1, token__lte=2)


@pytest.mark.django_db
def test_unique(read: Callable[..., Examples], capsys: pytest.CaptureFixture[str]) -> None:
    examples = read("unique")

    names = examples.run("__name__") and examples.names
    assert names["again"].message_id == names["first"].message_id != names["other"].message_id
    broker = get_broker()
    examples.run()
    assert (names["same"].message_id, names["same"].args) == (names["there"].message_id, (1, "You have mail."))
    set_broker(broker)
    exec(compile(examples.left.pop(0), "unique.md", "exec"), names)
    assert names["holder"] == names["first"].message_id
    examples.run()
    (delivery,) = get_broker().peek("default", "delayed")
    assert Message.decode(delivery.payload).args == (1, 2)
    with on_commit():
        examples.run()
    assert drain() == []
    drain(with_delayed=True)
    assert sorted(capsys.readouterr().out.splitlines()) == ["indexing [1]", "indexing [7, 8, 9]"]


@pytest.mark.django_db
def test_records(read: Callable[..., Examples]) -> None:
    ServiceLease.objects.create(name="retention", notes={"records": 1})

    read("records").run()


def test_results(read: Callable[..., Examples], monkeypatch: pytest.MonkeyPatch) -> None:
    workers: list[Worker] = []
    send = configured.make_broker

    def with_a_worker() -> Any:
        broker = send()
        workers.append(Worker(broker, worker_timeout=100, worker_threads=1))
        workers[-1].start()
        return broker

    monkeypatch.setattr(configured, "make_broker", with_a_worker)
    try:
        examples = read("results")
        assert examples.run("total") == 3
        examples.names["broker"] = get_broker()
        examples.run()
    finally:
        for worker in workers:
            worker.stop()


def test_schedules(read: Callable[..., Examples], capsys: pytest.CaptureFixture[str]) -> None:
    examples = read("schedules")
    examples.run()
    broker = get_broker()
    with override_settings(DJANGO_TASKS_Q={**examples.run("DJANGO_TASKS_Q"), **IN_MEMORY}):
        found = schedules.declared(broker)
        assert list(schedules.problems(broker)) == []
    for entry in found.values():
        broker.enqueue(entry.message(broker))
    drain(broker=broker)

    assert sorted(found) == ["clean_up", "look_for_mail", "remind", "remind-berlin"]
    assert sorted(capsys.readouterr().out.splitlines()) == ["clean", "dear Berlin", "dear everybody", "no mail"]


def test_settings(read: Callable[..., Examples]) -> None:
    shown = read("settings", env=lambda name, default: default).run("DJANGO_TASKS_Q")

    assert set(shown) <= set(conf.DEFAULTS)


@pytest.mark.django_db
def test_transactions(read: Callable[..., Examples]) -> None:
    order, sent = Mock(pk=7), Mock()
    examples = read("transactions", transaction=transaction, Order=Mock(**{"objects.create.return_value": order}))

    class Receipts:
        def send_on_commit(self, number: int) -> Any:
            return actor(sent, actor_name="send_receipt").send_on_commit(number)

    examples.names["send_receipt"] = Receipts()
    with on_commit():
        examples.run()
        sent.assert_not_called()
    drain()

    sent.assert_called_once_with(7)
    assert order.message_id == examples.names["message"].message_id
