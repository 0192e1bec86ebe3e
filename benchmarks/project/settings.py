"""Settings of the measured project: the package's own defaults."""

import os
from typing import Any

from benchmarks import variables
from benchmarks.settings import *  # noqa: F403

INSTALLED_APPS = ["django_tasks_q", "benchmarks.project"]

RECORDS: dict[str, Any] = {}
if variables.KEEPS_RECORDS in os.environ:
    RECORDS = {"SUCCEEDED_TTL": 10 * 366 * 86_400_000}
if variables.RECORDS_OFF in os.environ:
    RECORDS = {"ENABLED": False}

DJANGO_TASKS_Q: dict[str, Any] = {"RECORDS": RECORDS}
if variables.BROKER in os.environ:
    DJANGO_TASKS_Q |= {"BROKER_URL": os.environ[variables.BROKER], "NAMESPACE": os.environ[variables.NAMESPACE]}
