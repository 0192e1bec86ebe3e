"""Debian's Chromium, or whichever is installed: started to be tested with, and told not to talk to anybody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright

from scripts.services.programs import CHROMIUM

ARGUMENTS = (
    "--no-sandbox",  # which needs privileges that containers do not have
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window. A browser that is missing is an error, never a skipped test."""
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright runs an event loop on this thread, where Django therefore suspects asynchronous code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        browser = playwright.chromium.launch(executable_path=CHROMIUM.path(), args=list(ARGUMENTS))
        yield browser
        browser.close()
