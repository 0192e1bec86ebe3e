"""Run the few tests that failed once more, alone: ``python -m scripts.second_look EXIT_CODE...`` of the runs before.

Tests here kill, stop and starve real processes beside each other, and one whose machine is taken away for a moment
fails though nothing is wrong. What fails twice is broken. What passes the second time is named, for it may be a race
that is seldom lost: its first failure stands above and deserves to be read. Many failures are no accident, and final.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MOST = 8
"""Failures that may be an accident."""

_TESTS_FAILED = 1
"""pytest's exit code; it has others for what is no failure of a test."""

_CACHE = Path(".pytest_cache/v/cache/lastfailed")


def main(codes: list[int]) -> int:
    other = [code for code in codes if code not in (0, _TESTS_FAILED)]
    if other or not any(codes):
        return max(other, default=0)
    failed = list(json.loads(_CACHE.read_text()))
    if len(failed) > MOST:
        print(f"{len(failed)} tests failed.")
        return _TESTS_FAILED
    print(f"\n{len(failed)} tests failed and are run again, alone.", flush=True)
    ended = subprocess.run([sys.executable, "-m", "pytest", "-rfE", "--last-failed"])
    if not ended.returncode:
        print("\n".join(["Failed beside others, and passed alone:", *(f"  {name}" for name in failed)]))
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main([int(code) for code in sys.argv[1:]]))
