"""Settings of the measured project: the package's own defaults."""

from benchmarks.settings import *  # noqa: F403

INSTALLED_APPS = ["django_tasks_q", "benchmarks.project"]
