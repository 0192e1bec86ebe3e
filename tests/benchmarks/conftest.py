"""Real processes, measured with nothing beside them."""

from tests.support.fixtures import (  # noqa: F401 - pytest finds them here
    ledger,
    store,
    trees,
    vendor,
)
