"""Real processes, hurt in every way that one machine can think of."""

from tests.support.fixtures import (  # noqa: F401 - pytest finds them here
    ledger,
    mariadb_template,
    postgresql_template,
    sqlite_template,
    store,
    trees,
    vendor,
)
