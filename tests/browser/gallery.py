"""Takes pictures of pages that have something to show."""

from __future__ import annotations

from pathlib import Path

from tests.browser.chromium import chromium
from tests.browser.pages import pages
from tests.browser.place import ADMIN, open_place
from tests.browser.scene import set_up
from tests.browser.window import DESK, PHONE, Scheme, Window, Windows

SCHEMES: tuple[Scheme, ...] = ("light", "dark")


def photograph(folder: Path, target: Path, wanted: list[str]) -> None:
    """Write a picture of each page whose name is wanted (of all pages, when none is) to a folder."""
    with chromium() as browser, open_place(folder) as place:
        windows = Windows(browser, place)
        addresses = pages(place, set_up(place))
        for size in (DESK, PHONE):
            for scheme in SCHEMES:
                window = windows.open(ADMIN, size, scheme)
                for name in wanted or addresses:
                    window.go(addresses[name])
                    _open_attempts(window)
                    path = target / f"{name}-{size[0]}-{scheme}.png"
                    window.page.screenshot(path=path, full_page=True)
        windows.close()


def _open_attempts(window: Window) -> None:
    """Not by a click, which would scroll."""
    window.page.locator(".dtq-attempt:last-of-type").evaluate_all("all => all.forEach(one => { one.open = true; })")
