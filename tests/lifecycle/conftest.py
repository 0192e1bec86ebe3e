"""Real processes, from the first line to the last."""

from tests.support.fixtures import (  # noqa: F401 - pytest finds them here
    ledger,
    store,
    trees,
    vendor,
)
