"""Programs that the tests start themselves: the browser, and those that private servers and networks are made of."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from .debian import install
from .service import Unavailable, is_debian_root, run

FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where servers are; not on everybody's path."""


@dataclass(frozen=True)
class Program:
    """Where it may be found, and which package of Debian brings it."""

    name: str
    commands: tuple[str, ...]
    package: str
    variable: str | None = None
    """Of the environment, where somebody may name its path."""
    ask_version: tuple[str, ...] | None = ("--version",)
    """The words that make it print its version as its last line, when it can."""

    def path(self) -> str:
        """Where it is. Unavailable when it is nowhere."""
        named = self._named()
        places = os.pathsep.join([os.environ.get("PATH", os.defpath), *FOLDERS])
        for command in [named] if named else self.commands:
            if path := shutil.which(command, path=places):
                return path
        raise Unavailable(
            f"there is no {named or ' and no '.join(self.commands)}. Install one, "
            + (f"or name its path with {self.variable}, " if self.variable else "")
            + f"or run this as root on Debian (which installs the package {self.package})."
        )

    def ensure(self) -> str:
        try:
            path = self.path()
        except Unavailable:
            if self._named() or not is_debian_root():
                raise
            print(f"{self.name}: not found, installing Debian's package")
            install(self.package)
            path = self.path()
        if self.ask_version is None:
            return f"at {path}"
        return f"{run(path, *self.ask_version).strip().splitlines()[-1]} at {path}"

    def _named(self) -> str | None:
        return os.environ.get(self.variable) if self.variable else None


CHROMIUM = Program(
    name="Chromium",
    variable="DTQ_TEST_CHROMIUM",
    commands=("chromium", "chromium-browser", "google-chrome"),
    package="chromium",
)
REDIS_SERVER = Program("redis-server", ("redis-server",), "redis-server")
RABBITMQ_SERVER = Program("rabbitmq-server", ("rabbitmq-server",), "rabbitmq-server", ask_version=None)
MARIADBD = Program("mariadbd", ("mariadbd",), "mariadb-server")
MARIADB_CLIENT = Program("mariadb", ("mariadb",), "mariadb-client")

PROGRAMS = [
    CHROMIUM,
    REDIS_SERVER,
    Program("redis-cli", ("redis-cli",), "redis-tools"),
    RABBITMQ_SERVER,
    Program("rabbitmqctl", ("rabbitmqctl",), "rabbitmq-server", ask_version=("version",)),
    Program("epmd", ("epmd",), "erlang-base", ask_version=None),
    Program("erl_call", ("erl_call",), "erlang-base", ask_version=None),
    MARIADBD,
    MARIADB_CLIENT,
    Program("ip", ("ip",), "iproute2", ask_version=("-Version",)),
]
