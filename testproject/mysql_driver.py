"""A driver for MySQL and MariaDB: mysqlclient where it is installed, else PyMySQL, which needs no compiler."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec


def prepare() -> None:
    """Let Django find a driver, before it looks for one."""
    if find_spec("MySQLdb") is None and find_spec("pymysql") is not None:
        import_module("pymysql").install_as_MySQLdb()
