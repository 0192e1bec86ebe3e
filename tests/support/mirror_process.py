"""A process that does nothing but mirror: ``python -m tests.support.mirror_process JOURNAL OWNER``, until killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import django

django.setup()

from django_tasks_q.keeper.mirror_service import MirrorService  # noqa: E402 - models need Django
from tests.support.journal_broker import JournalBroker  # noqa: E402

if __name__ == "__main__":
    service = MirrorService(JournalBroker(Path(sys.argv[1])), sys.argv[2])
    print("ready", flush=True)
    while True:
        service.run_if_due()
        time.sleep(service.seconds_left)
