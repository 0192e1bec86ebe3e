"""A person lets a queue wait and calls a batch off, and real workers obey."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from testproject.misbehave import noop, sleep
from tests.browser.place import ADMIN, READER, Place
from tests.browser.window import Window


def test_a_paused_queue_waits_until_it_is_resumed(open_window: Callable[..., Window], place: Place) -> None:
    page = open_window(ADMIN).see("queuestate_changelist")
    page.locator("#dtq-queues tr", has_text="default").get_by_role("link", name="Pause…").click()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".messagelist .success")).to_have_text("Queue “default” is paused.")

    [message_id] = place.store.send([noop.message()])
    overview = open_window(READER).see("overview_changelist")
    expect(overview.locator(".dtq-warnings")).to_contain_text("Queue “default” is paused since")
    assert place.store.states().get(message_id) in (None, "enqueued")

    page.locator("#dtq-queues tr", has_text="default").get_by_role("link", name="Resume…").click()
    page.get_by_role("button", name="Resume").click()
    place.until_state(message_id, "succeeded")


def test_a_batch_that_runs_is_revoked_and_terminated(open_window: Callable[..., Window], place: Place) -> None:
    [running] = place.store.send([sleep.message_with_options(args=(600,), stamps={"batch": "a=b"})])
    [waiting] = place.store.send([noop.message_with_options(delay=600_000, stamps={"batch": "a=b"})])
    place.until_state(running, "running")
    page = open_window(ADMIN).see("messagerecord_change", running)
    page.get_by_role("link", name="batch=a=b").click()
    expect(page.locator("#dtq-summary")).to_have_text("0 of 2 messages have ended.")

    page.get_by_role("link", name="Revoke and terminate").click()
    expect(page.locator("#dtq-count")).to_have_text("2")
    page.get_by_role("button", name="Revoke and terminate").click()

    expect(page.locator(".messagelist .success")).to_contain_text("it was about 2 messages")
    place.until_state(waiting, "revoked")
    place.until_state(running, "revoked")
    page.get_by_role("link", name="Lift").click()
    page.get_by_role("button", name="Lift").click()
    expect(page.locator("#dtq-state")).to_have_text("lifted")
