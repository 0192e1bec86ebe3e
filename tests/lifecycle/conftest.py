"""Real processes, from the first line to the last."""

from tests.support.fixtures import (  # noqa: F401 - pytest finds them here
    ledger,
    mariadb_template,
    postgresql_template,
    sqlite_template,
    store,
    trees,
    vendor,
)
