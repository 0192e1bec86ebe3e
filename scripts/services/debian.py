"""Debian's packages, installed so that no server starts by itself: with its defaults it may be in the way of ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .service import run

POLICY = Path("/usr/sbin/policy-rc.d")
"""What the packages ask whether to start their servers; containers often have one already that says no."""


def install(package: str) -> None:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", env=env)
    with _nothing_starts():
        run("apt-get", "install", "--yes", "--no-install-recommends", package, env=env)


@contextmanager
def _nothing_starts() -> Iterator[None]:
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def state_folder(name: str) -> Path:
    """Where a server of ours keeps its data."""
    folder = Path("/var/lib/django-tasks-q") / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
