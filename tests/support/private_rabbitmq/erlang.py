"""What the Erlang nodes of one test share: a secret, a home to find it in, and a directory of nodes of their own."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.support.ports import free_port
from tests.support.private import Private
from tests.support.server_process import ServerProcess
from tests.support.waiting import until


class Erlang(Private):
    """Nodes of other tests, and the machine's own RabbitMQ, are in another directory (epmd) and cannot be met."""

    def __init__(self) -> None:
        super().__init__()
        self.cookie = secrets.token_hex(10)
        self._port = free_port()

    @property
    def env(self) -> dict[str, str]:
        """What every program needs that belongs to it."""
        return {
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self._port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CTL_DIST_PORT_MIN": "30000",
            "RABBITMQ_CTL_DIST_PORT_MAX": "32000",
        }

    def enter(self, held: ExitStack) -> None:
        self.folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="dtq-rabbitmq-")))
        secret = self.folder / ".erlang.cookie"
        secret.write_text(self.cookie)
        secret.chmod(0o400)
        directory = ServerProcess([program("epmd"), "-port", str(self._port)], self.folder / "epmd.log", self.env)
        held.callback(directory.kill)
        directory.start()
        until(self._directory_answers, 10, directory.said)

    def call(self, dist_port: int, expression: str) -> str:
        """Evaluate Erlang inside a node, in some milliseconds, and return the term that comes out, as text."""
        command = [program("erl_call"), "-address", f"localhost:{dist_port}", "-c", self.cookie, "-r", "-e"]
        done = subprocess.run(
            command, input=f"{expression}.\n", env=self.env, capture_output=True, text=True, timeout=200
        )
        answer = done.stdout.strip()
        assert answer.startswith("{ok, "), f"{expression}: {answer} {done.stderr}"
        return answer.removeprefix("{ok, ").removesuffix("}")

    def _directory_answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
        except OSError:
            return False
        return True


def program(name: str) -> str:
    """Where a program of RabbitMQ or Erlang is; RabbitMQ's without Debian's wrapper, which is for the machine's own."""
    unwrapped = shutil.which(name, path="/usr/lib/rabbitmq/bin")
    found = unwrapped or shutil.which(name)
    assert found, f"There is no {name}. `make services` (as root, on Debian) installs what the tests need."
    return found
