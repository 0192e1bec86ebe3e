"""The tests. What they share is imported by several of them, so pytest must hear of it before anybody does."""

import pytest

pytest.register_assert_rewrite("tests.support", "tests.brokers.conformance", "tests.brokers.bench")
