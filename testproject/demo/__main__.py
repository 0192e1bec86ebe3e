"""The command: read the arguments, prepare, start what runs, stay or check, and leave nothing behind."""

import argparse
import sys
import time
from pathlib import Path

from testproject.demo.children import Children, Stop
from testproject.demo.problem import Problem
from testproject.demo.room import Room

ROOT = Path(__file__).resolve().parent.parent.parent
SHUTDOWN_ALLOWANCE = 8.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m testproject.demo", description="The library demo of django-tasks-q.")
    parser.add_argument("--once", action="store_true", help="do the work without a person, check every message, exit")
    parser.add_argument("--broker-url", default="database://default", metavar="URL", help="redis://… or amqp://…")
    parser.add_argument("--no-worker", action="store_true", help="start no workers (nothing will move)")
    parser.add_argument("--timeout", type=float, default=60, metavar="SECONDS", help="how long --once may take in all")
    parser.add_argument("--port", type=int, default=8000, help="the web server's port, or the next one that is free")
    parser.add_argument("--directory", type=Path, default=ROOT / ".demo", help="where database, ledger and logs go")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    deadline = time.monotonic() + options.timeout - SHUTDOWN_ALLOWANCE
    stop = Stop()
    try:
        path = options.directory / "once" if options.once else options.directory
        with Room(path, fresh=options.once, broker_url=options.broker_url) as room:
            room.set_up_django()
            # These use models, which exist only now.
            from testproject.demo import once, stay

            with Children(ROOT, room.path) as children:
                if options.once:
                    once.run(children, stop, room, options, deadline)
                else:
                    stay.run(children, stop, room, options)
            if options.once:
                room.forget_messages()  # after a failure they are left to be looked at
    except Problem as problem:
        print(f"\nThe demo failed: {problem}", file=sys.stderr)
        return 1
    return stop.exit_code if options.once else 0


sys.exit(main())
