"""A PostgreSQL server of a test's own, to be stopped and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import psycopg

from tests.support.ports import free_port
from tests.support.waiting import until


class PrivatePostgreSQL:
    """Made in ``folder`` with the programs of the installed package; nobody else connects to it."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._log = folder / "server.log"
        self.port = free_port()
        folder.mkdir()
        if os.geteuid() == 0:  # the server refuses to run as root
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            for parent in folder.parents:
                if not parent.stat().st_mode & 0o001:
                    parent.chmod(parent.stat().st_mode | 0o011)
        self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", str(self._data))

    @property
    def url(self) -> str:
        return f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        settings = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._run("pg_ctl", "--wait", "-D", str(self._data), "-l", str(self._log), "-o", settings, "start")
        until(self._answers, 20, self._log.read_text)

    def stop(self) -> None:
        """Everybody is thrown out, and nobody gets in."""
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "--wait", "-D", str(self._data), "-m", "fast", "stop")

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url).close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(_programs() / program), *arguments]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stdout + done.stderr


def _programs() -> Path:
    """Where the server's programs are: on the path, or where Debian puts them."""
    found = shutil.which("pg_ctl")
    if found:
        return Path(found).parent
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    assert versions, "The tests that stop a server need PostgreSQL's programs (Debian: apt-get install postgresql)."
    return versions[-1]
