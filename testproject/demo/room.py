"""A directory of the demo's own: database, ledger and logs, apart from anything else on the machine.

Messages may be elsewhere, on a Redis or RabbitMQ that is there already, in a namespace that belongs to the directory.
"""

import fcntl
import os
import shutil
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from testproject.demo.problem import Problem

USER = PASSWORD = "admin"


class Room:
    """Held by one demo at a time; the lock ends with the process, however that ends."""

    def __init__(self, path: Path, *, fresh: bool, broker_url: str = "database://default") -> None:
        self.path = path.absolute()
        self.fresh = fresh
        self.broker_url = broker_url
        self.namespace = f"dtq-demo-{sha256(os.fsencode(self.path)).hexdigest()[:12]}"
        self.ledger = self.path / "ledger.jsonl"

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = (self.path / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Problem(f"another demo is running in {self.path}. Stop it, or use --directory.") from None
        if self.fresh:
            self._clear()
        (self.path / ".gitignore").write_text("*\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.close()

    def _clear(self) -> None:
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()

    def set_up_django(self) -> None:
        """Point this process and its children at the room, make the tables and the user of the admin."""
        is_new = not self._database.exists()
        self._set_environment()
        import django
        from django.core.management import call_command

        django.setup()
        _check_settings()
        call_command("migrate", verbosity=0)
        if is_new:
            self.forget_messages()
        _make_user()

    def forget_messages(self) -> None:
        """Remove what earlier demos left at the broker: it is about books that are in no database any more."""
        from testproject.demo import server

        server.forget(self.broker_url, self.namespace)

    @property
    def _database(self) -> Path:
        return self.path / "db.sqlite3"

    def _set_environment(self) -> None:
        """Whatever these variables are set to outside belongs to another project."""
        os.environ["DJANGO_SETTINGS_MODULE"] = "testproject.settings"
        os.environ["DATABASE_URL"] = f"sqlite:///{self._database}"
        os.environ["BROKER_URL"] = self.broker_url
        os.environ["TASKS_NAMESPACE"] = self.namespace
        os.environ["DEBUG"] = "1"  # so that runserver serves the style sheet
        os.environ["DTQ_LEDGER"] = str(self.ledger)
        os.environ["PRESS_SECONDS"] = "0.2" if self.fresh else "1.5"  # nobody watches a demo that starts from nothing
        for variable in ["ALLOWED_HOSTS", "DJANGO_TASKS_Q_JSON", "SECRET_KEY"]:
            os.environ.pop(variable, None)


def _check_settings() -> None:
    """A Problem in words when there is no broker behind the URL."""
    from django.core.exceptions import ImproperlyConfigured

    from django_tasks_q import BrokerConnectionError, BrokerNotReady, get_broker

    try:
        get_broker().check_ready()
    except BrokerNotReady:
        pass  # the tables of a database are made next
    except BrokerConnectionError as error:
        raise Problem(f"the broker does not answer: {error}") from error
    except ImproperlyConfigured as error:
        raise Problem(str(error)) from error


def _make_user() -> None:
    """The password is set every time, so that the one that is printed is true."""
    from django.contrib.auth.models import User

    user, _ = User.objects.get_or_create(username=USER, defaults={"is_staff": True, "is_superuser": True})
    user.set_password(PASSWORD)
    user.save()
