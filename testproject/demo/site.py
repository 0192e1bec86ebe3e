"""The web site of the demo: start it on a free port, and use it as a browser would."""

import json
import re
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urljoin

from testproject.demo.children import Child, Children, Stop
from testproject.demo.problem import Problem

HOST = "127.0.0.1"
PORTS_TO_TRY = 100
START_SECONDS = 60.0
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class StayWhereYouAre(urllib.request.HTTPRedirectHandler):
    """A form that was accepted answers with a redirection, one that was not with itself: that must not look alike."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Site:
    """A browser, more or less: it keeps cookies and sends forms with their token."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{HOST}:{port}/"
        # Without the proxy of the environment: this is about the own machine.
        self._browser = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar()), StayWhereYouAre
        )

    def page(self, path: str = "") -> str:
        """The text at a path, relative to the site or absolute."""
        with self._browser.open(urljoin(self.url, path), timeout=30) as response:
            return str(response.read().decode())

    def json(self, path: str) -> Any:
        return json.loads(self.page(path))

    def submit(self, path: str, fields: Mapping[str, object] | None = None, *, form_on: str | None = None) -> str:
        """Send a form to a path, with the token of the page it is on (that path itself, when not given).

        Returns where it leads; Problem when it was not accepted.
        """
        # Needs Django to be set up, which starting a site does not.
        from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

        token = TOKEN.search(self.page(path if form_on is None else form_on))
        if token is None:
            raise Problem(f"there is no form for {self.url}{path}")
        body = encode_multipart(BOUNDARY, {"csrfmiddlewaretoken": token[1], **(fields or {})})
        request = urllib.request.Request(urljoin(self.url, path), body, {"Content-Type": MULTIPART_CONTENT})
        try:
            self._browser.open(request, timeout=30).close()
        except urllib.error.HTTPError as answer:
            if answer.code == 302:
                return str(answer.headers["Location"])
            raise Problem(f"{request.full_url} answers {answer}") from answer
        raise Problem(f"{request.full_url} did not accept its form")

    def press_import(self) -> None:
        self.submit("import/", form_on="")


def start(children: Children, stop: Stop, first_port: int) -> Site:
    """Start the web server and wait until it listens; on the next port when somebody else was quicker."""
    port = _free_port(first_port)
    while not _listens(child := children.start("web", "runserver", "--noreload", f"{HOST}:{port}"), children, stop):
        children.forget(child)
        port = _free_port(port + 1)
    return Site(port)


def _listens(child: Child, children: Children, stop: Stop) -> bool:
    """True when the server has its port (or the demo is to end), false when the port was taken meanwhile.

    It has to say so itself: on a port that is not its own somebody else's server would answer.
    """
    for _ in range(int(START_SECONDS / 0.1)):
        ended = child.process.poll() is not None  # asked first: what it said before that is all in the log
        said = child.log.read_text(errors="replace")
        if "development server at" in said or stop.wait(0.1):
            return True
        if "port is already in use" in said:
            return False
        if ended:
            children.check()
    raise Problem(f"the web server did not answer within {START_SECONDS:.0f} s\n{child.last_words()}")


def _free_port(first: int) -> int:
    for port in range(first, first + PORTS_TO_TRY):
        with socket.socket() as probe:
            # As the server does it: a port whose last connection has only just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    raise Problem(f"no port between {first} and {first + PORTS_TO_TRY - 1} is free")
