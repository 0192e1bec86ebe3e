"""The tables: records that people look at, and the rows that the database broker keeps messages in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .common import MAX_NAME_LENGTH
from .message import MAX_ID_LENGTH
from .stamps import MAX_NAME_LENGTH as MAX_STAMP_NAME
from .stamps import MAX_VALUE_LENGTH as MAX_STAMP_VALUE
from .states import State

# In full, not made of the values: makemessages reads the source.
STATE_LABELS = {
    State.PENDING: _("pending"),
    State.ENQUEUED: _("enqueued"),
    State.DELAYED: _("delayed"),
    State.RUNNING: _("running"),
    State.RETRYING: _("retrying"),
    State.SUCCEEDED: _("succeeded"),
    State.SKIPPED: _("skipped"),
    State.DEAD: _("dead"),
    State.REVOKED: _("revoked"),
    State.DISCARDED: _("discarded"),
    State.UNKNOWN: _("unknown"),
}
STATE_CHOICES = [(state.value, STATE_LABELS[state]) for state in State]


if TYPE_CHECKING:
    Text = models.CharField[Any, Any]
else:
    Text = models.CharField


class NameField(Text):
    """Text whose letters count. To MySQL and MariaDB "a", "A" and "á" are the same unless a column says otherwise."""

    def db_parameters(self, connection: Any) -> Any:
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters


class IdField(NameField):
    """Text that is only ever compared as a whole.

    For an indexed CharField Django makes a second index on PostgreSQL, for LIKE; every send would pay for it. It goes
    by the name of the type, and this is the same type by its full name.
    """

    def db_type(self, connection: Any) -> str | None:
        kind = super().db_type(connection)
        return kind.replace("varchar", "character varying") if kind and connection.vendor == "postgresql" else kind


class VendorIndex(models.Index):
    """An index that has another shape on MySQL and MariaDB, which know neither indexes of some rows only nor a sort
    that begins where an index ends.

    It does not call itself conditional, because then Django would warn that the condition is left out there.

    Parameters:
        where: only of the rows that fit, where the database can do that.
        mysql: the fields on MySQL and MariaDB.
    """

    def __init__(self, *, fields: Sequence[str], mysql: Sequence[str], name: str, where: Q | None = None) -> None:
        super().__init__(fields=fields, name=name)
        self.where = where
        self.mysql = list(mysql)

    def deconstruct(self) -> Any:
        path, expressions, kwargs = super().deconstruct()
        return path, expressions, {**kwargs, "where": self.where, "mysql": self.mysql}

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        if schema_editor.connection.vendor == "mysql":
            index = models.Index(fields=self.mysql, name=self.name)
        else:
            index = models.Index(fields=self.fields, name=self.name, condition=self.where)
        return index.create_sql(model, schema_editor, using, **kwargs)


class UniqueIndex(VendorIndex):
    """The same, and no two rows have the same values; null is equal to nothing."""

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **kwargs: Any) -> Any:
        sql = schema_editor.sql_create_index.replace("CREATE INDEX", "CREATE UNIQUE INDEX", 1)
        return super().create_sql(model, schema_editor, using, sql=sql, **kwargs)


class MessageRecord(models.Model):
    """What is known of one message. Written by the engine; people read and query it."""

    message_id = IdField(_("message id"), max_length=MAX_ID_LENGTH, primary_key=True)
    correlation_id = NameField(_("correlation id"), max_length=MAX_ID_LENGTH, default="", blank=True)
    actor_name = NameField(_("actor"), max_length=MAX_NAME_LENGTH, default="")
    queue_name = NameField(_("queue"), max_length=MAX_NAME_LENGTH, default="")
    state = models.CharField(_("state"), max_length=16, choices=STATE_CHOICES)
    app_label = NameField(_("app"), max_length=100, default="", blank=True)
    priority = models.SmallIntegerField(_("priority"), default=0)
    args: models.JSONField[Any, Any] = models.JSONField(_("arguments"), null=True)
    kwargs: models.JSONField[Any, Any] = models.JSONField(_("keyword arguments"), null=True)
    options: models.JSONField[Any, Any] = models.JSONField(_("options"), null=True)
    raw = models.BinaryField(_("raw bytes"), null=True)
    retries = models.IntegerField(_("failed attempts"), default=0)
    deliveries = models.IntegerField(_("deliveries"), default=0)
    lost = models.IntegerField(_("lost deliveries"), default=0)
    life = models.IntegerField(_("life"), default=0)
    eta = models.DateTimeField(_("due"), null=True)
    created_at = models.DateTimeField(_("created"), null=True)
    enqueued_at = models.DateTimeField(_("enqueued"), null=True)
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    worker = NameField(_("worker"), max_length=96, default="", blank=True)
    error_type = models.TextField(_("error type"), default="", blank=True)
    error_message = models.TextField(_("error message"), default="", blank=True)
    dead_reason = models.CharField(_("reason of death"), max_length=40, default="", blank=True)
    parent_id = NameField(_("parent"), max_length=MAX_ID_LENGTH, default="", blank=True)
    group_id = NameField(_("group"), max_length=MAX_ID_LENGTH, default="", blank=True)
    progress_done = models.BigIntegerField(_("progress"), null=True)
    progress_total = models.BigIntegerField(_("progress total"), null=True)
    progress_text = models.TextField(_("progress text"), default="", blank=True)
    progress_guard = models.BigIntegerField(_("progress guard"), null=True)
    guard = models.BigIntegerField(_("guard"), default=-1)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        # Records are written by the engine. Nobody adds, changes or deletes one by hand; what people may do has a name.
        default_permissions = ("view",)
        permissions = [
            ("requeue_messagerecord", _("Can requeue dead letters")),
            ("discard_messagerecord", _("Can discard messages")),
            ("control_messagerecord", _("Can release mutexes and control workers")),
        ]
        indexes = [
            VendorIndex(fields=["-created_at"], mysql=["-created_at", "-message_id"], name="dtq_record_created"),
            VendorIndex(
                fields=["actor_name", "-created_at"],
                mysql=["actor_name", "-created_at", "-message_id"],
                name="dtq_record_actor",
            ),
            # Most records succeed, and those are found by time; an index of the others stays small.
            VendorIndex(
                fields=["state", "-created_at"],
                name="dtq_record_state",
                where=~Q(state=State.SUCCEEDED.value),
                mysql=["state", "-created_at", "-message_id"],
            ),
            VendorIndex(
                fields=["correlation_id"],
                name="dtq_record_correlation",
                where=~Q(correlation_id=""),
                mysql=["correlation_id"],
            ),
            VendorIndex(
                fields=["group_id", "created_at"],
                name="dtq_record_group",
                where=~Q(group_id=""),
                mysql=["group_id", "created_at"],
            ),
            # What groups have not been told of: few rows, where the database can leave out the others.
            VendorIndex(
                fields=["finished_at", "message_id"],
                name="dtq_record_group_failed",
                where=~Q(group_id="") & Q(state__in=["dead", "discarded", "revoked"]),
                mysql=["finished_at", "message_id"],
            ),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name} {self.message_id}"


class DeadLetter(MessageRecord):
    """The messages that will not run unless somebody requeues them."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")


