"""Pages whose examples are run as they stand, with what they say they print: those for people who come from elsewhere,
and some more."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from django.test import override_settings

from django_tasks_q import Worker, configured, get_broker, set_broker
from django_tasks_q.brokers.stub import StubBroker
from django_tasks_q.testing import drain, on_commit

DOCS = Path(__file__).resolve().parents[2] / "docs"
COMING = sorted(DOCS.glob("coming_from_*.md"))
PAGES = [*COMING, DOCS / "stamps.md", DOCS / "control.md"]
IN_MEMORY = {"BROKER_URL": "stub://", "RESULTS_URL": "stub://", "RATE_LIMITS_URL": "stub://"}

_FENCE = re.compile(r"^( *)```(python|text)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+)\.py\n")


class Section(NamedTuple):
    """A heading of a page and what stands below it."""

    page: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.title}"

    @property
    def blocks(self) -> list[tuple[str, str]]:
        """Languages and texts of what is run (``python``), and of what it prints (``text``)."""
        return [(language, textwrap.dedent(text)) for _, language, text in _FENCE.findall(self.text)]

    @property
    def printed(self) -> list[str]:
        """What the page says is printed: nothing after the last piece."""
        return [text for language, text in self.blocks if language == "text"] + [""]

    @property
    def needs_a_worker(self) -> bool:
        """Whether it shows what only threads of a worker do."""
        return "<!-- with a worker -->" in self.text


def sections() -> Iterator[Section]:
    """Those that have an example."""
    for page in PAGES:
        parts = re.split(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for title, text in zip(parts[1::2], parts[2::2], strict=True):
            section = Section(page.stem, title, text)
            if section.blocks:
                yield section


class Reader:
    """Types the examples of one section into a project of his own, whose broker is in memory.

    Parameters:
        keep: puts a module where it can be imported, for as long as he reads.
        printed: what was printed since it was asked the last time.
    """

    def __init__(self, section: Section, keep: Callable[[str, ModuleType], None], printed: Callable[[], str]) -> None:
        self._section = section
        self._keep = keep
        self._printed = printed
        self._example = self._module("example")

    def read(self) -> list[str]:
        """Run every example; what was printed, in as many pieces as the page says, and after the last of them."""
        settings = {name: text for name, text in self._files() if name.endswith("settings")}
        wanted: dict[str, Any] = {}
        for name, text in settings.items():
            wanted |= self._run(self._module(name), text).DJANGO_TASKS_Q
        with override_settings(DJANGO_TASKS_Q={**wanted, **IN_MEMORY}):
            for name, text in self._files():
                if name not in settings:
                    self._run(self._module(name), text)
            set_broker(configured.make_broker())
            return [*self._follow(), self._work()]

    def _follow(self) -> Iterator[str]:
        for language, text in self._section.blocks:
            if language == "text":
                yield self._work()
            elif not _FILE.match(text):
                with on_commit():
                    self._run(self._example, text)

    def _files(self) -> list[tuple[str, str]]:
        """The blocks whose first line names a file, as modules."""
        found = [(_FILE.match(text), text) for language, text in self._section.blocks if language == "python"]
        return [(match[1].replace("/", "."), text) for match, text in found if match]

    def _module(self, name: str) -> ModuleType:
        package = name.rpartition(".")[0]
        if package and package not in sys.modules:
            self._keep(package, ModuleType(package))
        module = ModuleType(name)
        self._keep(name, module)
        return module

    def _run(self, module: ModuleType, text: str) -> ModuleType:
        exec(compile(text, f"{self._section}", "exec"), vars(module))
        return module

    def _work(self) -> str:
        """Have workers do what there is; what was printed, and a line for each dead letter, by name."""
        broker = get_broker()
        assert isinstance(broker, StubBroker)
        if self._section.needs_a_worker:
            _work_in_threads(broker)
        else:
            drain(with_delayed=True, raise_errors=False)
        letters = [f"dead letter: {letter.actor_name}, {letter.outcome.reason}\n" for letter in broker.dead_letters]
        broker.discard([letter.message_id for letter in broker.dead_letters])
        return self._printed() + "".join(sorted(letters))


def _work_in_threads(broker: StubBroker) -> None:
    worker = Worker(broker, worker_timeout=100, worker_threads=2)
    worker.start()
    try:
        for queue_name in broker.queues:
            broker.join(queue_name, timeout=10_000, fail_fast=False)
    finally:
        worker.stop(timeout=5_000)
