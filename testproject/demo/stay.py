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
        print(welcome(web.url, room, options.no_worker), flush=True)
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
    failed = f"{shelf.failed_count} failed (not UTF-8)" if shelf.failed_count else "none failed"
    return f"{len(shelf.cards)} books, {shelf.indexed_count} chapters indexed, {failed}"


def welcome(url: str, room: Room, no_worker: bool) -> str:
    """Where everything is, and what to try; `url` ends with a slash."""
    workers = "none, as you asked (--no-worker)" if no_worker else "2 processes with 4 threads each"
    return f"""
  The library     {url}
  Give a text     {url}donate/
  Printing press  {url}press/
  The admin       {url}admin/   user {USER}, password {PASSWORD} (for this demo only)
  Dead letters    {url}admin/django_tasks_q/deadletter/
  Workers         {workers}
  Files           {room.path}: database, ledger, web.log, workers.log

  1. Give it “La madeleine”, or a text of yours: watch it being read, mend what dies, requeue the dead letter.
  2. Print the catalogue twice: one order holds the press, a mutex, and the other one waits until it is free.
  3. kill -9 the worker that prints (the admin's workers say which it is): the order is printed by another one.

  Ctrl-C stops everything.
"""
