"""PostgreSQL."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .debian import install
from .service import Address, Service, Unavailable, run


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


POSTGRESQL = Service(
    name="PostgreSQL",
    variable="DTQ_TEST_POSTGRES_URL",
    default="postgres://postgres@127.0.0.1:5432/test",
    address=postgres_address,
    start_package=start_postgres,
    check=check_postgres,
)
