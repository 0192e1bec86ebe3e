"""An application that was written for Dramatiq and has run there does the same here, with its imports renamed.

``application/`` is the work of somebody who knew Dramatiq's documentation and nothing of this project. What changes is
the package's name in its imports and ten lines of settings; its workers are started with ``runworkers``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.worlds import SERVERS

APPLICATION = Path(__file__).parent / "application"
ROOT = Path(__file__).resolve().parent.parent.parent

SETTINGS = """\
SECRET_KEY = "the shop's"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django_tasks_q", "shop"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.sqlite3"}}
DATABASES["default"]["OPTIONS"] = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL"}
DJANGO_TASKS_Q = {"MESSAGE_OPTIONS": ["origin", "campaign", "cancelled", "custom", "skip"]}
USE_TZ = True
"""

MANAGE = """\
import sys
from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
"""

DJANGO_PROCESS = """\
import sys
if "shop.produce" in sys.orig_argv:
    import django
    django.setup()
"""
"""Senders are Django's processes too: what must wait for RabbitMQ waits in the database."""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The application with its imports renamed, and the settings."""
    folder = tmp_path / "application"
    shutil.copytree(APPLICATION, folder)
    for path in folder.rglob("*.py"):
        text = re.sub(r"^import dramatiq\b", "import django_tasks_q as dramatiq", path.read_text(), flags=re.M)
        path.write_text(re.sub(r"^from dramatiq\b", "from django_tasks_q", text, flags=re.M))
    (folder / "shop_settings.py").write_text(SETTINGS)
    (folder / "manage.py").write_text(MANAGE)
    return folder


@pytest.fixture
def virtual_host() -> Iterator[str]:
    """RabbitMQ for the shop alone: it empties what it finds."""
    name = f"shop-{os.getpid()}"
    _rabbitmqctl("add_vhost", name)
    _rabbitmqctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
    yield name
    _rabbitmqctl("delete_vhost", name)


def _rabbitmqctl(*arguments: str) -> None:
    subprocess.run(["rabbitmqctl", "-q", *arguments], check=True, capture_output=True, timeout=200)


def run(shop: Path, *command: str, **variables: str) -> str:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "shop_settings", "PYTHONDONTWRITEBYTECODE": "1", **variables}
    environment["PYTHONPATH"] = os.pathsep.join([str(shop / "site"), str(shop), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, *command], cwd=shop, env=environment, capture_output=True, text=True, timeout=200
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_its_own_unit_tests_pass(shop: Path) -> None:
    told = run(shop, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "unit", UNIT_TESTS="1")

    assert "42 passed" in told


@pytest.mark.lifecycle
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["redis", "rabbitmq"])
def test_its_scenario_leaves_the_same_ledger(kind: str, shop: Path, request: pytest.FixtureRequest) -> None:
    url = SERVERS[kind]
    if kind == "rabbitmq":
        url = f"{url.rstrip('/')}/{request.getfixturevalue('virtual_host')}"
    (shop / "site").mkdir()
    (shop / "site" / "sitecustomize.py").write_text(DJANGO_PROCESS)
    run(shop, "manage.py", "migrate", "-v", "0")

    told = run(
        shop, "scenario.py", sys.executable, "manage.py", "runworkers", "-p", "2", "-t", "4",
        BROKER_URL=url, REDIS_URL=SERVERS["redis"], SHOP_NAMESPACE=f"shop-{os.getpid()}",
    )  # fmt: skip

    assert "PASS: 152 effects" in told
