"""Makes sure that what the tests need is there: servers that answer, and a browser that starts.

A server, in this order: the one that answers at the configured address; Debian's own package, when we are root; a
container, when docker answers. The browser: the one that is installed, else, when we are root, Debian's package.
What cannot be had fails the run. No test is ever skipped because of it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT = 60


class Unavailable(Exception):
    """The service does not answer and could not be started."""


@dataclass(frozen=True)
class Address:
    url: str
    host: str
    port: int

    @property
    def is_local(self) -> bool:
        return self.host in {"127.0.0.1", "localhost", "::1"}

    def accepts(self) -> bool:
        try:
            socket.create_connection((self.host, self.port), timeout=2).close()
        except OSError:
            return False
        return True


@dataclass(frozen=True)
class Service:
    """One server: where it should be, how to start it, and how to make sure that it is usable."""

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
        at = f"{address.host}:{address.port}"
        if not address.is_local:
            raise Unavailable(f"nothing answers at {at}, the address in {self.variable}")
        if os.geteuid() == 0 and shutil.which("apt-get"):
            print(f"{self.name}: nothing answers at {at}, starting Debian's package")
            self.start_package(address)
        elif docker_answers():
            print(f"{self.name}: nothing answers at {at}, starting a container")
            self.start_container(address)
        else:
            raise Unavailable(
                f"nothing answers at {at}. Start one there, or name another with {self.variable}, "
                "or run this as root on Debian or Ubuntu, or start docker."
            )
        wait_until(address.accepts, f"it was started but does not answer at {at}")

    def start_container(self, address: Address) -> None:
        name = self.name.lower()
        env = os.environ | {f"{name.upper()}_PORT": str(address.port)}
        run("docker", "compose", "--file", str(ROOT / "compose.yaml"), "up", "--detach", "--wait", name, env=env)


@dataclass(frozen=True)
class Program:
    """A program that the tests start themselves: where it may be found, and which package of Debian brings it."""

    name: str
    variable: str
    commands: tuple[str, ...]
    package: str

    def path(self) -> str:
        """Where it is. Unavailable when it is nowhere."""
        named = os.environ.get(self.variable)
        for command in [named] if named else self.commands:
            if path := shutil.which(command):
                return path
        raise Unavailable(
            f"there is no {named or ' and no '.join(self.commands)}. Install one, or name its path with "
            f"{self.variable}, or run this as root on Debian (which installs the package {self.package})."
        )

    def ensure(self) -> str:
        try:
            path = self.path()
        except Unavailable:
            if os.environ.get(self.variable) or os.geteuid() != 0 or not shutil.which("apt-get"):
                raise
            print(f"{self.name}: not found, installing Debian's package")
            install(self.package)
            path = self.path()
        return f"{run(path, '--version').strip().splitlines()[-1]} at {path}"


def run(*command: str, env: dict[str, str] | None = None) -> str:
    """Run a command and return what it printed; show that only when it fails."""
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"`{' '.join(command)}` failed:\n{done.stdout.strip()}")
    return done.stdout


def docker_answers() -> bool:
    return shutil.which("docker") is not None and not subprocess.run(["docker", "info"], capture_output=True).returncode


def install(package: str) -> None:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", env=env)
    run("apt-get", "install", "--yes", "--no-install-recommends", package, env=env)


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable(otherwise)
        time.sleep(0.2)


# PostgreSQL


def postgres_address(url: str) -> Address:
    info = conninfo_to_dict(url)
    return Address(url, str(info.get("host") or "127.0.0.1"), int(info.get("port") or 5432))


def start_postgres(address: Address) -> None:
    """Start the cluster that is set up for this port, else one of our own.

    Our own trusts everybody on the loopback interface, as the default address has no password. An existing cluster may
    hold somebody's data, so it is started but never reconfigured.
    """
    if not shutil.which("pg_createcluster"):
        # Otherwise the package would make a cluster "main", with passwords, on the port that ours is to have.
        install("postgresql-common")
        no_main = Path("/etc/postgresql-common/createcluster.d/django-tasks-q.conf")
        no_main.parent.mkdir(exist_ok=True)
        no_main.write_text("create_main_cluster = false\n")
        install("postgresql")
        no_main.unlink()
    version, name = postgres_cluster(address.port) or make_postgres_cluster(address.port)
    run("pg_ctlcluster", version, name, "start")


def postgres_cluster(port: int) -> tuple[str, str] | None:
    for line in run("pg_lsclusters", "--no-header").splitlines():
        version, name, its_port, *_ = line.split()
        if int(its_port) == port:
            return version, name
    return None


def make_postgres_cluster(port: int) -> tuple[str, str]:
    version = max((path.name for path in Path("/usr/lib/postgresql").iterdir()), key=float)
    name = f"django_tasks_q_{port}"
    options = ("--auth-local=peer", "--auth-host=trust", "--encoding=UTF8")
    run("pg_createcluster", "--port", str(port), version, name, "--", *options)
    return version, name


def check_postgres(address: Address) -> str:
    """Log in, and make the database when there is none."""
    name = str(conninfo_to_dict(address.url).get("dbname") or "postgres")
    try:
        with psycopg.connect(make_conninfo(address.url, dbname="postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                with suppress(psycopg.errors.DuplicateDatabase):  # another run made it a moment ago
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            version = connection.info.server_version // 10000
    except psycopg.Error as error:
        raise Unavailable(f"it answers at {address.host}:{address.port}, but {error}") from error
    return f"version {version} at {address.host}:{address.port}, database {name}"


CHROMIUM = Program(
    name="Chromium",
    variable="DTQ_TEST_CHROMIUM",
    commands=("chromium", "chromium-browser", "google-chrome"),
    package="chromium",
)

SERVICES: list[Service | Program] = [
    Service(
        name="PostgreSQL",
        variable="DTQ_TEST_POSTGRES_URL",
        default="postgres://postgres@127.0.0.1:5432/test",
        address=postgres_address,
        start_package=start_postgres,
        check=check_postgres,
    ),
    CHROMIUM,
]


def main() -> int:
    for service in SERVICES:
        try:
            print(f"{service.name}: {service.ensure()}")
        except Unavailable as reason:
            print(f"{service.name}: {reason}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
