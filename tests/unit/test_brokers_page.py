"""docs/brokers.md shows what the brokers say of themselves, and every scheme that there is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from django_tasks_q.configured import addresses
from scripts import capabilities

ROOT = Path(__file__).parents[2]
PAGE = capabilities.PAGE.read_text()


def test_the_page_shows_the_capabilities_of_every_broker() -> None:
    assert capabilities.on_page() == capabilities.table()


def test_every_capability_has_words() -> None:
    assert list(capabilities.unexplained()) == []


def test_the_script_prints_the_table() -> None:
    printed = subprocess.run(
        [sys.executable, "scripts/capabilities.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert printed.stdout == capabilities.table() + "\n"


def test_whatever_a_broker_keeps_in_another_way_says_how() -> None:
    for head, can in capabilities.brokers().items():
        for name in capabilities.PROMISES:
            value = getattr(can, name, None)
            assert value is None or value.level == "same" or value.how, (head, name)


def test_every_broker_of_the_settings_has_a_column() -> None:
    makers = {path for scheme, path in addresses.BROKERS.items() if scheme not in ("stub", "immediate")}
    columns = {head.replace(",", "").split()[0].lower() for head in capabilities.brokers()}

    assert {path.split(".")[2] for path in makers} == columns


def test_the_page_names_every_scheme_of_a_server() -> None:
    named = set(re.findall(r"`([a-z+]+)://", PAGE))

    assert {scheme for scheme in addresses.NAMESPACED if not scheme.startswith("rediss+")} <= named
