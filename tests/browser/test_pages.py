"""What holds for every page: at every size, in every colour, for everybody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import pages
from tests.browser.place import ADMIN, Place
from tests.browser.scene import Scene, set_up
from tests.browser.window import DESK, PHONE, Scheme, Window
from tests.support.waiting import until

JUDGE = (Path(__file__).parent / "judge.js").read_text()
MOST_STOPS = 70
"""Of the keyboard on one page: the rows of a list are all alike."""


@pytest.fixture(scope="module")
def scene(place: Place) -> Scene:
    return set_up(place)


def verdict(window: Window, question: str) -> Any:
    return window.page.evaluate(f"() => ({JUDGE.rstrip().rstrip(';')}).{question}()")


def found_on_all(window: Window, scene: Scene, *questions: str) -> dict[str, list[str]]:
    """What the judge finds, by the name of the page; pages without a fault are left out."""
    found = {}
    for name, address in pages(window.place, scene).items():
        window.go(address)
        found[name] = [fault for question in questions for fault in verdict(window, question)]
    return {name: faults for name, faults in found.items() if faults}


@pytest.mark.slow
@pytest.mark.parametrize(("size", "scheme"), [(PHONE, "dark"), (DESK, "light")])
def test_everything_fits_and_can_be_read_and_has_a_name(
    open_window: Callable[..., Window], scene: Scene, size: tuple[int, int], scheme: Scheme
) -> None:
    window = open_window(ADMIN, size, scheme)

    assert found_on_all(window, scene, "width", "names", "structure", "contrast") == {}


@pytest.mark.parametrize("name", ["overview", "deadletter", "message-dead", "edit", "release", "bulk-unfinished"])
def test_whoever_uses_the_keyboard_sees_where_it_is(
    open_window: Callable[..., Window], scene: Scene, name: str
) -> None:
    window = open_window(ADMIN)
    window.go(pages(window.place, scene)[name])

    stops = list(keyboard_stops(window))

    assert len(stops) > 10
    assert [stop["text"] for stop in stops if not stop["isSeen"]] == []


def keyboard_stops(window: Window) -> Any:
    for _ in range(MOST_STOPS):
        window.page.keyboard.press("Tab")
        stop = verdict(window, "focus")
        if stop is None:
            return
        yield stop


FAULTS = {
    "names": '<main><h1>One</h1><input type="text"><a href="#"></a><img src=""></main>',
    "structure": '<main><h1>One</h1><h3 id="a">Three</h3><p id="a"></main>',
    "width": '<main><h1>One</h1><p style="width: 2000px">wide</p></main>',
    "contrast": '<main><h1>One</h1><p class="dtq" style="color: #999">pale</p></main>',
}


@pytest.mark.parametrize("question", FAULTS)
def test_the_judge_of_these_pages_is_not_blind(open_window: Callable[..., Window], question: str) -> None:
    window = open_window()
    window.page.set_content(f'<!doctype html><html lang="en"><body>{FAULTS[question]}</body></html>')

    assert [name for name in FAULTS if verdict(window, name)] == [question]


def test_what_breaks_the_policy_is_noticed(open_window: Callable[..., Window], place: Place) -> None:
    window = open_window()
    window.go(f"{place.address}/press/")

    window.page.evaluate("document.body.setAttribute('onclick', 'window.isBroken = true')")
    window.page.locator("body").click()

    until(lambda: window.page.title() and window.troubles)
    assert "Content Security Policy" in window.troubles[0]
    window.troubles.clear()


def test_the_judge_notices_a_keyboard_that_nobody_sees(open_window: Callable[..., Window]) -> None:
    window = open_window()
    button = '<button style="outline: none">hidden</button>'
    window.page.set_content(f"<!doctype html><body>{button}<button>plain</button></body>")

    assert [stop["isSeen"] for stop in keyboard_stops(window)] == [False, True]
