"""One row a breaker: what the fleet agreed on, and an operator's override of it.

Beside it the sums of its calls in the last day, five minutes a row.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db import connection, models

from breakers.states import CircuitState, Row

NAME_LENGTH = 40
TEXT_LENGTH = 200


class StoredState(models.TextChoices):
    """What is stored; HALF_OPEN is an OPEN whose time is over."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"


class OverrideMode(models.TextChoices):
    """What an operator said."""

    NONE = "", "none"
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    METRICS_ONLY = "metrics_only"


class BreakerStateQuerySet(models.QuerySet["BreakerState"]):
    """The named reads."""

    def overridden(self, now: datetime) -> "BreakerStateQuerySet":
        """Return those whose override is in force."""
        endless_or_running = models.Q(override_until=None) | models.Q(
            override_until__gt=now
        )
        return self.exclude(override=OverrideMode.NONE).filter(endless_or_running)

    def lapsed(self, now: datetime) -> "BreakerStateQuerySet":
        """Return those whose override has ended by itself."""
        return self.exclude(override=OverrideMode.NONE).filter(override_until__lte=now)

    def open_now(self) -> "BreakerStateQuerySet":
        """Return those that are open, on trial too."""
        return self.filter(state=StoredState.OPEN)

    def with_traffic(
        self, since: datetime, *, name: str = ""
    ) -> Iterator["BreakerState"]:
        """Return all, or one, with the sums of their calls in one query.

        One that has sums and no row, since it never opened, comes as a row of nothing.
        """
        quote, own = connection.ops.quote_name, BreakerState._meta
        sums = BreakerTraffic._meta
        state, traffic = quote(own.db_table), quote(sums.db_table)
        columns = ", ".join(f"s.{quote(field.attname)}" for field in own.fields[1:])
        join = "string_agg" if connection.vendor == "postgresql" else "group_concat"
        statement = f"""
            SELECT n.name, {columns}, (
                SELECT {join}(CAST(at AS text) || '|' || calls || '|' || failed, ',')
                FROM {traffic} WHERE name = n.name AND at >= %s
            ) AS traffic
            FROM (SELECT name FROM {state} UNION SELECT name FROM {traffic}) n
            LEFT JOIN {state} s ON s.name = n.name
            WHERE %s IN ('', n.name)
        """  # noqa: S608 - names of the models
        start = sums.get_field("at").get_db_prep_value(since, connection)
        found: Any
        for found in self.raw(statement, [start, name]):
            row = BreakerState(name=found.name) if found.version is None else found
            row.traffic = found.traffic
            yield row


class BreakerState(models.Model):
    """The truth about one breaker; processes adopt the newer version."""

    name = models.CharField(max_length=NAME_LENGTH, primary_key=True)
    state = models.CharField(
        max_length=10, choices=StoredState.choices, default=StoredState.CLOSED
    )
    version = models.BigIntegerField(default=0)
    reason = models.CharField(max_length=TEXT_LENGTH, default="", blank=True)
    opened_at = models.DateTimeField(null=True, blank=True)
    open_until = models.DateTimeField(null=True, blank=True)
    # Failed trials in a row: a restart keeps the open time they have grown to.
    opens = models.PositiveSmallIntegerField(default=0)
    trips = models.PositiveIntegerField(default=0)
    last_error = models.CharField(max_length=TEXT_LENGTH, default="", blank=True)
    override = models.CharField(
        max_length=12,
        choices=OverrideMode.choices,
        default=OverrideMode.NONE,
        blank=True,
    )
    override_reason = models.CharField(max_length=TEXT_LENGTH, default="", blank=True)
    override_by = models.CharField(max_length=NAME_LENGTH, default="", blank=True)
    override_until = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField()
    # Filled by `with_traffic`: the sums of the calls, packed.
    traffic: str | None = None

    objects = BreakerStateQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["name"]
        default_permissions = ("view",)
        permissions: ClassVar = [
            ("override_breaker", "Can override a breaker"),
            ("override_breaker_without_end", "Can override a breaker without an end"),
            ("reset_breaker", "Can reset a breaker"),
        ]

    def __str__(self) -> str:
        """Name the breaker."""
        return self.name

    @property
    def subject(self) -> str:
        """Return what artifacts call it."""
        return f"breaker:{self.name}"

    def is_overridden(self, now: datetime) -> bool:
        """Tell whether an override is in force."""
        return bool(self.override) and (
            self.override_until is None or now < self.override_until
        )

    def shown_state(self, now: datetime) -> CircuitState:
        """Return the override while there is one, else the state below it."""
        if self.is_overridden(now):
            return CircuitState[self.override.upper()]
        return self.circuit_state(now)

    def circuit_state(self, now: datetime) -> CircuitState:
        """Return the state below an override; an OPEN past its time is HALF_OPEN."""
        if self.state == StoredState.CLOSED:
            return CircuitState.CLOSED
        waiting = self.open_until is not None and now < self.open_until
        return CircuitState.OPEN if waiting else CircuitState.HALF_OPEN

    def as_row(self, now: datetime) -> Row:
        """Return what travels: seconds from now in the place of times."""
        override: dict[str, Any] = {}
        if self.is_overridden(now):
            end = self.override_until
            override = {
                "override": self.override,
                "override_reason": self.override_reason,
                "override_by": self.override_by,
                "override_remaining": None if end is None else _until(end, now),
            }
        return Row(
            name=self.name,
            state=self.state,
            version=self.version,
            reason=self.reason,
            remaining=_until(self.open_until, now),
            age=_until(now, self.opened_at or now),
            opens=self.opens,
            trips=self.trips,
            last_error=self.last_error,
            **override,
        )


class BreakerTraffic(models.Model):
    """The calls of one breaker in five minutes: a chart, nothing is decided by it."""

    pk = models.CompositePrimaryKey("name", "at")
    name = models.CharField(max_length=NAME_LENGTH)
    at = models.DateTimeField()
    calls = models.PositiveIntegerField()
    failed = models.PositiveIntegerField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        """Name the breaker and the five minutes."""
        return f"{self.name} at {self.at:%Y-%m-%d %H:%M}"


def _until(end: datetime | None, now: datetime) -> float:
    return 0.0 if end is None else max(0.0, (end - now).total_seconds())


def circuit_columns(row: Row, now: datetime) -> dict[str, Any]:
    """Return the columns of a row's circuit, its seconds turned into times."""
    is_open = row.state == CircuitState.OPEN
    opened_at = now - timedelta(seconds=row.age)
    return {
        "state": StoredState.OPEN if is_open else StoredState.CLOSED,
        "version": row.version,
        "reason": row.reason[:TEXT_LENGTH],
        "opened_at": opened_at if row.trips else None,
        "open_until": now + timedelta(seconds=row.remaining) if is_open else None,
        "opens": min(row.opens, 32767),
        "trips": row.trips,
        "last_error": row.last_error[:TEXT_LENGTH],
        "updated_at": now,
    }


def override_columns(row: Row, now: datetime) -> dict[str, Any]:
    """Return the columns of a row's override."""
    left = row.override_remaining
    ends = row.override and left is not None
    return {
        "override": row.override,
        "override_reason": row.override_reason[:TEXT_LENGTH],
        "override_by": row.override_by[:NAME_LENGTH],
        "override_until": now + timedelta(seconds=left or 0.0) if ends else None,
    }
