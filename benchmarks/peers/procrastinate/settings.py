"""The peer's own defaults."""

from benchmarks.settings import *  # noqa: F403

INSTALLED_APPS = ["procrastinate.contrib.django", "benchmarks.peers.procrastinate"]
