"""Real processes, hurt in every way that one machine can think of."""

from tests.support.fixtures import (  # noqa: F401 - pytest finds them here
    ledger,
    store,
    trees,
    vendor,
)