class DelayedMessage(MessageRecord):
    """The messages that wait for their time: delayed ones, and those that run again after a failure."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("delayed message")
        verbose_name_plural = _("delayed messages")


class RunningMessage(MessageRecord):
    """The messages that a worker is running now, and has been for longer than a moment."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("running message")
        verbose_name_plural = _("running messages")


class Overview(MessageRecord):
    """The first page: how everything stands."""

    class Meta:
        proxy = True
        default_permissions = ()
        verbose_name = _("overview")
        verbose_name_plural = _("overview")


class Attempt(models.Model):
    """One attempt that failed, was lost with its worker, or was interrupted."""

    message = models.ForeignKey(
        MessageRecord,
        verbose_name=_("message"),
        related_name="attempts",
        on_delete=models.CASCADE,
        # Records and attempts are written in batches, by several processes; a missing record must not stop them.
        db_constraint=False,
        db_index=False,  # the constraint below has one that begins with it
    )
    number = models.IntegerField(_("delivery"))
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    worker = NameField(_("worker"), max_length=96, default="", blank=True)
    outcome = models.CharField(_("outcome"), max_length=16)
    error_type = models.TextField(_("error type"), default="", blank=True)
    error_message = models.TextField(_("error message"), default="", blank=True)
    traceback = models.TextField(_("traceback"), default="", blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        default_permissions = ("view",)
        ordering = ["id"]
        constraints = [
            # Events may be written twice. The number alone is not enough: it begins anew when an id is sent again.
            models.UniqueConstraint(fields=["message", "number", "finished_at"], name="dtq_attempt_once"),
        ]

    def __str__(self) -> str:
        return f"{self.message_id} #{self.number}: {self.outcome}"


class Stamp(models.Model):
    """One value of a stamp that a message carries, as canonical text; see :mod:`django_tasks_q.stamps`."""

    message = models.ForeignKey(
        MessageRecord,
        verbose_name=_("message"),
        related_name="stamps",
        on_delete=models.CASCADE,
        db_constraint=False,  # as of Attempt
        db_index=False,  # the constraint below has one that begins with it
    )
    name = NameField(_("name"), max_length=MAX_STAMP_NAME)
    value = NameField(_("value"), max_length=MAX_STAMP_VALUE)

    class Meta:
        verbose_name = _("stamp")
        verbose_name_plural = _("stamps")
        default_permissions = ("view",)
        indexes = [models.Index(fields=["name", "value", "message"], name="dtq_stamp_value")]
        constraints = [models.UniqueConstraint(fields=["message", "name", "value"], name="dtq_stamp_once")]

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


class Place(models.IntegerChoices):
    """Where a queued message stands."""

    READY = 0, _("ready")
    DELAYED = 1, _("delayed")
    IN_FLIGHT = 2, _("in flight")
    DEAD = 3, _("dead")
    SUSPECT = 4, _("suspect")


class QueuedMessage(models.Model):
    """The database broker's own row of a message that is not finished. Times are epoch milliseconds of the database.

    ``id`` is its place in line and never changes, so what is given back stands where it stood. (``id``,
    ``deliveries``, ``owner``) is the fence: only who made that claim can settle it.

    A message of which one is enough holds ``unique_key`` as long as its row has it, at most until ``unique_until``.
    What has given its key up (a dead letter; a message that has started, if that is where it ends) remembers it, with
    its own id behind it, which no other row has.
    """

    id = models.BigAutoField(primary_key=True)
    message_id = IdField(max_length=MAX_ID_LENGTH, unique=True)
    queue_name = NameField(max_length=MAX_NAME_LENGTH)
    place = models.SmallIntegerField(choices=Place.choices, default=Place.READY)
    priority = models.SmallIntegerField(default=0)
    due_at = models.BigIntegerField(default=0)
    owner = NameField(max_length=96, default="")
    deliveries = models.IntegerField(default=0)
    retries = models.IntegerField(default=0)
    lost = models.IntegerField(default=0)
    life = models.IntegerField(default=0)
    enqueued_at = models.BigIntegerField(default=0)
    started_at = models.BigIntegerField(default=0)
    dead_reason = models.CharField(max_length=40, default="")
    died_at = models.BigIntegerField(default=0)
    record = models.BooleanField(default=True)
    payload = models.BinaryField()
    unique_key = IdField(max_length=64, null=True)
    unique_until = models.BigIntegerField(null=True)

    class Meta:
        verbose_name = _("queued message")
        verbose_name_plural = _("queued messages")
        default_permissions = ()
        indexes = [
            VendorIndex(
                fields=["queue_name", "priority", "id"],
                name="dtq_queue_ready",
                where=Q(place=Place.READY),
                mysql=["place", "queue_name", "priority", "id"],
            ),
            VendorIndex(
                fields=["due_at"], name="dtq_queue_delayed", where=Q(place=Place.DELAYED), mysql=["place", "due_at"]
            ),
            VendorIndex(  # by the mark of what they are parked on, which stands where dead letters have their reason
                fields=["dead_reason", "queue_name", "priority", "id"],
                name="dtq_queue_parked",
                where=Q(place=Place.DELAYED) & ~Q(dead_reason=""),
                mysql=["place", "dead_reason", "queue_name", "priority", "id"],
            ),
            VendorIndex(fields=["owner"], name="dtq_queue_owner", where=Q(place=Place.IN_FLIGHT), mysql=["owner"]),
            VendorIndex(fields=["died_at"], name="dtq_queue_dead", where=Q(place=Place.DEAD), mysql=["died_at"]),
            VendorIndex(
                fields=["priority", "id"],
                name="dtq_queue_suspect",
                where=Q(place=Place.SUSPECT),
                mysql=["place", "priority", "id"],
            ),
            UniqueIndex(
                fields=["unique_key"],
                name="dtq_queue_unique",
                where=Q(unique_key__isnull=False),
                mysql=["unique_key"],
            ),
        ]

    def __str__(self) -> str:
        return f"{self.queue_name} {self.message_id}"


class QueueWorker(models.Model):
    """The database broker's lease of one worker. No row: the worker is dead, and can neither claim nor settle."""

    worker_id = IdField(max_length=96, primary_key=True)
    expires_at = models.BigIntegerField()

    class Meta:
        verbose_name = _("lease")
        verbose_name_plural = _("leases")
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.worker_id)


