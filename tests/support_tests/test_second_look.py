"""What fails once is run again, what fails twice is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.second_look import MOST

ROOT = Path(__file__).parents[2]

TESTS = """
import pathlib

def test_that_passes():
    pathlib.Path("passes").open("a").write("x")

def test_that_fails_once():
    marker = pathlib.Path("marker")
    if not marker.exists():
        marker.touch()
        raise AssertionError("a busy moment")
"""
BROKEN = """
def test_that_is_broken():
    raise AssertionError("broken")
"""
MANY = """
import pathlib, pytest

@pytest.mark.parametrize("number", range({}))
def test_that_fails_once(number):
    marker = pathlib.Path(f"marker{{number}}")
    if not marker.exists():
        marker.touch()
        raise AssertionError("no accident")
"""


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:randomly\n")
    return tmp_path / "test_some.py"


def first_run(tests: Path) -> int:
    return run(tests, "-m", "pytest", "-q").returncode


def run(tests: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DJANGO_"))}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        [sys.executable, *words], cwd=tests.parent, env=environment, capture_output=True, text=True, timeout=200
    )


def look_again(tests: Path, *codes: int) -> tuple[int, str]:
    ended = run(tests, "-m", "scripts.second_look", *map(str, codes))
    return ended.returncode, ended.stdout


def test_who_fails_once_is_named_and_run_alone(tests: Path) -> None:
    tests.write_text(TESTS)
    assert first_run(tests) == 1

    code, said = look_again(tests, 0, 1)

    assert code == 0
    assert "passed alone:\n  test_some.py::test_that_fails_once" in said
    assert (tests.parent / "passes").read_text() == "x"


def test_who_fails_twice_is_a_failure(tests: Path) -> None:
    tests.write_text(TESTS + BROKEN)
    assert first_run(tests) == 1

    code, said = look_again(tests, 1, 0)

    assert code == 1
    assert "passed alone" not in said


def test_many_failures_are_final(tests: Path) -> None:
    tests.write_text(MANY.format(MOST + 1))
    assert first_run(tests) == 1

    assert look_again(tests, 0, 1) == (1, f"{MOST + 1} tests failed.\n")


@pytest.mark.parametrize(("codes", "wanted"), [((0, 0), 0), ((0, 2), 2), ((1, 5), 5), ((4, 0), 4)])
def test_what_is_no_failure_of_a_test_is_passed_on(tests: Path, codes: tuple[int, ...], wanted: int) -> None:
    assert look_again(tests, *codes) == (wanted, "")
