"""Which statements a database understands."""

from __future__ import annotations

from .mysql import MySQL
from .postgresql import PostgreSQL
from .queries import Queries
from .sqlite import SQLite

_KNOWN: dict[str, type[Queries]] = {"sqlite": SQLite, "postgresql": PostgreSQL, "mysql": MySQL}


def queries_for(vendor: str) -> Queries:
    """The statements of a vendor, as Django calls it. ValueError, in words, for one that has none."""
    if vendor not in _KNOWN:
        raise ValueError(
            f"The database broker does not know {vendor!r}; it runs on SQLite, PostgreSQL, MySQL and MariaDB."
        )
    return _KNOWN[vendor]()
