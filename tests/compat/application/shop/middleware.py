"""The shop's own middleware."""

import dramatiq
from dramatiq.middleware import Middleware, SkipMessage

from shop import ledger


def announce_opening():
    """Runs once per worker start, in a process of its own."""
    ledger.record("announce_opening", "fork", "open")


class Announcer(Middleware):
    """Asks the worker's main process for a fork that announces the opening."""

    @property
    def forks(self):
        return [announce_opening]


class Origin(Middleware):
    """Stamps on each message where it came from; retries keep the first stamp."""

    def __init__(self, *, name):
        self.name = name

    def before_enqueue(self, broker, message, delay):
        message.options.setdefault("origin", self.name)


class Cancellation(Middleware):
    """Skips messages sent with `cancelled=True`."""

    def before_process_message(self, broker, message):
        if message.options.get("cancelled"):
            raise SkipMessage("cancelled by the customer")


class Audit(Middleware):
    """Notes what became of the messages of actors declared with `audited=True`."""

    def __init__(self):
        self.logger = dramatiq.get_logger(__name__, type(self))
        self.booted = False

    @property
    def actor_options(self):
        return {"audited"}

    def after_declare_actor(self, broker, actor):
        self.logger.debug("Actor %s is declared.", actor.actor_name)

    def before_worker_boot(self, broker, worker):
        self.booted = True

    def before_delay_message(self, broker, message):
        self._note(broker, message, "waits")

    def after_process_message(self, broker, message, *, result=None, exception=None):
        self._note(broker, message, "ok" if exception is None else type(exception).__name__)

    def after_skip_message(self, broker, message):
        self._note(broker, message, "skipped")

    def _note(self, broker, message, outcome):
        if broker.get_actor(message.actor_name).options.get("audited"):
            outcome = outcome if self.booted else "worker was never booted"
            ledger.record("audit", message.args[0], outcome)