class UniqueHolder(models.Model):
    """Who holds a key of which there is one message, for a broker that cannot know it. Times are epoch milliseconds of
    the database.

    ``sent``: the broker has taken the message; until then its sender may have died. ``expires_at``: when the key is
    free whatever becomes of the message. It is free when the row is gone.
    """

    unique_key = IdField(max_length=64, primary_key=True)
    message_id = IdField(max_length=MAX_ID_LENGTH)
    queue_name = NameField(max_length=MAX_NAME_LENGTH)
    taken_at = models.BigIntegerField()
    sent = models.BooleanField(default=False)
    expires_at = models.BigIntegerField(null=True)

    class Meta:
        verbose_name = _("holder of a key")
        verbose_name_plural = _("holders of keys")
        default_permissions = ()
        indexes = [
            models.Index(fields=["message_id"], name="dtq_holder_message"),
            models.Index(fields=["taken_at"], name="dtq_holder_taken"),
        ]

    def __str__(self) -> str:
        return f"{self.unique_key} {self.message_id}"


class GatheredItem(models.Model):
    """An item that waits to be gathered into one run with others, or that a message has taken.

    ``collection``: which items share runs, those of one actor and key. ``item``: encoded as messages are. ``taken_by``:
    the id of the message that runs it, empty while it waits. Times are epoch milliseconds of the database.
    """

    collection = IdField(max_length=32)
    actor_name = NameField(max_length=MAX_NAME_LENGTH)
    gather_key = NameField(max_length=MAX_NAME_LENGTH, default="", blank=True)
    item = models.BinaryField()
    created_at = models.BigIntegerField()
    taken_by = IdField(max_length=MAX_ID_LENGTH, default="", blank=True)
    taken_at = models.BigIntegerField(null=True)

    class Meta:
        verbose_name = _("gathered item")
        verbose_name_plural = _("gathered items")
        default_permissions = ()
        indexes = [models.Index(fields=["taken_by", "collection", "id"], name="dtq_gathered_taken")]

    def __str__(self) -> str:
        return f"{self.actor_name} {self.gather_key}"


