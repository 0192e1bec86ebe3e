"""The tables: records that people look at, and the rows that the database broker keeps messages in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from .common import MAX_NAME_LENGTH
from .message import MAX_ID_LENGTH
from .states import State

STATE_CHOICES = [(state.value, _(state.value)) for state in State]


if TYPE_CHECKING:
    Text = models.CharField[Any, Any]
else:
    Text = models.CharField


class IdField(Text):
    """Text that is only ever compared as a whole.

    For an indexed CharField Django makes a second index on PostgreSQL, for LIKE; every send would pay for it. It goes
    by the name of the type, and this is the same type by its full name.
    """

    def db_type(self, connection: Any) -> str | None:
        kind = super().db_type(connection)
        return kind.replace("varchar", "character varying") if kind and connection.vendor == "postgresql" else kind


class MessageRecord(models.Model):
    """What is known of one message. Written by the engine; people read and query it."""

    message_id = IdField(_("message id"), max_length=MAX_ID_LENGTH, primary_key=True)
    correlation_id = models.CharField(_("correlation id"), max_length=MAX_ID_LENGTH, default="", blank=True)
    actor_name = models.CharField(_("actor"), max_length=MAX_NAME_LENGTH, default="")
    queue_name = models.CharField(_("queue"), max_length=MAX_NAME_LENGTH, default="")
    state = models.CharField(_("state"), max_length=16, choices=STATE_CHOICES)
    app_label = models.CharField(_("app"), max_length=100, default="", blank=True)
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
    worker = models.CharField(_("worker"), max_length=96, default="", blank=True)
    error_type = models.TextField(_("error type"), default="", blank=True)
    error_message = models.TextField(_("error message"), default="", blank=True)
    dead_reason = models.CharField(_("reason of death"), max_length=40, default="", blank=True)
    parent_id = models.CharField(_("parent"), max_length=MAX_ID_LENGTH, default="", blank=True)
    group_id = models.CharField(_("group"), max_length=MAX_ID_LENGTH, default="", blank=True)
    progress_done = models.BigIntegerField(_("progress"), null=True)
    progress_total = models.BigIntegerField(_("progress total"), null=True)
    progress_text = models.TextField(_("progress text"), default="", blank=True)
    guard = models.BigIntegerField(_("guard"), default=-1)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        indexes = [
            models.Index(fields=["-created_at"], name="dtq_record_created"),
            # Most records succeed, and those are found by time; an index of the others stays small.
            models.Index(
                fields=["state", "-created_at"], name="dtq_record_state", condition=~Q(state=State.SUCCEEDED.value)
            ),
            models.Index(fields=["correlation_id"], name="dtq_record_correlation", condition=~Q(correlation_id="")),
        ]

    def __str__(self) -> str:
        return f"{self.actor_name} {self.message_id}"


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
    worker = models.CharField(_("worker"), max_length=96, default="", blank=True)
    outcome = models.CharField(_("outcome"), max_length=16)
    error_type = models.TextField(_("error type"), default="", blank=True)
    error_message = models.TextField(_("error message"), default="", blank=True)
    traceback = models.TextField(_("traceback"), default="", blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["id"]
        constraints = [
            # Events may be written twice. The number alone is not enough: it begins anew when an id is sent again.
            models.UniqueConstraint(fields=["message", "number", "finished_at"], name="dtq_attempt_once"),
        ]

    def __str__(self) -> str:
        return f"{self.message_id} #{self.number}: {self.outcome}"


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
    """

    id = models.BigAutoField(primary_key=True)
    message_id = IdField(max_length=MAX_ID_LENGTH, unique=True)
    queue_name = models.CharField(max_length=MAX_NAME_LENGTH)
    place = models.SmallIntegerField(choices=Place.choices, default=Place.READY)
    priority = models.SmallIntegerField(default=0)
    due_at = models.BigIntegerField(default=0)
    owner = models.CharField(max_length=96, default="")
    deliveries = models.IntegerField(default=0)
    retries = models.IntegerField(default=0)
    lost = models.IntegerField(default=0)
    life = models.IntegerField(default=0)
    enqueued_at = models.BigIntegerField(default=0)
    started_at = models.BigIntegerField(default=0)
    dead_reason = models.CharField(max_length=40, default="")
    died_at = models.BigIntegerField(default=0)
    payload = models.BinaryField()

    class Meta:
        verbose_name = _("queued message")
        verbose_name_plural = _("queued messages")
        indexes = [
            models.Index(fields=["queue_name", "priority", "id"], name="dtq_queue_ready", condition=Q(place=0)),
            models.Index(fields=["due_at"], name="dtq_queue_delayed", condition=Q(place=1)),
            models.Index(fields=["owner"], name="dtq_queue_owner", condition=Q(place=2)),
            models.Index(fields=["died_at"], name="dtq_queue_dead", condition=Q(place=3)),
            models.Index(fields=["priority", "id"], name="dtq_queue_suspect", condition=Q(place=4)),
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

    def __str__(self) -> str:
        return str(self.worker_id)
