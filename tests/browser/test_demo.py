"""The demo's own pages move by themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from testproject.misbehave import wait_for_file
from tests.browser.place import THREADS, Place
from tests.browser.window import Window

TEXT = "\n\n".join(f"Chapter {number}\n\n{'The sea, the whale and the ship. ' * 400}" for number in range(40))


def test_a_text_that_was_handed_in_is_seen_being_read(
    open_window: Callable[..., Window], place: Place, tmp_path: Path
) -> None:
    # Given workers that have something else to do for as long as somebody looks at the page
    gate = tmp_path / "gate"
    place.store.send(wait_for_file.message(str(gate)) for _ in range(THREADS))

    # When a text is handed in
    page = open_window().go(f"{place.address}/donate/")
    page.get_by_label("A text file of yours").set_input_files(
        {"name": "whale.txt", "mimeType": "text/plain", "buffer": TEXT.encode()}
    )
    page.get_by_role("button", name="Give it to the workers").click()
    page.wait_for_url("**/books/**")
    page.evaluate("window.isTheSame = true")
    expect(page.locator(".figures")).to_contain_text("at work")
    gate.touch()

    # Then its page tells of the work and of its end
    expect(page.locator(".figures")).to_contain_text("complete", timeout=30_000)

    indexed = page.get_by_label("Chapters indexed")
    assert indexed.get_attribute("value") == indexed.get_attribute("max")
    expect(page.get_by_label("Most frequent words")).to_contain_text("whale")
    assert page.evaluate("window.isTheSame"), "the page was loaded anew"
