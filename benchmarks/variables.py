"""Environment variables through which a measured process learns what it belongs to."""

DATABASE = "BENCHMARK_DATABASE"
"""Django's dict of one database, as JSON."""

SLOTS = "BENCHMARK_SLOTS"
"""The file with the ledger."""

KEEPS_RECORDS = "BENCHMARK_KEEPS_RECORDS"
"""Set: workers delete no records, however old they are."""

BROKER = "BENCHMARK_BROKER"
"""The broker's URL; not set where messages are in the database."""

NAMESPACE = "BENCHMARK_NAMESPACE"
"""What the names of everything in that broker begin with."""

RECORDS_OFF = "BENCHMARK_RECORDS_OFF"
"""Set: nothing is recorded."""

TASKS = "BENCHMARK_TASKS"
"""The module whose ``send`` and ``send_many`` are asked."""
