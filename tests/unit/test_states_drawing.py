"""docs/states.md shows the table of moves as it is, every state, and every reason that messages die of."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import django_tasks_q
from django_tasks_q.states import State, drawing

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "states.md").read_text()


def test_the_page_shows_the_drawing_of_the_table() -> None:
    (block,) = re.findall(r"^```mermaid\n(.*?)\n```$", PAGE, re.M | re.S)

    assert block == drawing()


def test_the_module_prints_the_drawing() -> None:
    printed = subprocess.run([sys.executable, "-m", "django_tasks_q.states"], cwd=ROOT, capture_output=True, text=True)

    assert printed.stdout == drawing() + "\n"


def test_the_page_explains_every_state() -> None:
    assert sorted(first_column("state")) == sorted(State)


def test_the_page_explains_every_reason_that_the_package_gives() -> None:
    assert set(first_column("reason")) == set(reasons())


def first_column(head: str) -> list[str]:
    """The names in the table whose first column is called ``head``."""
    table = PAGE.split(f"| {head} | what")[1].split("\n\n")[0]
    return re.findall(r"^\| `(\w+)` \|", table, re.M)


def reasons() -> Iterator[str]:
    """What is written in the package's calls of ``Dead``, as the reason of an event, and what ``outcomes._reason``
    returns."""
    for path in Path(django_tasks_q.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Dead") or (
                isinstance(node, ast.keyword) and node.arg == "reason" and path.name == "changes.py"
            ):
                yield from texts(node)
            elif isinstance(node, ast.FunctionDef) and (path.name, node.name) == ("outcomes.py", "_reason"):
                yield from (text for item in ast.walk(node) if isinstance(item, ast.Return) for text in texts(item))


def texts(node: ast.AST) -> Iterator[str]:
    for item in ast.walk(node):
        if isinstance(item, ast.Constant) and isinstance(item.value, str):
            yield item.value
