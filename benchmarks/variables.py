"""Environment variables through which a measured process learns what it belongs to."""

DATABASE = "BENCHMARK_DATABASE"
"""Django's dict of one database, as JSON."""

SLOTS = "BENCHMARK_SLOTS"
"""The file with the ledger."""

KEEPS_RECORDS = "BENCHMARK_KEEPS_RECORDS"
"""Set: workers delete no records, however old they are."""

TASKS = "BENCHMARK_TASKS"
"""The module whose ``send`` and ``send_many`` are asked."""
