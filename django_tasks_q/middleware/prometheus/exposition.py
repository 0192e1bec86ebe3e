"""The process that serves, over HTTP, the sums of what all workers of its generation have counted."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterable
from socketserver import ThreadingMixIn
from threading import Lock
from typing import Any, NoReturn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from ... import clock
from ...logging import get_logger
from .folder import abandoned, open_folder, remove, remove_old

logger = get_logger(__name__)

_LOOK = 0.1
"""Seconds between two looks at whether the port is free: after a reload the generation before has it a while longer."""

_PATIENCE = 30.0
"""Seconds after which somebody is told that it is not."""


def serve(host: str, port: int, folder: str) -> None:
    """Serve until TERM, then remove the folder."""
    signal.signal(signal.SIGTERM, _raise_told)
    try:
        open_folder(folder)
        remove_old()
        with _bound(host, port, folder) as server:
            server.serve_forever()
    except _Told:
        pass
    finally:
        remove(folder)


class _Told(BaseException):
    """To end."""


def _raise_told(number: int, frame: object) -> NoReturn:
    raise _Told


class Workers(Collector):
    """Sums over the files of a folder. Who has died runs nothing any more, but what it counted stays."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files = MultiProcessCollector(None, folder)  # type: ignore[no-untyped-call]
        # Two looks at once would free the locks of each other, which belong to the process.
        self._lock = Lock()

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            with abandoned(self._folder) as numbers:
                for number in numbers:
                    mark_process_dead(number, self._folder)  # type: ignore[no-untyped-call]
            found: Iterable[Metric] = self._files.collect()  # type: ignore[no-untyped-call]
        return found


def _registry(folder: str) -> CollectorRegistry:
    """With the project's own metrics, where the client library was told to share them between processes."""
    registry = CollectorRegistry()
    registry.register(Workers(folder))
    own = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if own and os.path.isdir(own):
        MultiProcessCollector(registry, own)  # type: ignore[no-untyped-call]
    return registry


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_port = False  # two generations that share it would answer in turn


class _ServerOfIPv6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape is nothing to tell of."""


def _bound(host: str, port: int, folder: str) -> WSGIServer:
    """A server on the port, as soon as nobody else has it."""
    app = make_wsgi_app(_registry(folder))
    kind = _ServerOfIPv6 if ":" in host else _Server
    warns_at = clock.monotonic() + _PATIENCE
    while True:
        try:
            return make_server(host, port, app, kind, _Handler)
        except OSError as error:
            if clock.monotonic() > warns_at:
                warns_at = float("inf")
                logger.warning("The metrics cannot be served on %s:%d yet: %s", host, port, error)
        time.sleep(_LOOK)
