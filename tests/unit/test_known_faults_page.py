"""docs/known_faults.md names tests that are there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "known_faults.md"
SHARED = ("conformance.py", "weaker.py")
"""Classes of sentences that the tests of each broker inherit."""


@cache
def names_of_tests() -> frozenset[str]:
    paths = [path for path in (ROOT / "tests").rglob("*.py") if path.name.startswith("test_") or path.name in SHARED]
    return frozenset(
        name for path in paths for name in re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    )


def rows() -> list[tuple[str, str, str]]:
    lines = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert all(len(cells) == 3 for cells in lines)
    return [(there, here, tests) for there, here, tests in lines if there != "there"]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:40])
def test_each_fault_is_answered_by_tests_that_are_there(row: tuple[str, str, str]) -> None:
    _, here, shown_by = row
    names = re.findall(r"`(\w+)`", shown_by)

    assert here and names
    assert set(names) <= names_of_tests()
    assert re.sub(r"`test_\w+`", "", shown_by).strip() == ""