class WaitingMessage(models.Model):
    """A message that the database keeps for a broker that cannot, or that waits for its transaction to commit.

    ``due_at`` of a message that waits for its commit is when the relay takes it: a sender that is about to publish it
    himself has it in the near future; null means that it waits until somebody decides.

    All other kinds are the waiting room's. There ``due_at`` is when the message is due and never moves, null for a dead
    letter; ``expires_at`` is when the room hands it out: when its wait is over, or the claim of who publishes it.
    ``enqueued_at`` and ``since`` are epoch milliseconds.
    """

    class Kind(models.TextChoices):
        COMMIT = "commit", _("waits for its commit")
        DELAY = "delay", _("delayed")
        RETRY = "retry", _("waits for its next attempt")
        PARKED = "parked", _("waits for a limit")
        DEAD = "dead", _("dead letter")

    message_id = IdField(_("message id"), max_length=MAX_ID_LENGTH)
    queue_name = NameField(_("queue"), max_length=MAX_NAME_LENGTH)
    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    payload = models.BinaryField(_("payload"))
    due_at = models.DateTimeField(_("due"), null=True)
    life = models.IntegerField(_("life"), default=0)
    attempt = models.IntegerField(_("attempt"), default=0)
    expires_at = models.DateTimeField(_("expires"), null=True)
    created_at = models.DateTimeField(_("created"))
    parent_id = NameField(_("parent"), max_length=MAX_ID_LENGTH, default="", blank=True)
    # The room's alone. The database knows their defaults, for who waits for a commit and does not mention them.
    priority = models.SmallIntegerField(_("priority"), default=0, db_default=0)
    retries = models.IntegerField(_("failed attempts"), default=0, db_default=0)
    lost = models.IntegerField(_("lost deliveries"), default=0, db_default=0)
    enqueued_at = models.BigIntegerField(_("enqueued"), default=0, db_default=0)
    since = models.BigIntegerField(_("waits since"), default=0, db_default=0)
    reason = models.CharField(_("reason of death"), max_length=40, default="", db_default="", blank=True)
    record = models.BooleanField(_("recorded"), default=True, db_default=True)

    class Meta:
        verbose_name = _("waiting message")
        verbose_name_plural = _("waiting messages")
        default_permissions = ("view",)
        indexes = [
            # What the relay looks for, what the room does, and a room's counts and dead letters. None is partial: not
            # every database has those.
            models.Index(fields=["kind", "due_at"], name="dtq_waiting_due"),
            models.Index(fields=["expires_at"], name="dtq_waiting_expires"),
            models.Index(fields=["kind", "queue_name", "since"], name="dtq_waiting_queue"),
            # Those that are parked on a key, in line; the mark of the key is their reason.
            models.Index(fields=["kind", "queue_name", "reason", "priority", "id"], name="dtq_waiting_parked"),
        ]
        constraints = [
            # Moving a message into a row may be repeated after a crash; the row stays one.
            models.UniqueConstraint(fields=["message_id", "life", "attempt"], name="dtq_waiting_once"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.message_id}"


class RateLimitMutex(models.Model):
    """A key that only so many may hold at once, and who holds it.

    ``holders`` is a list of ``{"message_id", "worker", "since", "token", "expires_at", "ttl"}`` (times in epoch
    milliseconds, the ttl in milliseconds); ``expires_at`` is when the last of these leases ends, null when nobody holds
    one. ``version`` rises with every change and never begins anew, so a token made of it fences late writers off.
    """

    key = NameField(_("key"), max_length=255, primary_key=True)
    kind = models.CharField(_("kind"), max_length=16, default="concurrent")
    limit = models.IntegerField(_("limit"), default=1)
    holders: models.JSONField[Any, Any] = models.JSONField(_("holders"), default=list)
    expires_at = models.DateTimeField(_("expires"), null=True)
    version = models.BigIntegerField(_("version"), default=0)

    class Meta:
        verbose_name = _("mutex")
        verbose_name_plural = _("mutexes")
        default_permissions = ("view",)
        indexes = [models.Index(fields=["expires_at"], name="dtq_mutex_expires")]

    def __str__(self) -> str:
        return str(self.key)


class MessageResult(models.Model):
    """What an actor returned, or what ended its message, until it expires (epoch milliseconds, the database's clock).

    ``message_key`` is the namespace of the backend, a colon, and the id of the message.
    """

    message_key = IdField(_("key"), max_length=160, primary_key=True)
    payload = models.BinaryField(_("payload"))
    expires_at = models.BigIntegerField(_("expires"))

    class Meta:
        verbose_name = _("result")
        verbose_name_plural = _("results")
        default_permissions = ()
        indexes = [models.Index(fields=["expires_at"], name="dtq_result_expires")]

    def __str__(self) -> str:
        return str(self.message_key)


class RateLimitAdmissions(models.Model):
    """How many were admitted lately: ``slots`` is JSON, see ``rate_limits/admissions.py``.

    ``version`` rises with every change; ``expires_at`` (epoch milliseconds of the database) is when nothing counts.
    """

    key = IdField(max_length=270, primary_key=True)
    slots = models.TextField(default="[]")
    version = models.BigIntegerField(default=0)
    expires_at = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = _("admissions")
        verbose_name_plural = _("admissions")
        default_permissions = ()
        indexes = [models.Index(fields=["expires_at"], name="dtq_admissions_expires")]

    def __str__(self) -> str:
        return str(self.key)


class RateLimitGathering(models.Model):
    """How many of the parties of a barrier or a group have arrived, how many are not ok, and who made it complete.

    ``expires_at`` (epoch milliseconds of the database) is when all of it is forgotten.
    """

    key = IdField(max_length=255, primary_key=True)
    parties = models.IntegerField(default=0)
    arrived = models.IntegerField(default=0)
    failed = models.IntegerField(default=0)
    completer = NameField(max_length=255, default="")
    expires_at = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = _("gathering")
        verbose_name_plural = _("gatherings")
        default_permissions = ()
        indexes = [models.Index(fields=["expires_at"], name="dtq_gathering_expires")]

    def __str__(self) -> str:
        return f"{self.key} {self.arrived}/{self.parties}"


class RateLimitArrival(models.Model):
    """One that has arrived, and whether it is ok."""

    gathering = IdField(max_length=255)
    member = IdField(max_length=255)
    ok = models.BooleanField()

    class Meta:
        verbose_name = _("arrival")
        verbose_name_plural = _("arrivals")
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["gathering", "member"], name="dtq_arrival_once")]

    def __str__(self) -> str:
        return f"{self.gathering} {self.member}"


