"""The examples of docs/testing.md run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.stores import ROOT
from tests.testing.test_workers import SETTINGS, run_pytest

MODELS = """
    from django.db import models

    class Order(models.Model):
        email = models.EmailField()
        thanked = models.BooleanField(default=False)

        class Meta:
            app_label = "shop"
"""

MAILERS = """
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}}
"""


def test_every_example_passes(tmp_path: Path) -> None:
    (tmp_path / "shop" / "tests").mkdir(parents=True)
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "tests" / "__init__.py").touch()
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", (ROOT / "docs" / "testing.md").read_text(), re.DOTALL)
    for name, text in blocks:
        (tmp_path / name).write_text(text)
    settings = (
        (SETTINGS + MAILERS)
        .replace('"django_tasks_q"]', '"django_tasks_q", "shop"]')
        .replace('"NAME": ":memory:"', f'"NAME": "unused", "TEST": {{"NAME": "{tmp_path / "tests.sqlite3"}"}}')
    )

    said = run_pytest(tmp_path, "", "--ds=project_settings", project_settings=settings, **{"shop/models": MODELS})

    assert blocks[0][0] == "shop/tasks.py"
    assert "10 passed" in said, said
