"""Runs a command line with greenlets in place of threads: everything is patched before anything else is imported.

A program that is given to the interpreter by its path, never imported: importing it would first import the package,
with the very modules that are to be patched.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module


def main(program: list[str]) -> None:
    """Run ``script …``, ``-m module …`` or ``-c code …`` as the interpreter would, in a patched process."""
    if not sys.flags.safe_path:
        del sys.path[0]  # the folder of this file
    import_module("gevent.monkey").patch_all()
    import runpy

    how, *rest = program
    if how == "-m":
        _look_first_in(os.getcwd())
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif how == "-c":
        _look_first_in("")
        sys.argv = [how, *rest[1:]]
        exec(rest[0], {"__name__": "__main__"})
    else:
        _look_first_in(os.path.dirname(os.path.realpath(how)))
        sys.argv = program
        runpy.run_path(how, run_name="__main__")


def _look_first_in(folder: str) -> None:
    if not sys.flags.safe_path:
        sys.path.insert(0, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