class WorkerProcess(models.Model):
    """One worker process as its keeper last saw it. ``current`` lists what it runs: message id, actor, since when.

    ``control_version`` is the last change of revocations and pauses that it obeys; see :class:`ControlVersion`.
    """

    worker_id = NameField(_("worker"), max_length=96, primary_key=True)
    hostname = models.CharField(_("host"), max_length=255, default="", blank=True)
    pid = models.IntegerField(_("process"), default=0)
    queues: models.JSONField[Any, Any] = models.JSONField(_("queues"), default=list)
    threads = models.IntegerField(_("threads"), default=0)
    started_at = models.DateTimeField(_("started"), null=True)
    heartbeat_at = models.DateTimeField(_("last seen"), null=True)
    current: models.JSONField[Any, Any] = models.JSONField(_("running now"), default=list)
    rss_bytes = models.BigIntegerField(_("memory"), default=0)
    processed = models.BigIntegerField(_("processed"), default=0)
    failed = models.BigIntegerField(_("failed"), default=0)
    control_version = models.BigIntegerField(_("control version"), default=0, db_default=0)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        default_permissions = ("view",)
        indexes = [models.Index(fields=["heartbeat_at"], name="dtq_worker_heartbeat")]

    def __str__(self) -> str:
        return str(self.worker_id)


