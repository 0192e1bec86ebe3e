"""Django only lends its start-up to the sending side."""

from benchmarks.settings import *  # noqa: F403

INSTALLED_APPS: list[str] = []
