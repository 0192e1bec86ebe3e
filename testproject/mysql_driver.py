"""A driver for MySQL and MariaDB: mysqlclient where it is installed, else PyMySQL, which needs no compiler."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def prepare() -> None:
    """Let Django find a driver, before it looks for one."""
    if find_spec("MySQLdb") is None and find_spec("pymysql") is not None:
        import_module("pymysql").install_as_MySQLdb()


def options(host: str) -> dict[str, Any]:
    """What a connection to a host is opened with, by the driver that is prepared.

    PyMySQL prepares for TLS whether the server wants it or not: it reads all certificates that the system trusts, which
    takes it 80 ms of each connection. Within one machine nobody listens.
    """
    is_pymysql = "MySQLdb" in sys.modules and sys.modules["MySQLdb"] is sys.modules.get("pymysql")
    return {"ssl_disabled": True} if is_pymysql and host in ("127.0.0.1", "localhost") else {}
