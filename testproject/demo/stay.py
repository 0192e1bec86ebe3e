"""The demo for a person: everything runs until Ctrl-C."""

import argparse

from testproject.demo import site
from testproject.demo.children import Children, Stop
from testproject.demo.room import PASSWORD, USER, Room
from testproject.library import page

WORKERS = ["runworkers", "-p", "2", "-t", "4", "--worker-shutdown-timeout", "5s"]


def run(children: Children, stop: Stop, room: Room, options: argparse.Namespace) -> None:
    if not options.no_worker:
        children.start("workers", *WORKERS)
    web = site.start(children, stop, options.port)
    if not stop.wait(0):
        web.press_import()
        print(_welcome(web.url, room, options.no_worker), flush=True)
    _stay(children, stop)
    print("\nStopping the web server and the workers ...", flush=True)


def _stay(children: Children, stop: Stop) -> None:
    reported = False
    while not stop.wait(0.5):
        children.check()
        if not reported and not (shelf := page.shelf()).busy:
            reported = True
            print(f"The library is imported: {_figures(shelf)}.", flush=True)


def _figures(shelf: page.Shelf) -> str:
    indexed = shelf.done_count - shelf.failed_count
    return f"{len(shelf.cards)} books, {indexed} chapters indexed, {shelf.failed_count} failed (it is not UTF-8)"


def _welcome(url: str, room: Room, no_worker: bool) -> str:
    workers = "none, as you asked (--no-worker)" if no_worker else "2 processes with 4 threads each"
    return f"""
  The library   {url}
  The admin     {url}admin/   user {USER}, password {PASSWORD} (for this demo only)
  Workers       {workers}
  Files         {room.path}: database, ledger, web.log, workers.log

  Press "Import it again" and watch the chapters change hands; click on a word to see where it stands;
  look at the chapter that failed, and at its two attempts in the admin.

  Ctrl-C stops everything.
"""
