"""Settings of the measured project: the package's own defaults."""

import os

from benchmarks import variables
from benchmarks.settings import *  # noqa: F403

INSTALLED_APPS = ["django_tasks_q", "benchmarks.project"]

if variables.KEEPS_RECORDS in os.environ:
    DJANGO_TASKS_Q = {"RECORDS": {"SUCCEEDED_TTL": 10 * 366 * 86_400_000}}
