"""One Redis server."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import redis

from tests.support.ports import free_port
from tests.support.private import Private
from tests.support.server_process import ServerProcess
from tests.support.waiting import until

START_SECONDS = 20


class PrivateRedis(Private):
    """One server, started on entering ``with`` and gone with its data on leaving.

    ``appendonly`` says when a write is on disk: ``"always"`` before it is answered, ``"everysec"`` a second later,
    ``"no"`` never (killed, it comes back empty). Other ``settings`` are those of redis.conf, with underscores.
    """

    def __init__(
        self, appendonly: Literal["always", "everysec", "no"] = "no", host: str = "127.0.0.1", **settings: object
    ) -> None:
        super().__init__()
        self.host = host
        self.port = free_port()
        self.settings = {
            "save": "",
            "appendonly": "no" if appendonly == "no" else "yes",
            "appendfsync": appendonly,
            "shutdown-timeout": 0,
            **{name.replace("_", "-"): value for name, value in settings.items()},
        }

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"

    @property
    def pid(self) -> int:
        return self._process.pid

    def client(self) -> redis.Redis:
        """Connects when used, and is answered within five seconds or fails; the caller closes it."""
        return redis.Redis(self.host, self.port, socket_timeout=5, decode_responses=True)

    def command(self, *words: object) -> Any:
        """Have one command run, on a connection of its own."""
        with self.client() as client:
            return client.execute_command(*words)

    def config_set(self, name: str, value: object) -> None:
        """Change a setting of the running server; a restart forgets it."""
        self.command("CONFIG", "SET", name, value)

    def info(self, section: str) -> dict[str, Any]:
        with self.client() as client:
            return client.info(section)

    def start(self) -> None:
        """Start again, at the same address and with what was on disk."""
        self.launch()
        self.wait_until_it_answers()

    def stop(self) -> None:
        self._process.stop()

    def kill(self) -> None:
        self._process.kill()

    def suspend(self) -> None:
        """Everybody stays connected, and nobody is answered until ``resume()``."""
        self._process.suspend()

    def resume(self) -> None:
        self._process.resume()

    def answers(self) -> bool:
        """False also while it still loads its data."""
        if not self._process.is_running:
            return False
        try:
            return bool(self.command("PING"))
        except redis.RedisError:
            return False

    def enter(self, held: ExitStack) -> None:
        self.prepare(held)
        self.start()

    def prepare(self, held: ExitStack) -> None:
        """Everything but starting, for those who start several; ``held`` ends it."""
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="dtq-redis-")))
        own = {"bind": self.host, "port": self.port, "protected-mode": "no", "dir": folder, **self.settings}
        config = folder / "redis.conf"
        config.write_text("".join(f"{name} {_quoted(value)}\n" for name, value in own.items()))
        self._process = ServerProcess(["redis-server", str(config), *self.arguments()], folder / "server.log")
        held.callback(self._process.kill)

    def arguments(self) -> list[str]:
        """What follows the name of the configuration."""
        return []

    def launch(self) -> None:
        """Start without waiting."""
        self._process.start()

    def wait_until_it_answers(self) -> None:
        until(lambda: self.answers() or not self._process.is_running, START_SECONDS, self._process.said)
        assert self._process.is_running, self._process.said()


def _quoted(value: object) -> str:
    """Settings of several words are separate values; an empty one has to be visible."""
    return str(value) or '""'
