"""Dead letters: found, understood, brought back as they are or with other arguments, by whoever may."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from testproject.library.models import Book
from testproject.misbehave import fail_always
from tests.browser.place import ADMIN, READER, Place
from tests.browser.window import Window
from tests.support.waiting import until

Open = Callable[..., Window]


def give_what_dies(window: Window, title: str) -> str:
    """Give the library a text that is not UTF-8, and wait until its message is dead; the message's id."""
    page = window.go(f"{window.place.address}/donate/")
    page.get_by_label("Or one of ours").select_option("swann-02.txt")
    page.get_by_label("Title").fill(title)
    page.get_by_role("button", name="Give it to the workers").click()
    page.wait_for_url("**/books/**")
    chapters = Book.objects.using(window.place.store.alias).filter(title=title, chapters__state="failed")
    until(chapters.exists, 20)
    return str(chapters.values_list("chapters__message_id", flat=True).get())


def mend(page: Page) -> None:
    """Say on the page of the book how its text is written."""
    page.get_by_label("Read").select_option("latin-1")
    page.get_by_role("button", name="Mend it").click()


@pytest.mark.slow
def test_somebody_finds_a_dead_letter_reads_why_it_died_requeues_it_and_sees_it_succeed(open_window: Open) -> None:
    window = open_window()
    window.log_in(ADMIN)
    message_id = give_what_dies(window, "To be mended")
    mend(window.page)

    window.page.goto(f"{window.place.address}/admin/")
    window.page.locator("#content").get_by_role("link", name="Overview").click()
    row = window.page.locator(f'#dtq-dead-letters a[href*="{message_id}"]')
    expect(row).to_have_text("index_chapter")
    with window.context.expect_page() as opened:
        row.click(modifiers=["Control"])
    letter = opened.value
    expect(letter.locator("#dtq-state")).to_have_text("dead")
    expect(letter.locator(".dtq-error")).to_contain_text("invalid continuation byte")
    letter.locator(".dtq-attempt summary").last.click()
    expect(letter.locator(".dtq-traceback").last).to_be_visible()
    expect(letter.locator(".dtq-traceback").last).to_contain_text("in index_chapter")

    letter.get_by_role("link", name="Requeue", exact=True).click()
    expect(letter.locator("#content")).to_contain_text(message_id)
    letter.get_by_role("button", name="Requeue").click()

    expect(letter.locator(".messagelist .success")).to_be_visible()
    expect(row).to_have_count(0)  # of the overview, which nobody has touched meanwhile
    window.place.until_state(message_id, "succeeded")
    letter.reload()
    expect(letter.locator("#dtq-state")).to_have_text("succeeded")
    expect(letter.locator(".dtq-timeline li").last).to_contain_text("Succeeded")


def test_somebody_edits_the_arguments_is_told_at_the_field_what_is_wrong_and_sends_the_right_ones(
    open_window: Open,
) -> None:
    window = open_window(ADMIN)
    message_id = give_what_dies(window, "To be edited")
    page = window.see("messagerecord_change", message_id)
    page.get_by_role("link", name="Requeue an edited copy").click()
    args, kwargs = page.get_by_label("Arguments", exact=False).first, page.get_by_label("Keyword arguments")
    [chapter] = args.input_value().strip("[] \n").split()
    expect(kwargs).to_have_value('{\n  "encoding": null\n}')
    send = page.get_by_role("button", name="Send the copy")

    args.fill(f"[{chapter}")
    send.click()
    expect(page.locator(".form-row", has=args).locator(".errorlist")).to_contain_text("Not JSON")
    expect(page.locator(".form-row", has=kwargs).locator(".errorlist")).to_have_count(0)

    args.fill(f"[{chapter}]")
    kwargs.fill('{"colour": "blue"}')
    send.click()
    expect(page.locator(".form-row", has=kwargs).locator(".errorlist")).to_contain_text("colour")
    assert window.place.store.states()[message_id] == "dead"

    kwargs.fill('{"encoding": "latin-1"}')
    send.click()
    expect(page.locator(".messagelist .success")).to_contain_text("An edited copy was sent")
    expect(page.locator("#dtq-state")).to_have_text("discarded")
    page.locator("#dtq-children-title ~ ul").get_by_role("link", name="index_chapter").click()
    window.place.until_state(page.locator("#dtq-message-id").inner_text(), "succeeded")
    page.reload()
    expect(page.locator("#dtq-state")).to_have_text("succeeded")


def test_who_may_only_look_sees_no_buttons_and_is_refused_by_hand(open_window: Open, place: Place) -> None:
    [message_id] = place.bury([fail_always.message()])
    window = open_window(READER)

    page = window.see("messagerecord_change", message_id)
    expect(page.locator("#dtq-state")).to_have_text("dead")
    expect(page.locator("#content").get_by_role("button")).to_have_count(0)
    expect(page.locator("#content .button")).to_have_count(0)
    page = window.see("deadletter_changelist")
    expect(page.locator("#result_list tbody tr")).not_to_have_count(0)
    expect(page.locator(".object-tools, select[name=action], .action-select")).to_have_count(0)

    for verb in ("requeue", "edit", "discard"):
        assert window.post(place.page(f"messagerecord_{verb}", message_id)) == 403
    for verb in ("requeue", "discard"):
        assert window.post(place.page(f"deadletter_{verb}_everything")) == 403
    assert place.store.states()[message_id] == "dead"
