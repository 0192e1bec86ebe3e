"""The pages for people who come from elsewhere, and those about stamps and control, are true."""

from __future__ import annotations

import re
import sys
from functools import partial
from pathlib import Path

import pytest

from django_tasks_q.configured import make_middleware
from tests.docs.guide import COMING, DOCS, Reader, Section, sections

_LATER = re.compile(r"\*not yet\* \(`([^`]+)`")
_LINK = re.compile(r"\]\(([\w./-]*)(?:#([\w-]+))?\)")
_ROW = re.compile(r"^\| [\w ]+ \| `([^`]+)` \| (.+) \|$", re.MULTILINE)


@pytest.mark.django_db
@pytest.mark.parametrize("section", list(sections()), ids=str)
def test_every_example_runs_and_prints_what_the_page_says(
    section: Section, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = partial(monkeypatch.setitem, sys.modules)

    assert Reader(section, keep, lambda: capsys.readouterr().out).read() == section.printed


@pytest.mark.parametrize("page", COMING, ids=lambda page: page.stem)
def test_what_a_page_calls_not_yet_there_is_not_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    later = _LATER.findall(text)
    planned = {name for name, status in _ROW.findall((DOCS / "status.md").read_text()) if status != "done"}

    assert set(later) <= planned


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for name, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        target = page.parent / name if name else page
        assert target.exists(), name
        if anchor:
            assert anchor in {slug(title) for title in re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)}


def slug(title: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def test_the_stack_that_the_page_shows_is_the_default_one() -> None:
    section = next(section for section in sections() if section.title == "Middleware")
    shown = re.findall(r'^ +"django_tasks_q\..*\.(\w+)",$', section.text, re.MULTILINE)

    assert shown == [type(item).__name__ for item in make_middleware()]
