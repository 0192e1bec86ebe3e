"""The wheel, and a virtual environment that has nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.docs.newcomer import Newcomer
from tests.support.stores import POSTGRES_URL, ROOT

CONSTRAINTS = ROOT / "constraints.txt"

POSTGRESQL = """
DATABASES = {{
    "default": {{
        "ENGINE": "django.db.backends.postgresql",
        "NAME": {name!r},
        "HOST": {host!r},
        "PORT": {port!r},
        "USER": {user!r},
        "PASSWORD": {password!r},
    }}
}}
"""


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What would be published."""
    folder = tmp_path_factory.mktemp("wheel")
    constraint = ("--build-constraint", str(CONSTRAINTS))
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *constraint, "--wheel-dir", str(folder), ".")
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("newcomer") / "venv"
    run(sys.executable, "-m", "venv", str(folder))
    package = f"django-tasks-q[postgres] @ {wheel.as_uri()}"
    run(str(folder / "bin" / "pip"), "install", "--quiet", "--constraint", str(CONSTRAINTS), package)
    return folder / "bin"


@pytest.fixture(params=["sqlite", "postgresql"])
def newcomer(request: pytest.FixtureRequest, programs: Path, tmp_path: Path) -> Iterator[Newcomer]:
    folder = tmp_path / "mysite"
    folder.mkdir()
    name = f"dtq_docs_{os.getpid()}"
    settings = ""
    if request.param == "postgresql":
        server = urlsplit(POSTGRES_URL)
        settings = POSTGRESQL.format(
            name=name, host=server.hostname, port=server.port, user=server.username, password=server.password or ""
        )
        _administer(f'DROP DATABASE IF EXISTS "{name}"', f'CREATE DATABASE "{name}"')
    newcomer = Newcomer(folder, programs, settings=settings)
    yield newcomer
    newcomer.stop()
    if request.param == "postgresql":
        _administer(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _administer(*statements: str) -> None:
    with psycopg.connect(POSTGRES_URL, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)
