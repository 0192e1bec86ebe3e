"""Which messages have a record."""

from __future__ import annotations

from typing import Any

import pytest

from django_tasks_q.recording import Recording


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize(
    ("of_message", "of_actor", "wanted"),
    [
        ({}, {}, None),
        ({}, {"record": True}, True),
        ({}, {"record": False}, False),
        ({"record": True}, {"record": False}, True),
        ({"record": False}, {"record": True}, False),
    ],
)
def test_who_says_so_himself_is_recorded_or_not_whatever_the_project_does(
    of_message: dict[str, Any], of_actor: dict[str, Any], wanted: bool | None, enabled: bool
) -> None:
    expected = enabled if wanted is None else wanted

    assert Recording(enabled=enabled).wants(of_message, of_actor) is expected