class QueueState(models.Model):
    """What a queue held when it was last counted, and whether somebody paused it."""

    queue_name = NameField(_("queue"), max_length=MAX_NAME_LENGTH, primary_key=True)
    paused_at = models.DateTimeField(_("paused"), null=True)
    ready = models.BigIntegerField(_("ready"), default=0)
    in_flight = models.BigIntegerField(_("in flight"), default=0)
    delayed = models.BigIntegerField(_("delayed"), default=0)
    dead = models.BigIntegerField(_("dead"), default=0)
    oldest_at = models.DateTimeField(_("oldest"), null=True)
    sampled_at = models.DateTimeField(_("counted"), null=True)

    class Meta:
        verbose_name = _("queue")
        verbose_name_plural = _("queues")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return str(self.queue_name)


class ActorState(models.Model):
    """Whether somebody paused an actor: none of its messages starts until it is resumed."""

    actor_name = NameField(_("actor"), max_length=MAX_NAME_LENGTH, primary_key=True)
    paused_at = models.DateTimeField(_("paused"), null=True)

    class Meta:
        verbose_name = _("actor")
        verbose_name_plural = _("actors")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return str(self.actor_name)


class Revocation(models.Model):
    """Messages that somebody called off: those that wait, those that come until it expires, and with ``terminate``
    those that run.

    ``conditions`` says which, see :class:`django_tasks_q.control.Conditions`. ``target``, ``name`` and ``value`` show
    it to people and queries: what kind of condition it is (``several``, where it is more than one), the name of the
    stamp, and the value, or the first of them. ``counts`` is how many messages it found, by the state in which they
    were. It holds until ``expires_at``, or until it is lifted.
    """

    class Target(models.TextChoices):
        MESSAGE = "message", _("message")
        STAMP = "stamp", _("stamp")
        ACTOR = "actor", _("actor")
        QUEUE = "queue", _("queue")
        SEVERAL = "several", _("several conditions")
        EVERYTHING = "everything", _("everything")

    target = models.CharField(_("target"), max_length=16, choices=Target.choices)
    name = NameField(_("name"), max_length=MAX_STAMP_NAME, default="", blank=True)
    value = NameField(_("value"), max_length=MAX_STAMP_VALUE, default="", blank=True)
    conditions: models.JSONField[Any, Any] = models.JSONField(_("conditions"), default=dict)
    terminate = models.BooleanField(_("terminate"), default=False)
    reason = models.TextField(_("reason"), default="", blank=True)
    created_by = models.CharField(_("created by"), max_length=200, default="", blank=True)
    created_at = models.DateTimeField(_("created"))
    expires_at = models.DateTimeField(_("expires"), null=True)
    lifted_at = models.DateTimeField(_("lifted"), null=True)
    counts: models.JSONField[Any, Any] = models.JSONField(_("counts"), default=dict)

    class Meta:
        verbose_name = _("revocation")
        verbose_name_plural = _("revocations")
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["-created_at"], name="dtq_revocation_created"),
            models.Index(fields=["name", "value"], name="dtq_revocation_value"),
        ]

    def __str__(self) -> str:
        return f"{self.target} {self.name or self.value}"


