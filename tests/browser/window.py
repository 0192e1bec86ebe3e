"""A window of the browser, in which somebody is logged in, and everything that the browser has complained of."""

from __future__ import annotations

from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, Page, StorageState

from tests.browser.place import PASSWORD, Place

Scheme = Literal["light", "dark"]

DESK = (1280, 800)
PHONE = (390, 844)


class Window:
    """``troubles``: errors in the console (policy violations are among them) and uncaught exceptions of scripts."""

    def __init__(self, context: BrowserContext, place: Place) -> None:
        self.place = place
        self.context = context
        self.page: Page = context.new_page()
        self.troubles: list[str] = []
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        # A browser asks every site for an icon; having none is no trouble.
        if message.type in ("error", "warning") and not message.location["url"].endswith("/favicon.ico"):
            self.troubles.append(f"{message.text} {message.location}")

    def go(self, address: str) -> Page:
        response = self.page.goto(address)
        assert response is not None and response.status == 200, f"{address}: {response and response.status}"
        return self.page

    def see(self, name: str, *args: Any) -> Page:
        """A page of ours in the admin."""
        return self.go(self.place.page(name, *args))

    def log_in(self, name: str) -> None:
        """With the form that everybody uses."""
        self.page.goto(f"{self.place.address}/admin/login/?next=/admin/")
        self.page.get_by_label("Username").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url("**/admin/")

    def post(self, address: str) -> int:
        """Send an empty form by hand, with the token that a page has given; the status of the answer."""
        token = next(cookie["value"] for cookie in self.context.cookies() if cookie["name"] == "csrftoken")
        form = {"csrfmiddlewaretoken": token, "confirmed": "yes"}
        answer = self.context.request.post(address, form=form, headers={"Referer": address}, max_redirects=0)
        return answer.status


class Windows:
    """All windows of a test. Each person logs in once; later windows have the cookies."""

    def __init__(self, browser: Browser, place: Place) -> None:
        self._browser = browser
        self._place = place
        self._cookies: dict[str, StorageState] = {}
        self._open: list[Window] = []

    def open(self, person: str = "", size: tuple[int, int] = DESK, scheme: Scheme = "light") -> Window:
        """A window of somebody who is logged in, or of nobody in particular."""
        width, height = size
        context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            reduced_motion="reduce",
            has_touch=size == PHONE,
            storage_state=self._cookies.get(person),
        )
        context.set_default_timeout(20_000)
        window = Window(context, self._place)
        self._open.append(window)
        if person and person not in self._cookies:
            window.log_in(person)
            self._cookies[person] = context.storage_state()
        return window

    def close(self) -> None:
        troubles = [trouble for window in self._open for trouble in window.troubles]
        for window in self._open:
            window.context.close()
        self._open.clear()
        assert not troubles, "\n".join(troubles)
