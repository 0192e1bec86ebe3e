"""Several hosts on one machine: network namespaces on a bridge, each of which can be cut off. Linux, as root."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from tests.support import network
from tests.support.ports import RANGE, free_port
from tests.support.private import Private
from tests.support.processes import is_alive
from tests.support.server_process import with_its_parent

_OURS = re.compile(r"dtq(\d+)[-bv]\S*")
"""Namespaces (dtq<pid>-…), bridges (dtq<pid>b…) and links (dtq<pid>v…), by the process that made them."""

_number = itertools.count()


class Hosts(Private):
    """Hosts with these names, in a network of their own; ``with`` makes and removes them.

    Servers for all of them run outside and listen on ``address``, which is this machine's in their network, or have a
    TcpProxy that does. What a killed test run left is removed by the next.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)
        # A port belongs to one process of the machine, so the network that is numbered like it does as well.
        number = free_port() - RANGE.start
        self._network = f"10.{200 + number // 256}.{number % 256}"
        self._bridge = f"dtq{os.getpid()}b{next(_number)}"
        self._links = {name: f"dtq{os.getpid()}v{next(_number)}" for name in self.names}

    @property
    def address(self) -> str:
        """Where this machine is reached from all hosts."""
        return f"{self._network}.1"

    def address_of(self, name: str) -> str:
        return f"{self._network}.{2 + self.names.index(name)}"

    def run(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start a program on a host; ``options`` are those of Popen. The caller waits for it.

        It is killed when the hosts are removed, and when the thread that started it ends.
        """
        words = [*with_its_parent(), "ip", "netns", "exec", self._namespace(name), *command]
        process = subprocess.Popen(words, env={**os.environ, **(env or {})}, **options)
        self._on_leaving.callback(process.kill)  # it may not have arrived in the namespace yet
        return process

    def cut(self, name: str) -> None:
        """Pull the plug: nothing arrives any more, and nobody is told."""
        _ip("link", "set", self._links[name], "down")

    def heal(self, name: str) -> None:
        _ip("link", "set", self._links[name], "up")

    def enter(self, held: ExitStack) -> None:
        assert os.geteuid() == 0, "Tests with several hosts make network namespaces: run them as root, on Linux."
        held.enter_context(network.changing())
        _remove_what_was_left()
        held.callback(_remove_link, self._bridge)
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{self.address}/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")
        for name in self.names:
            held.callback(_remove_namespace, self._namespace(name))
            self._add(name)

    def _add(self, name: str) -> None:
        link, namespace = self._links[name], self._namespace(name)
        _ip("netns", "add", namespace)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", link, "master", self._bridge, "up")
        _ip("-n", namespace, "address", "add", f"{self.address_of(name)}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", device, "up")

    def _namespace(self, name: str) -> str:
        return f"dtq{os.getpid()}-{self._bridge.partition('b')[2]}-{name}"


def _remove_what_was_left() -> None:
    """Of processes that are gone."""
    for namespace in _abandoned(_ip("netns", "list")):
        _remove_namespace(namespace)
    for link in _abandoned(_ip("-brief", "link")):
        _remove_link(link)


def _abandoned(listing: str) -> list[str]:
    """The names at the beginnings of the lines that are ours and whose process is gone."""
    names = [re.split(r"[\s@]", line)[0] for line in listing.splitlines()]
    return [name for name in names if (match := _OURS.fullmatch(name)) and not is_alive(int(match[1]))]


def _remove_namespace(name: str) -> None:
    """With everything that runs in it and its link. Another janitor may be faster."""
    with suppress(AssertionError):
        for pid in _ip("netns", "pids", name).split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        _ip("netns", "delete", name)


def _remove_link(name: str) -> None:
    """Or find that it has gone, as a link does with its namespace."""
    with suppress(AssertionError):
        _ip("link", "delete", name)


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"
    return done.stdout