class ControlVersion(models.Model):
    """One row: how often revocations and pauses have changed. Workers that know another number read them again."""

    version = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = _("control version")
        verbose_name_plural = _("control versions")
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.version)


class ServiceLease(models.Model):
    """Who does what only one process may do at a time, and until when, by the database's clock (epoch milliseconds).

    ``notes`` is what the service remembers from one holder to the next.
    """

    name = IdField(max_length=120, primary_key=True)
    owner = NameField(max_length=96, default="")
    expires_at = models.BigIntegerField(default=0)
    notes: models.JSONField[Any, Any] = models.JSONField(default=dict)

    class Meta:
        verbose_name = _("lease of a service")
        verbose_name_plural = _("leases of services")
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.name)


class BulkOperation(models.Model):
    """Something done to everything that a filter matches, batch by batch, which can be interrupted and goes on.

    ``filters`` are the conditions as they were when it began, ``cursor`` is how far it got. Only messages that were
    dead before ``started_at`` are touched, so what dies again meanwhile is not requeued twice.
    """

    class Action(models.TextChoices):
        REQUEUE = "requeue", _("requeue")
        DISCARD = "discard", _("discard")

    action = models.CharField(_("action"), max_length=16, choices=Action.choices)
    filters: models.JSONField[Any, Any] = models.JSONField(_("filter"), default=dict)
    cursor = models.CharField(_("cursor"), max_length=200, default="", blank=True)
    done = models.BigIntegerField(_("done"), default=0)
    skipped = models.BigIntegerField(_("skipped"), default=0)
    total = models.BigIntegerField(_("about"), default=0)
    started_by = models.CharField(_("started by"), max_length=200, default="", blank=True)
    started_at = models.DateTimeField(_("started"))
    updated_at = models.DateTimeField(_("last step"))
    finished_at = models.DateTimeField(_("finished"), null=True)

    class Meta:
        verbose_name = _("bulk operation")
        verbose_name_plural = _("bulk operations")
        default_permissions = ("view",)
        indexes = [models.Index(fields=["-started_at"], name="dtq_bulk_started")]

    def __str__(self) -> str:
        return f"{self.action} {self.done}/{self.total}"


