"""The web server as a real process, on a port that it finds itself."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.stores import ROOT, Store, environment
from tests.support.waiting import until

SETTINGS = "tests.browser.settings"
START = 30
"""Seconds within which it must listen, on a machine that has other things to do."""


@contextmanager
def web_server(folder: Path, store: Store) -> Iterator[str]:
    """Serve the test project on a database; the address, without a slash at its end."""
    log = folder / "web.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-u", "manage.py", "runserver", "--noreload", "127.0.0.1:0"],
            cwd=ROOT,
            env=environment(store.url, DJANGO_SETTINGS_MODULE=SETTINGS),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: _address(log) or server.poll() is not None, START, log.read_text)
        address = _address(log)
        assert address, log.read_text()
        yield address
    finally:
        server.kill()
        server.wait()


def _address(log: Path) -> str:
    """What the server says about itself, once it listens."""
    found = re.search(r"development server at (http://[\d.]+:\d+)", log.read_text())
    return found[1] if found else ""
