"""What an operator sees of breakers and does to them: list, override, reset."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from breakers import fleet, registry
from breakers.errors import (
    ActRefusedError,
    BreakerChangedError,
    EndRefusedError,
    OptionError,
    UnknownBreakerError,
)
from breakers.models import BreakerState, OverrideMode, StoredState, circuit_columns
from breakers.options import Options, check_name, make_options
from breakers.states import CircuitState, Override
from breakers.store import store
from breakers.traffic import DAY, Calls, bucket_of, unpack
from ledger.acts import is_long, wrong_end, wrong_reason
from ledger.models import Artifact
from ledger.services import ArtifactType, Source, record

AUTO = "auto"
MODES = (Override.FORCED_OPEN, Override.DISABLED, Override.METRICS_ONLY)


@dataclass(frozen=True, slots=True)
class OverrideFacts:
    """The override in force; mode ``auto`` is none."""

    mode: str = AUTO
    reason: str = ""
    by: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class BreakerFacts:
    """What is known of a breaker at one moment.

    ``state`` is the override while there is one; ``circuit_state`` is what lies below.
    ``failures`` are those this process saw within its window. ``traffic`` are the sums
    of the last day, where they were asked for.
    """

    name: str
    state: CircuitState
    circuit_state: CircuitState
    reason: str
    failures: int
    threshold: int
    opened_at: datetime | None
    open_until: datetime | None
    override: OverrideFacts
    version: int
    trips: int
    last_error: str
    updated_at: datetime | None
    traffic: Mapping[datetime, Calls] = field(default_factory=dict)


# -- Reading -----------------------------------------------------------------------
def list_breakers(*, traffic: bool = False) -> list[BreakerFacts]:
    """Return every breaker that is known, by name; one query."""
    now = timezone.now()
    read: Iterable[BreakerState] = BreakerState.objects.all()
    if traffic:
        read = _with_traffic(now)
    rows = {row.name: row for row in read}
    stored = {row.name for row in rows.values() if row.updated_at}
    names = sorted({*stored, *_known_here()})
    return [_facts(_newest(rows.get(name), name, now), now) for name in names]


def get_breaker_row(name: str, *, traffic: bool = False) -> BreakerFacts:
    """Return one breaker; one query.

    Raises:
        UnknownBreakerError: nobody knows the name.
    """
    now = timezone.now()
    _check_name(name)
    one = BreakerState.objects.filter(pk=name)
    row = next(_with_traffic(now, name), None) if traffic else one.first()
    if (row is None or not row.updated_at) and name not in _known_here():
        raise UnknownBreakerError(name, _all_names())
    return _facts(_newest(row, name, now), now)


def _with_traffic(now: datetime, name: str = "") -> Iterator[BreakerState]:
    return BreakerState.objects.with_traffic(bucket_of(now) - DAY, name=name)


def _known_here() -> set[str]:
    """Return the names of the settings and of this process."""
    return {*settings.BREAKERS, *(one.name for one in registry.all_breakers())}


def _all_names() -> list[str]:
    stored = BreakerState.objects.values_list("name", flat=True)
    return sorted({*stored, *_known_here()})


def _newest(row: BreakerState | None, name: str, now: datetime) -> BreakerState:
    """Return the row; where this process knows of a later change, with that.

    It is seconds ahead at most: the database thread writes it.
    """
    row = row or BreakerState(name=name)
    local = registry.find_breaker(name)
    if local is not None and local.circuit.version > row.version:
        for column, value in circuit_columns(local.circuit.row(), now).items():
            setattr(row, column, value)
    return row


def _facts(row: BreakerState, now: datetime) -> BreakerFacts:
    local = registry.find_breaker(row.name)
    options = local.options if local else _options(row.name)
    held = row.is_overridden(now)
    return BreakerFacts(
        name=row.name,
        state=row.shown_state(now),
        circuit_state=row.circuit_state(now),
        reason=row.reason,
        failures=local.circuit.recent()[1] if local else 0,
        threshold=options.failure_threshold,
        opened_at=row.opened_at,
        open_until=row.open_until,
        override=OverrideFacts(
            row.override, row.override_reason, row.override_by, row.override_until
        )
        if held
        else OverrideFacts(),
        version=row.version,
        trips=row.trips,
        last_error=row.last_error,
        updated_at=row.updated_at,
        traffic=unpack(row.traffic),
    )


def _options(name: str) -> Options:
    given: Mapping[str, Any] = settings.BREAKERS.get(name, {})
    return make_options(given)


# -- Acts --------------------------------------------------------------------------
@transaction.atomic
def override_breaker(
    name: str,
    mode: str,
    *,
    reason: str,
    until: datetime | None,
    actor: str,
    endless: bool = False,
    event_id: UUID | None = None,
    if_version: int | None = None,
) -> BreakerFacts:
    """Hold a breaker in a mode, or end that, and record who did; both or neither.

    Args:
        name: which breaker.
        mode: ``forced_open``, ``disabled``, ``metrics_only``, or ``auto`` to end it.
        reason: why, for whoever finds it held.
        until: when it ends by itself; none only for who may hold without end.
        actor: who asked, as artifacts name them.
        endless: whether the actor may go without an end, or past eight hours.
        event_id: the act's own id: the same one again changes nothing.
        if_version: act only on this version.

    Raises:
        UnknownBreakerError: nobody knows the name.
        ActRefusedError: names the field that may not be as asked.
        BreakerChangedError: the breaker has another version by now.
    """
    now = timezone.now()
    _check_mode(mode, until)
    _check_reason(reason)
    if mode != AUTO:
        _check_end(until, now, endless=endless)
    row, repeated = _lock(name, now, event_id, if_version)
    before = row.override if row.is_overridden(now) else ""
    if repeated or (mode == AUTO and not before):
        return _facts(row, now)
    row.override = OverrideMode("" if mode == AUTO else mode)
    row.override_reason = "" if mode == AUTO else reason.strip()
    row.override_by = "" if mode == AUTO else actor
    row.override_until = until
    _save(row, now)
    record(
        type=ArtifactType.OVERRIDE,
        source=Source.OPERATOR,
        subject=row.subject,
        actor=actor,
        event_id=event_id,
        before=before or AUTO,
        after=mode,
        reason=reason.strip(),
        until=until.isoformat() if until else "",
        version=row.version,
    )
    return _facts(row, now)


@transaction.atomic
def reset_breaker(
    name: str,
    *,
    reason: str,
    actor: str,
    event_id: UUID | None = None,
    if_version: int | None = None,
) -> BreakerFacts:
    """Close a circuit, whatever it learned, and record who did; both or neither.

    An override stays in force.

    Raises:
        UnknownBreakerError: nobody knows the name.
        ActRefusedError: names the field that may not be as asked.
        BreakerChangedError: the breaker has another version by now.
    """
    now = timezone.now()
    _check_reason(reason)
    row, repeated = _lock(name, now, event_id, if_version)
    if repeated:
        return _facts(row, now)
    before = row.circuit_state(now)
    row.state, row.reason = StoredState.CLOSED, reason.strip()
    row.opens, row.open_until = 0, None
    _save(row, now)
    record(
        type=ArtifactType.BREAKER_RESET,
        source=Source.OPERATOR,
        subject=row.subject,
        actor=actor,
        event_id=event_id,
        before=before,
        after=CircuitState.CLOSED,
        reason=row.reason,
        version=row.version,
    )
    return _facts(row, now)


def _lock(
    name: str, now: datetime, event_id: UUID | None, if_version: int | None
) -> tuple[BreakerState, bool]:
    """Return the row, locked and newest, and whether the act was done before."""
    _check_name(name)
    rows = BreakerState.objects.select_for_update()
    row = rows.filter(pk=name).first()
    if row is None:
        if name not in _known_here():
            raise UnknownBreakerError(name, _all_names())
        row, _ = rows.get_or_create(pk=name, defaults={"updated_at": now})
    row = _newest(row, name, now)
    if event_id and Artifact.objects.by_event(event_id).exists():
        return row, True
    if if_version is not None and if_version != row.version:
        state = row.shown_state(now)
        raise BreakerChangedError(name, if_version, row.version, state)
    return row, False


def _save(row: BreakerState, now: datetime) -> None:
    row.version += 1
    row.updated_at = now
    row.save()
    transaction.on_commit(partial(_tell, row), robust=True)


def _tell(row: BreakerState) -> None:
    """Take the row over in this process at once, and tell the others."""
    told = row.as_row(timezone.now())
    local = registry.find_breaker(row.name)
    if local is not None:
        local.adopt(told)
    fleet.publish(told)
    if settings.ROLE != "command":
        # Somebody must see the override's end, even where no breaker is used.
        store.start()
        store.wake()


def _check_name(name: str) -> None:
    """Refuse what can be nobody's name before a database is asked for it."""
    try:
        check_name(name)
    except OptionError:
        raise UnknownBreakerError(name, _all_names()) from None


def _check_mode(mode: str, until: datetime | None) -> None:
    if mode != AUTO and mode not in MODES:
        raise ActRefusedError("mode", f"must be one of {', '.join([*MODES, AUTO])}")
    if mode == AUTO and until is not None:
        raise ActRefusedError("until", "auto ends an override and has no end itself")


def _check_reason(reason: str) -> None:
    if wrong := wrong_reason(reason):
        raise ActRefusedError("reason", wrong)


def _check_end(until: datetime | None, now: datetime, *, endless: bool) -> None:
    if wrong := wrong_end(until, now):
        raise ActRefusedError("until", wrong)
    if not endless and is_long(until, now):
        raise EndRefusedError(
            "until", "must be at most 8 hours ahead without the right to go longer"
        )
