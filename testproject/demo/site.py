"""The web site of the demo: start it on a free port, and use it as a visitor would."""

import re
import socket
import urllib.error
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar

from testproject.demo.children import Children, Stop
from testproject.demo.problem import Problem

HOST = "127.0.0.1"
PORTS_TO_TRY = 100
START_SECONDS = 20.0
TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Site:
    """A visitor's browser, more or less: it keeps cookies and can press the one button."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{HOST}:{port}/"
        # Without the proxy of the environment: this is about the own machine.
        self._browser = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(CookieJar())
        )

    def page(self) -> str:
        with self._browser.open(self.url, timeout=10) as response:
            return str(response.read().decode())

    def press_import(self) -> None:
        token = TOKEN.search(self.page())
        if token is None:
            raise Problem(f"there is no button on {self.url}")
        form = urllib.parse.urlencode({"csrfmiddlewaretoken": token[1]}).encode()
        self._browser.open(f"{self.url}import/", form, timeout=10).close()

    def answers(self) -> bool:
        try:
            self.page()
        except urllib.error.HTTPError as error:
            raise Problem(f"{self.url} answers {error}") from error
        except OSError:
            return False
        return True


def start(children: Children, stop: Stop, first_port: int) -> Site:
    """Start the web server and wait until it answers."""
    port = _free_port(first_port)
    children.start("web", "runserver", "--noreload", f"{HOST}:{port}")
    site = Site(port)
    for _ in range(int(START_SECONDS / 0.1)):
        children.check()
        if site.answers() or stop.wait(0.1):
            return site
    raise Problem(f"the web server did not answer within {START_SECONDS:.0f} s")


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
