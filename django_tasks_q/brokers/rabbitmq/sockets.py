"""The socket of a connection: opened as parameters of pika say, and watched by the kernel."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from pika import connection as amqp

KEEPALIVE: Mapping[str, int] = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
"""A peer that vanished is noticed after about half a minute; options that the platform does not know are left out."""


def open_socket(parameters: amqp.Parameters, timeout: float) -> socket.socket:
    """Connected, TLS included, within ``timeout`` seconds; it never blocks from then on. Raises OSError."""
    try:
        connected = socket.create_connection((parameters.host, parameters.port), timeout)
    except UnicodeError as error:
        raise OSError(f"no host can be called {parameters.host!r:.80}") from error
    try:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in {**KEEPALIVE, **(parameters.tcp_options or {})}.items():
            if hasattr(socket, name):
                connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if parameters.ssl_options is not None:
            name = parameters.ssl_options.server_hostname or parameters.host
            connected = parameters.ssl_options.context.wrap_socket(connected, server_hostname=name)
        connected.setblocking(False)
    except BaseException:
        connected.close()
        raise
    return connected


def wants_patience(error: OSError) -> bool:
    """Whether TLS has only half of what it needs."""
    return type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError")
