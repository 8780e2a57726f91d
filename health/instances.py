"""The heartbeat row of an instance, written every 10 s from a thread that may hang."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psutil
from django.conf import settings
from django.db import connection
from django.utils import timezone

from health.models import HoldKind, Instance
from health.processes import Identity
from health.snapshot import Hold

logger = logging.getLogger(__name__)
BEAT_SECONDS = 10.0
_HOLD_FIELDS = ("hold", "hold_reason", "hold_by", "hold_until")


def instance_name(role: str) -> str:
    """Return NODE_NAME-role, with the port where it is not the usual one."""
    name = f"{settings.NODE_NAME}-{role}"
    return name if settings.PORT == 3001 else f"{name}-{settings.PORT}"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What one main process says of itself."""

    role: str
    main: Identity
    live: bool = True
    ready: bool = True
    detail: dict[str, Any] = field(default_factory=dict)


def beat(heartbeat: Heartbeat) -> Hold | None:
    """Write the row and return the hold that is in force on it."""
    name, now = instance_name(heartbeat.role), timezone.now()
    said = {
        "role": heartbeat.role,
        "boot_id": str(heartbeat.main),
        "version": settings.VERSION,
        "started_at": _started_at(heartbeat.main.pid, now),
        "seen_at": now,
        "live": heartbeat.live,
        "ready": heartbeat.ready,
        "detail": heartbeat.detail,
    }
    try:
        if not Instance.objects.filter(name=name).update(**said):
            row = Instance(name=name, **said)
            Instance.objects.bulk_create([row], ignore_conflicts=True)
        Instance.objects.filter(name=name).lapsed(now).update(
            hold=HoldKind.NONE, hold_reason="", hold_by="", hold_until=None
        )
        return _read_hold(name)
    finally:
        # Ours alone and once in 10 s: kept open it would be inherited by a fork.
        connection.close()


def _read_hold(name: str) -> Hold | None:
    row = Instance.objects.filter(name=name).values_list(*_HOLD_FIELDS).first()
    if row is None or not row[0]:
        return None
    kind, reason, by, until = row
    return Hold(kind, reason, by, until.timestamp() if until else None)


def read_holds(roles: Iterable[str]) -> dict[str, Hold]:
    """Return the holds in force on the instances of this node, by role."""
    names = {instance_name(role): role for role in roles}
    try:
        rows = Instance.objects.filter(name__in=names).held(timezone.now())
        return {
            names[name]: Hold(kind, reason, by, until.timestamp() if until else None)
            for name, kind, reason, by, until in rows.values_list("name", *_HOLD_FIELDS)
        }
    finally:
        connection.close()


def withdraw(role: str) -> None:
    """Take the row of a process that ended on purpose away, unless it is held."""
    try:
        Instance.objects.filter(name=instance_name(role), hold=HoldKind.NONE).delete()
    finally:
        connection.close()


def _started_at(pid: int, now: datetime) -> datetime:
    try:
        return datetime.fromtimestamp(psutil.Process(pid).create_time(), UTC)
    except psutil.Error:
        return now
