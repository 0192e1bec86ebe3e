"""The test project's settings with one database of each vendor that the tests run on.

Every test process has databases of its own, so that runs beside each other never meet.
"""

import os
import tempfile
from pathlib import Path

from testproject.settings import *  # noqa: F403 - all of them, to change a few
from testproject.settings import SQLITE_OPTIONS, database

RUN = f"dtq_tests_{os.getpid()}"
FOLDER = Path(tempfile.gettempdir()) / RUN

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        # A file and not memory: several threads, each with a connection of its own, and the write-ahead log.
        "NAME": FOLDER / "tests.sqlite3",
        "OPTIONS": SQLITE_OPTIONS,
    },
    "postgresql": {
        **database("DTQ_TEST_POSTGRES_URL", default="postgres://postgres@127.0.0.1:5432/test"),
        "NAME": RUN,
    },
    "mariadb": {
        **database("DTQ_TEST_MARIADB_URL", default="mysql://root@127.0.0.1:3306/test"),
        "NAME": RUN,
    },
}
