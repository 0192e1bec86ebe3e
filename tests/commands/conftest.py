"""``taskq`` as a user calls it, in this process: what it prints and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from typing import Any, NamedTuple

import pytest

from django_tasks_q.management.commands.taskq import Command
from tests.operations.conftest import broker

__all__ = ["broker"]


class Ending(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Taskq = Callable[..., Ending]


@pytest.fixture
def taskq(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Taskq:
    """``taskq("send", "charge", "--args", "[1]")``, in a terminal of 80 columns that nobody watches."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*words: str) -> Ending:
        out, err = StringIO(), StringIO()
        code: Any = 0
        try:
            Command(stdout=out, stderr=err, no_color=True).run_from_argv(["manage.py", "taskq", *words])
        except SystemExit as end:
            code = end.code
        return Ending(code, out.getvalue(), err.getvalue() + capsys.readouterr().err)

    return call