class ScheduleEntry(models.Model):
    """Something that the code sends again and again, and when. The code says what; people say whether.

    ``next_at`` is the next slot, null while it is disabled and until the scheduler has seen it. ``last_at`` is the last
    slot that ran, or when somebody had it run. ``declared_at`` is when a keeper last had it in its code.
    """

    class CatchUp(models.TextChoices):
        SKIP = "skip", _("none")
        ONCE = "once", _("the latest")
        ALL = "all", _("all")

    name = IdField(_("name"), max_length=MAX_NAME_LENGTH, primary_key=True)
    actor_name = NameField(_("actor"), max_length=MAX_NAME_LENGTH)
    spec = models.TextField(_("schedule"))
    time_zone = models.CharField(_("time zone"), max_length=100)
    catch_up = models.CharField(_("catches up"), max_length=8, choices=CatchUp.choices, default=CatchUp.SKIP)
    enabled = models.BooleanField(_("enabled"), default=True)
    next_at = models.DateTimeField(_("next run"), null=True)
    last_at = models.DateTimeField(_("last run"), null=True)
    declared_at = models.DateTimeField(_("declared"))

    class Meta:
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return str(self.name)


class ScheduleRun(models.Model):
    """A slot that was run, and the message that was sent for it; only the last of each entry are kept.

    The row is written with the message, in one transaction, so that no slot runs twice however many schedulers there
    are. What somebody had run by hand is a slot as well.
    """

    entry = models.ForeignKey(
        ScheduleEntry,
        verbose_name=_("schedule"),
        related_name="runs",
        on_delete=models.CASCADE,
        db_constraint=False,  # a run must not wait for who enables its entry
        db_index=False,  # the constraint below has one that begins with it
    )
    slot = models.DateTimeField(_("slot"))
    message_id = NameField(_("message id"), max_length=MAX_ID_LENGTH)
    created_at = models.DateTimeField(_("created"))

    class Meta:
        verbose_name = _("run of a schedule")
        verbose_name_plural = _("runs of schedules")
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["entry", "slot"], name="dtq_schedule_once")]

    def __str__(self) -> str:
        return f"{self.entry_id} {self.slot}"
