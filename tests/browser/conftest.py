"""One web server, workers and a browser for all tests in this folder; each test has windows of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.chromium import chromium
from tests.browser.place import Place, open_place
from tests.browser.window import Window, Windows
from tests.support import network

expect.set_options(timeout=20_000)
"""Milliseconds. Machines that test are busy, and the overview waits five seconds between two looks."""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def place(
    browser: Browser,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_blocker: Any,
    django_test_environment: None,
) -> Iterator[Place]:
    """The test project as it runs, with one worker process."""
    folder = tmp_path_factory.mktemp("browser")
    with django_db_blocker.unblock(), open_place(folder) as place:
        yield place


@pytest.fixture(scope="package")
def windows(browser: Browser, place: Place) -> Windows:
    return Windows(browser, place)


@pytest.fixture
def open_window(windows: Windows) -> Iterator[Callable[..., Window]]:
    """Opens windows of people; whatever a browser complains of meanwhile fails the test."""
    with network.unchanged():
        yield windows.open
        windows.close()
