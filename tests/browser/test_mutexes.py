"""A mutex that a running task holds: seen by whoever looks, taken from its holder by force."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from testproject.exclusive import KEY, exclusive
from tests.browser.place import ADMIN, READER, Place
from tests.browser.window import Window


def test_a_mutex_is_seen_and_released_by_force_so_that_the_next_one_gets_it(
    open_window: Callable[..., Window], place: Place
) -> None:
    [holder] = place.store.send([exclusive.message(60)])
    place.until_state(holder, "running")
    [waiting] = place.store.send([exclusive.message(0)])
    reader = open_window(READER).see("ratelimitmutex_changelist")
    expect(reader.locator("#dtq-mutexes tbody tr", has_text=KEY)).to_have_count(1)
    expect(reader.get_by_role("link", name="Release…")).to_have_count(0)

    page = open_window(ADMIN).see("ratelimitmutex_changelist")
    row = page.locator("#dtq-mutexes tbody tr", has_text=KEY)
    expect(row.locator(f'a[href*="{holder}"]')).to_be_visible()
    row.get_by_role("link", name="Release…").click()
    address = page.url
    expect(page.locator("#content")).to_contain_text(holder)
    page.get_by_role("button", name="Release").click()

    expect(page.locator(".messagelist .success")).to_have_text("1 lease was released.")
    expect(page.locator(f'#dtq-mutexes a[href*="{holder}"]')).to_have_count(0)
    place.until_state(waiting, "succeeded")
    assert place.store.states()[holder] == "running"
    assert open_window(READER).post(address) == 403
