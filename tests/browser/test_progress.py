"""A message that says how far it is, while somebody looks."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from testproject.misbehave import advance
from tests.browser.place import READER, Place
from tests.browser.window import Window


def test_the_page_of_a_message_follows_it_to_its_end(open_window: Callable[..., Window], place: Place) -> None:
    gate = place.folder / "enough"
    [message_id] = place.store.send([advance.message(100, str(gate))])
    place.until_state(message_id, "running")
    page = open_window(READER).see("messagerecord_change", message_id)

    bar = page.get_by_label("Progress")
    expect(bar).to_have_attribute("value", "99")
    expect(page.locator(".dtq-facts")).to_contain_text("99 / 100, 99 % step 99")
    listed = open_window(READER).see("runningmessage_changelist")
    expect(listed.get_by_role("row").filter(has_text="99 / 100").get_by_label("Progress")).to_have_attribute(
        "value", "99"
    )

    gate.touch()

    expect(page.locator("#dtq-state")).to_have_text("succeeded")
    expect(bar).to_have_attribute("value", "100")
    expect(page.locator(".dtq-facts")).to_contain_text("100 / 100, 100 % all steps")


def test_a_message_that_says_something_at_last_gets_its_bar(open_window: Callable[..., Window], place: Place) -> None:
    gate = place.folder / "begin"
    [message_id] = place.store.send([advance.message_with_options(args=(2, str(gate)), delay=3_600_000)])
    place.until_state(message_id, "delayed")
    page = open_window(READER).see("messagerecord_change", message_id)
    expect(page.get_by_label("Progress")).to_have_count(0)

    gate.touch()
    place.store.rows("UPDATE django_tasks_q_queuedmessage SET due_at = 0 WHERE message_id = ?", [message_id])

    expect(page.get_by_label("Progress")).to_have_attribute("value", "100")
    expect(page.locator("#dtq-state")).to_have_text("succeeded")
