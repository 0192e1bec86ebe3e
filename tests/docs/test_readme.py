"""The README can be typed from top to bottom."""

from __future__ import annotations

import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.docs.newcomer import Newcomer, section
from tests.support.waiting import until

pytestmark = pytest.mark.lifecycle


def test_the_quick_start_leads_from_an_empty_folder_to_a_dead_letter_that_was_repaired(newcomer: Newcomer) -> None:
    steps = iter(section("Quick start"))
    for block in steps:
        if "taskq" in block.text:
            break
        newcomer.follow(block)

    # The first message has run, the second has died.
    said = "The receipt of order {} is on its way."
    until(lambda: said.format(1) in newcomer.output("runworkers"), 10, lambda: newcomer.output("runworkers"))
    assert "taskq messages" in block.text
    words = block.text.split()
    until(lambda: "send_receipt" in newcomer.run(words).stdout, 15, lambda: newcomer.output("runworkers"))
    assert said.format(13) not in newcomer.output("runworkers")

    # The actor is mended; the workers load it.
    mended = next(steps)
    assert mended.file is not None and mended.file[0] == "shop/tasks.py"
    newcomer.follow(mended)
    until(lambda: "Reloaded in" in newcomer.output("runworkers"), 10, lambda: newcomer.output("runworkers"))

    # The dead letter is requeued, and succeeds.
    newcomer.follow(next(steps))
    until(lambda: said.format(13) in newcomer.output("runworkers"), 10, lambda: newcomer.output("runworkers"))
    assert newcomer.run(["python", "manage.py", "taskq", "messages", "--state", "dead"]).returncode == 1
    newcomer.stop()

    # The settings for SQLite are settings.
    if not newcomer.on_postgresql:
        newcomer.follow(next(steps))
    newcomer.type("python manage.py check --fail-level WARNING --database default")

    # What the README shows of sending can be sent.
    for number, block in enumerate(section("Sending")):
        (newcomer.folder / f"sending{number}.py").write_text(f"def show_it():\n{textwrap.indent(block.text, '    ')}")
        newcomer.type(f'python manage.py shell -c "from sending{number} import show_it; show_it()"')


def test_the_wheel_has_everything_that_the_admin_needs_and_nothing_else(wheel: Path, tmp_path: Path) -> None:
    shutil.unpack_archive(wheel, tmp_path, "zip")
    root = Path(__file__).resolve().parents[2]
    tracked = subprocess.run(
        ["git", "ls-files", "django_tasks_q"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.split()
    shipped = {str(path.relative_to(tmp_path)) for path in tmp_path.glob("django_tasks_q/**/*") if path.is_file()}

    assert {name for name in tracked if (root / name).exists()} <= shipped
    assert {path.name.split("-")[0] for path in tmp_path.iterdir()} == {"django_tasks_q"}
