"""Real processes, from the first line to the last."""

import pytest

pytest.register_assert_rewrite("tests.support.ledger", "tests.support.runworkers")

from tests.support.fixtures import (  # noqa: E402, F401 - after the registration; pytest finds them here
    ledger,
    postgresql_template,
    sqlite_template,
    store,
    trees,
    vendor,
)
