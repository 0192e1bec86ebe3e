"""What the settings of all measured projects have in common; everything that varies comes from the environment."""

from __future__ import annotations

import json
import os
from typing import Any

from testproject import mysql_driver

from . import variables

mysql_driver.prepare()

SECRET_KEY = "of a benchmark, not a secret at all"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES: dict[str, Any] = {"default": json.loads(os.environ[variables.DATABASE])}
LOGGING = {"version": 1, "disable_existing_loggers": False, "root": {"level": "WARNING"}}
