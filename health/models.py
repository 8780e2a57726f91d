"""One row a main process: what it last said of itself, and an operator's hold on it."""

from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import Q


class HoldKind(models.TextChoices):
    """What an operator asked for."""

    NONE = "", "none"
    DRAIN = "drain", "drain"
    OBSERVE = "observe", "observe"


class InstanceRole(models.TextChoices):
    """Which part an instance is."""

    WEB = "web"
    WORKER = "worker"
    BEAT = "beat"
    WATCHDOG = "watchdog"


# A pod that was not seen for so long does not come back under its name.
PAST = timedelta(days=1)


class InstanceQuerySet(models.QuerySet["Instance"]):
    """The named reads."""

    def recent(self, now: datetime) -> "InstanceQuerySet":
        """Return those seen in the last day; older rows are of the past."""
        return self.filter(seen_at__gte=now - PAST)

    def unseen(self, now: datetime, *, seconds: float) -> "InstanceQuerySet":
        """Return those whose heartbeat is late."""
        return self.filter(seen_at__lt=now - timedelta(seconds=seconds))

    def vanished(self, now: datetime) -> "InstanceQuerySet":
        """Return those of the past; a hold in force keeps its row."""
        free = Q(hold=HoldKind.NONE) | Q(hold_until__lte=now)
        return self.filter(free, seen_at__lt=now - PAST)

    def held(self, now: datetime) -> "InstanceQuerySet":
        """Return those under a hold that has not ended."""
        endless_or_running = Q(hold_until=None) | Q(hold_until__gt=now)
        return self.exclude(hold=HoldKind.NONE).filter(endless_or_running)

    def lapsed(self, now: datetime) -> "InstanceQuerySet":
        """Return those whose hold has ended by itself."""
        return self.exclude(hold=HoldKind.NONE).filter(hold_until__lte=now)


class Instance(models.Model):
    """A web master, Celery main, beat or watchdog, by its name."""

    name = models.CharField(max_length=80, primary_key=True)
    role = models.CharField(max_length=20, choices=InstanceRole.choices)
    boot_id = models.CharField(max_length=64)
    version = models.CharField(max_length=40)
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)
    live = models.BooleanField(default=True)
    ready = models.BooleanField(default=True)
    detail = models.JSONField(default=dict)
    hold = models.CharField(
        max_length=10, choices=HoldKind.choices, default=HoldKind.NONE, blank=True
    )
    hold_by = models.CharField(max_length=40, default="", blank=True)
    hold_reason = models.CharField(max_length=200, default="", blank=True)
    hold_until = models.DateTimeField(null=True, blank=True)

    objects = InstanceQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["role", "name"]
        default_permissions = ("view",)
        permissions: ClassVar = [
            ("hold_instance", "Can hold an instance"),
            ("hold_instance_without_end", "Can hold an instance without an end"),
        ]

    def __str__(self) -> str:
        """Name the instance."""
        return self.name

    @property
    def subject(self) -> str:
        """Return what artifacts call it."""
        return f"instance:{self.name}"

    def is_held(self, now: datetime) -> bool:
        """Tell whether a hold is in force."""
        return bool(self.hold) and (self.hold_until is None or now < self.hold_until)
