"""Pictures of every page, wide and narrow, light and dark, for people to look at.

``python -m tests.browser.screenshots FOLDER [NAME …]`` writes ``FOLDER/<page>-<width>-<scheme>.png``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import django


def main(target: Path, wanted: list[str]) -> None:
    # These use models, which exist only after the set-up.
    from tests.browser import gallery
    from tests.support import templates

    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        gallery.photograph(Path(folder), target, wanted)
    templates.clear_away()


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    main(Path(sys.argv[1]), sys.argv[2:])
