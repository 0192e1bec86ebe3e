"""What somebody should know who opens the overview, in words, with the next step where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from django.utils.translation import gettext as _

from ..operations.stats import QueueStats
from . import presentation
from .standing import Standing

LONG_WAIT = timedelta(minutes=5)
LONG_LAG = timedelta(seconds=10)
LONG_OUTBOX = timedelta(minutes=1)


class Warning(NamedTuple):
    """``level``: ``error`` when nothing works, ``warning`` when something does not."""

    level: str
    text: str


def warnings(now: Standing) -> list[Warning]:
    """The worst first."""
    return [*_of_broker(now), *_of_workers(now), *_of_pauses(now), *_of_queues(now), *_of_outbox(now), *_of_mirror(now)]


def _of_broker(now: Standing) -> Iterator[Warning]:
    if now.stats is None:
        yield Warning(
            "error", _("The broker cannot be reached: %(error)s") % {"error": presentation.short(now.trouble, 300)}
        )


def _of_workers(now: Standing) -> Iterator[Warning]:
    if now.stats is not None and not now.alive:
        yield Warning("error", _("No worker is alive: start one with “manage.py runworkers”."))


def _of_pauses(now: Standing) -> Iterator[Warning]:
    for name, since in now.paused.queues.items():
        told = {"queue": presentation.text(name), "when": presentation.absolute(since)}
        yield Warning("warning", _("Queue “%(queue)s” is paused since %(when)s.") % told)
    for name, since in now.paused.actors.items():
        told = {"actor": presentation.text(name), "when": presentation.absolute(since)}
        yield Warning("warning", _("Actor “%(actor)s” is paused since %(when)s.") % told)


def _of_queues(now: Standing) -> Iterator[Warning]:
    for queue in now.queues:
        if queue.paused:  # said already, and reason enough for what waits there
            continue
        yield from _of_queue(queue, bool(now.alive))


def _of_queue(queue: QueueStats, has_workers: bool) -> Iterator[Warning]:
    name = {"queue": presentation.text(queue.queue_name)}
    if has_workers and not queue.consumers and queue.ready:
        yield Warning("error", _("No worker serves queue “%(queue)s”.") % name)
    waits = timedelta(milliseconds=queue.oldest_ms)
    if waits >= LONG_WAIT:
        told = name | {"duration": presentation.duration(waits)}
        yield Warning("warning", _("The oldest message of queue “%(queue)s” has been waiting for %(duration)s.") % told)


def _of_outbox(now: Standing) -> Iterator[Warning]:
    if now.outbox_since is None or now.outbox_since > now.at - LONG_OUTBOX:
        return
    waits = presentation.duration(now.at - now.outbox_since)
    text = _("Committed messages have been waiting for the broker for %(duration)s: no worker relays them.")
    yield Warning("warning", text % {"duration": waits})


def _of_mirror(now: Standing) -> Iterator[Warning]:
    lag = timedelta(milliseconds=0 if now.stats is None else now.stats.mirror_lag_ms)
    if lag >= LONG_LAG:
        yield Warning("warning", _("Records lag behind by %(duration)s.") % {"duration": presentation.duration(lag)})
