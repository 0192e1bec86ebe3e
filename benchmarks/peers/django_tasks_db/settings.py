"""The peer's own defaults."""

from benchmarks.settings import *  # noqa: F403

INSTALLED_APPS = ["django_tasks_db", "benchmarks.peers.django_tasks_db"]
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
