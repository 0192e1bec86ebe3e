"""MariaDB."""

from __future__ import annotations

import os
import shutil
from urllib.parse import unquote, urlsplit

from .debian import state_folder
from .programs import MARIADB_CLIENT, MARIADBD
from .service import Address, Service, Unavailable, address_with, detach, run


def start_mariadb(address: Address) -> None:
    """One of our own, whose root needs no password on the loopback interface, as the default address has none.

    The package's own data may be somebody's, and lets root in through a Unix socket only, so it is left alone.
    """
    folder = state_folder(f"mariadb-{address.port}")
    shutil.chown(folder, "mysql", "mysql")
    data = folder / "data"
    if not data.exists():
        own = ("--no-defaults", "--user=mysql", f"--datadir={data}")
        run("mariadb-install-db", *own, "--auth-root-authentication-method=normal", "--skip-test-db")
    detach(
        MARIADBD.path(),
        "--no-defaults",
        "--user=mysql",
        f"--datadir={data}",
        f"--socket={folder / 'server.sock'}",
        f"--pid-file={folder / 'server.pid'}",
        f"--bind-address={address.host}",
        f"--port={address.port}",
        log=folder / "server.log",
    )


def check_mariadb(address: Address) -> str:
    """Log in, and make the database when there is none."""
    parts = urlsplit(address.url)
    name = parts.path.strip("/") or "test"
    env = os.environ | {"MYSQL_PWD": unquote(parts.password or "")}
    user = unquote(parts.username or "root")
    where = ("--no-defaults", "--protocol=tcp", f"--host={address.host}", f"--port={address.port}", f"--user={user}")
    make = f"CREATE DATABASE IF NOT EXISTS `{name}`; SELECT VERSION()"
    try:
        said = run(MARIADB_CLIENT.path(), *where, "--batch", "--skip-column-names", "--execute", make, env=env)
    except Unavailable as error:
        raise Unavailable(f"it answers at {address}, but {error}") from error
    return f"version {said.strip().partition('-')[0]} at {address}, database {name}"


MARIADB = Service(
    name="MariaDB",
    variable="DTQ_TEST_MARIADB_URL",
    default="mysql://root@127.0.0.1:3306/test",
    address=address_with(3306),
    start_package=start_mariadb,
    check=check_mariadb,
)
