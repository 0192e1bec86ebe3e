"""Everything that a filter matches, requeued while somebody watches, leaves, and comes back."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
from playwright.sync_api import Route, expect

from testproject.misbehave import busy_loop
from tests.browser.place import ADMIN, Place
from tests.browser.window import Window
from tests.support.stores import SQLiteStore

LETTERS = 2_000
STEP = 1_000
"""Milliseconds after which a step begins no other batch."""


@contextmanager
def busy(store: SQLiteStore) -> Iterator[None]:
    """Somebody else writes into the database and lets nobody else do so."""
    with closing(sqlite3.connect(store.name, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@pytest.mark.slow
def test_everything_that_matches_is_requeued_also_by_somebody_who_leaves_half_way(
    open_window: Callable[..., Window], place: Place
) -> None:
    place.bury(busy_loop.message(0) for _ in range(LETTERS))
    window = open_window(ADMIN)
    page = window.see("deadletter_changelist")
    page.locator("#changelist-filter").get_by_role("link", name="busy_loop", exact=True).click()
    page.get_by_role("link", name="Requeue everything that matches").click()
    expect(page.locator("#dtq-count")).to_have_text("2,000")
    expect(page.locator(".dtq-conditions")).to_contain_text("busy_loop")

    steps: list[Route] = []

    def carry_on_slowly(route: Route) -> None:
        """One batch, as the database is busy for as long as a step takes; then the connection is lost."""
        steps.append(route)
        if len(steps) > 1:
            route.abort()
            return
        assert isinstance(place.store, SQLiteStore)
        with busy(place.store):
            route.continue_()
            page.wait_for_timeout(3 * STEP)

    page.route("**/step/", carry_on_slowly)
    page.get_by_role("button", name="Requeue").click()
    expect(page.locator("#dtq-status")).to_have_text("It stopped; trying again soon.")
    expect(page.locator("#dtq-summary")).to_contain_text("done, 0 skipped of about 2,000")
    page.close()
    window.troubles.clear()
    done = place.states("busy_loop")["enqueued"]
    assert 0 < done < LETTERS

    again = open_window(ADMIN)
    page = again.see("bulkoperation_changelist")
    page.get_by_role("link", name="Requeue #").first.click()
    expect(page.locator("#dtq-status")).to_have_text("Not finished.")
    assert 0 < int(page.get_by_label("Progress").get_attribute("value") or 0) < 100
    page.get_by_role("button", name="Continue").click()

    expect(page.locator("#dtq-status")).to_have_text("Finished.")
    expect(page.locator("#dtq-summary")).to_have_text("2,000 done, 0 skipped")
    assert place.states("busy_loop") == {"enqueued": LETTERS}
