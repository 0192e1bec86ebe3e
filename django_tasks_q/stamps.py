"""Stamps: names with values that a message carries, and everything that it causes.

As Celery's stamped headers, by one rule: what is caused by a stamped message (its retries, the later steps of its
pipeline, callbacks, what its body sends) has its stamps as well, and the values of each name are united. Values are
compared as canonical text, so that 42 and "42" are the same to whoever looks for them. They travel in the options of
the message, which every broker carries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

MAX_NAME_LENGTH = 64
MAX_VALUE_LENGTH = 255
MAX_NAMES = 16
MAX_VALUES = 32
"""Of one name."""

OPTION = "stamps"
"""The option of a message that holds them."""

Stamps = dict[str, list[str]]
"""Values by name, in the order in which they were put on."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def canonical(value: object, name: str) -> str:
    """A value as text: a text, a whole number, a truth value or a UUID. ValueError naming the stamp for any other."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | UUID):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(
            f"stamps[{name!r}]: a value is text, a whole number, a truth value or a UUID, not {value!r:.80}."
        )
    if not 0 < len(value) <= MAX_VALUE_LENGTH or not value.isprintable():
        raise ValueError(f"stamps[{name!r}]: a value has 1 to {MAX_VALUE_LENGTH} printable characters: {value!r:.80}")
    return str(value)


def check_name(name: object) -> str:
    """The name of a stamp. ValueError for one that is none."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"The name of a stamp has 1 to {MAX_NAME_LENGTH} letters, digits, dots, dashes or underscores: {name!r:.80}"
        )
    return name


def read(stamps: Any) -> Stamps:
    """Stamps as people give them, with one value or several for each name, in canonical form.

    ValueError, with the name, for what cannot be one; for a name without a value, more than 16 names, or more than 32
    values of one.
    """
    if not isinstance(stamps, Mapping):
        raise ValueError(f"stamps is a dict of names and values, not {stamps!r:.80}.")
    return united({check_name(name): _values(name, value) for name, value in stamps.items()})


def _values(name: str, value: object) -> list[str]:
    several = value if isinstance(value, list | tuple | set | frozenset) else [value]
    values = [canonical(one, name) for one in several]
    if not values:
        raise ValueError(f"stamps[{name!r}] has no value.")
    return sorted(values) if isinstance(value, set | frozenset) else values


def pair(text: str) -> tuple[str, str]:
    """Name and value of ``name=value``, as people write it; the value may have more of these signs.

    ValueError for what cannot be a stamp.
    """
    name, sign, value = text.partition("=")
    if not sign:
        raise ValueError(f"name=value is wanted, not {text!r:.80}")
    return check_name(name), canonical(value, name)


def united(*several: Mapping[str, Iterable[str]]) -> Stamps:
    """All of these, the values of each name together. ValueError when that is more than a message may carry."""
    found: Stamps = {}
    for stamps in several:
        for name, values in stamps.items():
            found[name] = list(dict.fromkeys([*found.get(name, ()), *values]))
    if len(found) > MAX_NAMES:
        raise ValueError(f"A message has at most {MAX_NAMES} stamps: {', '.join(sorted(found)):.200}")
    for name, values in found.items():
        if len(values) > MAX_VALUES:
            raise ValueError(f"stamps[{name!r}]: at most {MAX_VALUES} values: {', '.join(values):.200}")
    return found


def of_options(options: Mapping[str, Any]) -> Mapping[str, list[str]]:
    """The stamps in the options of a message that was sent; none where anything else was put there.

    Not every message was sent by this release, or by it at all: workers, the mirror and what such a message sends rely
    on what they find here.
    """
    if OPTION not in options:
        return {}
    try:
        return read(options[OPTION])
    except ValueError:
        return {}


def from_celery(options: dict[str, Any]) -> Stamps:
    """Take ``stamped_headers=["batch_id"], batch_id=…`` out of ``options``, which is Celery's way to say it.

    ValueError for a name without a value.
    """
    names = options.pop("stamped_headers")
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ValueError(f"stamped_headers is a list of names, not {names!r:.80}.")
    found = {}
    for name in names:
        if options.get(check_name(name)) is None:
            raise ValueError(f"stamped_headers names {name!r}, which has no value: give {name}=… as well.")
        found[name] = options.pop(name)
    return read(found)


_block: ContextVar[Stamps | None] = ContextVar("django_tasks_q_stamping", default=None)


@contextmanager
def stamping(stamps: Mapping[str, Any] | None = None, /, **named: Any) -> Iterator[None]:
    """Everything that is sent within the block carries these stamps too, ``send_on_commit()`` included.

    ``with stamping(batch_id=42):``; blocks within each other add up. A name that is no identifier goes into a dict.
    ValueError as of :func:`read`.
    """
    token = _block.set(united(_block.get() or {}, read({**(stamps or {}), **named})))
    try:
        yield
    finally:
        _block.reset(token)


def of_block() -> Stamps | None:
    """The stamps of the :func:`stamping` blocks around; None outside of any."""
    return _block.get()
