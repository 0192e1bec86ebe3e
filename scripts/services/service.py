"""One server: where it should be, how it is started, and what makes it usable."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent.parent
START_TIMEOUT = 60


class Unavailable(Exception):
    """The service does not answer and could not be started."""


@dataclass(frozen=True)
class Address:
    url: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        return self.host in {"127.0.0.1", "localhost", "::1"}

    def accepts(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), timeout=2).close()
        except OSError:
            return False
        return True


def address_with(default_port: int) -> Callable[[str], Address]:
    """How to find the address in a URL that may leave out host and port."""

    def address(url: str) -> Address:
        parts = urlsplit(url)
        return Address(url, parts.hostname or "127.0.0.1", parts.port or default_port)

    return address


@dataclass(frozen=True)
class Service:
    name: str
    variable: str
    default: str
    address: Callable[[str], Address]
    start_package: Callable[[Address], None]
    check: Callable[[Address], str]

    def ensure(self) -> str:
        address = self.address(os.environ.get(self.variable) or self.default)
        if not address.accepts():
            self.start(address)
        return self.check(address)

    def start(self, address: Address) -> None:
        if not address.is_local:
            raise Unavailable(f"nothing answers at {address}, the address in {self.variable}")
        if is_debian_root():
            print(f"{self.name}: nothing answers at {address}, starting Debian's package")
            self.start_package(address)
        elif docker_answers():
            print(f"{self.name}: nothing answers at {address}, starting a container")
            self.start_container(address)
        else:
            raise Unavailable(
                f"nothing answers at {address}. Start one there, or name another with {self.variable}, "
                "or run this as root on Debian or Ubuntu, or start docker."
            )
        wait_until(address.accepts, f"it was started but does not answer at {address}")

    def start_container(self, address: Address) -> None:
        name = self.name.lower()
        env = os.environ | {f"{name.upper()}_PORT": str(address.port)}
        run("docker", "compose", "--file", str(ROOT / "compose.yaml"), "up", "--detach", "--wait", name, env=env)


def run(*command: str, env: dict[str, str] | None = None) -> str:
    """Run a command and return what it printed; show that only when it fails."""
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"`{' '.join(command)}` failed:\n{done.stdout.strip()}")
    return done.stdout


def detach(*command: str, log: Path, env: dict[str, str] | None = None) -> None:
    """Start a server that stays when we end. What it says goes to ``log``."""
    with log.open("ab") as said:
        subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, cwd="/", start_new_session=True
        )


def is_debian_root() -> bool:
    """Whether packages can be installed here."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def docker_answers() -> bool:
    return shutil.which("docker") is not None and not subprocess.run(["docker", "info"], capture_output=True).returncode


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable(otherwise)
        time.sleep(0.2)
