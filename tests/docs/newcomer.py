"""Somebody who types what the README says, in an empty folder, with the package as it is published."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.ports import free_port
from tests.support.waiting import until

README = Path(__file__).resolve().parents[2] / "README.md"
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\S+\.py)(.*)\n")


class Block(NamedTuple):
    """A fenced block: its language and its text."""

    language: str
    text: str

    @property
    def file(self) -> tuple[str, str] | None:
        """The file that the first line names, and what it says about it."""
        match = _FILE.match(self.text)
        return (match[1], match[2]) if match else None


def section(title: str) -> list[Block]:
    """The blocks of one section of the README, in their order."""
    parts = re.split(r"^## (.+)$", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text = dict(zip(parts[1::2], parts[2::2], strict=True))[title]
    return [Block(*match) for match in _FENCE.findall(text)]


class Newcomer:
    """Runs blocks in ``folder`` with the programs of a virtual environment."""

    def __init__(self, folder: Path, programs: Path, *, settings: str = "") -> None:
        self.folder = folder
        self._programs = programs
        self._settings = settings
        self.on_postgresql = bool(settings)
        self._running: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
        self.port = free_port()

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        if block.file is not None:
            self._write(*block.file, block.text)
        elif block.language == "console":
            for line in block.text.splitlines():
                self.type(line)

    def _write(self, path: str, remark: str, text: str) -> None:
        file = self.folder / path
        if "at the end" in remark or "for " in remark:
            file.write_text(file.read_text() + "\n" + text + self._settings)
        else:
            file.write_text(text)

    def type(self, line: str) -> None:
        """One line of a console block."""
        words = shlex.split(line)
        if words[:2] == ["pip", "install"]:
            assert words[2:] == ["django-tasks-q"]  # the wheel is installed already: nothing is published yet
        elif words[0] == "curl":
            self.get(words[1])
        elif words[2:3] in (["runworkers"], ["runserver"]):
            self._start(words)
        else:
            done = self.run(words)
            assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"

    def run(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        command = [str(self._programs / words[0]), *words[1:]]
        return subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=200
        )

    def get(self, url: str) -> str:
        """What the web server answers; it listens at a port of its own."""
        with urllib.request.urlopen(url.replace(":8000", f":{self.port}"), timeout=10) as response:
            return str(response.read().decode())

    def _start(self, words: list[str]) -> None:
        name = words[2]
        path = self.folder / f"{name}.out"
        more = [str(self.port), "--noreload"] if name == "runserver" else []
        with path.open("wb") as output:
            process = subprocess.Popen(
                [str(self._programs / words[0]), *words[1:], *more],
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[name] = process, path
        until(lambda: self._is_up(name), 30, lambda: self.output(name))

    def _is_up(self, name: str) -> bool:
        assert self._running[name][0].poll() is None, self.output(name)
        if name == "runworkers":
            return "\nReady." in self.output(name)
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def output(self, name: str) -> str:
        """What a command that goes on running has printed."""
        return self._running[name][1].read_text(errors="replace")

    def stop(self) -> None:
        for process, _ in self._running.values():
            process.send_signal(signal.SIGTERM)
        for name, (process, _) in self._running.items():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise AssertionError(f"{name} does not end:\n{self.output(name)}") from None
        self._running.clear()

    @property
    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "DJANGO_", "DTQ_"))}
        return {**kept, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}
