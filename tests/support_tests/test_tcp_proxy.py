"""The stretch of network in front of a server does what a bad network does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.tcp_proxy import Direction, TcpProxy
from tests.support.waiting import within


@pytest.fixture
def echo() -> Iterator[tuple[str, int]]:
    """The address of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=_serve, args=(listener,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


@pytest.fixture
def proxy(echo: tuple[str, int]) -> Iterator[TcpProxy]:
    with TcpProxy(echo) as proxy:
        yield proxy


def _serve(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection = listener.accept()[0]
            with connection, suppress(ConnectionError):
                while data := connection.recv(65_536):
                    connection.sendall(data)


def test_everything_passes_and_the_end_too(proxy: TcpProxy) -> None:
    sent = bytes(range(256)) * 4_000
    with connected(proxy) as client:
        sender = threading.Thread(target=client.sendall, args=(sent,))
        sender.start()
        got = b""
        while len(got) < len(sent):
            got += client.recv(65_536)
        sender.join()
        assert got == sent
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


def test_what_is_delayed_arrives_later_in_each_direction(proxy: TcpProxy) -> None:
    proxy.delay(100)
    with connected(proxy) as client:
        began = time.monotonic()
        assert asked(client, b"a") == b"a"
        assert 0.2 <= time.monotonic() - began < within(0.4)


def test_a_cut_resets_connections_and_refuses_new_ones_until_it_is_mended(proxy: TcpProxy) -> None:
    with connected(proxy) as client:
        asked(client, b"a")
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        with pytest.raises(ConnectionRefusedError):
            connected(proxy)
        proxy.restore()
        with connected(proxy) as again:
            assert asked(again, b"b") == b"b"


def test_a_half_open_connection_is_accepted_and_silent(proxy: TcpProxy) -> None:
    proxy.hold()
    with connected(proxy) as client:
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            asked(client, b"a")
        proxy.restore()
        client.settimeout(5)
        assert client.recv(1) == b"a"


@pytest.mark.parametrize("direction", Direction)
def test_one_direction_is_interrupted(proxy: TcpProxy, direction: Direction) -> None:
    with connected(proxy) as client:
        asked(client, b"a")
        proxy.hold(direction)
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            asked(client, b"b")
        proxy.restore()
        client.settimeout(5)
        assert client.recv(1) == b"b"


def test_connections_are_reset_and_new_ones_welcome(proxy: TcpProxy) -> None:
    with connected(proxy) as client:
        asked(client, b"a")
        proxy.reset_connections()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connected(proxy) as again:
        assert asked(again, b"b") == b"b"


def test_a_server_that_is_not_there_resets_the_client() -> None:
    with TcpProxy(("127.0.0.1", 1)) as proxy, pytest.raises(ConnectionResetError), connected(proxy) as client:
        client.recv(1)


def connected(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(proxy.address, timeout=5)


def asked(client: socket.socket, what: bytes) -> bytes:
    client.sendall(what)
    return client.recv(len(what))
