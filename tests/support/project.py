"""A small Django project in a folder of its own, whose code a test can change while it runs."""

from __future__ import annotations

import os
from pathlib import Path

MANAGE = """\
import os
import sys
from django.core.management import execute_from_command_line

os.environ["DJANGO_SETTINGS_MODULE"] = "site_settings"
sys.dont_write_bytecode = True
execute_from_command_line(sys.argv)
"""

SETTINGS = """\
from pathlib import Path
from testproject.settings import *

BASE_DIR = Path(__file__).resolve().parent
INSTALLED_APPS = [*INSTALLED_APPS, "shop"]
"""

TASKS = """\
import logging
from django_tasks_q import actor
from testproject.ledger import recorded
from shop.deep.inside import VERSION

logger = logging.getLogger("shop")


@actor(queue_name="default", max_retries=0)
@recorded
def version():
    logger.info("version %s", VERSION)


@actor(queue_name="high", max_retries=0)
@recorded
def urgent():
    pass


@actor(queue_name="low", max_retries=0)
@recorded
def patient():
    pass
"""


class Project:
    """``manage.py``, settings, and the app ``shop`` with a tasks module and one nested deep inside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tasks = folder / "shop" / "tasks.py"
        self.nested = folder / "shop" / "deep" / "inside.py"
        self.nested.parent.mkdir(parents=True)
        (folder / "manage.py").write_text(MANAGE)
        (folder / "site_settings.py").write_text(SETTINGS)
        (folder / "shop" / "__init__.py").touch()
        (self.nested.parent / "__init__.py").touch()
        self.tasks.write_text(TASKS)
        self.set_version(1)

    def set_version(self, number: int) -> None:
        self.nested.write_text(f"VERSION = {number}\n")

    @property
    def variables(self) -> dict[str, str]:
        root = Path(__file__).resolve().parent.parent.parent
        # Code that changes twice within a second must not be read from where Python has compiled it to.
        return {"PYTHONPATH": os.pathsep.join([str(self.folder), str(root)]), "PYTHONDONTWRITEBYTECODE": "1"}
